//! Rotary position embedding from a table of angles.
use std::any::Any;

use crate::{Error, Result, Tensor};

/// Which two entries of a head form a pair that is rotated together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// Entries 2i and 2i+1 (Perception Encoder).
    Interleaved,
    /// Entries i and i + d/2 (Llama).
    HalfSplit,
}

/// Angles and where each sequence starts in them.
#[derive(Clone, Copy, Debug)]
pub struct RotarySpec<'a> {
    /// [P, d/2] f32, cosine of each position's angles. A row of ones (with zero sines) leaves a token as it is.
    pub cos: &'a Tensor,
    /// [P, d/2] f32, their sines.
    pub sin: &'a Tensor,
    /// One a sequence: its row `l` takes row `start + l` of the tables.
    pub start: &'a [usize],
    /// Which entries pair up.
    pub pairing: Pairing,
}

/// Rotates pairs of entries: `(a, b) → (a·cos − b·sin, b·cos + a·sin)`.
///
/// Who computes something else from what is turned finds out by [`Any`] whether the rotation is one it knows.
pub trait Rotary: Any + Send + Sync {
    /// `x` [B, L, H, d] → the same shape.
    ///
    /// # Errors
    /// Shapes that do not fit, positions outside the table, element types or a device that are not supported.
    fn rotary(&self, x: &Tensor, spec: &RotarySpec<'_>) -> Result<Tensor>;
}

/// A [`Rotary`] and the angles that it turns by.
#[derive(Clone, Copy)]
pub struct Rotation<'a> {
    /// What turns.
    pub rotary: &'a (dyn Rotary + 'static),
    /// By which angles.
    pub spec: RotarySpec<'a>,
}

impl Rotation<'_> {
    /// `x` [B, L, H, d], turned.
    ///
    /// # Errors
    /// As [`Rotary::rotary`].
    pub fn apply(&self, x: &Tensor) -> Result<Tensor> {
        self.rotary.rotary(x, &self.spec)
    }

    /// Keys `k` [B, L, G, d] and `q` [B, M, H, d], queries at the last M ≤ L of their positions, turned.
    ///
    /// # Errors
    /// As [`Rotary::rotary`].
    pub fn apply_to_last(&self, q: &Tensor, k: &Tensor) -> Result<[Tensor; 2]> {
        let [_, queries, _, _] = q.dims("rotary", "q")?;
        let [_, len, _, _] = k.dims("rotary", "k")?;
        let start: Vec<usize> = self.spec.start.iter().map(|s| s.saturating_add(len.saturating_sub(queries))).collect();
        let of_last = Rotation { rotary: self.rotary, spec: RotarySpec { start: &start, ..self.spec } };
        Ok([of_last.apply(q)?, self.apply(k)?])
    }
}

/// Extents, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RotaryDims {
    /// Sequences.
    pub batch: usize,
    /// Tokens of each.
    pub len: usize,
    /// Heads.
    pub heads: usize,
    /// Entries of a head, even.
    pub head_dim: usize,
}

impl RotarySpec<'_> {
    /// Checks the shapes and the positions.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Value`] naming the argument that does not fit.
    pub fn check(&self, x: &Tensor) -> Result<RotaryDims> {
        const OP: &str = "rotary";
        let [batch, len, heads, head_dim] = x.dims(OP, "x")?;
        if head_dim % 2 != 0 {
            return Err(Error::shape(OP, "x", "[B, L, H, d] with d even", x.shape()));
        }
        let [positions, half] = self.cos.dims(OP, "cos")?;
        if half != head_dim / 2 {
            return Err(Error::shape(OP, "cos", format!("[P, {}]", head_dim / 2), self.cos.shape()));
        }
        self.sin.expect_shape(OP, "sin", self.cos.shape())?;
        if self.start.len() != batch {
            return Err(Error::value(OP, "start", format!("{batch} entries"), self.start.len()));
        }
        match self.start.iter().find(|&&s| s.checked_add(len).is_none_or(|end| end > positions)) {
            Some(s) => Err(Error::value(OP, "start", format!("start + {len} at most {positions}"), s)),
            None => Ok(RotaryDims { batch, len, heads, head_dim }),
        }
    }
}
