//! Every operation as a hand-written CUDA kernel: bf16 activations (f32 where an operation says so), f32 sums.
//!
//! `ops/attention.rs` says what attention is, `cuda/attention.cu` computes it, `cuda/attention.rs` checks, chooses a tile and
//! launches it through a [`Runtime`]; so with every operation. Two runtimes exist: the NVIDIA driver (feature `cuda`) and the
//! emulator (feature `emulator`), which runs the same `.cu` files on the host.
mod argmax;
mod attention;
mod cached_attention;
mod device;
#[cfg(feature = "cuda")]
mod driver;
#[cfg(feature = "emulator")]
mod emulator;
mod heads;
mod hopper;
mod kv_cache;
mod launch;
mod matmul;
mod norm;
mod patch_embed;
mod pointwise;
mod pool;
mod recorder;
mod recording;
mod roi_align;
mod rotary;
mod rows;
mod runtime;
mod sampling;
mod table;

use std::sync::Arc;

use crate::DType;

pub use attention::{FlashAttention, FlashTile};
pub use device::CudaDevice;
#[cfg(feature = "cuda")]
pub use driver::{CacheKey, Compiled, Compiler, Driver, KernelCache, architecture};
#[cfg(feature = "emulator")]
pub use emulator::{Copies, Edit, Emulator, EmulatorOptions};
pub use hopper::{HopperAttention, HopperTile};
pub use recorder::{Recorder, Recordings};
pub use runtime::{
    Argument, Blas, Buffer, Command, Graph, Kernel, Launch, Memory, Pointer, Product, Properties, Runtime, Source,
};

/// Headers that kernels may include, by the name they include them under.
pub const HEADERS: &[(&str, &str)] = &[
    ("dense.cuh", include_str!("include/dense.cuh")),
    ("flash.cuh", include_str!("include/flash.cuh")),
    ("gar.cuh", include_str!("include/gar.cuh")),
    ("hopper.cuh", include_str!("include/hopper.cuh")),
    ("hopper_rows.cuh", include_str!("include/hopper_rows.cuh")),
    ("mma.cuh", include_str!("include/mma.cuh")),
    ("pages.cuh", include_str!("include/pages.cuh")),
    ("plain.cuh", include_str!("include/plain.cuh")),
    ("turn.cuh", include_str!("include/turn.cuh")),
    ("values.cuh", include_str!("include/values.cuh")),
    ("wgmma.cuh", include_str!("include/wgmma.cuh")),
];

/// Every kernel that the wrappers launch on a card of some compute capability (major, minor), in every specialisation that does
/// not depend on a model's sizes.
pub fn kernels(capability: (u32, u32)) -> Vec<Kernel> {
    [
        argmax::kernels(),
        attention::kernels(),
        cached_attention::kernels(),
        hopper::kernels(capability),
        matmul::kernels(),
        norm::kernels(),
        patch_embed::kernels(),
        pointwise::kernels(),
        pool::kernels(),
        roi_align::kernels(),
        rotary::kernels(),
        rows::kernels(),
        sampling::kernels(),
    ]
    .concat()
}

/// Every operation, on one runtime: the type that implements the traits of [`crate::ops`].
///
/// ```no_run
/// # fn on(runtime: std::sync::Arc<dyn gar_kernels::cuda::Runtime>) {
/// use gar_kernels::{DType, cuda::Cuda};
/// let fast = Cuda::new(runtime.clone());
/// let oracle = Cuda::new(runtime).with_plain_kernels().with_activations(DType::F32);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Cuda {
    /// The device, as tensors know it.
    pub(crate) device: Arc<CudaDevice>,
    /// What gathered rows and embedded patches come out in.
    pub(crate) activations: DType,
    /// Whether every operation launches its first, plain kernel.
    pub(crate) plain: bool,
}

impl Cuda {
    /// Operations in bf16, each by its fastest kernel.
    pub fn new(runtime: Arc<dyn Runtime>) -> Self {
        Self { device: Arc::new(CudaDevice::new(runtime)), activations: DType::BF16, plain: false }
    }

    /// The same with another element type where activations begin: at gathered rows and embedded patches. F32 shows what
    /// bf16 costs in accuracy; any other is refused by the first operation.
    #[must_use]
    pub fn with_activations(self, activations: DType) -> Self {
        let weights = (activations == DType::BF16).then_some(DType::BF16);
        Self { activations, device: Arc::new(self.device.with_weights(weights)), ..self }
    }

    /// The same by each operation's first kernel, plain and slow: the oracle of the faster ones.
    #[must_use]
    pub fn with_plain_kernels(self) -> Self {
        Self { plain: true, ..self }
    }

    /// The device that the operations work on.
    pub fn device(&self) -> &Arc<CudaDevice> {
        &self.device
    }

    pub(crate) fn runtime(&self) -> &dyn Runtime {
        self.device.runtime()
    }
}
