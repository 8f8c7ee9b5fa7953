//! Elementwise operations on the CPU.
use rayon::prelude::*;

use super::{Cpu, activation, math, result};
use crate::{Result, Tensor, ops::Pointwise};

/// Elements that one task handles.
const CHUNK: usize = 1 << 14;

impl Pointwise for Cpu {
    fn add(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        self.binary("add", ["a", "b"], a, b, math::add)
    }

    fn swiglu(&self, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
        self.binary("swiglu", ["gate", "up"], gate, up, math::swiglu)
    }

    fn gelu(&self, x: &Tensor) -> Result<Tensor> {
        let values = activation("gelu", "x", x)?;
        let mut out = self.memory.room(values.len());
        out.par_chunks_mut(CHUNK).zip(values.par_chunks(CHUNK)).for_each(|(out, x)| {
            out.copy_from_slice(x);
            math::gelu(out);
        });
        result(out, x.shape())
    }
}

impl Cpu {
    /// `f(a, b)` on pieces of both; it finds `a` where it writes its result.
    fn binary(
        &self,
        op: &'static str,
        [left, right]: [&'static str; 2],
        a: &Tensor,
        b: &Tensor,
        f: impl Fn(&mut [f32], &[f32]) + Sync,
    ) -> Result<Tensor> {
        b.expect_shape(op, right, a.shape())?;
        let (first, second) = (activation(op, left, a)?, activation(op, right, b)?);
        let mut out = self.memory.room(first.len());
        out.par_chunks_mut(CHUNK).zip(first.par_chunks(CHUNK).zip(second.par_chunks(CHUNK))).for_each(
            |(out, (a, b))| {
                out.copy_from_slice(a);
                f(out, b);
            },
        );
        result(out, a.shape())
    }
}
