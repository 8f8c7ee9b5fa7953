//! Every operation as a hand-written CUDA kernel: bf16 activations (f32 where an operation says so), f32 sums.
//!
//! `ops/attention.rs` says what attention is, `cuda/attention.cu` computes it, `cuda/attention.rs` checks, chooses a tile and
//! launches it through a [`Runtime`]; so with every operation. Two runtimes exist: the NVIDIA driver (feature `cuda`) and the
//! emulator (feature `emulator`), which runs the same `.cu` files on the host.
mod device;
mod runtime;

use std::sync::Arc;

pub use device::CudaDevice;
pub use runtime::{
    Argument, Blas, Buffer, Command, Graph, Kernel, Launch, Memory, Pointer, Product, Properties, Runtime, Source,
};

/// Headers that kernels may include, by the name they include them under.
pub const HEADERS: &[(&str, &str)] = &[];

/// Every operation, on one runtime: the type that implements the traits of [`crate::ops`].
#[derive(Clone, Debug)]
pub struct Cuda {
    /// The device, as tensors know it.
    pub(crate) device: Arc<CudaDevice>,
}
