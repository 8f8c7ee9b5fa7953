//! Average pooling of token grids.
use crate::{Error, Result, Tensor};

/// The grid that tokens form and the window that is averaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolSpec {
    /// Rows and columns of the token grid.
    pub grid: [usize; 2],
    /// Side of the square window; also the stride.
    pub window: usize,
}

/// Averages non-overlapping windows.
pub trait Pool: Send + Sync {
    /// `x` [T, rows·columns, D] → [T, (rows/window)·(columns/window), D].
    ///
    /// # Errors
    /// Shapes that do not fit, a window that does not divide the grid, unsupported types or device.
    fn average_pool(&self, x: &Tensor, spec: &PoolSpec) -> Result<Tensor>;
}

/// Extents, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolDims {
    /// Grids.
    pub batch: usize,
    /// Entries of a token.
    pub channels: usize,
    /// Rows and columns of the result.
    pub output: [usize; 2],
}

impl PoolSpec {
    /// Checks the shapes.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Value`] naming the argument that does not fit.
    pub fn check(&self, x: &Tensor) -> Result<PoolDims> {
        const OP: &str = "average_pool";
        let [batch, tokens, channels] = x.dims(OP, "x")?;
        let [rows, columns] = self.grid;
        if rows.checked_mul(columns) != Some(tokens) {
            return Err(Error::shape(OP, "x", format!("[T, {rows}·{columns}, D]"), x.shape()));
        }
        if self.window == 0 || rows % self.window != 0 || columns % self.window != 0 {
            return Err(Error::value(OP, "window", format!("a divisor of {rows} and {columns}"), self.window));
        }
        Ok(PoolDims { batch, channels, output: [rows / self.window, columns / self.window] })
    }
}
