//! Rotary position embedding on the CPU.
use rayon::prelude::*;

use super::{Cpu, activation, result, vectorize};
use crate::{
    Result, Tensor,
    ops::{Pairing, Rotary, RotaryDims, RotarySpec},
};

const OP: &str = "rotary";

impl Rotary for Cpu {
    fn rotary(&self, x: &Tensor, spec: &RotarySpec<'_>) -> Result<Tensor> {
        let RotaryDims { len, heads, head_dim, .. } = spec.check(x)?;
        let values = activation(OP, "x", x)?;
        let mut out = self.memory.room(values.len());
        let angles = Angles::of(spec)?;
        let token = |(i, (out, x)): (usize, (&mut [f32], &[f32]))| {
            let angle = angles.at(spec.start[i / len] + i % len);
            vectorize(
                #[inline(always)]
                || {
                    for (out, x) in out.chunks_exact_mut(head_dim).zip(x.chunks_exact(head_dim)) {
                        angle.turn(out, x);
                    }
                },
            );
        };
        if !out.is_empty() {
            let token_len = heads * head_dim;
            let tokens = out.par_chunks_mut(token_len).zip(values.par_chunks(token_len));
            tokens.with_min_len(32).enumerate().for_each(token);
        }
        result(out, x.shape())
    }
}

/// Tables [positions, half] of cosines and sines.
#[derive(Clone, Copy)]
pub(super) struct Angles<'a> {
    cos: &'a [f32],
    sin: &'a [f32],
    half: usize,
    pairing: Pairing,
}

impl<'a> Angles<'a> {
    /// Those of a specification that was checked.
    pub(super) fn of(spec: &RotarySpec<'a>) -> Result<Self> {
        let (cos, sin) = (activation(OP, "cos", spec.cos)?, activation(OP, "sin", spec.sin)?);
        Ok(Self { cos, sin, half: spec.cos.as_rows().1, pairing: spec.pairing })
    }

    /// Those of one position.
    #[inline(always)]
    pub(super) fn at(self, position: usize) -> Angle<'a> {
        let Self { cos, sin, half, pairing } = self;
        Angle { cos: &cos[position * half..][..half], sin: &sin[position * half..][..half], pairing }
    }
}

/// Cosines and sines of one position.
pub(super) struct Angle<'a> {
    cos: &'a [f32],
    sin: &'a [f32],
    pairing: Pairing,
}

impl Angle<'_> {
    /// Turns the pairs of one head. For [`vectorize`].
    #[inline(always)]
    pub(super) fn turn(&self, out: &mut [f32], x: &[f32]) {
        let Self { cos, sin, pairing } = self;
        match pairing {
            Pairing::Interleaved => {
                let pairs = out.as_chunks_mut::<2>().0.iter_mut().zip(x.as_chunks::<2>().0);
                for (((out, &[a, b]), cos), sin) in pairs.zip(*cos).zip(*sin) {
                    *out = [a * cos - b * sin, b * cos + a * sin];
                }
            }
            Pairing::HalfSplit => {
                let ((first, second), (a, b)) = (out.split_at_mut(cos.len()), x.split_at(cos.len()));
                for (i, (first, second)) in first.iter_mut().zip(second).enumerate() {
                    *first = a[i] * cos[i] - b[i] * sin[i];
                    *second = b[i] * cos[i] + a[i] * sin[i];
                }
            }
        }
    }
}
