//! Rows gathered from and scattered into a matrix.
use crate::{Error, Result, Tensor};

/// Moves whole rows.
pub trait Rows: Send + Sync {
    /// Rows `index` of `table` [V, D] → [n, D], in the activations' element type.
    ///
    /// # Errors
    /// Shapes that do not fit, an index outside the table, unsupported types or device.
    fn gather(&self, table: &Tensor, index: &[u32]) -> Result<Tensor>;

    /// `base` [L, D] with row `index[i]` replaced by row `i` of `rows` [n, D] → [L, D]. Of equal indices the last wins.
    ///
    /// # Errors
    /// Shapes that do not fit, an index outside `base`, unsupported types or device.
    fn scatter(&self, base: &Tensor, index: &[u32], rows: &Tensor) -> Result<Tensor>;
}

/// Checks a gather; gives the table's rows and columns.
///
/// # Errors
/// [`Error::Shape`] or [`Error::Value`].
pub(crate) fn check_gather(op: &'static str, table: &Tensor, index: &[u32]) -> Result<[usize; 2]> {
    let [rows, columns] = table.dims(op, "table")?;
    match index.iter().find(|&&i| i as usize >= rows) {
        Some(i) => Err(Error::value(op, "index", format!("less than {rows}"), i)),
        None => Ok([rows, columns]),
    }
}
