//! CUDA kernels without a GPU: the host's C++ compiler builds them, and the host runs them.
//!
//! Every thread of a block is a fiber. Barriers, shuffles, `mma` and `ldmatrix` are carried out by the last thread that
//! arrives; threads that wait for different things are an error naming block and thread. What a GPU leaves undefined is
//! made visible: fresh device memory and shared memory read as NaN, memory around a buffer must not be written, and
//! asynchronous copies and Hopper's products are done at once or only when waited for ([`Copies`]).
//!
//! It does not see races between blocks, bank conflicts, or time.
//!
//! ```no_run
//! use gar_kernels::cuda::{CudaDevice, Emulator, EmulatorOptions};
//! let device = CudaDevice::new(Emulator::start(EmulatorOptions::default())?);
//! # Ok::<(), gar_kernels::Error>(())
//! ```
mod compile;
mod heap;
mod library;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Argument, Buffer, Kernel, Launch, Pointer, Properties, Runtime};
use crate::{Error, Result};
use compile::Compiler;
use heap::Heap;
use library::Library;

/// When an asynchronous copy (`cp.async`) lands. On a GPU it is any time in between, so that a kernel must pass with both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Copies {
    /// At once: finds a buffer that is refilled while others still read it. Warps run in rising order.
    #[default]
    Eager,
    /// When it is waited for: finds a missing wait. Warps run in falling order.
    Lazy,
}

/// A change to the text of a kernel or a header before it is compiled: a planted error that tests must find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Name of the source ([`Source::name`](super::Source::name)) or of the header.
    pub file: &'static str,
    /// What stands there, exactly once.
    pub from: &'static str,
    /// What shall stand there.
    pub to: &'static str,
}

/// How an [`Emulator`] runs kernels.
#[derive(Clone, Debug)]
pub struct EmulatorOptions {
    /// When asynchronous copies land.
    pub copies: Copies,
    /// Planted errors.
    pub edits: Vec<Edit>,
    /// Bytes of device memory.
    pub memory_bytes: usize,
    /// What wrappers choose grids and tiles by.
    pub properties: Properties,
    /// Where compiled kernels are kept; created when missing. Whoever can write there can run code in this process.
    pub folder: PathBuf,
}

impl Default for EmulatorOptions {
    /// Eager copies, 4 GiB, a small card of capability 8.0, and the user's cache folder.
    fn default() -> Self {
        let folder = std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
            .unwrap_or_else(std::env::temp_dir);
        Self {
            copies: Copies::default(),
            edits: Vec::new(),
            memory_bytes: 4 << 30,
            properties: Properties { multiprocessors: 4, capability: (8, 0), shared_bytes: 163 << 10 },
            folder: folder.join("gar").join("emulator"),
        }
    }
}

/// A [`Runtime`] that compiles kernels with the host's C++ compiler and runs them on the host, one block after another.
#[derive(Debug)]
pub struct Emulator {
    name: Arc<str>,
    options: EmulatorOptions,
    compiler: Compiler,
    heap: Arc<Heap>,
    libraries: Mutex<HashMap<Kernel, Arc<Library>>>,
}

impl Emulator {
    /// Finds the compiler: `$CXX`, `c++`, `g++` or `clang++`.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when there is none, or off Unix.
    pub fn start(options: EmulatorOptions) -> Result<Arc<dyn Runtime>> {
        let name: Arc<str> = "emulator".into();
        let compiler = Compiler::find()?;
        let heap = Arc::new(Heap::new(options.memory_bytes));
        Ok(Arc::new(Self { name, options, compiler, heap, libraries: Mutex::default() }))
    }

    fn library(&self, kernel: &Kernel) -> Result<Arc<Library>> {
        // Held while compiling, so that threads that ask for the same kernel do not compile it twice.
        let mut libraries = lock(&self.libraries);
        if let Some(library) = libraries.get(kernel) {
            return Ok(library.clone());
        }
        let file = self.compiler.compile(kernel, &self.options)?;
        let library = Arc::new(Library::open(&file, kernel.function)?);
        libraries.insert(kernel.clone(), library.clone());
        Ok(library)
    }
}

impl Runtime for Emulator {
    fn name(&self) -> &str {
        &self.name
    }

    fn properties(&self) -> Properties {
        self.options.properties
    }

    fn allocate(&self, bytes: usize) -> Result<Arc<Buffer>> {
        let address = self.heap.allocate(bytes).map_err(|free| Error::OutOfMemory {
            device: self.name.to_string(),
            asked: bytes,
            free,
        })?;
        Ok(Arc::new(Buffer::new(address, bytes, self.name.clone(), self.heap.clone())))
    }

    fn write(&self, to: Pointer, bytes: &[u8]) -> Result<()> {
        self.heap.write(to.0, bytes)
    }

    fn read(&self, from: Pointer, bytes: &mut [u8]) -> Result<()> {
        self.heap.read(from.0, bytes)
    }

    fn zero(&self, at: Pointer, bytes: usize) -> Result<()> {
        self.heap.write(at.0, &vec![0; bytes])
    }

    fn copy(&self, from: Pointer, to: Pointer, bytes: usize) -> Result<()> {
        let mut between = vec![0; bytes];
        self.heap.read(from.0, &mut between)?;
        self.heap.write(to.0, &between)
    }

    fn launch(&self, kernel: &Kernel, launch: Launch, arguments: &[Argument]) -> Result<()> {
        let failed = |what: String| Error::Kernel { kernel: kernel.function.into(), what };
        let library = self.library(kernel)?;
        library.check(arguments).map_err(failed)?;
        if launch.grid.contains(&0) {
            return Ok(());
        }
        let Properties { shared_bytes, .. } = self.properties();
        if launch.threads == 0 || launch.threads > 1024 || launch.shared_bytes > shared_bytes {
            let most = format!("1 to 1024 threads and at most {shared_bytes} bytes of shared memory");
            return Err(failed(format!("expected {most}, found {launch:?}")));
        }
        if launch.grid[1].max(launch.grid[2]) > 65_535 {
            return Err(failed(format!("expected at most 65535 blocks along y and z, found {:?}", launch.grid)));
        }
        library.run(launch, self.options.copies, &self.heap.ranges(), arguments).map_err(failed)?;
        self.heap.check_guards().map_err(failed)
    }

    fn synchronize(&self) -> Result<()> {
        Ok(())
    }
}

/// A lock whose holder cannot leave its content half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
