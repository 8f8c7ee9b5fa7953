//! Weights in their stored type, widened to f32 where they are used.
use half::{bf16, f16, slice::HalfFloatSliceExt};

use super::{dot::operand, vectorize};
use crate::{DType, Error, Result, Tensor};

/// The elements of a floating-point host tensor.
#[derive(Clone, Copy)]
pub(super) enum Floats<'a> {
    F32(&'a [f32]),
    F16(&'a [f16]),
    BF16(&'a [bf16]),
}

impl<'a> Floats<'a> {
    pub(super) fn of(op: &'static str, what: &'static str, tensor: &'a Tensor) -> Result<Self> {
        super::on_host(op, what, tensor)?;
        Ok(match tensor.dtype() {
            DType::F32 => Self::F32(tensor.host()?),
            DType::F16 => Self::F16(tensor.host()?),
            DType::BF16 => Self::BF16(tensor.host()?),
            found => return Err(Error::DType { op, what, expected: "f32, f16 or bf16", found }),
        })
    }

    /// Elements `range` in f32: borrowed where they are f32 already, else widened (exactly) into `scratch`.
    pub(super) fn widen<'s>(&self, range: std::ops::Range<usize>, scratch: &'s mut Vec<f32>) -> &'s [f32]
    where
        'a: 's,
    {
        match self {
            Self::F32(v) => return &v[range],
            Self::F16(v) => {
                scratch.resize(range.len(), 0.0);
                v[range].convert_to_f32_slice(scratch);
            }
            Self::BF16(v) => {
                scratch.resize(range.len(), 0.0);
                let bits = &v[range];
                vectorize(
                    #[inline(always)]
                    || {
                        for (to, b) in scratch.iter_mut().zip(bits) {
                            *to = operand::widened(*b);
                        }
                    },
                );
            }
        }
        scratch
    }
}
