//! What the wrappers of operations share: element types, arguments, launches whose blocks stand in one line.
use std::any::Any;

use super::{Argument, Cuda, Kernel, Launch, Pointer, Source};
use crate::{DType, Error, Result, Tensor, tensor::dtype_name};

/// Element types of activations.
const ACTIVATIONS: &[DType] = &[DType::F32, DType::BF16];
/// Element types that parameters are stored in.
const STORED: &[DType] = &[DType::F32, DType::F16, DType::BF16];
/// Lanes of a warp.
pub(super) const WARP: usize = 32;
/// Threads of a block whose threads do not work together.
pub(super) const THREADS: u32 = 256;

/// `function` of `source` with GAR_T defined as the element type.
pub(super) fn typed(source: &'static Source, function: &'static str, dtype: DType) -> Kernel {
    let name = if dtype == DType::F32 { "float" } else { "bf16" };
    Kernel { source, function, defines: vec![("GAR_T", name.into())] }
}

/// `functions` of `source` for both types of activations.
pub(super) fn typed_all(source: &'static Source, functions: &[&'static str]) -> Vec<Kernel> {
    ACTIVATIONS.iter().flat_map(|&dtype| functions.iter().map(move |f| typed(source, f, dtype))).collect()
}

/// Whether 16-byte accesses may start there.
pub(super) fn is_aligned(pointer: Pointer) -> bool {
    pointer.0.is_multiple_of(16)
}

/// Where a parameter starts, and what it is stored in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parameter {
    pub(super) pointer: Pointer,
    dtype: DType,
}

impl Parameter {
    /// Its address (0 for none) and the number of its type in `values.cuh`.
    pub(super) fn arguments(parameter: Option<Self>) -> [Argument; 2] {
        let number = match parameter.map(|p| p.dtype) {
            Some(DType::F16) => 1,
            Some(DType::BF16) => 2,
            Some(DType::U8) => 3,
            _ => 0,
        };
        [parameter.map(|p| p.pointer).into(), Argument::I32(number)]
    }
}

/// An extent as `int`.
pub(super) fn int(op: &'static str, what: &'static str, extent: usize) -> Result<Argument> {
    let too_large = || Error::value(op, what, format!("an extent of at most {}", i32::MAX), extent);
    Ok(Argument::I32(i32::try_from(extent).map_err(|_| too_large())?))
}

impl Cuda {
    /// Whether another operation is one of a table like this, on the same device.
    pub(super) fn is_own(&self, operation: &dyn Any) -> bool {
        let other = operation.downcast_ref::<Self>();
        !self.plain && other.is_some_and(|other| !other.plain && std::ptr::addr_eq(other.runtime(), self.runtime()))
    }

    /// Where an activation starts: f32 or bf16.
    pub(super) fn activation(&self, op: &'static str, what: &'static str, tensor: &Tensor) -> Result<Pointer> {
        self.device.pointer(op, what, tensor, ACTIVATIONS, "f32 or bf16")
    }

    /// Where a tensor of one given type starts.
    pub(super) fn operand(
        &self,
        op: &'static str,
        what: &'static str,
        tensor: &Tensor,
        dtype: DType,
    ) -> Result<Pointer> {
        self.device.pointer(op, what, tensor, &[dtype], dtype_name(dtype))
    }

    /// Where an optional tensor of one given type starts.
    pub(super) fn optional(
        &self,
        op: &'static str,
        what: &'static str,
        tensor: Option<&Tensor>,
        dtype: DType,
    ) -> Result<Option<Pointer>> {
        tensor.map(|tensor| self.operand(op, what, tensor, dtype)).transpose()
    }

    /// A parameter beside f32 activations, in any stored type. Beside bf16 activations it is bf16.
    pub(super) fn parameter(
        &self,
        op: &'static str,
        what: &'static str,
        tensor: &Tensor,
        activations: DType,
    ) -> Result<Parameter> {
        match activations {
            DType::F32 => self.stored(op, what, tensor),
            other => Ok(Parameter { pointer: self.operand(op, what, tensor, other)?, dtype: other }),
        }
    }

    /// A tensor in any stored type.
    pub(super) fn stored(&self, op: &'static str, what: &'static str, tensor: &Tensor) -> Result<Parameter> {
        let pointer = self.device.pointer(op, what, tensor, STORED, "f32, f16 or bf16")?;
        Ok(Parameter { pointer, dtype: tensor.dtype() })
    }

    /// As [`stored`](Self::stored), or bytes that stand for their numbers.
    pub(super) fn pixels(&self, op: &'static str, what: &'static str, tensor: &Tensor) -> Result<Parameter> {
        let accepted = [STORED, &[DType::U8]].concat();
        let pointer = self.device.pointer(op, what, tensor, &accepted, "f32, f16, bf16 or u8")?;
        Ok(Parameter { pointer, dtype: tensor.dtype() })
    }

    /// One thread for each of `items` things.
    pub(super) fn launch_items(&self, kernel: &Kernel, items: usize, arguments: &[Argument]) -> Result<()> {
        self.launch_blocks(kernel, items.div_ceil(THREADS as usize), THREADS, arguments)
    }

    /// `blocks` blocks; none where there are 0.
    pub(super) fn launch_blocks(
        &self,
        kernel: &Kernel,
        blocks: usize,
        threads: u32,
        arguments: &[Argument],
    ) -> Result<()> {
        self.launch_line(kernel, blocks, threads, 0, arguments)
    }

    /// The same with dynamic shared memory.
    pub(super) fn launch_line(
        &self,
        kernel: &Kernel,
        blocks: usize,
        threads: u32,
        shared_bytes: u32,
        arguments: &[Argument],
    ) -> Result<()> {
        let most = i32::MAX as u32;
        let blocks = u32::try_from(blocks).ok().filter(|&b| b <= most);
        let blocks =
            blocks.ok_or_else(|| Error::value(kernel.function, "blocks", format!("at most {most}"), "more"))?;
        if blocks == 0 {
            return Ok(());
        }
        self.runtime().launch(kernel, Launch { grid: [blocks, 1, 1], threads, shared_bytes }, arguments)
    }
}
