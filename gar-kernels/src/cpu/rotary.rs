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
        let (cos, sin) = (activation(OP, "cos", spec.cos)?, activation(OP, "sin", spec.sin)?);
        let values = activation(OP, "x", x)?;
        let mut out = self.memory.room(values.len());
        let half = head_dim / 2;
        let token = |(i, (out, x)): (usize, (&mut [f32], &[f32]))| {
            let position = spec.start[i / len] + i % len;
            let (cos, sin) = (&cos[position * half..][..half], &sin[position * half..][..half]);
            out.copy_from_slice(x);
            vectorize(
                #[inline(always)]
                || out.chunks_exact_mut(head_dim).for_each(|head| rotate(head, cos, sin, spec.pairing)),
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

/// Turns the pairs of one head.
#[inline(always)]
fn rotate(head: &mut [f32], cos: &[f32], sin: &[f32], pairing: Pairing) {
    let turned = |a: f32, b: f32, cos: f32, sin: f32| (a * cos - b * sin, b * cos + a * sin);
    match pairing {
        Pairing::Interleaved => {
            for ((pair, c), s) in head.as_chunks_mut::<2>().0.iter_mut().zip(cos).zip(sin) {
                (pair[0], pair[1]) = turned(pair[0], pair[1], *c, *s);
            }
        }
        Pairing::HalfSplit => {
            let (first, second) = head.split_at_mut(cos.len());
            for (((a, b), c), s) in first.iter_mut().zip(second).zip(cos).zip(sin) {
                (*a, *b) = turned(*a, *b, *c, *s);
            }
        }
    }
}
