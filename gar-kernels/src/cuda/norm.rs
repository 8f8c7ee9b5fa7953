//! LayerNorm and RMSNorm on CUDA.
//!
//! The sum that a norm follows, `residual + product`, is made by the product's epilogue, which has the product in registers:
//! an operation that adds and normalises would read one tensor more than it saves.
use super::{
    Argument, Cuda, Kernel, Source,
    launch::{Parameter, WARP, int, is_aligned, typed, typed_all},
};
use crate::{
    Result, Tensor,
    ops::{Norm, NormKind, NormSpec},
};

const OP: &str = "norm";
/// Most threads of `norm_row`.
const MOST_THREADS: usize = 512;
/// Rows of a block of `norm_warp`, and most entries of a row: 8 vectors of 8 a lane.
const WARP_ROWS: usize = 8;
const MOST_OF_WARP: usize = 8 * 8 * WARP;
/// Most entries of a row that `norm_row` keeps in registers: 4 vectors of 8 a thread.
const MOST_KEPT: usize = 4 * 8 * MOST_THREADS;
static SOURCE: Source = Source { name: OP, text: include_str!("norm.cu") };

pub(super) fn kernels() -> Vec<Kernel> {
    typed_all(&SOURCE, &["norm_warp", "norm_row", "norm_wide", "norm_plain"])
}

impl Norm for Cuda {
    fn norm(&self, x: &Tensor, spec: &NormSpec<'_>) -> Result<Tensor> {
        let (rows, width) = spec.check(x)?;
        let dtype = x.dtype();
        let from = self.activation(OP, "x", x)?;
        let weight = self.parameter(OP, "weight", spec.weight, dtype)?;
        let bias = spec.bias.map(|b| self.parameter(OP, "bias", b, dtype)).transpose()?;
        let (y, to) = self.device.empty(x.shape(), dtype)?;
        if y.is_empty() {
            return Ok(y);
        }
        let rest =
            [int(OP, "x", width)?, Argument::F32(spec.eps), Argument::I32((spec.kind == NormKind::Layer).into())];
        let one_type = [Some(spec.weight), spec.bias].iter().flatten().all(|p| p.dtype() == dtype);
        if self.plain || !one_type {
            let mut arguments = vec![from.into()];
            arguments.extend(Parameter::arguments(Some(weight)).into_iter().chain(Parameter::arguments(bias)));
            arguments.extend([to.into(), int(OP, "x", rows)?]);
            arguments.extend(rest);
            self.launch_items(&typed(&SOURCE, "norm_plain", dtype), rows, &arguments)?;
            return Ok(y);
        }
        let bias = bias.map(|b| b.pointer);
        let mut arguments: Vec<Argument> = vec![from.into(), weight.pointer.into(), bias.into(), to.into()];
        arguments.extend(rest);
        let aligned = is_aligned(from) && is_aligned(weight.pointer) && bias.is_none_or(is_aligned);
        let vectors = aligned && width.is_multiple_of(8);
        let blocks = rows.div_ceil(WARP_ROWS);
        if vectors && width <= MOST_OF_WARP && blocks >= self.runtime().properties().multiprocessors as usize {
            arguments.push(int(OP, "x", rows)?);
            let threads = (WARP_ROWS * WARP) as u32;
            self.launch_blocks(&typed(&SOURCE, "norm_warp", dtype), blocks, threads, &arguments)?;
            return Ok(y);
        }
        let function = if vectors && width <= MOST_KEPT { "norm_row" } else { "norm_wide" };
        self.launch_blocks(&typed(&SOURCE, function, dtype), rows, threads(width), &arguments)?;
        Ok(y)
    }
}

/// A warp for 256 entries, up to 256 threads, and more only where registers would not hold the row.
fn threads(width: usize) -> u32 {
    let most = if width <= MOST_KEPT / 2 { MOST_THREADS / 2 } else { MOST_THREADS };
    width.div_ceil(8).next_multiple_of(32).clamp(32, most) as u32
}
