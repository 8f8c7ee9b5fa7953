//! Elementwise operations on the CPU.
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::{
    Cpu, activation,
    math::{self, read},
    result,
};
use crate::{Result, Tensor, ops::Pointwise};

/// Elements that one task handles.
const CHUNK: usize = 1 << 14;

impl Pointwise for Cpu {
    fn add(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        self.binary("add", ["a", "b"], a, b, Function::Add)
    }

    fn swiglu(&self, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
        self.binary("swiglu", ["gate", "up"], gate, up, Function::SwiGlu)
    }

    fn gelu(&self, x: &Tensor) -> Result<Tensor> {
        self.binary("gelu", ["x", "x"], x, x, Function::Gelu)
    }
}

impl Cpu {
    /// A function of `a` and `b`, chunk by chunk.
    fn binary(
        &self,
        op: &'static str,
        [left, right]: [&'static str; 2],
        a: &Tensor,
        b: &Tensor,
        function: Function,
    ) -> Result<Tensor> {
        b.expect_shape(op, right, a.shape())?;
        let (first, second) = (activation(op, left, a)?, activation(op, right, b)?);
        let mut out = self.memory.room(first.len());
        let operands = first.par_chunks(CHUNK).zip(second.par_chunks(CHUNK));
        out.par_chunks_mut(CHUNK).zip(operands).for_each(|(out, (a, b))| {
            pulp::Arch::new().dispatch(Chunk { function, a, b, out });
        });
        result(out, a.shape())
    }
}

#[derive(Clone, Copy)]
enum Function {
    Add,
    SwiGlu,
    /// Of `a`.
    Gelu,
}

struct Chunk<'a> {
    function: Function,
    a: &'a [f32],
    b: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for Chunk<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { function, a, b, out } = self;
        math::fill(
            simd,
            out,
            #[inline(always)]
            |at| {
                let a = read(simd, a, at);
                match function {
                    Function::Add => simd.add_f32s(a, read(simd, b, at)),
                    Function::SwiGlu => math::swiglu(simd, a, read(simd, b, at)),
                    Function::Gelu => math::gelu(simd, a),
                }
            },
        );
    }
}
