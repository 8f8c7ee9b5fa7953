//! The NVIDIA driver as a [`Runtime`]: one stream, a pool of device memory, kernels compiled as they are first launched.
//!
//! Nothing of CUDA is needed to build this; the libraries are looked for when a device is opened:
//!
//! | library | is | comes with |
//! |---|---|---|
//! | `libcuda` | the driver | the graphics driver |
//! | `libnvrtc` | the compiler | the CUDA toolkit, or the Python package `nvidia-cuda-nvrtc` |
//! | `libcublasLt` | matrix products | the CUDA toolkit, or the Python package `nvidia-cublas` |
mod blas;
mod cache;
mod compiler;
mod failure;
mod graph;
mod library;
mod programs;
mod queue;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use cudarc::driver::{CudaContext, CudaStream, DriverError, sys};

use super::{Argument, Blas, Buffer, Command, Graph, Kernel, Launch, Pointer, Product, Properties, Runtime};
use crate::{Error, Result};
use blas::MatrixLibrary;
pub use cache::{CacheKey, KernelCache};
pub use compiler::{Compiled, Compiler, architecture};
use programs::Programs;
use queue::Queue;

/// One CUDA device.
#[derive(Debug)]
pub struct Driver {
    queue: Arc<Queue>,
    programs: Programs,
    library: MatrixLibrary,
    /// Commands are captured on a stream of their own, which never runs anything.
    capturing: Mutex<Arc<CudaStream>>,
    properties: Properties,
}

impl Driver {
    /// Opens a device.
    ///
    /// # Errors
    /// As [`Kernels::cuda`](crate::Kernels::cuda).
    pub fn open(ordinal: usize) -> Result<Self> {
        let name: Arc<str> = format!("cuda:{ordinal}").into();
        let unavailable = |why: String| Error::Unavailable { device: name.to_string(), why };
        library::find_all().map_err(unavailable)?;
        let devices = match CudaContext::device_count() {
            Ok(count) => usize::try_from(count).unwrap_or(0),
            Err(DriverError(sys::CUresult::CUDA_ERROR_NO_DEVICE)) => 0,
            Err(error) => return Err(failure::error(&name, "start the driver", error)),
        };
        match devices {
            0 => return Err(unavailable("the driver shows no CUDA device".into())),
            _ if ordinal >= devices => return Err(unavailable(format!("expected an ordinal below {devices}"))),
            _ => {}
        }
        let context = CudaContext::new(ordinal).map_err(|e| failure::error(&name, "open the device", e))?;
        let properties = properties(&context).map_err(|e| failure::error(&name, "ask for its properties", e))?;
        if properties.capability < (8, 0) {
            let (major, minor) = properties.capability;
            return Err(unavailable(format!("expected compute capability 8.0 or later, found {major}.{minor}")));
        }
        let queue = Arc::new(Queue::new(name.clone(), context.clone())?);
        let programs = Programs::new(queue.clone(), properties.capability)?;
        let library = MatrixLibrary::new(queue.clone())?;
        let capturing = context.new_stream().map_err(|e| failure::error(&name, "make a stream", e))?;
        Ok(Self { queue, programs, library, capturing: Mutex::new(capturing), properties })
    }

    /// How long the device takes for what `work` launches, from the start of the first to the end of the last.
    ///
    /// # Errors
    /// Those of `work`, and what the driver refuses.
    pub fn time(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<Duration> {
        let timed = Some(sys::CUevent_flags::CU_EVENT_DEFAULT);
        let mark = || {
            self.queue.call("record an event", || {
                let event = self.queue.context().new_event(timed)?;
                event.record(self.queue.stream())?;
                Ok(event)
            })
        };
        let start = mark()?;
        work()?;
        let end = mark()?;
        let milliseconds = self.queue.call("wait for an event", || start.elapsed_ms(&end))?;
        Ok(Duration::from_secs_f64(f64::from(milliseconds) / 1e3))
    }

    /// Puts one command on a stream, behind `previous`.
    fn put(&self, command: &Command, previous: Option<&Command>, stream: &CudaStream) -> Result<()> {
        match command {
            Command::Launch { kernel, launch, arguments } => {
                let follows = matches!(previous, Some(Command::Launch { .. }));
                self.programs.launch(kernel, *launch, arguments, stream, follows)
            }
            Command::Product(product) => self.library.matmul(product, stream),
            Command::Copy { from, to, bytes } => self.queue.copy(*from, *to, *bytes, stream),
            Command::Zero { at, bytes } => self.queue.zero(*at, *bytes, stream),
        }
    }
}

fn properties(context: &CudaContext) -> Result<Properties, DriverError> {
    use sys::CUdevice_attribute as A;
    let get = |attribute| context.attribute(attribute).map(|value| u32::try_from(value).unwrap_or(0));
    Ok(Properties {
        multiprocessors: get(A::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        capability: (
            get(A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            get(A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ),
        shared_bytes: get(A::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
    })
}

impl Runtime for Driver {
    fn name(&self) -> &str {
        self.queue.name()
    }

    fn properties(&self) -> Properties {
        self.properties
    }

    fn allocate(&self, bytes: usize) -> Result<Arc<Buffer>> {
        self.queue.allocate(bytes)
    }

    fn write(&self, to: Pointer, bytes: &[u8]) -> Result<()> {
        self.queue.write(to, bytes)
    }

    fn read(&self, from: Pointer, bytes: &mut [u8]) -> Result<()> {
        self.queue.read(from, bytes)
    }

    fn zero(&self, at: Pointer, bytes: usize) -> Result<()> {
        self.queue.zero(at, bytes, self.queue.stream())
    }

    fn copy(&self, from: Pointer, to: Pointer, bytes: usize) -> Result<()> {
        self.queue.copy(from, to, bytes, self.queue.stream())
    }

    fn launch(&self, kernel: &Kernel, launch: Launch, arguments: &[Argument]) -> Result<()> {
        self.programs.launch(kernel, launch, arguments, self.queue.stream(), true)
    }

    fn blas(&self) -> Option<&dyn Blas> {
        Some(self)
    }

    fn graph(&self, commands: &[Command]) -> Result<Option<Box<dyn Graph>>> {
        graph::capture(self, commands)
    }

    fn synchronize(&self) -> Result<()> {
        self.queue.synchronize()
    }
}

impl Blas for Driver {
    fn matmul(&self, product: &Product) -> Result<()> {
        self.library.matmul(product, self.queue.stream())
    }
}
