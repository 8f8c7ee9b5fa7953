//! Rows gathered and scattered on CUDA.
use std::collections::HashMap;

use super::{
    Argument, Cuda, Kernel, Pointer, Source,
    launch::{Parameter, int, is_aligned, typed, typed_all},
};
use crate::{
    DType, Error, Result, Tensor,
    ops::{Rows, check_gather},
};

/// Bytes of an access.
const VECTOR: usize = 16;
static SOURCE: Source = Source { name: "rows", text: include_str!("rows.cu") };

pub(super) fn kernels() -> Vec<Kernel> {
    let moves = ["gather_16", "scatter_16"].map(|function| typed(&SOURCE, function, DType::BF16));
    moves.into_iter().chain(typed_all(&SOURCE, &["gather_plain", "scatter_plain"])).collect()
}

impl Rows for Cuda {
    fn gather(&self, table: &Tensor, index: &[u32]) -> Result<Tensor> {
        const OP: &str = "gather";
        let [_, width] = check_gather(OP, table, index)?;
        let from = self.stored(OP, "table", table)?;
        let (y, to) = self.device.empty(&[index.len(), width], self.activations)?;
        // The result is an activation: another type than f32 or bf16 is refused.
        self.activation(OP, "activations", &y)?;
        if y.is_empty() {
            return Ok(y);
        }
        let (_index, index) = self.device.values(index)?;
        let vectors = self.vectors(width, y.dtype(), Some(from.pointer).filter(|_| table.dtype() == y.dtype()));
        if let Some(vectors) = vectors {
            let items = y.len() / width * vectors;
            let count = Argument::U64(items as u64);
            let arguments = [from.pointer.into(), index, to.into(), Argument::U32(vectors as u32), count];
            self.launch_items(&typed(&SOURCE, "gather_16", DType::BF16), items, &arguments)?;
            return Ok(y);
        }
        let [from, number] = Parameter::arguments(Some(from));
        let arguments = [from, number, index, to.into(), int(OP, "table", width)?, Argument::U64(y.len() as u64)];
        self.launch_items(&typed(&SOURCE, "gather_plain", y.dtype()), y.len(), &arguments)?;
        Ok(y)
    }

    fn scatter(&self, base: &Tensor, index: &[u32], rows: &Tensor) -> Result<Tensor> {
        const OP: &str = "scatter";
        let [len, width] = base.dims(OP, "base")?;
        rows.expect_shape(OP, "rows", &[index.len(), width])?;
        if let Some(i) = index.iter().find(|&&i| i as usize >= len) {
            return Err(Error::value(OP, "index", format!("less than {len}"), i));
        }
        let below = self.activation(OP, "base", base)?;
        let from = self.operand(OP, "rows", rows, base.dtype())?;
        let (y, to) = self.device.empty(base.shape(), base.dtype())?;
        self.runtime().copy(below, to, y.len() * y.dtype().size())?;
        let moves = moves(index);
        if moves.is_empty() || width == 0 {
            return Ok(y);
        }
        let (_moves, list) = self.device.values(&moves)?;
        let (function, last, items) = match self.vectors(width, y.dtype(), Some(from)) {
            Some(vectors) => ("scatter_16", Argument::U32(vectors as u32), moves.len() * vectors),
            None => ("scatter_plain", int(OP, "rows", width)?, moves.len() * width),
        };
        let dtype = if function == "scatter_16" { DType::BF16 } else { y.dtype() };
        let arguments = [from.into(), list, to.into(), last, Argument::U64(items as u64)];
        self.launch_items(&typed(&SOURCE, function, dtype), items, &arguments)?;
        Ok(y)
    }
}

impl Cuda {
    /// 16-byte vectors of a row that may be moved as such.
    fn vectors(&self, width: usize, dtype: DType, from: Option<Pointer>) -> Option<usize> {
        let bytes = width * dtype.size();
        let whole = !self.plain && bytes.is_multiple_of(VECTOR) && from.is_some_and(is_aligned);
        whole.then_some(bytes / VECTOR).filter(|&v| u32::try_from(v).is_ok())
    }
}

/// To where, from where: of equal targets the last alone, because threads have no order.
fn moves(index: &[u32]) -> Vec<[u32; 2]> {
    let last: HashMap<u32, u32> = index.iter().zip(0..).map(|(&to, from)| (to, from)).collect();
    index.iter().zip(0..).filter(|(to, from)| last.get(to) == Some(from)).map(|(&to, from)| [to, from]).collect()
}
