//! Elementwise operations on CUDA.
use super::{
    Argument, Cuda, Kernel, Source,
    launch::{is_aligned, typed, typed_all},
};
use crate::{Result, Tensor, ops::Pointwise};

static SOURCE: Source = Source { name: "pointwise", text: include_str!("pointwise.cu") };

pub(super) fn kernels() -> Vec<Kernel> {
    typed_all(&SOURCE, &["add_8", "add_plain", "swiglu_8", "swiglu_plain", "gelu_8", "gelu_plain"])
}

impl Pointwise for Cuda {
    fn add(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        self.each("add", ["add_8", "add_plain"], ("a", a), Some(("b", b)))
    }

    fn swiglu(&self, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
        self.each("swiglu", ["swiglu_8", "swiglu_plain"], ("gate", gate), Some(("up", up)))
    }

    fn gelu(&self, x: &Tensor) -> Result<Tensor> {
        self.each("gelu", ["gelu_8", "gelu_plain"], ("x", x), None)
    }
}

impl Cuda {
    /// Launches the first function, eight elements a thread, or the second, one, where it must.
    fn each(
        &self,
        op: &'static str,
        [eight, one]: [&'static str; 2],
        (left, a): (&'static str, &Tensor),
        other: Option<(&'static str, &Tensor)>,
    ) -> Result<Tensor> {
        let from = self.activation(op, left, a)?;
        let mut second = None;
        if let Some((right, b)) = other {
            b.expect_shape(op, right, a.shape())?;
            second = Some(self.operand(op, right, b, a.dtype())?);
        }
        let (y, to) = self.device.empty(a.shape(), a.dtype())?;
        let arguments = [from.into(), second.into(), to.into(), Argument::U64(y.len() as u64)];
        let (function, items) = match self.plain || !is_aligned(from) || !second.is_none_or(is_aligned) {
            true => (one, y.len()),
            false => (eight, y.len().div_ceil(8)),
        };
        self.launch_items(&typed(&SOURCE, function, a.dtype()), items, &arguments)?;
        Ok(y)
    }
}
