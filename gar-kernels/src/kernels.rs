//! The table of operations.
use std::{fmt, sync::Arc};

use crate::{
    Device, Result,
    cpu::{self, CpuOptions},
    ops,
};

/// One implementation of every operation, all for one [`Device`].
///
/// The fields are public: a table with one operation replaced is written with struct update syntax.
#[derive(Clone)]
pub struct Kernels {
    /// Where the tensors of these operations live.
    pub device: Arc<dyn Device>,
    /// Matrix product with epilogue.
    pub matmul: Arc<dyn ops::MatMul>,
    /// Layer normalisation and RMS normalisation.
    pub norm: Arc<dyn ops::Norm>,
    /// Rotary position embedding.
    pub rotary: Arc<dyn ops::Rotary>,
    /// Attention over keys and values given as tensors.
    pub attention: Arc<dyn ops::Attention>,
    /// Causal attention over a key/value cache, and the cache itself.
    pub cached_attention: Arc<dyn ops::CachedAttention>,
    /// RoI-Align.
    pub roi_align: Arc<dyn ops::RoiAlign>,
    /// Average pooling on a grid.
    pub pool: Arc<dyn ops::Pool>,
    /// Elementwise operations.
    pub pointwise: Arc<dyn ops::Pointwise>,
    /// Rows gathered from and scattered into a matrix.
    pub rows: Arc<dyn ops::Rows>,
    /// Patch embedding: a convolution whose stride is its kernel.
    pub patch_embed: Arc<dyn ops::PatchEmbed>,
    /// Index of the largest entry of each row.
    pub argmax: Arc<dyn ops::ArgMax>,
    /// The next token from each row of logits.
    pub sample: Arc<dyn ops::Sample>,
}

impl Kernels {
    /// Every operation in f32 on all cores of this machine.
    pub fn cpu() -> Self {
        Self::of_cpu(cpu::Cpu::default())
    }

    /// Every operation on this machine's cores, as the options say.
    ///
    /// # Errors
    /// [`Error::Value`](crate::Error::Value) for instructions that this CPU lacks.
    pub fn cpu_with(options: CpuOptions) -> Result<Self> {
        Ok(Self::of_cpu(cpu::Cpu::new(options)?))
    }

    fn of_cpu(cpu: cpu::Cpu) -> Self {
        let cpu = Arc::new(cpu);
        Self {
            device: cpu.clone(),
            matmul: cpu.clone(),
            norm: cpu.clone(),
            rotary: cpu.clone(),
            attention: cpu.clone(),
            cached_attention: cpu.clone(),
            roi_align: cpu.clone(),
            pool: cpu.clone(),
            pointwise: cpu.clone(),
            rows: cpu.clone(),
            patch_embed: cpu.clone(),
            argmax: cpu.clone(),
            sample: cpu,
        }
    }
}

impl fmt::Debug for Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kernels on {}", self.device.name())
    }
}
