//! Elementwise operations on the CPU.
use rayon::prelude::*;

use super::{Cpu, activation, math};
use crate::{Result, Tensor, ops::Pointwise};

/// Elements that one task handles.
const CHUNK: usize = 1 << 14;

impl Pointwise for Cpu {
    fn add(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        binary("add", ["a", "b"], a, b, |a, b| a.iter_mut().zip(b).for_each(|(a, b)| *a += b))
    }

    fn swiglu(&self, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
        binary("swiglu", ["gate", "up"], gate, up, math::swiglu)
    }

    fn gelu(&self, x: &Tensor) -> Result<Tensor> {
        let mut out = activation("gelu", "x", x)?.to_vec();
        out.par_chunks_mut(CHUNK).for_each(math::gelu);
        Tensor::from_vec(out, x.shape())
    }
}

fn binary(
    op: &'static str,
    [left, right]: [&'static str; 2],
    a: &Tensor,
    b: &Tensor,
    f: impl Fn(&mut [f32], &[f32]) + Sync,
) -> Result<Tensor> {
    b.expect_shape(op, right, a.shape())?;
    let mut out = activation(op, left, a)?.to_vec();
    let b = activation(op, right, b)?;
    out.par_chunks_mut(CHUNK).zip(b.par_chunks(CHUNK)).for_each(|(a, b)| f(a, b));
    Tensor::from_vec(out, a.shape())
}
