//! Elementwise operations.
use std::any::Any;

use crate::{Result, Tensor};

/// Operations on each element alone.
///
/// Who computes something else on the way finds out by [`Any`] whether the operations are ones it knows.
pub trait Pointwise: Any + Send + Sync {
    /// `a + b`, one shape.
    ///
    /// # Errors
    /// Different shapes, unsupported types or device.
    fn add(&self, a: &Tensor, b: &Tensor) -> Result<Tensor>;

    /// `silu(gate) · up` with `silu(x) = x / (1 + e⁻ˣ)`, one shape (SwiGLU).
    ///
    /// # Errors
    /// Different shapes, unsupported types or device.
    fn swiglu(&self, gate: &Tensor, up: &Tensor) -> Result<Tensor>;

    /// `x·Φ(x)` with the error function.
    ///
    /// # Errors
    /// Unsupported types or device.
    fn gelu(&self, x: &Tensor) -> Result<Tensor>;
}
