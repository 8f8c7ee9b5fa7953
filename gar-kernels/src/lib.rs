//! Tensors, devices and the table of operations that GAR is computed with.
//!
//! * [`Tensor`]: shape, dtype and shared storage; cheap to clone, never written after it was made.
//! * [`Device`]: where storage lives and how it gets there and back.
//! * [`ops`]: one object-safe trait for each operation, with its spec and its shape checks.
//! * [`Kernels`]: a table of operations for one device. Replacing one is one line:
//!
//! ```
//! # use gar_kernels::{Kernels, ops::RoiAlign};
//! # fn with(mine: std::sync::Arc<dyn RoiAlign>) -> Kernels {
//! Kernels { roi_align: mine, ..Kernels::cpu() }
//! # }
//! # with(Kernels::cpu().roi_align.clone());
//! ```
//! * [`cpu`]: every operation in f32 on all cores, from f32, f16 or bf16 weights.
//! * [`weights`]: memory-mapped safetensors checkpoints, single or sharded, checked as they are read.
//! * `laws` (feature `laws`): property suites that judge any implementation against plain f64 references.
//!
//! `ops/attention.rs` says what attention is, `cpu/attention.rs` computes it, `laws/attention.rs` judges it; so with
//! every operation.
//!
//! Operations state what they support and refuse the rest with an [`Error`] that names the operation, the argument,
//! what was expected and what was found. Nothing falls back silently, nothing is global.
#[cfg(not(target_endian = "little"))]
compile_error!("gar-kernels reads little-endian checkpoints in place and needs a little-endian target");

pub mod cpu;
#[cfg(any(feature = "cuda", feature = "emulator"))]
pub mod cuda;
mod device;
mod dtype;
mod error;
mod host;
mod kernels;
#[cfg(feature = "laws")]
pub mod laws;
pub mod ops;
mod progress;
mod quantized;
mod tensor;
pub mod weights;

pub use device::Device;
pub use dtype::{DType, Element};
pub use error::{Error, Result};
pub use kernels::Kernels;
pub use progress::{NoProgress, Progress};
pub use tensor::{Storage, Tensor};
pub use weights::Weights;

pub use half::{bf16, f16};
