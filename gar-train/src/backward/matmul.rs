//! Back through `y = residual + scale ⊙ activation(x·wᵀ + bias)`.
//!
//! With t = scale ⊙ dy ⊙ activation′: dx = t·w, dw = tᵀ·x, both by the table's own product. Without an activation the
//! gradient of `scale` comes from dw before scaling, G = dyᵀ·x: `Σ dy·(x·wᵀ + b) = ⟨w, G⟩ + b·Σ dy` in each row.
use gar_core::kernels::{Kernels, Result, Tensor, ops::MatMulDims};

use super::{
    math::{column_sums, transpose},
    pointwise,
};
use crate::tape::{Gradients, host};

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
    pub(crate) fn back(&self, k: &Kernels, dy: &[f32], g: &mut Gradients) -> Result<()> {
        let MatMulDims { m, n, k: inner } = self.dims;
        if let Some(residual) = &self.residual {
            g.add(residual, dy);
        }
        let scale = self.scale.as_ref().map(|scale| host(k, scale)).transpose()?;
        // Up to here dy, and through GELU if there is one, without the scale.
        let mut t = dy.to_vec();
        if let Some(before) = &self.before {
            let z = host(k, before)?;
            if let Some(scale) = self.scale.as_ref().filter(|scale| g.wants(scale)) {
                let after = host(k, &k.pointwise.gelu(before)?)?;
                let products: Vec<f32> = dy.iter().zip(after.iter()).map(|(d, a)| d * a).collect();
                g.add(scale, &column_sums(&products, n));
            }
            pointwise::gelu(&z, &mut t);
        }
        let wants_scale = self.before.is_none() && self.scale.as_ref().is_some_and(|s| g.wants(s));
        let wants_bias = self.bias.as_ref().is_some_and(|b| g.wants(b));
        if wants_scale || wants_bias || g.wants(&self.w) {
            let sums = column_sums(&t, n);
            let weights = if wants_scale || g.wants(&self.w) {
                let (tt, xt) = (transpose(&t, m, n), transpose(&host(k, &self.x)?, m, inner));
                product(k, tt, [n, m], xt, [inner, m])?
            } else {
                Vec::new()
            };
            if wants_scale && let Some(scale) = &self.scale {
                let w = host(k, &self.w)?;
                let bias = self.bias.as_ref().map(|b| host(k, b)).transpose()?;
                let slope = |row: usize| {
                    let (w, weights) = (&w[row * inner..][..inner], &weights[row * inner..][..inner]);
                    let dot: f64 = w.iter().zip(weights).map(|(w, g)| f64::from(*w) * f64::from(*g)).sum();
                    (dot + bias.as_ref().map_or(0.0, |b| f64::from(b[row]) * f64::from(sums[row]))) as f32
                };
                g.add(scale, &(0..n).map(slope).collect::<Vec<_>>());
            }
            let factor = |row: usize| scale.as_ref().map_or(1.0, |s| s[row]);
            if let Some(bias) = &self.bias {
                let sums: Vec<f32> = sums.iter().enumerate().map(|(row, s)| s * factor(row)).collect();
                g.add(bias, &sums);
            }
            if g.wants(&self.w) {
                let mut weights = weights;
                for (row, slope) in weights.chunks_exact_mut(inner.max(1)).enumerate() {
                    slope.iter_mut().for_each(|s| *s *= factor(row));
                }
                g.give(&self.w, weights);
            }
        }
        if g.wants(&self.x) {
            if let Some(scale) = &scale {
                t.chunks_exact_mut(n.max(1))
                    .for_each(|row| row.iter_mut().zip(scale.iter()).for_each(|(t, s)| *t *= s));
            }
            let wt = transpose(&host(k, &self.w)?, n, inner);
            g.give(&self.x, product(k, t, [m, n], wt, [inner, n])?);
        }
        Ok(())
    }
}

/// `a·bᵀ` of matrices on the host.
pub(super) fn product(
    k: &Kernels,
    a: Vec<f32>,
    a_shape: [usize; 2],
    b: Vec<f32>,
    b_shape: [usize; 2],
) -> Result<Vec<f32>> {
    let (a, b) = (Tensor::from_vec(a, &a_shape)?, Tensor::from_vec(b, &b_shape)?);
    let (a, b) = (k.device.upload(&a)?, k.device.upload(&b)?);
    Ok(host(k, &k.matmul.matmul(&a, &b, Default::default())?)?.to_vec())
}
