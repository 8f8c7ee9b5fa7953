//! Back through GELU and SwiGLU.
use gar_core::kernels::cpu::vectorize;
use rayon::prelude::*;

use super::math::{exp_negative, normal};

/// Elements that one task handles.
const CHUNK: usize = 1 << 13;

/// `dy` ← dy · gelu′(x), gelu′(x) = Φ(x) + x·φ(x).
pub(crate) fn gelu(x: &[f32], dy: &mut [f32]) {
    dy.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(dy, x)| {
        vectorize(
            #[inline(always)]
            || {
                for (d, x) in dy.iter_mut().zip(x) {
                    let (below, density) = normal(*x);
                    *d *= below + x * density;
                }
            },
        );
    });
}

/// Gradients of gate and up, of `silu(gate)·up`.
pub(crate) fn swiglu(gate: &[f32], up: &[f32], dy: Vec<f32>) -> (Vec<f32>, Vec<f32>) {
    let (mut d_gate, mut d_up) = (dy.clone(), dy);
    d_gate
        .par_chunks_mut(CHUNK)
        .zip(d_up.par_chunks_mut(CHUNK))
        .zip(gate.par_chunks(CHUNK).zip(up.par_chunks(CHUNK)))
        .for_each(|((d_gate, d_up), (gate, up))| {
            vectorize(
                #[inline(always)]
                || {
                    for (((dg, du), g), u) in d_gate.iter_mut().zip(d_up.iter_mut()).zip(gate).zip(up) {
                        let e = exp_negative(-g.abs());
                        let logistic = if *g >= 0.0 { 1.0 / (1.0 + e) } else { e / (1.0 + e) };
                        *dg *= u * logistic * (1.0 + g * (1.0 - logistic));
                        *du *= g * logistic;
                    }
                },
            );
        });
    (d_gate, d_up)
}
