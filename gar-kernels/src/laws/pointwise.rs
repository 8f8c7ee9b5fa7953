//! Laws of elementwise operations.
use ndarray::{Array2, Zip};
use proptest::{prelude::*, sample::select};

use super::{LawConfig, Violation, draw::seed, judge::Judge, reference};
use crate::{Device, ops::Pointwise};

#[derive(Clone, Copy, Debug)]
struct Case {
    rows: usize,
    columns: usize,
    /// Largest magnitude of an entry.
    reach: f64,
    seed: u64,
}

/// Judges a [`Pointwise`]: agreement of `add`, `swiglu` and `gelu` for small and large arguments, symmetries, refusals.
///
/// # Errors
/// The first law that is broken.
pub fn pointwise(op: &dyn Pointwise, device: &dyn Device, config: &LawConfig) -> Result<(), Violation> {
    let judge = Judge { op: "pointwise", device, config };
    let cases = || {
        // Beyond 89, exp(x) overflows an f32.
        let extents = (config.extent(20), config.extent(usize::MAX), select(vec![0.5, 4.0, 12.0, 200.0]), seed());
        extents.prop_map(|(rows, columns, reach, seed)| Case { rows, columns, reach, seed })
    };
    let draw = |c: &Case| {
        let mut values = config.values(c.seed);
        let a: Array2<f64> = judge.rounded(values.array((c.rows, c.columns)) * c.reach);
        (a, values.array((c.rows, c.columns)))
    };
    judge.law("add agrees with a + b", cases(), |c| {
        let (a, b) = draw(c);
        judge.close(&(&a + &b), &op.add(&judge.up(&a)?, &judge.up(&b)?)?)
    })?;
    judge.law("swiglu agrees with gate / (1 + exp(−gate)) · up", cases(), |c| {
        let (gate, up) = draw(c);
        let expected = Zip::from(&gate).and(&up).map_collect(|&g, &u| reference::silu(g) * u);
        judge.close(&expected, &op.swiglu(&judge.up(&gate)?, &judge.up(&up)?)?)
    })?;
    judge.law("gelu agrees with x·Φ(x) by the error function", cases(), |c| {
        let (x, _) = draw(c);
        judge.close(&x.mapv(reference::gelu), &op.gelu(&judge.up(&x)?)?)
    })?;
    judge.law("gelu(x) − gelu(−x) = x", cases(), |c| {
        let (x, _) = draw(c);
        let below = judge.down(&op.gelu(&judge.up(&-&x)?)?)?;
        judge.close(&(&x + &below), &op.gelu(&judge.up(&x)?)?)
    })?;
    judge.law("two shapes are refused", 0..3_usize, |&which| {
        let shape = [vec![4, 3], vec![12], vec![3, 5]][which].clone();
        let (a, b) = (judge.up(&Array2::zeros((3, 4)))?, judge.up(&ndarray::ArrayD::zeros(shape.clone()))?);
        judge.refuses(&format!("add of [3, 4] and {shape:?}"), op.add(&a, &b))?;
        judge.refuses(&format!("swiglu of [3, 4] and {shape:?}"), op.swiglu(&a, &b))
    })
}
