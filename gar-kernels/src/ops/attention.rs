//! Scaled dot-product attention over keys and values given as tensors.
use super::Rotation;
use crate::{DType, Error, Result, Tensor};

/// Which keys a query sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mask {
    /// All of them.
    Full,
    /// Query `i` sees keys `0 ..= offset + i`.
    Causal {
        /// Keys that precede the first query.
        offset: usize,
    },
}

/// Parameters of an attention.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionSpec {
    /// Multiplied into every score, usually `1/√d`.
    pub scale: f32,
    /// Which keys a query sees.
    pub mask: Mask,
    /// Element type that the result is asked for in, where whoever reads it rounds it to that anyway
    /// ([`MatMul::rounding`](super::MatMul::rounding)); `None` leaves it to the implementation, and one that has results of one
    /// type only may pass over it.
    pub to: Option<DType>,
}

/// `softmax(scale · q kᵀ + mask) v`, with the softmax in f32 or better and no [L, S] matrix in memory.
pub trait Attention: Send + Sync {
    /// `q` [B, L, H, d], `k` and `v` [B, S, G, d] with H a multiple of G → [B, L, H, d].
    ///
    /// Query head `h` reads key/value head `h / (H/G)`. A query that sees no key (S = 0) gives zeros.
    ///
    /// # Errors
    /// Shapes that do not fit, head sizes, element types or a device that are not supported.
    fn attention(&self, q: &Tensor, k: &Tensor, v: &Tensor, spec: &AttentionSpec) -> Result<Tensor>;

    /// [`attention`](Self::attention) of `q` [B, L, H, d] and `k` [B, S, G, d] that are turned before, with `v` [B, S, G, d] →
    /// [B, L, H, d]: the numbers that both operations give one after the other, as the default has it. An implementation that
    /// knows the rotation can turn them as it reads them.
    ///
    /// An implementation that passes its attention on to another may leave it at that.
    ///
    /// # Errors
    /// As [`attention`](Self::attention) and [`Rotary::rotary`](super::Rotary::rotary).
    fn attention_rotated(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        rotation: Rotation<'_>,
        spec: &AttentionSpec,
    ) -> Result<Tensor> {
        self.attention(&rotation.apply(q)?, &rotation.apply(k)?, v, spec)
    }

    /// Element type that values are rounded to before they are multiplied, if they are. Who makes values can make them in that
    /// type at once ([`Epilogue::to`](super::Epilogue::to)): results are the same, and less memory is read and written. The
    /// default knows of no rounding.
    ///
    /// An implementation that passes its attention on to another should pass this on too.
    fn rounding(&self) -> Option<DType> {
        None
    }
}

/// Extents, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionDims {
    /// Sequences.
    pub batch: usize,
    /// Queries of each.
    pub queries: usize,
    /// Keys of each.
    pub keys: usize,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads.
    pub kv_heads: usize,
    /// Entries of a head.
    pub head_dim: usize,
}

impl AttentionSpec {
    /// Checks the shapes.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Value`] naming the argument that does not fit.
    pub fn check(&self, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<AttentionDims> {
        const OP: &str = "attention";
        let [batch, queries, heads, head_dim] = q.dims(OP, "q")?;
        let [kb, keys, kv_heads, kd] = k.dims(OP, "k")?;
        if kb != batch || kd != head_dim || kv_heads == 0 || heads % kv_heads != 0 {
            let expected = format!("[{batch}, S, G, {head_dim}] with {heads} a multiple of G");
            return Err(Error::shape(OP, "k", expected, k.shape()));
        }
        v.expect_shape(OP, "v", k.shape())?;
        if !self.scale.is_finite() {
            return Err(Error::value(OP, "scale", "a finite number", self.scale));
        }
        if let Mask::Causal { offset } = self.mask
            && offset.checked_add(queries).is_none_or(|end| end > keys)
        {
            return Err(Error::value(OP, "offset", format!("offset + {queries} at most {keys}"), offset));
        }
        Ok(AttentionDims { batch, queries, keys, heads, kv_heads, head_dim })
    }
}
