//! The key/value cache on the CPU and attention through it.
//!
//! Positions lie in blocks of [`BLOCK`], one vector a layer and block. Forks share blocks; the one that writes first copies
//! the block it writes to. A block is also a tile of the attention.
use std::{any::Any, sync::Arc};

use super::{
    Cpu, activation,
    attention::{Tile, run},
};
use crate::{
    Error, Result, Tensor,
    ops::{AttentionDims, AttentionSpec, CacheSpec, CachedAttention, CachedAttentionDims, KvCache, Mask},
};

const OP: &str = "cached_attention";
/// Positions of a block.
const BLOCK: usize = 128;

/// Keys and values of one layer at [`BLOCK`] positions, each [kv_heads, BLOCK, d].
#[derive(Clone)]
struct Block {
    k: Vec<f32>,
    v: Vec<f32>,
}

/// Keys and values of one sequence in main memory.
struct CpuCache {
    spec: CacheSpec,
    len: usize,
    /// Blocks of each layer.
    layers: Vec<Vec<Arc<Block>>>,
}

impl CpuCache {
    /// Stores `k`, `v` [L, G, d] of one layer at positions `len ..`.
    fn write(&mut self, layer: usize, k: &[f32], v: &[f32]) {
        let CacheSpec { kv_heads, head_dim, .. } = self.spec;
        let (row, block_len) = (kv_heads * head_dim, kv_heads * BLOCK * head_dim);
        let blocks = &mut self.layers[layer];
        for (i, (k, v)) in k.chunks_exact(row).zip(v.chunks_exact(row)).enumerate() {
            let position = self.len + i;
            if position / BLOCK == blocks.len() {
                blocks.push(Arc::new(Block { k: vec![0.0; block_len], v: vec![0.0; block_len] }));
            }
            let block = Arc::make_mut(&mut blocks[position / BLOCK]);
            for head in 0..kv_heads {
                let to = (head * BLOCK + position % BLOCK) * head_dim;
                let from = head * head_dim..(head + 1) * head_dim;
                block.k[to..to + head_dim].copy_from_slice(&k[from.clone()]);
                block.v[to..to + head_dim].copy_from_slice(&v[from]);
            }
        }
    }
}

impl KvCache for CpuCache {
    fn len(&self) -> usize {
        self.len
    }

    fn spec(&self) -> CacheSpec {
        self.spec
    }

    fn advance(&mut self, rows: usize) -> Result<()> {
        let needed = self.len.saturating_add(rows);
        if needed > self.spec.capacity {
            return Err(Error::Capacity { capacity: self.spec.capacity, needed });
        }
        self.len = needed;
        Ok(())
    }

    fn fork(&self) -> Result<Box<dyn KvCache>> {
        Ok(Box::new(Self { spec: self.spec, len: self.len, layers: self.layers.clone() }))
    }

    fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        for blocks in &mut self.layers {
            blocks.truncate(self.len.div_ceil(BLOCK));
        }
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

impl CachedAttention for Cpu {
    fn cache(&self, spec: CacheSpec) -> Result<Box<dyn KvCache>> {
        if spec.kv_heads == 0 || spec.head_dim == 0 {
            let found = format!("{} heads of {}", spec.kv_heads, spec.head_dim);
            return Err(Error::value(OP, "cache", "at least one head of one entry", found));
        }
        Ok(Box::new(CpuCache { spec, len: 0, layers: vec![Vec::new(); spec.layers] }))
    }

    fn attend(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        caches: &mut [&mut dyn KvCache],
        layer: usize,
        scale: f32,
    ) -> Result<Tensor> {
        let CachedAttentionDims { batch, queries, heads, kv_heads, head_dim } =
            CachedAttentionDims::check(q, k, v, caches, layer)?;
        let (kt, vt) = (activation(OP, "k", k)?, activation(OP, "v", v)?);
        let qt = activation(OP, "q", q)?;
        let mut own = Vec::with_capacity(batch);
        for cache in caches.iter_mut() {
            own.push(cache.as_any_mut().downcast_mut::<CpuCache>().ok_or_else(|| Error::Device {
                op: OP,
                what: "caches",
                expected: super::NAME.into(),
                found: "another device's cache".into(),
            })?);
        }
        let rows = queries * kv_heads * head_dim;
        for (b, cache) in own.iter_mut().enumerate() {
            cache.write(layer, &kt[b * rows..(b + 1) * rows], &vt[b * rows..(b + 1) * rows]);
        }
        let specs: Vec<AttentionSpec> =
            own.iter().map(|c| AttentionSpec { scale, mask: Mask::Causal { offset: c.len } }).collect();
        let dims = AttentionDims { batch, queries, keys: 0, heads, kv_heads, head_dim };
        let own: Vec<&CpuCache> = own.into_iter().map(|c| &*c).collect();
        let out = run(qt, dims, &specs, |b, kv_head, i| {
            let block = own[b].layers[layer].get(i)?;
            let from = kv_head * BLOCK * head_dim;
            Some(Tile { k: &block.k[from..], v: &block.v[from..], stride: head_dim, keys: BLOCK, first: i * BLOCK })
        });
        Tensor::from_vec(out, q.shape())
    }
}
