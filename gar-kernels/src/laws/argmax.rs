//! Laws of the greedy choice.
use ndarray::Array2;
use proptest::prelude::*;

use super::{
    LawConfig, Violation,
    draw::seed,
    judge::{Failure, Judge, Verdict},
    reference,
};
use crate::{Device, ops::ArgMax};

#[derive(Clone, Copy, Debug)]
struct Case {
    rows: usize,
    columns: usize,
    /// Distinct values in a row: few of them give ties.
    levels: usize,
    seed: u64,
}

/// Judges an [`ArgMax`]: agreement with a scan, ties to the first, NaN and −∞ never chosen over a number.
///
/// # Errors
/// The first law that is broken.
pub fn argmax(op: &dyn ArgMax, device: &dyn Device, config: &LawConfig) -> Result<(), Violation> {
    let judge = Judge { op: "argmax", device, config };
    let cases = || {
        let extents = (config.extent(20), config.some_extent(usize::MAX), 1..40_usize, seed());
        extents.prop_map(|(rows, columns, levels, seed)| Case { rows, columns, levels, seed })
    };
    let draw = |c: &Case| {
        let mut values = config.values(c.seed);
        Array2::from_shape_simple_fn((c.rows, c.columns), || values.below(c.levels) as f64 - 7.0)
    };
    let check = |x: &Array2<f64>| -> Verdict {
        let found = op.argmax(&judge.up(x)?)?;
        let expected: Vec<u32> = x.rows().into_iter().map(|r| reference::argmax(&r.to_vec()) as u32).collect();
        if found == expected {
            return Ok(());
        }
        Err(Failure::new(format!("{expected:?}"), format!("{found:?}")))
    };
    judge.law("the first of the largest entries", cases(), |c| check(&draw(c)))?;
    judge.law("NaN and −∞ are never larger than a number", cases(), |c| {
        let mut x = draw(c);
        let mut values = config.values(!c.seed);
        let keep: Vec<usize> = (0..c.rows).map(|_| values.below(c.columns)).collect();
        for ((r, i), v) in x.indexed_iter_mut() {
            if i != keep[r] {
                *v = [*v, f64::NAN, f64::NEG_INFINITY][values.below(3)];
            }
        }
        check(&x)
    })?;
    judge.law("a row without entries and other ranks are refused", 0..4_usize, |&rank| {
        let mut shape = vec![3; rank];
        if rank == 2 {
            shape[1] = 0;
        }
        let x = judge.up(&ndarray::ArrayD::zeros(shape.clone()))?;
        judge.refuses(&format!("shape {shape:?}"), op.argmax(&x))
    })
}
