//! Back through LayerNorm and RMSNorm.
//!
//! With x̂ the normalised row, r the inverse root and u = dy ⊙ weight: dx = r·(u − mean(u) − x̂·mean(u·x̂)); RMSNorm has no
//! mean(u). The statistics are taken again, in f64; what they are used for is f32, as on the way there.
use gar_core::kernels::{cpu::vectorize, ops::NormKind};
use rayon::prelude::*;

use super::math::fold;

/// Rows of one task.
const ROWS: usize = 64;

/// Gradients of the inputs.
pub(crate) struct Slopes {
    pub(crate) x: Vec<f32>,
    pub(crate) weight: Vec<f32>,
    pub(crate) bias: Vec<f32>,
}

/// `x`, `dy` [.., D]; `weight` `[D]`.
pub(crate) fn back(x: &[f32], weight: &[f32], kind: NormKind, eps: f32, dy: &[f32]) -> Slopes {
    let d = weight.len();
    let mut dx = vec![0_f32; x.len()];
    let block = (ROWS * d).max(1);
    let sums: Vec<[Vec<f32>; 2]> = dx
        .par_chunks_mut(block)
        .zip(x.par_chunks(block).zip(dy.par_chunks(block)))
        .map(|(dx, (x, dy))| {
            let [mut to_weight, mut to_bias] = [vec![0_f32; d], vec![0_f32; d]];
            vectorize(
                #[inline(always)]
                || {
                    for ((dx, x), dy) in dx.chunks_exact_mut(d).zip(x.chunks_exact(d)).zip(dy.chunks_exact(d)) {
                        row(dx, x, dy, weight, kind, eps, &mut to_weight, &mut to_bias);
                    }
                },
            );
            [to_weight, to_bias]
        })
        .collect();
    let total = |which: usize| {
        let mut total = vec![0_f32; d];
        for sum in &sums {
            total.iter_mut().zip(&sum[which]).for_each(|(t, s)| *t += s);
        }
        total
    };
    Slopes { weight: total(0), bias: total(1), x: dx }
}

#[allow(clippy::too_many_arguments)]
#[inline(always)]
fn row(
    dx: &mut [f32],
    x: &[f32],
    dy: &[f32],
    weight: &[f32],
    kind: NormKind,
    eps: f32,
    to_weight: &mut [f32],
    to_bias: &mut [f32],
) {
    let n = x.len() as f64;
    let mean = match kind {
        NormKind::Layer => fold(x, x, 0.0, |sum, v, _| sum + f64::from(v), |a, b| a + b) / n,
        NormKind::Rms => 0.0,
    };
    let square = |sum: f64, v: f32, _: f32| {
        let distance = f64::from(v) - mean;
        sum + distance * distance
    };
    let variance = fold(x, x, 0.0, square, |a, b| a + b) / n;
    let (mean, root) = (mean as f32, (1.0 / (variance + f64::from(eps)).sqrt()) as f32);
    let normal = |x: f32| (x - mean) * root;
    for ((dx, dy), weight) in dx.iter_mut().zip(dy).zip(weight) {
        *dx = dy * weight;
    }
    let share = 1.0 / x.len() as f32;
    let sum = match kind {
        NormKind::Layer => fold(dx, dx, 0.0, |sum, u, _| sum + u, |a, b| a + b) * share,
        NormKind::Rms => 0.0,
    };
    let along = fold(dx, x, 0.0, |sum, u, x| sum + u * normal(x), |a, b| a + b) * share;
    let sums = to_weight.iter_mut().zip(to_bias);
    for (((dx, x), dy), (to_weight, to_bias)) in dx.iter_mut().zip(x).zip(dy).zip(sums) {
        let x = normal(*x);
        *to_weight += dy * x;
        *to_bias += dy;
        *dx = root * (*dx - sum - x * along);
    }
}
