//! Matrix product on the CPU: weights in panels, and what follows the product while its results are in the cache.
use std::{ops::Range, sync::Arc};

use super::{
    Cpu, WeightFormat, activation,
    convert::Floats,
    dot::{FloatDot, FloatWork, IntDot, IntWork},
    math,
    packed::{Kind, Packed},
    panels::Matrix,
    parameter,
    product::{Finished, Weight, multiply},
    result,
};
use crate::{
    Error, Result, Tensor,
    host::HostStorage,
    ops::{Activation, Epilogue, MatMul, MatMulDims},
};

const OP: &str = "matmul";

impl MatMul for Cpu {
    /// A weight that was not prepared is put into panels for this call: with few rows, that takes longer than the product.
    fn matmul(&self, x: &Tensor, w: &Tensor, epilogue: Epilogue<'_>) -> Result<Tensor> {
        let (MatMulDims { m, n, k }, shape) = MatMulDims::check(x, w, &epilogue)?;
        let x = Matrix { entries: activation(OP, "x", x)?, rows: m, k, transposed: false };
        let after = After::of(&epilogue, n)?;
        let packed_now;
        let w = match Packed::of(OP, w)? {
            Some(packed) => packed,
            None => {
                packed_now = self.pack(w)?;
                &packed_now
            }
        };
        let mut room = self.memory.room(m * n);
        let out = &mut room;
        match &w.kind {
            Kind::Float { product, .. } => product.run(FloatMatMul { x, w, after, out }),
            Kind::Int8 { product, steps, sums } => product.run(IntMatMul { x, w, steps, sums, after, out }),
        }
        result(room, &shape)
    }

    fn prepare(&self, w: &Tensor) -> Result<Tensor> {
        if Packed::of(OP, w)?.is_some() {
            return Ok(w.clone());
        }
        let packed = self.pack(w)?;
        let (storage, offset) = w.storage();
        if let Some(host) = storage.as_any().downcast_ref::<HostStorage>() {
            let size = w.dtype().size();
            host.release(offset * size..(offset + w.len()) * size);
        }
        let dtype = packed.dtype();
        Tensor::from_storage(Arc::new(packed), dtype, w.shape())
    }

    fn product(&self, a: &Tensor, b: &Tensor) -> Result<Option<Tensor>> {
        let ((m, n), [rows, k]) = (a.as_rows(), b.dims("product", "b")?);
        if rows != n {
            return Err(Error::shape("product", "b", format!("[{n}, _]"), b.shape()));
        }
        let a = Matrix { entries: activation("product", "a", a)?, rows: m, k: n, transposed: false };
        self.by_transpose("product", a, b, k)
    }

    fn product_transposed(&self, a: &Tensor, b: &Tensor) -> Result<Option<Tensor>> {
        const OP: &str = "product_transposed";
        let ((m, n), (rows, k)) = (a.as_rows(), b.as_rows());
        if rows != m {
            return Err(Error::shape(OP, "b", format!("[{m}, _]"), b.shape()));
        }
        let a = Matrix { entries: activation(OP, "a", a)?, rows: n, k: m, transposed: true };
        self.by_transpose(OP, a, b, k)
    }
}

impl Cpu {
    /// `x` times `b` [.., n] → [rows of x, n]; with the same sums as [`MatMul::matmul`] of the transpose of `b`.
    fn by_transpose(&self, op: &'static str, x: Matrix<'_>, b: &Tensor, n: usize) -> Result<Option<Tensor>> {
        if self.weights == WeightFormat::Int8 || !b.dtype().is_float() {
            return Ok(None);
        }
        let w = self.pack_floats(Floats::of(op, "b", b)?, b.dtype(), n, x.k, true);
        let Kind::Float { product, .. } = w.kind else { return Ok(None) };
        let mut room = self.memory.room(x.rows * n);
        product.run(FloatMatMul { x, w: &w, after: After::of(&Epilogue::default(), n)?, out: &mut room });
        result(room, &[x.rows, n]).map(Some)
    }
}

/// An [`Epilogue`] over slices.
struct After<'a> {
    bias: Option<Vec<f32>>,
    gelu: bool,
    scale: Option<Vec<f32>>,
    residual: Option<&'a [f32]>,
    n: usize,
}

impl<'a> After<'a> {
    fn of(epilogue: &Epilogue<'a>, n: usize) -> Result<Self> {
        Ok(Self {
            bias: epilogue.bias.map(|t| parameter(OP, "bias", t)).transpose()?,
            gelu: epilogue.activation == Activation::Gelu,
            scale: epilogue.scale.map(|t| parameter(OP, "scale", t)).transpose()?,
            residual: epilogue.residual.map(|t| activation(OP, "residual", t)).transpose()?,
            n,
        })
    }

    /// Applies it to columns `columns` of row `row`.
    fn apply(&self, row: usize, columns: Range<usize>, out: &mut [f32]) {
        if let Some(bias) = &self.bias {
            math::add(out, &bias[columns.clone()]);
        }
        if self.gelu {
            math::gelu(out);
        }
        if let Some(scale) = &self.scale {
            math::multiply(out, &scale[columns.clone()]);
        }
        if let Some(residual) = self.residual {
            math::add(out, &residual[row * self.n + columns.start..]);
        }
    }
}

struct FloatMatMul<'a> {
    x: Matrix<'a>,
    w: &'a Packed,
    after: After<'a>,
    /// [m, n].
    out: &'a mut [f32],
}

impl FloatWork for FloatMatMul<'_> {
    type Output = ();

    fn run<D: FloatDot>(self, dot: D) {
        let w = Weight::<D> { panels: self.w.panels.entries(), n: self.w.n, k: self.w.k };
        multiply(dot, self.x, w, self.out, |Finished { row, columns, sums, out, .. }| {
            // Where the sums lie, in the cache: what is read back from where it was just written waits for memory.
            self.after.apply(row, columns, sums);
            out.copy_from_slice(sums);
        });
    }
}

struct IntMatMul<'a> {
    x: Matrix<'a>,
    w: &'a Packed,
    steps: &'a [f32],
    sums: &'a [i32],
    after: After<'a>,
    /// [m, n].
    out: &'a mut [f32],
}

impl IntWork for IntMatMul<'_> {
    type Output = ();

    fn run<D: IntDot>(self, dot: D) {
        let w = Weight::<D> { panels: self.w.panels.entries(), n: self.w.n, k: self.w.k };
        multiply(dot, self.x, w, self.out, |Finished { row, columns, sums, scale, out }| {
            let of_weight = self.steps[columns.clone()].iter().zip(&self.sums[columns.clone()]);
            for (sum, (step, levels)) in sums.iter_mut().zip(of_weight) {
                let value = (*sum - D::OFFSET * levels) as f32 * (scale * step);
                *sum = value.to_bits().cast_signed();
            }
            let values = bytemuck::cast_slice_mut(sums);
            self.after.apply(row, columns, values);
            out.copy_from_slice(values);
        });
    }
}
