//! Back through `y = residual + scale ⊙ activation(x·wᵀ + bias)`.
//!
//! With t = dy ⊙ activation′: dx = t·(scale ⊙ w), dw = scale ⊙ tᵀ·x, both by the table's own product. Without an activation the
//! gradient of `scale` comes from dw before scaling, G = dyᵀ·x: `Σ dy·(x·wᵀ + b) = ⟨w, G⟩ + b·Σ dy` in each row.
use gar_core::kernels::{Kernels, Result, Tensor, ops::MatMulDims};

use super::{
    math::{column_sums, dot, transpose},
    pointwise,
};
use crate::tape::{Gradients, host, into_host};

/// A product that was run.
pub(crate) struct Node {
    pub(crate) x: Tensor,
    pub(crate) w: Tensor,
    pub(crate) bias: Option<Tensor>,
    pub(crate) scale: Option<Tensor>,
    pub(crate) residual: Option<Tensor>,
    /// `x·wᵀ + bias`, where GELU follows.
    pub(crate) before: Option<Tensor>,
    pub(crate) dims: MatMulDims,
}

impl Node {
    pub(crate) fn back(&self, k: &Kernels, dy: Vec<f32>, g: &mut Gradients) -> Result<()> {
        let MatMulDims { m, n, k: inner } = self.dims;
        if let Some(residual) = &self.residual {
            g.add(residual, &dy);
        }
        let scale = self.scale.as_ref().map(|scale| host(k, scale)).transpose()?;
        let scale = scale.as_deref();
        let mut t = dy;
        if let Some(before) = &self.before {
            if let Some(scale) = self.scale.as_ref().filter(|scale| g.wants(scale)) {
                let after = host(k, &k.pointwise.gelu(before)?)?;
                let products: Vec<f32> = t.iter().zip(after.iter()).map(|(d, a)| d * a).collect();
                g.add(scale, &column_sums(&products, n));
            }
            pointwise::gelu(&host(k, before)?, &mut t);
        }
        let wants_scale = self.before.is_none() && self.scale.as_ref().is_some_and(|s| g.wants(s));
        let wants_bias = self.bias.as_ref().is_some_and(|b| g.wants(b));
        let sums = if wants_scale || wants_bias { column_sums(&t, n) } else { Vec::new() };
        let t = Tensor::from_vec(t, &[m, n])?;
        if wants_scale || g.wants(&self.w) {
            let mut weights = product_transposed(k, &t, &self.x)?;
            if wants_scale && let Some(scale) = &self.scale {
                let w = host(k, &self.w)?;
                let bias = self.bias.as_ref().map(|b| host(k, b)).transpose()?;
                let (w, bias) = (&*w, bias.as_deref());
                let slope = |row: usize| {
                    let (w, weights) = (&w[row * inner..][..inner], &weights[row * inner..][..inner]);
                    dot(w, weights) + bias.map_or(0.0, |b| b[row] * sums[row])
                };
                g.add(scale, &(0..n).map(slope).collect::<Vec<_>>());
            }
            if let Some(scale) = scale {
                scale_rows(&mut weights, scale);
            }
            g.give(&self.w, weights);
        }
        if wants_bias && let Some(bias) = &self.bias {
            let mut sums = sums;
            if let Some(scale) = scale {
                scale_rows(&mut sums, scale);
            }
            g.give(bias, sums);
        }
        if g.wants(&self.x) {
            let dx = match scale {
                None => product(k, &t, &self.w)?,
                Some(scale) => {
                    let mut w = host(k, &self.w)?.to_vec();
                    scale_rows(&mut w, scale);
                    product(k, &t, &k.device.upload(&Tensor::from_vec(w, &[n, inner])?)?)?
                }
            };
            g.give(&self.x, dx);
        }
        Ok(())
    }
}

/// Multiplies each row of a matrix with its factor.
fn scale_rows(matrix: &mut [f32], factors: &[f32]) {
    let width = (matrix.len() / factors.len().max(1)).max(1);
    for (row, factor) in matrix.chunks_exact_mut(width).zip(factors) {
        row.iter_mut().for_each(|v| *v *= factor);
    }
}

/// `a · b` of `a` [m, n] on the host and `b` [n, k] → [m, k] on the host.
pub(super) fn product(k: &Kernels, a: &Tensor, b: &Tensor) -> Result<Vec<f32>> {
    let a = k.device.upload(a)?;
    let product = match k.matmul.product(&a, b)? {
        Some(product) => product,
        None => k.matmul.matmul(&a, &transposed(k, b)?, Default::default())?,
    };
    into_host(k, product)
}

/// `aᵀ · b` of `a` [m, n] on the host and `b` [m, k] → [n, k] on the host.
pub(super) fn product_transposed(k: &Kernels, a: &Tensor, b: &Tensor) -> Result<Vec<f32>> {
    let product = match k.matmul.product_transposed(a, b)? {
        Some(product) => product,
        None => k.matmul.matmul(&transposed(k, a)?, &transposed(k, b)?, Default::default())?,
    };
    into_host(k, product)
}

/// The transpose of a matrix on the table's device.
fn transposed(k: &Kernels, x: &Tensor) -> Result<Tensor> {
    let (rows, columns) = x.as_rows();
    let back = transpose(&host(k, x)?, rows, columns);
    k.device.upload(&Tensor::from_vec(back, &[columns, rows])?)
}
