//! LayerNorm and RMSNorm on the CPU; statistics in f64, one pass each.
use rayon::prelude::*;

use super::{Cpu, activation, math, parameter, result};
use crate::{
    Result, Tensor,
    ops::{Norm, NormKind, NormSpec},
};

const OP: &str = "norm";

impl Norm for Cpu {
    fn norm(&self, x: &Tensor, spec: &NormSpec<'_>) -> Result<Tensor> {
        let (_, d) = spec.check(x)?;
        let weight = parameter(OP, "weight", spec.weight)?;
        let bias = spec.bias.map(|b| parameter(OP, "bias", b)).transpose()?;
        let values = activation(OP, "x", x)?;
        let mut out = self.memory.room(values.len());
        let rows = out.par_chunks_mut(d.max(1)).zip(values.par_chunks(d.max(1))).with_min_len(8);
        rows.for_each(|(out, row)| {
            math::normalize(out, row, statistics(row, spec), &weight, bias.as_deref());
        });
        result(out, x.shape())
    }
}

/// What is subtracted and what is multiplied.
fn statistics(row: &[f32], spec: &NormSpec<'_>) -> [f32; 2] {
    let n = row.len() as f64;
    let mean = match spec.kind {
        NormKind::Layer => math::sum_f64::<false>(row, 0.0) / n,
        NormKind::Rms => 0.0,
    };
    let variance = math::sum_f64::<true>(row, mean) / n;
    [mean as f32, (1.0 / (variance + f64::from(spec.eps)).sqrt()) as f32]
}
