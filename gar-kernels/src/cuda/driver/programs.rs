//! Kernels that are loaded, and their launch.
use std::{
    collections::HashMap,
    ffi::c_void,
    fmt,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU32, Ordering},
    },
};

use cudarc::{
    driver::{CudaFunction, CudaModule, CudaStream, DriverError, sys},
    nvrtc::Ptx,
};

use super::{Compiler, KernelCache, architecture, queue::Queue};
use crate::{
    Error, Result,
    cuda::{Argument, Kernel, Launch},
};

/// Kernels of one device, compiled and loaded as they are first launched.
pub(super) struct Programs {
    queue: Arc<Queue>,
    compiler: Compiler,
    cache: KernelCache,
    architecture: String,
    /// Whether a kernel may begin while the one before it ends (programmatic dependent launch).
    overlaps: bool,
    /// Version of the driver, 13000 for 13.0.
    driver: i32,
    loaded: RwLock<HashMap<Kernel, Arc<Function>>>,
    modules: Mutex<HashMap<Program, Arc<CudaModule>>>,
}

/// What is compiled together: the name of a source, and macros.
type Program = (&'static str, Vec<(&'static str, String)>);

struct Function {
    function: CudaFunction,
    /// The most dynamic shared memory that the driver has been told of.
    shared_bytes: AtomicU32,
}

impl Programs {
    pub(super) fn new(queue: Arc<Queue>, capability: (u32, u32)) -> Result<Self> {
        let compiler = Compiler::find()?;
        let mut driver = 0;
        queue.call("ask for the driver's version", || {
            // SAFETY: a number to be filled in.
            unsafe { sys::cuDriverGetVersion(&raw mut driver) }.result()
        })?;
        let (major, minor) = compiler.version();
        if driver / 1000 < major {
            let why = format!(
                "the driver knows CUDA {}.{} and libnvrtc is {major}.{minor}: update the driver to one that knows {major}.0",
                driver / 1000,
                driver % 1000 / 10
            );
            return Err(Error::Unavailable { device: queue.name().into(), why });
        }
        Ok(Self {
            queue,
            compiler,
            cache: KernelCache::of_user(),
            architecture: architecture(capability),
            overlaps: capability >= (9, 0),
            driver,
            loaded: RwLock::default(),
            modules: Mutex::default(),
        })
    }

    /// Puts a kernel on a stream. It `follows` where what stands before it there is a kernel too: then it may begin before that
    /// one ends, because every kernel waits for the one before itself (`await_previous` in `gar.cuh`).
    pub(super) fn launch(
        &self,
        kernel: &Kernel,
        launch: Launch,
        arguments: &[Argument],
        stream: &CudaStream,
        follows: bool,
    ) -> Result<()> {
        let Launch { grid: [x, y, z], threads, shared_bytes } = launch;
        if x == 0 || y == 0 || z == 0 {
            return Ok(());
        }
        let function = self.function(kernel)?;
        let failed = |error: DriverError| match error.0 {
            sys::CUresult::CUDA_ERROR_INVALID_VALUE | sys::CUresult::CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES => {
                Error::Kernel {
                    kernel: kernel.function.into(),
                    what: format!("the driver refuses {launch:?}: {error}"),
                }
            }
            _ => super::failure::error(self.queue.name(), &format!("launch {}", kernel.function), error),
        };
        // More than 48 KiB, static shared memory included, must be announced; less may be.
        if shared_bytes > function.shared_bytes.load(Ordering::Relaxed) {
            let most = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            self.queue.context().bind_to_thread().map_err(failed)?;
            function.function.set_attribute(most, shared_bytes as i32).map_err(failed)?;
            function.shared_bytes.fetch_max(shared_bytes, Ordering::Relaxed);
        }
        let mut addresses: Vec<*mut c_void> = arguments.iter().map(address).collect();
        // SAFETY: a plain C structure for which zeros are no attribute.
        let mut overlap: sys::CUlaunchAttribute = unsafe { std::mem::zeroed() };
        overlap.id = sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
        overlap.value.programmaticStreamSerializationAllowed = 1;
        let config = sys::CUlaunchConfig {
            gridDimX: x,
            gridDimY: y,
            gridDimZ: z,
            blockDimX: threads,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: shared_bytes,
            hStream: stream.cu_stream(),
            attrs: &raw mut overlap,
            numAttrs: u32::from(self.overlaps && follows),
        };
        self.queue.context().bind_to_thread().map_err(failed)?;
        let (to, none) = (function.function.cu_function(), std::ptr::null_mut());
        // SAFETY: wrappers pass the arguments that the kernel declares, with addresses of live buffers large enough for its
        // grid: what the emulator checks, and the laws with it. Attribute and arguments live until the call returns.
        unsafe { sys::cuLaunchKernelEx(&raw const config, to, addresses.as_mut_ptr(), none) }
            .result()
            .map_err(failed)?;
        Ok(())
    }

    fn function(&self, kernel: &Kernel) -> Result<Arc<Function>> {
        if let Some(function) = self.loaded.read().unwrap_or_else(PoisonError::into_inner).get(kernel) {
            return Ok(function.clone());
        }
        let module = self.module(kernel)?;
        let loaded = self.queue.call("find a kernel", || module.load_function(kernel.function));
        let function =
            loaded.map_err(|error| Error::Kernel { kernel: kernel.function.into(), what: error.to_string() })?;
        let function = Arc::new(Function { function, shared_bytes: AtomicU32::new(0) });
        self.loaded.write().unwrap_or_else(PoisonError::into_inner).insert(kernel.clone(), function.clone());
        Ok(function)
    }

    fn module(&self, kernel: &Kernel) -> Result<Arc<CudaModule>> {
        // Held while compiling, so that threads that ask for the same source do not compile it twice.
        let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        let own = (kernel.source.name, kernel.defines.clone());
        if let Some(module) = modules.get(&own) {
            return Ok(module.clone());
        }
        let image = self.compiler.cached(kernel, &self.architecture, self.driver, &self.cache)?;
        let module = self.queue.call("load a kernel", || self.queue.context().load_module(Ptx::from_binary(image)))?;
        modules.insert(own, module.clone());
        Ok(module)
    }
}

/// Where the value of an argument stands, for the driver to read.
fn address(argument: &Argument) -> *mut c_void {
    let value: *const c_void = match argument {
        Argument::Pointer(v) | Argument::U64(v) => std::ptr::from_ref(v).cast(),
        Argument::I32(v) => std::ptr::from_ref(v).cast(),
        Argument::U32(v) => std::ptr::from_ref(v).cast(),
        Argument::F32(v) => std::ptr::from_ref(v).cast(),
    };
    value.cast_mut()
}

impl fmt::Debug for Programs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Programs for {}", self.architecture)
    }
}
