//! Weights in the order that products read them.
use std::{any::Any, borrow::Cow, fmt};

use rayon::prelude::*;

use super::{
    Cpu, NAME, Precision, WeightFormat,
    buffer::Buffer,
    convert::Floats,
    dot::{FloatDot, FloatProduct, FloatWork, IntDot, IntProduct, IntWork},
    panels::{pack_floats, pack_levels, pack_transposed},
};
use crate::{DType, Error, Result, Storage, Tensor};

const OP: &str = "prepare";

/// Most entries of a row whose 8-bit products a sum holds: below 2³¹ / (255 · 127).
const MOST_INT8: usize = 1 << 16;

/// A weight [n, k] in panels, with the product that reads them.
#[derive(Clone)]
pub(super) struct Packed {
    pub(super) n: usize,
    pub(super) k: usize,
    pub(super) panels: Buffer,
    pub(super) kind: Kind,
}

/// What the panels hold.
#[derive(Clone)]
pub(super) enum Kind {
    Float {
        product: FloatProduct,
        dtype: DType,
    },
    Int8 {
        product: IntProduct,
        /// Step of each row.
        steps: Vec<f32>,
        /// Sum of the levels of each row.
        sums: Vec<i32>,
    },
}

impl fmt::Debug for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Packed([{}, {}] {})", self.n, self.k, self.dtype())
    }
}

impl Storage for Packed {
    fn device(&self) -> &str {
        NAME
    }

    fn byte_len(&self) -> usize {
        self.panels.byte_len()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Packed {
    /// What `w` was prepared to; none where it is an ordinary host tensor.
    pub(super) fn of<'a>(op: &'static str, w: &'a Tensor) -> Result<Option<&'a Self>> {
        let (storage, offset) = w.storage();
        let Some(packed) = storage.as_any().downcast_ref::<Self>() else { return Ok(None) };
        if offset != 0 || w.shape().first() != Some(&packed.n) || w.len() != packed.n * packed.k {
            let found = format!("{:?} of {packed:?}", w.shape());
            return Err(Error::value(op, "w", "a whole prepared weight", found));
        }
        Ok(Some(packed))
    }

    /// Whether the products of both can be computed together.
    pub(super) fn multiplies_like(&self, other: &Self) -> bool {
        match (&self.kind, &other.kind) {
            (Kind::Float { product: a, .. }, Kind::Float { product: b, .. }) => a == b,
            (Kind::Int8 { product: a, .. }, Kind::Int8 { product: b, .. }) => a == b,
            _ => false,
        }
    }

    pub(super) fn dtype(&self) -> DType {
        match self.kind {
            Kind::Float { dtype, .. } => dtype,
            Kind::Int8 { .. } => DType::I8,
        }
    }
}

impl Cpu {
    /// A weight [n, ..] of the host in panels: its first axis is n, all others are k.
    pub(super) fn pack(&self, w: &Tensor) -> Result<Packed> {
        super::on_host(OP, "w", w)?;
        let Some((&n, rest)) = w.shape().split_first() else {
            return Err(Error::shape(OP, "w", "[N, ..]", w.shape()));
        };
        let k = rest.iter().product();
        let quantize = self.weights == WeightFormat::Int8 && w.dtype().is_float() && rest.len() == 1;
        let w = if quantize { Cow::Owned(w.quantized()?) } else { Cow::Borrowed(w) };
        if let Some(steps) = w.steps() {
            return self.pack_int8(w.host()?, steps, n, k);
        }
        Ok(self.pack_floats(Floats::of(OP, "w", &w)?, w.dtype(), n, k, false))
    }

    /// A floating-point weight [n, k] in panels; where it is `transposed`, it lies in memory as [k, n].
    pub(super) fn pack_floats(&self, w: Floats<'_>, stored: DType, n: usize, k: usize, transposed: bool) -> Packed {
        let (product, dtype) = match (self.precision, stored) {
            (Precision::Bf16, _) => (self.products.half, DType::BF16),
            (Precision::F32, DType::BF16) => (self.products.widened, DType::BF16),
            (Precision::F32, _) => (self.products.single, DType::F32),
        };
        let panels = product.run(PackFloats { w, n, k, transposed });
        Packed { n, k, panels, kind: Kind::Float { product, dtype } }
    }

    fn pack_int8(&self, levels: &[i8], steps: &[f32], n: usize, k: usize) -> Result<Packed> {
        if k > MOST_INT8 {
            return Err(Error::value(OP, "w", format!("at most {MOST_INT8} entries in a row of 8 bits"), k));
        }
        let product = self.products.int8;
        let panels = product.run(PackLevels { levels, n, k });
        let sum = |row: usize| levels[row * k..(row + 1) * k].iter().map(|&v| i32::from(v)).sum();
        let sums = (0..n).into_par_iter().with_min_len(64).map(sum).collect();
        Ok(Packed { n, k, panels, kind: Kind::Int8 { product, steps: steps.to_vec(), sums } })
    }
}

struct PackFloats<'a> {
    w: Floats<'a>,
    n: usize,
    k: usize,
    transposed: bool,
}

impl FloatWork for PackFloats<'_> {
    type Output = Buffer;

    fn run<D: FloatDot>(self, _: D) -> Buffer {
        let pack = if self.transposed { pack_transposed::<D> } else { pack_floats::<D> };
        pack(self.w, self.n, self.k)
    }
}

struct PackLevels<'a> {
    levels: &'a [i8],
    n: usize,
    k: usize,
}

impl IntWork for PackLevels<'_> {
    type Output = Buffer;

    fn run<D: IntDot>(self, _: D) -> Buffer {
        pack_levels::<D>(self.levels, self.n, self.k)
    }
}
