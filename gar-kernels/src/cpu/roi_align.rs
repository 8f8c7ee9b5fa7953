//! RoI-Align on the CPU, in torchvision's order of f32 operations.
use rayon::prelude::*;

use super::{Cpu, activation};
use crate::{
    Result, Tensor,
    ops::{RoiAlign, RoiAlignDims, RoiAlignSpec, RoiBox, RoiSide},
};

const OP: &str = "roi_align";

impl RoiAlign for Cpu {
    fn roi_align(&self, map: &Tensor, boxes: &[RoiBox], spec: &RoiAlignSpec) -> Result<Tensor> {
        let dims = spec.check(map, boxes)?;
        let cells = activation(OP, "map", map)?;
        let [rows, columns] = spec.output;
        let mut out = vec![0_f32; boxes.len() * rows * columns * dims.channels];
        if !out.is_empty() {
            out.par_chunks_mut(columns * dims.channels).enumerate().for_each(|(i, out)| {
                let row = i % rows;
                let [x, y] = spec.sides(&boxes[i / rows]);
                for (column, out) in out.chunks_exact_mut(dims.channels).enumerate() {
                    bin(cells, dims, &samples(&y, row), &samples(&x, column), out);
                }
            });
        }
        Tensor::from_vec(out, &[boxes.len(), rows, columns, dims.channels])
    }
}

/// Sample positions of bin `i`.
fn samples(side: &RoiSide, i: usize) -> Vec<f32> {
    let at = |s: usize| side.start + i as f32 * side.bin + (s as f32 + 0.5) * side.bin / side.samples as f32;
    (0..side.samples).map(at).collect()
}

/// Averages the samples at all pairs of `ys` and `xs`.
fn bin(cells: &[f32], dims: RoiAlignDims, ys: &[f32], xs: &[f32], out: &mut [f32]) {
    for y in ys.iter().map(|&y| corner(y, dims.height)) {
        for x in xs.iter().map(|&x| corner(x, dims.width)) {
            let (Some(y), Some(x)) = (y, x) else { continue };
            let cell = |row: usize, column: usize| &cells[(row * dims.width + column) * dims.channels..][..out.len()];
            let (c1, c2) = (cell(y.low, x.low), cell(y.low, x.high));
            let (c3, c4) = (cell(y.high, x.low), cell(y.high, x.high));
            let (hy, hx) = (1.0 - y.part, 1.0 - x.part);
            let (w1, w2, w3, w4) = (hy * hx, hy * x.part, y.part * hx, y.part * x.part);
            for (i, out) in out.iter_mut().enumerate() {
                *out += w1 * c1[i] + w2 * c2[i] + w3 * c3[i] + w4 * c4[i];
            }
        }
    }
    let count = (ys.len() * xs.len()).max(1) as f32;
    out.iter_mut().for_each(|o| *o /= count);
}

/// The two cells around a sample and its distance from the lower one.
#[derive(Clone, Copy)]
struct Corner {
    low: usize,
    high: usize,
    part: f32,
}

/// `None` beyond one cell outside the map.
fn corner(at: f32, extent: usize) -> Option<Corner> {
    if at < -1.0 || at > extent as f32 {
        return None;
    }
    let at = at.max(0.0);
    let low = at as usize;
    if low >= extent - 1 {
        return Some(Corner { low: extent - 1, high: extent - 1, part: 0.0 });
    }
    Some(Corner { low, high: low + 1, part: at - low as f32 })
}
