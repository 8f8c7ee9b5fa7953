//! What follows a product, while its sums are in the cache.
use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::{
    activation,
    dot::IntDot,
    math::{self, read},
    parameter,
    prefetch::prefetch,
    product::{Finish, Finished, Out},
};
use crate::{
    Result,
    ops::{Activation, Epilogue},
};

const OP: &str = "matmul";

/// An [`Epilogue`] over slices.
pub(super) struct After<'a> {
    bias: Option<Vec<f32>>,
    gelu: bool,
    scale: Option<Vec<f32>>,
    residual: Option<&'a [f32]>,
    n: usize,
}

impl<'a> After<'a> {
    /// What follows a product of `n` columns.
    pub(super) fn of(epilogue: &Epilogue<'a>, n: usize) -> Result<Self> {
        Ok(Self {
            bias: epilogue.bias.map(|t| parameter(OP, "bias", t)).transpose()?,
            gelu: epilogue.activation == Activation::Gelu,
            scale: epilogue.scale.map(|t| parameter(OP, "scale", t)).transpose()?,
            residual: epilogue.residual.map(|t| activation(OP, "residual", t)).transpose()?,
            n,
        })
    }
}

impl Finish<f32> for After<'_> {
    fn finish(&self, Finished { rows, columns, sums, stride, out, .. }: Finished<'_, f32>) {
        pulp::Arch::new().dispatch(Apply { after: self, rows, columns, sums, stride, out });
    }

    #[inline(always)]
    fn ahead(&self, row: usize, columns: Range<usize>) {
        if let Some(residual) = self.residual {
            prefetch(&residual[row * self.n..][columns]);
        }
    }
}

/// One pass over some sums: each is read once and its result written once.
struct Apply<'a, 'o> {
    after: &'a After<'a>,
    rows: Range<usize>,
    columns: Range<usize>,
    sums: &'a [f32],
    stride: usize,
    out: Out<'o>,
}

impl WithSimd for Apply<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { after, rows, columns, sums, stride, mut out } = self;
        let (bias, scale) = (after.bias.as_ref(), after.scale.as_ref());
        let (bias, scale) = (bias.map(|b| &b[columns.clone()]), scale.map(|s| &s[columns.clone()]));
        for ((r, row), sums) in rows.enumerate().zip(sums.chunks_exact(stride)) {
            let sums = &sums[..columns.len()];
            let residual = after.residual.map(|all| &all[row * after.n..][columns.clone()]);
            math::fill(
                simd,
                out.row(r, columns.len()),
                #[inline(always)]
                |at| {
                    let mut value = read(simd, sums, at);
                    if let Some(bias) = bias {
                        value = simd.add_f32s(value, read(simd, bias, at));
                    }
                    if after.gelu {
                        value = math::gelu(simd, value);
                    }
                    if let Some(scale) = scale {
                        value = simd.mul_f32s(value, read(simd, scale, at));
                    }
                    if let Some(residual) = residual {
                        value = simd.add_f32s(value, read(simd, residual, at));
                    }
                    value
                },
            );
        }
    }
}

/// What follows sums of 8-bit products.
pub(super) struct AfterInt8<'a> {
    pub(super) after: After<'a>,
    /// Step of each row of the weight.
    pub(super) steps: &'a [f32],
    /// Sum of the levels of each row.
    pub(super) sums: &'a [i32],
    /// [`IntDot::OFFSET`].
    pub(super) offset: i32,
}

impl<'a> AfterInt8<'a> {
    pub(super) fn new<D: IntDot>(after: After<'a>, steps: &'a [f32], sums: &'a [i32]) -> Self {
        Self { after, steps, sums, offset: D::OFFSET }
    }
}

impl Finish<i32> for AfterInt8<'_> {
    fn finish(&self, Finished { rows, columns, sums, stride, scales, out }: Finished<'_, i32>) {
        for (sums, scale) in sums.chunks_exact_mut(stride).zip(scales) {
            let of_weight = self.steps[columns.clone()].iter().zip(&self.sums[columns.clone()]);
            for (sum, (step, levels)) in sums.iter_mut().zip(of_weight) {
                let value = (*sum - self.offset * levels) as f32 * (scale * step);
                *sum = value.to_bits().cast_signed();
            }
        }
        let sums = bytemuck::cast_slice_mut(sums);
        self.after.finish(Finished { rows, columns, sums, stride, scales, out });
    }

    #[inline(always)]
    fn ahead(&self, row: usize, columns: Range<usize>) {
        self.after.ahead(row, columns);
    }
}
