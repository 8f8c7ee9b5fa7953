//! The key/value cache on the CPU and attention through it.
//!
//! Positions lie in blocks of [`BLOCK`], in the panels that attention multiplies with, so that a step reads the cache once
//! and as it lies. Forks share blocks; the one that writes first copies the block it writes to.
use std::{any::Any, sync::Arc};

use rayon::prelude::*;

use super::{
    Cpu, InstructionSet, Precision, activation,
    attention::attend,
    dot::{FloatDot, FloatWork},
    key_block::{BLOCK, Heads, OwnedBlock},
    outcome::Results,
    panels::Entries,
};
use crate::{
    DType, Error, Result, Tensor,
    ops::{
        Attention, AttentionDims, AttentionSpec, CacheSpec, CachedAttention, CachedAttentionDims, CachedAttentionSpec,
        Filled, KvCache, Mask,
    },
};

const OP: &str = "cached_attention";

/// Keys and values of one sequence in main memory.
struct CpuCache {
    filled: Filled,
    /// What the blocks are laid out for.
    layout: (Precision, InstructionSet),
    /// Blocks of each layer.
    layers: Vec<Vec<Arc<OwnedBlock>>>,
}

impl CpuCache {
    fn heads(&self) -> Heads {
        Heads { count: self.filled.spec().kv_heads, dim: self.filled.spec().head_dim }
    }

    /// Stores `k`, `v` [L, G, d] of one layer at positions `len ..`, block beside block.
    fn write<D: FloatDot>(&mut self, layer: usize, k: &[f32], v: Entries<'_>) {
        let (heads, begin) = (self.heads(), self.filled.len());
        let row = heads.count * heads.dim;
        let end = begin + k.len() / row;
        let (first, blocks) = (begin / BLOCK, &mut self.layers[layer]);
        blocks.resize_with(end.div_ceil(BLOCK), || Arc::new(OwnedBlock::new::<D>(heads)));
        blocks[first..].par_iter_mut().enumerate().for_each(|(i, block)| {
            let from = (first + i) * BLOCK;
            let own = from.max(begin)..(from + BLOCK).min(end);
            let entries = (own.start - begin) * row..(own.end - begin) * row;
            let mut block = Arc::make_mut(block).block_mut::<D>(heads);
            block.write(own.start % BLOCK, &k[entries.clone()], v.part(entries), None);
        });
    }
}

impl KvCache for CpuCache {
    fn filled(&self) -> &Filled {
        &self.filled
    }

    fn filled_mut(&mut self) -> &mut Filled {
        &mut self.filled
    }

    fn fork(&self) -> Result<Box<dyn KvCache>> {
        Ok(Box::new(Self { layers: self.layers.clone(), ..*self }))
    }

    fn truncate(&mut self, len: usize) {
        self.filled.truncate(len);
        for blocks in &mut self.layers {
            blocks.truncate(self.filled.len().div_ceil(BLOCK));
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
        Ok(Box::new(CpuCache {
            filled: Filled::nothing(spec),
            layout: self.layout(),
            layers: vec![Vec::new(); spec.layers],
        }))
    }

    fn attend(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        caches: &mut [&mut dyn KvCache],
        spec: &CachedAttentionSpec,
    ) -> Result<Tensor> {
        let CachedAttentionSpec { layer, scale, to } = *spec;
        let dims = CachedAttentionDims::check(q, k, v, caches, layer)?;
        let (kt, vt) = (activation(OP, "k", k)?, Entries::of(OP, "v", v)?);
        let qt = activation(OP, "q", q)?;
        let mut own = Vec::with_capacity(dims.batch);
        for cache in caches.iter_mut() {
            own.push(self.own(&mut **cache)?);
        }
        let mut out = self.outcome(qt.len(), to);
        let step = Step { q: qt, k: kt, v: vt, dims, caches: own, layer, scale, out: out.results() };
        self.attention_product().run(step);
        out.tensor(q.shape())
    }

    fn rounding(&self) -> Option<DType> {
        Attention::rounding(self)
    }
}

impl Cpu {
    fn layout(&self) -> (Precision, InstructionSet) {
        (self.precision, self.instructions)
    }

    /// Recovers a cache that a table like this one made.
    fn own<'c>(&self, cache: &'c mut dyn KvCache) -> Result<&'c mut CpuCache> {
        let found = "another device's cache".to_owned();
        let other = || Error::Device { op: OP, what: "caches", expected: super::NAME.into(), found };
        let own = cache.as_any_mut().downcast_mut::<CpuCache>().ok_or_else(other)?;
        if own.layout != self.layout() {
            let [expected, found] =
                [self.layout(), own.layout].map(|(precision, set)| format!("{precision:?} for {set}"));
            return Err(Error::value(OP, "caches", expected, found));
        }
        Ok(own)
    }
}

/// One layer of one step.
struct Step<'a> {
    q: &'a [f32],
    k: &'a [f32],
    v: Entries<'a>,
    dims: CachedAttentionDims,
    caches: Vec<&'a mut CpuCache>,
    layer: usize,
    scale: f32,
    /// As `q`.
    out: Results<'a>,
}

impl FloatWork for Step<'_> {
    type Output = ();

    fn run<D: FloatDot>(self, dot: D) {
        let Self { q, k, v, dims, mut caches, layer, scale, out } = self;
        let CachedAttentionDims { batch, positions, queries, heads, kv_heads, head_dim } = dims;
        let rows = positions * kv_heads * head_dim;
        for (b, cache) in caches.iter_mut().enumerate() {
            cache.write::<D>(layer, &k[b * rows..(b + 1) * rows], v.part(b * rows..(b + 1) * rows));
        }
        let caches: Vec<&CpuCache> = caches.into_iter().map(|cache| &*cache).collect();
        let behind = |c: &&CpuCache| Mask::Causal { offset: c.len() + dims.skipped() };
        let specs: Vec<AttentionSpec> =
            caches.iter().map(|c| AttentionSpec { scale, mask: behind(c), to: None }).collect();
        let block = |b: usize, i: usize| Some(caches[b].layers[layer].get(i)?.block(caches[b].heads()));
        let dims = AttentionDims { batch, queries, keys: 0, heads, kv_heads, head_dim };
        attend(dot, (q, None), dims, &specs, block, out);
    }
}
