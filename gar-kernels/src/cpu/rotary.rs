//! Rotary position embedding on the CPU.
use rayon::prelude::*;

use super::{Cpu, activation};
use crate::{
    Result, Tensor,
    ops::{Pairing, Rotary, RotaryDims, RotarySpec},
};

const OP: &str = "rotary";

impl Rotary for Cpu {
    fn rotary(&self, x: &Tensor, spec: &RotarySpec<'_>) -> Result<Tensor> {
        let RotaryDims { len, heads, head_dim, .. } = spec.check(x)?;
        let (cos, sin) = (activation(OP, "cos", spec.cos)?, activation(OP, "sin", spec.sin)?);
        let mut out = activation(OP, "x", x)?.to_vec();
        let half = head_dim / 2;
        let token = |(i, token): (usize, &mut [f32])| {
            let position = spec.start[i / len] + i % len;
            let (cos, sin) = (&cos[position * half..][..half], &sin[position * half..][..half]);
            for head in token.chunks_exact_mut(head_dim) {
                match spec.pairing {
                    Pairing::Interleaved => {
                        for ((pair, c), s) in head.chunks_exact_mut(2).zip(cos).zip(sin) {
                            (pair[0], pair[1]) = rotate(pair[0], pair[1], *c, *s);
                        }
                    }
                    Pairing::HalfSplit => {
                        let (first, second) = head.split_at_mut(half);
                        for (((a, b), c), s) in first.iter_mut().zip(second).zip(cos).zip(sin) {
                            (*a, *b) = rotate(*a, *b, *c, *s);
                        }
                    }
                }
            }
        };
        if !out.is_empty() {
            out.par_chunks_mut(heads * head_dim).with_min_len(32).enumerate().for_each(token);
        }
        Tensor::from_vec(out, x.shape())
    }
}

#[inline(always)]
fn rotate(a: f32, b: f32, cos: f32, sin: f32) -> (f32, f32) {
    (a * cos - b * sin, b * cos + a * sin)
}
