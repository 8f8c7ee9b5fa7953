//! Laws of gathering and scattering rows.
use ndarray::{Array2, Axis};
use proptest::prelude::*;

use super::{
    LawConfig, Violation,
    draw::seed,
    judge::{Judge, Verdict, round},
};
use crate::{DType, Device, Tensor, ops::Rows};

#[derive(Clone, Copy, Debug)]
struct Case {
    /// Rows of the table or the base.
    len: usize,
    /// Rows that are moved.
    moved: usize,
    columns: usize,
    dtype: DType,
    seed: u64,
}

impl Case {
    fn index(&self, config: &LawConfig) -> Vec<u32> {
        let mut values = config.values(!self.seed);
        (0..self.moved).map(|_| values.below(self.len) as u32).collect()
    }
}

/// Judges a [`Rows`]: agreement with copying row by row, from every weight type; gather undoes scatter; the last of equal
/// indices wins; indices outside are refused.
///
/// # Errors
/// The first law that is broken.
pub fn rows(op: &dyn Rows, device: &dyn Device, config: &LawConfig) -> Result<(), Violation> {
    let judge = Judge { op: "rows", device, config };
    let cases = || {
        let extents = (config.some_extent(70), config.extent(70), config.extent(70), config.weight_type(), seed());
        extents.prop_map(|(len, moved, columns, dtype, seed)| Case { len, moved, columns, dtype, seed })
    };
    judge.law("gather copies the rows of the table", cases(), |c| {
        let table = config.values(c.seed).array_as((c.len, c.columns), c.dtype);
        let index = c.index(config);
        let expected = Array2::from_shape_fn((c.moved, c.columns), |(i, d)| {
            round(table[[index[i] as usize, d]], config.activations)
        });
        exactly(&judge, &expected, &op.gather(&judge.up_as(&table, c.dtype)?, &index)?)
    })?;
    judge.law("scatter replaces rows of the base, the last of equal indices winning", cases(), |c| {
        let mut values = config.values(c.seed);
        let (base, rows) = (values.array((c.len, c.columns)), values.array((c.moved, c.columns)));
        let index = c.index(config);
        let mut expected = base.clone();
        for (row, &i) in rows.rows().into_iter().zip(&index) {
            expected.index_axis_mut(Axis(0), i as usize).assign(&row);
        }
        let base = judge.up(&base)?;
        let before = judge.down(&base)?;
        exactly(&judge, &expected, &op.scatter(&base, &index, &judge.up(&rows)?)?)?;
        // The base is a value: it must not be written to.
        judge.close(&before, &base)
    })?;
    judge.law("gather after scatter gives the scattered rows", cases(), |c| {
        let mut values = config.values(c.seed);
        let order = values.order(c.len);
        let index: Vec<u32> = order.iter().take(c.moved).map(|&i| i as u32).collect();
        let (base, rows) = (values.array((c.len, c.columns)), values.array((index.len(), c.columns)));
        let scattered = op.scatter(&judge.up(&base)?, &index, &judge.up(&rows)?)?;
        exactly(&judge, &rows, &op.gather(&scattered, &index)?)
    })?;
    judge.law("scatter of what was gathered changes nothing", cases(), |c| {
        let base = config.values(c.seed).array((c.len, c.columns));
        let (tensor, index) = (judge.up(&base)?, c.index(config));
        exactly(&judge, &base, &op.scatter(&tensor, &index, &op.gather(&tensor, &index)?)?)
    })?;
    judge.law("an index outside and shapes that do not fit are refused", (cases(), 0..3_u32), |(c, beyond)| {
        let table = judge.up(&Array2::zeros((c.len, c.columns)))?;
        let rows = |n, d| judge.up(&Array2::zeros((n, d)));
        let outside = [[0, c.len as u32 + beyond], [0, u32::MAX - beyond]];
        for index in outside {
            judge.refuses(&format!("gather of rows {index:?}"), op.gather(&table, &index))?;
            let result = op.scatter(&table, &index, &rows(2, c.columns)?);
            judge.refuses(&format!("scatter to rows {index:?}"), result)?;
        }
        judge.refuses("more rows than indices", op.scatter(&table, &[0], &rows(2, c.columns)?))?;
        judge.refuses("wider rows", op.scatter(&table, &[0], &rows(1, c.columns + 1)?))?;
        judge.refuses("a table of one axis", op.gather(&judge.up(&ndarray::Array1::zeros(4))?, &[0]))
    })
}

/// Rows are moved, not computed: no tolerance.
fn exactly(judge: &Judge<'_>, expected: &Array2<f64>, found: &Tensor) -> Verdict {
    let config = LawConfig { tolerance: 0.0, ..judge.config.clone() };
    Judge { config: &config, ..*judge }.close(expected, found)
}
