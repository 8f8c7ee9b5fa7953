//! What attention kernels share: the heads that they take, and how queries, keys and values become arguments.
use std::f32::consts::LOG2_E;

use super::{Argument, Cuda, launch::int};
use crate::{
    DType, Error, Result, Tensor,
    ops::{AttentionDims, AttentionSpec, Mask},
};

const OP: &str = "attention";
/// Largest head: accumulators of more do not fit into registers.
pub(super) const MOST_HEAD_DIM: usize = 128;
/// Head sizes of the published models, whose kernels are compiled and counted ahead.
pub(super) const HEAD_DIMS: [usize; 3] = [64, 96, 128];

/// Whether the fast kernels, and the cache, take heads of this size: rows of 16-byte accesses.
pub(super) fn is_head(head_dim: usize) -> bool {
    head_dim.is_multiple_of(8) && (8..=MOST_HEAD_DIM).contains(&head_dim)
}

pub(super) fn check_head(op: &'static str, q: &Tensor, head_dim: usize) -> Result<()> {
    if is_head(head_dim) {
        return Ok(());
    }
    Err(Error::shape(op, "q", format!("[B, L, H, d] with d a multiple of 8 up to {MOST_HEAD_DIM}"), q.shape()))
}

/// The scale of the fast kernels, whose exponential is 2ˣ and whose largest score is found before it is scaled.
pub(super) fn base_two(op: &'static str, scale: f32) -> Result<Argument> {
    if scale > 0.0 && (scale * LOG2_E).is_finite() {
        return Ok(Argument::F32(scale * LOG2_E));
    }
    Err(Error::value(op, "scale", "a number above 0", scale))
}

/// Checks what the fast kernels are given, takes memory for the result, and lets `launch` go on: whether the mask is causal, and
/// the arguments q, k, v, result, queries, keys, heads, query heads of a kv head, keys that the first query sees, scale.
pub(super) fn with_arguments(
    cuda: &Cuda,
    [q, k, v]: [&Tensor; 3],
    spec: &AttentionSpec,
    dims: AttentionDims,
    launch: impl FnOnce(bool, Vec<Argument>) -> Result<()>,
) -> Result<Tensor> {
    let operand = |what, tensor| cuda.operand(OP, what, tensor, DType::BF16);
    let pointers = [operand("q", q)?, operand("k", k)?, operand("v", v)?];
    let scale = base_two(OP, spec.scale)?;
    if dims.keys == 0 || q.is_empty() {
        return zeros(cuda, q);
    }
    let (out, to) = cuda.device.empty(q.shape(), DType::BF16)?;
    let (causal, seen) = match spec.mask {
        Mask::Full => (false, dims.keys),
        Mask::Causal { offset } => (true, offset + 1),
    };
    let mut arguments: Vec<Argument> = pointers.into_iter().chain([to]).map(Argument::from).collect();
    for (what, extent) in
        [("q", dims.queries), ("k", dims.keys), ("q", dims.heads), ("k", dims.heads / dims.kv_heads), ("mask", seen)]
    {
        arguments.push(int(OP, what, extent)?);
    }
    arguments.push(scale);
    launch(causal, arguments)?;
    Ok(out)
}

/// What queries without keys give.
pub(super) fn zeros(cuda: &Cuda, q: &Tensor) -> Result<Tensor> {
    crate::Device::zeros(&*cuda.device, q.shape(), q.dtype())
}
