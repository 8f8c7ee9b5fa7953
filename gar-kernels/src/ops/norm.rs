//! Normalisation of rows.
use std::any::Any;

use crate::{DType, Error, Result, Tensor};

/// Which statistic is divided out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// `(x − mean) / √(variance + eps)`, variance over N (not N−1).
    Layer,
    /// `x / √(mean(x²) + eps)`.
    Rms,
}

/// Parameters of a normalisation.
#[derive(Clone, Copy, Debug)]
pub struct NormSpec<'a> {
    /// Which one.
    pub kind: NormKind,
    /// `[D]`, multiplied after normalising.
    pub weight: &'a Tensor,
    /// `[D]`, added last.
    pub bias: Option<&'a Tensor>,
    /// Added under the root.
    pub eps: f32,
    /// Element type that the result is asked for in, where whoever reads it rounds it to that anyway
    /// ([`MatMul::rounding`](super::MatMul::rounding)); `None` leaves it to the implementation, and one that has results of one
    /// type only may pass over it.
    pub to: Option<DType>,
}

/// Normalises each row of a tensor over its last axis.
///
/// Who computes something else from what is normalised finds out by [`Any`] whether the norm is one it knows.
pub trait Norm: Any + Send + Sync {
    /// `x` [.., D] → [.., D].
    ///
    /// # Errors
    /// Shapes that do not fit, element types or a device that are not supported.
    fn norm(&self, x: &Tensor, spec: &NormSpec<'_>) -> Result<Tensor>;
}

/// A [`Norm`] and its parameters.
#[derive(Clone, Copy)]
pub struct Normalization<'a> {
    /// What normalises.
    pub norm: &'a (dyn Norm + 'static),
    /// By what.
    pub spec: NormSpec<'a>,
}

impl Normalization<'_> {
    /// `x` [.., D], normalised.
    ///
    /// # Errors
    /// As [`Norm::norm`].
    pub fn apply(&self, x: &Tensor) -> Result<Tensor> {
        self.norm.norm(x, &self.spec)
    }
}

impl NormSpec<'_> {
    /// Checks the shapes; gives rows and D.
    ///
    /// # Errors
    /// [`Error::Shape`] naming the argument that does not fit, [`Error::Value`] for a negative or NaN `eps`.
    pub fn check(&self, x: &Tensor) -> Result<(usize, usize)> {
        const OP: &str = "norm";
        let (rows, d) = x.as_rows();
        self.weight.expect_shape(OP, "weight", &[d])?;
        if let Some(bias) = self.bias {
            bias.expect_shape(OP, "bias", &[d])?;
        }
        if self.eps >= 0.0 { Ok((rows, d)) } else { Err(Error::value(OP, "eps", "at least 0", self.eps)) }
    }
}
