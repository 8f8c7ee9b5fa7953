//! Laws of average pooling.
use ndarray::Array3;
use proptest::prelude::*;

use super::{LawConfig, Violation, draw::seed, judge::Judge, reference};
use crate::{
    Device,
    ops::{Pool, PoolSpec},
};

#[derive(Clone, Copy, Debug)]
struct Case {
    batch: usize,
    output: [usize; 2],
    window: usize,
    channels: usize,
    seed: u64,
}

impl Case {
    fn spec(&self) -> PoolSpec {
        PoolSpec { grid: self.output.map(|o| o * self.window), window: self.window }
    }

    fn shape(&self) -> (usize, usize, usize) {
        let [rows, columns] = self.spec().grid;
        (self.batch, rows * columns, self.channels)
    }
}

/// Judges a [`Pool`]: agreement on grids that are not square, constant and linear grids, refusals.
///
/// # Errors
/// The first law that is broken.
pub fn pool(op: &dyn Pool, device: &dyn Device, config: &LawConfig) -> Result<(), Violation> {
    let judge = Judge { op: "pool", device, config };
    let cases = || {
        let extents = (0..4_usize, 0..6_usize, 0..6_usize, 1..4_usize, config.extent(80), seed());
        extents.prop_map(|(batch, rows, columns, window, channels, seed)| Case {
            batch,
            output: [rows, columns],
            window,
            channels,
            seed,
        })
    };
    judge.law("agrees with the mean over each window", cases(), |c| {
        let x = config.values(c.seed).array(c.shape());
        judge.close(&reference::average_pool(&x, &c.spec()), &op.average_pool(&judge.up(&x)?, &c.spec())?)
    })?;
    judge.law("a linear grid gives its values at the windows' centres", cases(), |c| {
        let (columns, half) = (c.spec().grid[1], (c.window as f64 - 1.0) / 2.0);
        let at = |row: f64, column: f64, d: usize| (row - 2.0 * column + d as f64) / 8.0;
        let x = Array3::from_shape_fn(c.shape(), |(_, t, d)| at((t / columns) as f64, (t % columns) as f64, d));
        let [rows, columns] = c.output;
        let expected = Array3::from_shape_fn((c.batch, rows * columns, c.channels), |(_, t, d)| {
            let centre = |i: usize| (i * c.window) as f64 + half;
            at(centre(t / columns), centre(t % columns), d)
        });
        judge.close(&expected, &op.average_pool(&judge.up(&judge.rounded(x))?, &c.spec())?)
    })?;
    judge.law("a grid or a window that does not fit is refused", 0..5_usize, |&which| {
        let (shape, grid, window) = [
            (vec![1, 12, 3], [3, 5], 1),
            (vec![1, 12, 3], [3, 4], 2),
            (vec![1, 12, 3], [3, 4], 0),
            (vec![12, 3], [3, 4], 1),
            (vec![1, 12, 3], [usize::MAX, 2], 1),
        ][which]
            .clone();
        let x = judge.up(&ndarray::ArrayD::zeros(shape.clone()))?;
        let result = op.average_pool(&x, &PoolSpec { grid, window });
        judge.refuses(&format!("shape {shape:?} with grid {grid:?} and window {window}"), result)
    })
}
