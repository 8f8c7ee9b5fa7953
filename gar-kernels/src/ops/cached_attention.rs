//! Causal attention over a key/value cache: the one thing that is written in place.
use std::any::Any;

use super::Rotation;
use crate::{DType, Error, Result, Tensor};

/// Size of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheSpec {
    /// Decoder layers.
    pub layers: usize,
    /// Key/value heads.
    pub kv_heads: usize,
    /// Entries of a head.
    pub head_dim: usize,
    /// Most positions that the cache may hold.
    pub capacity: usize,
}

impl CacheSpec {
    /// How many positions a cache of `len` holds with `rows` more.
    ///
    /// # Errors
    /// [`Error::Capacity`] beyond the capacity.
    pub fn extended(&self, len: usize, rows: usize) -> Result<usize> {
        let needed = len.saturating_add(rows);
        if needed > self.capacity { Err(Error::Capacity { capacity: self.capacity, needed }) } else { Ok(needed) }
    }
}

/// How much of a cache is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filled {
    spec: CacheSpec,
    len: usize,
}

impl Filled {
    /// Nothing of a cache of this size.
    pub const fn nothing(spec: CacheSpec) -> Self {
        Self { spec, len: 0 }
    }

    /// Positions that every layer holds.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The size of the cache.
    pub const fn spec(&self) -> CacheSpec {
        self.spec
    }

    /// Counts `rows` more positions in.
    ///
    /// # Errors
    /// [`Error::Capacity`] beyond the capacity.
    pub fn advance(&mut self, rows: usize) -> Result<()> {
        self.len = self.spec.extended(self.len, rows)?;
        Ok(())
    }

    /// Forgets every position from `len` on; more than it holds changes nothing.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}

/// Keys and values of one sequence, all layers.
pub trait KvCache: Send {
    /// How much of it is filled.
    fn filled(&self) -> &Filled;

    /// The same, to be counted up and down.
    fn filled_mut(&mut self) -> &mut Filled;

    /// Positions that every layer holds.
    fn len(&self) -> usize {
        self.filled().len()
    }

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The size it was made with.
    fn spec(&self) -> CacheSpec {
        self.filled().spec()
    }

    /// Counts `rows` more positions in, after every layer has attended to them.
    ///
    /// # Errors
    /// [`Error::Capacity`] beyond the capacity.
    fn advance(&mut self, rows: usize) -> Result<()> {
        self.filled_mut().advance(rows)
    }

    /// A second cache that starts with the same positions. Filled memory is shared until one of them writes to it.
    ///
    /// # Errors
    /// When memory runs out.
    fn fork(&self) -> Result<Box<dyn KvCache>>;

    /// Forgets every position from `len` on; more than it holds changes nothing.
    fn truncate(&mut self, len: usize) {
        self.filled_mut().truncate(len);
    }

    /// For the owning device to recover its own type.
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

/// Parameters of an attention through caches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CachedAttentionSpec {
    /// The layer of the caches.
    pub layer: usize,
    /// Multiplied into every score, usually `1/√d`.
    pub scale: f32,
    /// Element type that the result is asked for in; as [`AttentionSpec::to`](super::AttentionSpec::to).
    pub to: Option<DType>,
}

/// Makes caches and attends through them.
pub trait CachedAttention: Send + Sync {
    /// An empty cache.
    ///
    /// # Errors
    /// When memory runs out or the head size is not supported.
    fn cache(&self, spec: CacheSpec) -> Result<Box<dyn KvCache>>;

    /// Stores `k`, `v` [B, L, G, d] of a layer behind what each of the B caches holds, and lets `q` [B, M, H, d], queries at
    /// the last M ≤ L of these positions, attend causally to everything up to themselves → [B, M, H, d]. The new positions
    /// count only after [`KvCache::advance`], so that all layers of one step write to the same place and a failed step
    /// leaves no trace.
    ///
    /// # Errors
    /// Shapes that do not fit, a full cache, a cache of another device, element types that are not supported.
    fn attend(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        caches: &mut [&mut dyn KvCache],
        spec: &CachedAttentionSpec,
    ) -> Result<Tensor>;

    /// [`attend`](Self::attend) of `q` [B, M, H, d] and `k` [B, L, G, d] that are turned before, with `v` [B, L, G, d]: the
    /// numbers that both operations give one after the other, as the default has it. The rotation's starts are those of the
    /// keys. An implementation that knows the rotation can turn them as it reads and stores them.
    ///
    /// An implementation that passes its attention on to another may leave it at that.
    ///
    /// # Errors
    /// As [`attend`](Self::attend) and [`Rotary::rotary`](super::Rotary::rotary).
    fn attend_rotated(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        rotation: Rotation<'_>,
        caches: &mut [&mut dyn KvCache],
        spec: &CachedAttentionSpec,
    ) -> Result<Tensor> {
        let [q, k] = rotation.apply_to_last(q, k)?;
        self.attend(&q, &k, v, caches, spec)
    }

    /// Element type that values are rounded to before they are stored, if they are; as
    /// [`Attention::rounding`](super::Attention::rounding).
    ///
    /// An implementation that passes its attention on to another should pass this on too.
    fn rounding(&self) -> Option<DType> {
        None
    }
}

/// Extents of one step, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CachedAttentionDims {
    /// Sequences.
    pub batch: usize,
    /// New positions of each, L.
    pub positions: usize,
    /// Queries of each, M: at the last of the new positions.
    pub queries: usize,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads.
    pub kv_heads: usize,
    /// Entries of a head.
    pub head_dim: usize,
}

impl CachedAttentionDims {
    /// Checks the shapes against each other and against every cache.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::Value`] or [`Error::Capacity`].
    pub fn check(q: &Tensor, k: &Tensor, v: &Tensor, caches: &[&mut dyn KvCache], layer: usize) -> Result<Self> {
        const OP: &str = "cached_attention";
        let [batch, queries, heads, head_dim] = q.dims(OP, "q")?;
        let [_, positions, kv_heads, _] = k.dims(OP, "k")?;
        k.expect_shape(OP, "k", &[batch, positions, kv_heads, head_dim])?;
        v.expect_shape(OP, "v", k.shape())?;
        if queries > positions {
            return Err(Error::shape(OP, "q", format!("[B, at most {positions}, H, d]"), q.shape()));
        }
        if kv_heads == 0 || heads % kv_heads != 0 {
            return Err(Error::shape(OP, "k", format!("G that divides {heads} heads"), k.shape()));
        }
        if caches.len() != batch {
            return Err(Error::value(OP, "caches", format!("{batch}, one a sequence"), caches.len()));
        }
        for cache in caches {
            let spec = cache.spec();
            if spec.kv_heads != kv_heads || spec.head_dim != head_dim {
                let expected = format!("[B, L, {}, {}] as the cache holds", spec.kv_heads, spec.head_dim);
                return Err(Error::shape(OP, "k", expected, k.shape()));
            }
            if layer >= spec.layers {
                return Err(Error::value(OP, "layer", format!("less than {}", spec.layers), layer));
            }
            let needed = cache.len().saturating_add(positions);
            if needed > spec.capacity {
                return Err(Error::Capacity { capacity: spec.capacity, needed });
            }
        }
        Ok(Self { batch, positions, queries, heads, kv_heads, head_dim })
    }

    /// New positions before the first query's.
    pub const fn skipped(&self) -> usize {
        self.positions - self.queries
    }
}
