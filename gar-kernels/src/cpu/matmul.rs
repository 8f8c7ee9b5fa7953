//! Matrix products on the CPU: weights in panels, and what follows a product while its results are in the cache.
use std::{any::Any, borrow::Cow, sync::Arc};

use super::{
    Cpu, Precision, WeightFormat, activation,
    convert::Floats,
    dot::{Dot, FloatDot, FloatWork, IntDot, IntWork},
    epilogue::{After, AfterInt8},
    outcome::Results,
    packed::{Kind, Packed},
    panels::{Entries, Matrix},
    product::{self, Finish, Weight, multiply},
    result,
};
use crate::{
    DType, Error, Result, Tensor,
    host::HostStorage,
    ops::{Epilogue, Gated, MatMul, MatMulDims, Normalization, Projection},
};

const OP: &str = "matmul";

impl MatMul for Cpu {
    /// A weight that was not prepared is put into panels for this call: with few rows, that takes longer than the product.
    fn matmul(&self, x: &Tensor, w: &Tensor, epilogue: Epilogue<'_>) -> Result<Tensor> {
        let (dims, shape) = MatMulDims::check(x, w, &epilogue)?;
        let w = self.packed(w)?;
        let mut out = self.outcome(dims.m * dims.n, epilogue.to);
        let layer = Layer { w: &w, after: After::of(&epilogue, dims.n)?, gate: None, out: out.results() };
        Layers { x: matrix(x, dims)?, layers: vec![layer] }.run();
        out.tensor(&shape)
    }

    fn matmuls(&self, x: &Tensor, projections: &[Projection<'_>]) -> Result<Vec<Tensor>> {
        let checked = projections.iter().map(|p| MatMulDims::check(x, p.w, &p.epilogue));
        let checked: Vec<(MatMulDims, Vec<usize>)> = checked.collect::<Result<_>>()?;
        let weights: Vec<_> = projections.iter().map(|p| self.packed(p.w)).collect::<Result<_>>()?;
        let [first, others @ ..] = weights.as_slice() else { return Ok(Vec::new()) };
        let outs = checked.iter().zip(projections).map(|((dims, _), p)| self.outcome(dims.m * dims.n, p.epilogue.to));
        let mut outs: Vec<_> = outs.collect();
        let layers = projections.iter().zip(&weights).zip(&mut outs);
        let layers = layers
            .map(|((p, w), out)| Ok(Layer { w, after: After::of(&p.epilogue, w.n)?, gate: None, out: out.results() }));
        let (x, layers) = (matrix(x, checked[0].0)?, layers.collect::<Result<Vec<_>>>()?);
        if others.iter().all(|w| w.multiplies_like(first)) {
            Layers { x, layers }.run();
        } else {
            layers.into_iter().for_each(|layer| Layers { x, layers: vec![layer] }.run());
        }
        outs.into_iter().zip(&checked).map(|(out, (_, shape))| out.tensor(shape)).collect()
    }

    /// In one pass, of weights that multiply alike.
    fn swiglu_normalized(&self, x: &Tensor, normalization: Normalization<'_>, gated: Gated<'_>) -> Result<Tensor> {
        let ([gate, up], x) = (gated.projections(), normalization.apply(x)?);
        let by_steps = || {
            let [gate, up] = (self as &dyn MatMul).matmuls_of(&x, [gate, up])?;
            gated.pointwise.swiglu(&gate, &up)
        };
        if !(gated.pointwise as &dyn Any).is::<Self>() || gate.w.shape() != up.w.shape() {
            return by_steps();
        }
        let [gate_w, up_w] = [self.packed(gate.w)?, self.packed(up.w)?];
        if !gate_w.multiplies_like(&up_w) {
            return by_steps();
        }
        MatMulDims::check(&x, gate.w, &gate.epilogue)?;
        let (dims, shape) = MatMulDims::check(&x, up.w, &up.epilogue)?;
        let mut out = self.outcome(dims.m * dims.n, gated.to);
        let gate = Some((&*gate_w, After::of(&gate.epilogue, dims.n)?));
        let layer = Layer { w: &up_w, after: After::of(&up.epilogue, dims.n)?, gate, out: out.results() };
        Layers { x: matrix(&x, dims)?, layers: vec![layer] }.run();
        out.tensor(&shape)
    }

    fn rounding(&self, w: &Tensor) -> Option<DType> {
        let int8 = match Packed::of(OP, w).ok()? {
            Some(packed) => packed.dtype() == DType::I8,
            None => self.weights == WeightFormat::Int8 || !w.dtype().is_float(),
        };
        (self.precision == Precision::Bf16 && !int8).then_some(DType::BF16)
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
        let a = Matrix { entries: Entries::F32(activation("product", "a", a)?), rows: m, k: n, transposed: false };
        self.by_transpose("product", a, b, k)
    }

    fn product_transposed(&self, a: &Tensor, b: &Tensor) -> Result<Option<Tensor>> {
        const OP: &str = "product_transposed";
        let ((m, n), (rows, k)) = (a.as_rows(), b.as_rows());
        if rows != m {
            return Err(Error::shape(OP, "b", format!("[{m}, _]"), b.shape()));
        }
        let a = Matrix { entries: Entries::F32(activation(OP, "a", a)?), rows: n, k: m, transposed: true };
        self.by_transpose(OP, a, b, k)
    }
}

impl Cpu {
    /// A weight in panels, made now where it was not prepared.
    fn packed<'a>(&self, w: &'a Tensor) -> Result<Cow<'a, Packed>> {
        Ok(match Packed::of(OP, w)? {
            Some(packed) => Cow::Borrowed(packed),
            None => Cow::Owned(self.pack(w)?),
        })
    }

    /// `x` times `b` [.., n] → [rows of x, n]; with the same sums as [`MatMul::matmul`] of the transpose of `b`.
    fn by_transpose(&self, op: &'static str, x: Matrix<'_>, b: &Tensor, n: usize) -> Result<Option<Tensor>> {
        if self.weights == WeightFormat::Int8 || !b.dtype().is_float() {
            return Ok(None);
        }
        let w = self.pack_floats(Floats::of(op, "b", b)?, b.dtype(), n, x.k, true);
        let (mut out, shape) = (self.memory.room(x.rows * n), [x.rows, n]);
        let out_of = Results::F32(&mut out);
        let layer = Layer { w: &w, after: After::of(&Epilogue::default(), n)?, gate: None, out: out_of };
        Layers { x, layers: vec![layer] }.run();
        result(out, &shape).map(Some)
    }
}

fn matrix(x: &Tensor, MatMulDims { m, k, .. }: MatMulDims) -> Result<Matrix<'_>> {
    Ok(Matrix { entries: Entries::of(OP, "x", x)?, rows: m, k, transposed: false })
}

/// A product and what follows it.
struct Layer<'a> {
    w: &'a Packed,
    after: After<'a>,
    /// Whose results gate this one's.
    gate: Option<(&'a Packed, After<'a>)>,
    /// [m, n].
    out: Results<'a>,
}

/// Products of the same rows, with weights that multiply alike; at least one.
struct Layers<'a> {
    x: Matrix<'a>,
    layers: Vec<Layer<'a>>,
}

impl<'a> Layers<'a> {
    fn run(self) {
        match self.layers.first().map(|layer| &layer.w.kind) {
            Some(Kind::Float { product, .. }) => product.run(self),
            Some(Kind::Int8 { product, .. }) => product.run(self),
            None => (),
        }
    }

    fn multiply<D: Dot, F: Finish<D::Sum>>(self, dot: D, finish: impl Fn(&'a Packed, After<'a>) -> F) {
        let projection = |w: &'a Packed, after| {
            let weight = Weight { panels: w.panels.entries(), n: w.n, k: w.k };
            product::Projection { w: weight, finish: finish(w, after) }
        };
        let products = self.layers.into_iter().map(|Layer { w, after, gate, out }| product::Product {
            projection: projection(w, after),
            gate: gate.map(|(w, after)| projection(w, after)),
            out,
        });
        multiply(dot, self.x, products.collect());
    }
}

impl FloatWork for Layers<'_> {
    type Output = ();

    fn run<D: FloatDot>(self, dot: D) {
        self.multiply(dot, |_, after| after);
    }
}

impl IntWork for Layers<'_> {
    type Output = ();

    fn run<D: IntDot>(self, dot: D) {
        self.multiply(dot, |w, after| match &w.kind {
            Kind::Int8 { steps, sums, .. } => AfterInt8::new::<D>(after, steps, sums),
            Kind::Float { .. } => AfterInt8::new::<D>(after, &[], &[]),
        });
    }
}
