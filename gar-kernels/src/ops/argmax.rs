//! Greedy choice.
use crate::{Result, Tensor};

/// Index of the largest entry of each row.
pub trait ArgMax: Send + Sync {
    /// `x` [B, V] with V > 0 → B indices. Of equal entries the first wins; a NaN is never chosen unless a row
    /// holds nothing else, then the first.
    ///
    /// # Errors
    /// Shapes that do not fit, unsupported types or device.
    fn argmax(&self, x: &Tensor) -> Result<Vec<u32>>;
}
