//! LayerNorm and RMSNorm on the CPU; statistics in f64, in one pass.
use half::bf16;
use rayon::prelude::*;

use super::{
    Cpu, activation,
    dot::{FloatDot, FloatWork},
    math, parameter, result, result_in,
};
use crate::{
    DType, Result, Tensor,
    ops::{Norm, NormKind, NormSpec},
};

const OP: &str = "norm";

impl Norm for Cpu {
    fn norm(&self, x: &Tensor, spec: &NormSpec<'_>) -> Result<Tensor> {
        let (_, d) = spec.check(x)?;
        let weight = parameter(OP, "weight", spec.weight)?;
        let bias = spec.bias.map(|b| parameter(OP, "bias", b)).transpose()?;
        let values = activation(OP, "x", x)?;
        let normalize = |row: &[f32], out: &mut [f32]| {
            math::normalize(out, row, statistics(row, spec), &weight, bias.as_deref());
        };
        if spec.to == Some(DType::BF16) {
            let mut out = self.memory.room(values.len().div_ceil(2));
            let results = bytemuck::cast_slice_mut(&mut out);
            self.products.half.run(Rounded { values, d, normalize, out: &mut results[..values.len()] });
            return result_in(out, DType::BF16, x.shape());
        }
        let mut out = self.memory.room(values.len());
        let rows = out.par_chunks_mut(d.max(1)).zip(values.par_chunks(d.max(1))).with_min_len(8);
        rows.for_each(|(out, row)| normalize(row, out));
        result(out, x.shape())
    }
}

/// Normalised rows in bf16.
struct Rounded<'a, F> {
    values: &'a [f32],
    d: usize,
    normalize: F,
    out: &'a mut [bf16],
}

impl<F: Fn(&[f32], &mut [f32]) + Sync> FloatWork for Rounded<'_, F> {
    type Output = ();

    fn run<D: FloatDot>(self, dot: D) {
        let Self { values, d, normalize, out } = self;
        let rows = out.par_chunks_mut(d.max(1)).zip(values.par_chunks(d.max(1))).with_min_len(8);
        rows.for_each_init(
            || vec![0.0; d],
            |normalized, (out, row)| {
                normalize(row, normalized);
                dot.narrow(normalized, out);
            },
        );
    }
}

/// What is subtracted and what is multiplied.
fn statistics(row: &[f32], spec: &NormSpec<'_>) -> [f32; 2] {
    let n = row.len() as f64;
    let [mean, squares] = math::sums_f64(row).map(|sum| sum / n);
    let (mean, variance) = match spec.kind {
        // Squares of f32 are exact in f64, which leaves 29 binary digits for a mean far from zero to cancel.
        NormKind::Layer => (mean, (squares - mean * mean).max(0.0)),
        NormKind::Rms => (0.0, squares),
    };
    [mean as f32, (1.0 / (variance + f64::from(spec.eps)).sqrt()) as f32]
}
