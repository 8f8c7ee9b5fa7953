//! Average pooling on the CPU.
use rayon::prelude::*;

use super::{Cpu, activation, result, vectorize};
use crate::{
    Result, Tensor,
    ops::{Pool, PoolDims, PoolSpec},
};

impl Pool for Cpu {
    fn average_pool(&self, x: &Tensor, spec: &PoolSpec) -> Result<Tensor> {
        let PoolDims { batch, channels, output: [rows, columns] } = spec.check(x)?;
        let data = activation("average_pool", "x", x)?;
        let [grid_rows, grid_columns] = spec.grid;
        let mut out = self.memory.room(batch * rows * columns * channels);
        let count = (spec.window * spec.window) as f32;
        let cell = |(i, out): (usize, &mut [f32])| {
            let (t, row, column) = (i / (rows * columns), i / columns % rows, i % columns);
            vectorize(
                #[inline(always)]
                || {
                    out.fill(0.0);
                    for y in row * spec.window..(row + 1) * spec.window {
                        for x in column * spec.window..(column + 1) * spec.window {
                            let from = ((t * grid_rows + y) * grid_columns + x) * channels;
                            for (o, v) in out.iter_mut().zip(&data[from..from + channels]) {
                                *o += v;
                            }
                        }
                    }
                    for o in &mut *out {
                        *o /= count;
                    }
                },
            );
        };
        if !out.is_empty() {
            out.par_chunks_mut(channels).with_min_len(32).enumerate().for_each(cell);
        }
        result(out, &[batch, rows * columns, channels])
    }
}
