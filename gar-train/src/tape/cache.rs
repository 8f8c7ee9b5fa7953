//! Causal attention over a cache of tensors, so that gradients reach every position that was read, and a prefix that
//! forks share gets those of all of them.
use std::any::Any;

use gar_core::kernels::{
    Error, Kernels, Result, Tensor,
    ops::{AttentionSpec, CacheSpec, CachedAttention, CachedAttentionDims, CachedAttentionSpec, Filled, KvCache, Mask},
};

use super::{Tape, host};

/// Keys and values of one layer at some positions, each [L, G, d].
#[derive(Clone)]
struct Segment {
    k: Tensor,
    v: Tensor,
    len: usize,
}

/// One sequence's keys and values: for each layer what was read, piece by piece. Forks share the tensors. What was truncated
/// is cut off when its layer is next written.
struct TapeCache {
    filled: Filled,
    layers: Vec<Vec<Segment>>,
}

impl TapeCache {
    /// Forgets positions from `len` on in one layer.
    fn cut(segments: &mut Vec<Segment>, len: usize) -> Result<()> {
        let mut start = 0;
        for i in 0..segments.len() {
            let keep = len.saturating_sub(start).min(segments[i].len);
            start += segments[i].len;
            if keep == 0 {
                segments.truncate(i);
                break;
            }
            if keep < segments[i].len {
                let Segment { k, v, .. } = &segments[i];
                segments[i] = Segment { k: k.rows(0..keep)?, v: v.rows(0..keep)?, len: keep };
            }
        }
        Ok(())
    }
}

impl KvCache for TapeCache {
    fn filled(&self) -> &Filled {
        &self.filled
    }

    fn filled_mut(&mut self) -> &mut Filled {
        &mut self.filled
    }

    fn fork(&self) -> Result<Box<dyn KvCache>> {
        Ok(Box::new(Self { filled: self.filled, layers: self.layers.clone() }))
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

impl CachedAttention for Tape {
    fn cache(&self, spec: CacheSpec) -> Result<Box<dyn KvCache>> {
        Ok(Box::new(TapeCache { filled: Filled::nothing(spec), layers: vec![Vec::new(); spec.layers] }))
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
        let CachedAttentionDims { batch, positions, queries, heads, kv_heads, head_dim } = dims;
        let (mut lens, mut keys, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for (b, cache) in caches.iter_mut().enumerate() {
            let own = cache.as_any_mut().downcast_mut::<TapeCache>().ok_or_else(|| Error::Device {
                op: "cached_attention",
                what: "caches",
                expected: "a cache of the tape".into(),
                found: "another table's cache".into(),
            })?;
            let segments = &mut own.layers[layer];
            TapeCache::cut(segments, own.filled.len())?;
            let new = |t: &Tensor| t.rows(b..b + 1)?.reshape(&[positions, kv_heads, head_dim]);
            segments.push(Segment { k: new(k)?, v: new(v)?, len: positions });
            lens.push(own.filled.len() + dims.skipped());
            keys.push(segments.iter().map(|s| s.k.clone()).collect::<Vec<_>>());
            values.push(segments.iter().map(|s| s.v.clone()).collect::<Vec<_>>());
        }
        let attend = |q: &Tensor, keys: &[Vec<Tensor>], values: &[Vec<Tensor>], offset: usize| {
            let shape = [keys.len(), offset + queries, kv_heads, head_dim];
            let (k, v) = (self.join(&keys.concat(), &shape)?, self.join(&values.concat(), &shape)?);
            let spec = AttentionSpec { scale, mask: Mask::Causal { offset }, to };
            gar_core::kernels::ops::Attention::attention(self, q, &k, &v, &spec)
        };
        match lens.first() {
            Some(&offset) if lens.iter().all(|&len| len == offset) => attend(q, &keys, &values, offset),
            _ => {
                let each = |b: usize| attend(&q.rows(b..b + 1)?, &keys[b..b + 1], &values[b..b + 1], lens[b]);
                let each = (0..batch).map(each).collect::<Result<Vec<_>>>()?;
                self.join(&each, &[batch, queries, heads, head_dim])
            }
        }
    }
}

impl Tape {
    /// The elements of `parts` one behind the other, in a new shape. One part alone is a view.
    pub(crate) fn join(&self, parts: &[Tensor], shape: &[usize]) -> Result<Tensor> {
        if let [part] = parts {
            return part.reshape(shape);
        }
        let mut all = Vec::with_capacity(shape.iter().product());
        for part in parts {
            all.extend_from_slice(&host(&self.inner, part)?);
        }
        let output = self.inner.device.upload(&Tensor::from_vec(all, shape)?)?;
        let inputs: Vec<Option<&Tensor>> = parts.iter().map(Some).collect();
        self.note("join", &inputs, &output, || {
            let parts = parts.to_vec();
            move |_: &Kernels, dy: Vec<f32>, g: &mut super::Gradients| {
                let mut dy = dy.as_slice();
                for part in &parts {
                    let (own, rest) = dy.split_at(part.len());
                    g.add(part, own);
                    dy = rest;
                }
                Ok(())
            }
        });
        Ok(output)
    }
}
