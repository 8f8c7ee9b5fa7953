//! Back through LayerNorm and RMSNorm.
//!
//! With x̂ the normalised row, r the inverse root and u = dy ⊙ weight: dx = r·(u − mean(u) − x̂·mean(u·x̂)); RMSNorm has no
//! mean(u). The statistics are taken again, in f64.
use gar_core::kernels::ops::NormKind;
use rayon::prelude::*;

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
            for ((dx, x), dy) in dx.chunks_exact_mut(d).zip(x.chunks_exact(d)).zip(dy.chunks_exact(d)) {
                row(dx, x, dy, weight, kind, eps, &mut to_weight, &mut to_bias);
            }
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
        NormKind::Layer => x.iter().map(|&v| f64::from(v)).sum::<f64>() / n,
        NormKind::Rms => 0.0,
    };
    let variance = x.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
    let root = 1.0 / (variance + f64::from(eps)).sqrt();
    let normal = |x: f32| (f64::from(x) - mean) * root;
    let (mut sum, mut along) = (0.0, 0.0);
    for (i, (&x, &dy)) in x.iter().zip(dy).enumerate() {
        let x = normal(x);
        let u = f64::from(dy) * f64::from(weight[i]);
        sum += u;
        along += u * x;
        to_weight[i] += dy * x as f32;
        to_bias[i] += dy;
    }
    let sum = if kind == NormKind::Layer { sum / n } else { 0.0 };
    for (i, dx) in dx.iter_mut().enumerate() {
        let u = f64::from(dy[i]) * f64::from(weight[i]);
        *dx = (root * (u - sum - normal(x[i]) * along / n)) as f32;
    }
}
