//! The CUDA kernels as a table of operations.
use std::sync::Arc;

use super::Cuda;
use crate::Kernels;

impl From<Cuda> for Kernels {
    /// Every operation by the CUDA kernels, on whatever runtime they were made for.
    fn from(cuda: Cuda) -> Self {
        let (device, cuda) = (cuda.device().clone(), Arc::new(cuda));
        Self {
            device,
            matmul: cuda.clone(),
            norm: cuda.clone(),
            rotary: cuda.clone(),
            attention: cuda.clone(),
            cached_attention: cuda.clone(),
            roi_align: cuda.clone(),
            pool: cuda.clone(),
            pointwise: cuda.clone(),
            rows: cuda.clone(),
            patch_embed: cuda.clone(),
            argmax: cuda.clone(),
            sample: cuda,
        }
    }
}

impl Kernels {
    /// Every operation on a CUDA device, bf16 with f32 sums; `ordinal` counts the devices that the driver shows.
    ///
    /// Memory comes from a pool that keeps what it once had; kernels are compiled when they are first launched, and kept on
    /// disk ([`KernelCache`](super::KernelCache)). Work that repeats is recorded ([`Recorder`](super::Recorder)).
    ///
    /// ```no_run
    /// # use std::sync::Arc;
    /// # use gar_kernels::{Kernels, Result, ops::Attention};
    /// # fn with(mine: Arc<dyn Attention>) -> Result<Kernels> {
    /// let kernels = Kernels { attention: mine, ..Kernels::cuda(0)? };
    /// # Ok(kernels)
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Unavailable`](crate::Error::Unavailable) for a library that is missing, with what to install, and where there is no such device;
    /// [`Error::Driver`](crate::Error::Driver) for what the driver refuses.
    #[cfg(feature = "cuda")]
    pub fn cuda(ordinal: usize) -> crate::Result<Self> {
        Ok(Self::from(Cuda::new(Arc::new(super::Recorder::new(Arc::new(super::Driver::open(ordinal)?))))))
    }

    /// The same kernels compiled for the host and run there, to prove them without a GPU; [`Cuda`] and
    /// [`Emulator`](super::Emulator) give more choice.
    ///
    /// ```no_run
    /// use gar_kernels::{Kernels, cuda::EmulatorOptions};
    /// let kernels = Kernels::emulated(EmulatorOptions::default())?;
    /// # Ok::<(), gar_kernels::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Unavailable`](crate::Error::Unavailable) where there is no C++ compiler.
    #[cfg(feature = "emulator")]
    pub fn emulated(options: super::EmulatorOptions) -> crate::Result<Self> {
        Ok(Self::from(Cuda::new(super::Emulator::start(options)?)))
    }
}
