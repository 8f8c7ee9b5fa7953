//! What follows a product, while its sums are in the cache, or in the registers still that they were summed in.
#[cfg(target_arch = "x86_64")]
mod avx512;

use std::ops::Range;

use pulp::{Simd, WithSimd};

#[cfg(target_arch = "x86_64")]
pub(super) use avx512::finish_tile;

use super::{
    activation,
    dot::IntDot,
    math::{self, read},
    outcome::Results,
    parameter,
    prefetch::Lines,
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

    /// What follows the sums of one row, some columns of it.
    #[inline(always)]
    fn terms(&self, row: usize, columns: &Range<usize>) -> Terms<'_> {
        Terms {
            bias: self.bias.as_ref().map(|bias| &bias[columns.clone()]),
            scale: self.scale.as_ref().map(|scale| &scale[columns.clone()]),
            residual: self.residual.map(|all| &all[row * self.n..][columns.clone()]),
        }
    }
}

impl Finish<f32> for After<'_> {
    fn finish(&self, Finished { rows, columns, sums, stride, out, .. }: Finished<'_, f32>) {
        pulp::Arch::new().dispatch(Apply { after: self, rows, columns, sums, stride, out });
    }

    fn after(&self) -> Option<&After<'_>> {
        // Among the sums of a tile GELU has too few registers: that takes longer than a pass of its own.
        (!self.gelu).then_some(self)
    }

    #[inline(always)]
    fn reads(&self, rows: Range<usize>, columns: Range<usize>) -> Lines {
        self.residual.map_or(Lines::NONE, |residual| {
            Lines::of(residual[rows.start * self.n + columns.start..].as_ptr(), rows.len(), columns.len(), self.n)
        })
    }
}

/// What follows a tile of sums, while they are in registers.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "no other CPU has registers for it"))]
pub(super) struct Then<'a> {
    pub(super) after: &'a After<'a>,
    /// The first row.
    pub(super) row: usize,
    pub(super) columns: Range<usize>,
    /// Of these rows, all columns.
    pub(super) out: Results<'a>,
}

/// One pass over some sums: each is read once and its result written once.
struct Apply<'a, 'o> {
    after: &'a After<'a>,
    rows: Range<usize>,
    columns: Range<usize>,
    sums: &'a mut [f32],
    stride: usize,
    out: Out<'o>,
}

impl WithSimd for Apply<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { after, rows, columns, sums, stride, mut out } = self;
        for ((r, row), sums) in rows.enumerate().zip(sums.chunks_exact_mut(stride)) {
            let (terms, sums) = (after.terms(row, &columns), &mut sums[..columns.len()]);
            let mut out = match &mut out {
                Out::Rows { values, stride } => Some(&mut values[r * *stride..][..columns.len()]),
                Out::Sums => None,
            };
            if after.gelu {
                terms.row::<S, true>(simd, sums, &mut out)
            } else {
                terms.row::<S, false>(simd, sums, &mut out)
            }
        }
    }
}

/// What follows the sums of one row, some columns of it.
#[derive(Clone, Copy)]
struct Terms<'a> {
    bias: Option<&'a [f32]>,
    scale: Option<&'a [f32]>,
    residual: Option<&'a [f32]>,
}

impl<'a> Terms<'a> {
    /// Writes the results to `out` or, without it, in the place of the sums.
    #[inline(always)]
    fn row<S: Simd, const GELU: bool>(self, simd: S, sums: &mut [f32], out: &mut Option<&mut [f32]>) {
        let (registers, rest) = S::as_mut_simd_f32s(sums);
        let count = registers.len();
        // Cut to one length before the loop, which then need not look where rows end.
        let cut = |row: &'a [f32]| &S::as_simd_f32s(row).0[..count];
        let (bias, scale, residual) = (self.bias.map(cut), self.scale.map(cut), self.residual.map(cut));
        let terms = |i: usize| [bias.map(|b| b[i]), scale.map(|s| s[i]), residual.map(|r| r[i])];
        match out {
            Some(out) => {
                for (i, (out, sum)) in S::as_mut_simd_f32s(out).0[..count].iter_mut().zip(&*registers).enumerate() {
                    *out = result::<S, GELU>(simd, *sum, terms(i));
                }
            }
            None => {
                for (i, sum) in registers.iter_mut().enumerate() {
                    *sum = result::<S, GELU>(simd, *sum, terms(i));
                }
            }
        }
        if !rest.is_empty() {
            let at = count * S::F32_LANES;
            let terms = [self.bias, self.scale, self.residual].map(|term| term.map(|term| read(simd, term, at)));
            let last = result::<S, GELU>(simd, simd.partial_load_f32s(rest), terms);
            match out {
                Some(out) => simd.partial_store_f32s(&mut out[at..], last),
                None => simd.partial_store_f32s(rest, last),
            }
        }
    }
}

/// The results of a register of sums.
#[inline(always)]
fn result<S: Simd, const GELU: bool>(simd: S, sum: S::f32s, [bias, scale, residual]: [Option<S::f32s>; 3]) -> S::f32s {
    let mut value = sum;
    if let Some(bias) = bias {
        value = simd.add_f32s(value, bias);
    }
    if GELU {
        value = math::gelu(simd, value);
    }
    if let Some(scale) = scale {
        value = simd.mul_f32s(value, scale);
    }
    if let Some(residual) = residual {
        value = simd.add_f32s(value, residual);
    }
    value
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
    fn reads(&self, rows: Range<usize>, columns: Range<usize>) -> Lines {
        self.after.reads(rows, columns)
    }
}
