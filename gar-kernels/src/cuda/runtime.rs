//! What CUDA kernels need of whatever runs them: memory, launches, and on a real device a matrix library.
//!
//! Operations are written against [`Runtime`] alone. Two implement it: the NVIDIA driver (feature `cuda`) and the emulator
//! (feature `emulator`), which compiles the very same `.cu` files for the host and runs them there. So a wrapper's
//! arithmetic (grid, tails, arguments) is proven together with its kernel on machines without a GPU.
use std::{
    any::Any,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{Error, Result, Storage};

/// Something that holds device memory and runs kernels, one after another in the order they are launched.
///
/// Everything but [`read`](Runtime::read) and [`synchronize`](Runtime::synchronize) may return before it is done.
pub trait Runtime: Send + Sync + fmt::Debug {
    /// Name of the device as users write it: `cuda:0`, `emulator`.
    fn name(&self) -> &str;

    /// What wrappers choose grids and tiles by.
    fn properties(&self) -> Properties;

    /// Uninitialised memory, aligned to 256 bytes. It goes back when the last owner drops it.
    ///
    /// # Errors
    /// When memory runs out: the bytes asked for and those free.
    fn allocate(&self, bytes: usize) -> Result<Arc<Buffer>>;

    /// Copies host bytes to `to`. The bytes may be dropped when this returns.
    ///
    /// # Errors
    /// When the device is lost.
    fn write(&self, to: Pointer, bytes: &[u8]) -> Result<()>;

    /// Copies device bytes to the host, after everything launched before.
    ///
    /// # Errors
    /// When the device is lost.
    fn read(&self, from: Pointer, bytes: &mut [u8]) -> Result<()>;

    /// Sets `bytes` bytes to 0.
    ///
    /// # Errors
    /// When the device is lost.
    fn zero(&self, at: Pointer, bytes: usize) -> Result<()>;

    /// Copies `bytes` bytes on the device; the ranges do not overlap.
    ///
    /// # Errors
    /// When the device is lost.
    fn copy(&self, from: Pointer, to: Pointer, bytes: usize) -> Result<()>;

    /// Plain values as device memory: indices, boxes, positions. The buffer must live until the launch that reads it.
    ///
    /// # Errors
    /// As [`allocate`](Runtime::allocate) and [`write`](Runtime::write).
    fn values(&self, bytes: &[u8]) -> Result<Arc<Buffer>> {
        // No values have an address like any others.
        let buffer = self.allocate(bytes.len().max(1))?;
        self.write(buffer.pointer(), bytes)?;
        Ok(buffer)
    }

    /// Compiles the kernel where that has not been done, and launches it.
    ///
    /// # Errors
    /// A kernel that does not compile or load, a launch that the device refuses.
    fn launch(&self, kernel: &Kernel, launch: Launch, arguments: &[Argument]) -> Result<()>;

    /// A tuned matrix product, where there is one; without it the wrapper launches its own kernel.
    fn blas(&self) -> Option<&dyn Blas> {
        None
    }

    /// Commands put together, to be started with one call; nothing where that gains nothing.
    ///
    /// # Errors
    /// What the device refuses.
    fn graph(&self, commands: &[Command]) -> Result<Option<Box<dyn Graph>>> {
        let _ = commands;
        Ok(None)
    }

    /// As [`Device::repeat`](crate::Device::repeat).
    ///
    /// # Errors
    /// A failure that `work` itself did not see.
    fn repeat(&self, key: u64, work: &mut (dyn FnMut() + Send)) -> Result<()> {
        let _ = key;
        work();
        Ok(())
    }

    /// Waits until everything launched is done.
    ///
    /// # Errors
    /// When the device is lost, or a kernel failed.
    fn synchronize(&self) -> Result<()>;
}

/// What wrappers choose grids and tiles by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Properties {
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// Compute capability, major and minor.
    pub capability: (u32, u32),
    /// Most bytes of dynamic shared memory that a block may ask for.
    pub shared_bytes: u32,
}

/// An address in device memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pointer(pub u64);

/// One `.cu` file. Within one build its name fixes its text, so two of one name are equal.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// Name without ending, for messages and the cache: `roi_align`.
    pub name: &'static str,
    /// Its text; headers are found among [`HEADERS`](super::HEADERS).
    pub text: &'static str,
}

/// A function of a source, compiled with some macros defined: element type, head size, tile.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Kernel {
    /// Where it stands.
    pub source: &'static Source,
    /// Its `extern "C"` name.
    pub function: &'static str,
    /// Macros and their values, in the order they are passed.
    pub defines: Vec<(&'static str, String)>,
}

/// The shape of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Blocks along x, y and z; with a 0 among them nothing is launched.
    pub grid: [u32; 3],
    /// Threads of a block, along x.
    pub threads: u32,
    /// Bytes of dynamic shared memory.
    pub shared_bytes: u32,
}

/// One argument of a kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Argument {
    /// A pointer; 0 for none.
    Pointer(u64),
    /// `int`.
    I32(i32),
    /// `unsigned`.
    U32(u32),
    /// `unsigned long long`.
    U64(u64),
    /// `float`.
    F32(f32),
}

/// Work on device memory that can be put into a graph.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// [`Runtime::launch`].
    Launch {
        /// What is launched.
        kernel: Kernel,
        /// Grid and block.
        launch: Launch,
        /// Its arguments.
        arguments: Vec<Argument>,
    },
    /// [`Blas::matmul`].
    Product(Product),
    /// [`Runtime::copy`].
    Copy {
        /// Start of the source.
        from: Pointer,
        /// Start of the destination.
        to: Pointer,
        /// Length.
        bytes: usize,
    },
    /// [`Runtime::zero`].
    Zero {
        /// Start.
        at: Pointer,
        /// Length.
        bytes: usize,
    },
}

impl Command {
    /// Carries it out.
    pub(super) fn run(&self, runtime: &dyn Runtime) -> Result<()> {
        match self {
            Self::Launch { kernel, launch, arguments } => runtime.launch(kernel, *launch, arguments),
            Self::Copy { from, to, bytes } => runtime.copy(*from, *to, *bytes),
            Self::Zero { at, bytes } => runtime.zero(*at, *bytes),
            Self::Product(product) => match runtime.blas() {
                Some(blas) => blas.matmul(product),
                None => Err(Error::value("matmul", "product", "a runtime with a matrix library", runtime.name())),
            },
        }
    }
}

/// Commands that are started together.
pub trait Graph: Send + Sync {
    /// Runs all of them, in their order, after everything launched before.
    ///
    /// # Errors
    /// When the device is lost.
    fn launch(&self) -> Result<()>;
}

/// `y = epilogue(x · wᵀ)` with bf16 operands and f32 sums.
pub trait Blas: Send + Sync {
    /// Runs one product.
    ///
    /// # Errors
    /// What the library refuses.
    fn matmul(&self, product: &Product) -> Result<()>;
}

/// One product: `x` [m, k] and `w` [n, k], both row-major bf16, to `y` [m, n] in bf16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Product {
    /// Rows of `x`.
    pub m: usize,
    /// Rows of `w`.
    pub n: usize,
    /// Columns of both.
    pub k: usize,
    /// [m, k].
    pub x: Pointer,
    /// [n, k].
    pub w: Pointer,
    /// [m, n].
    pub y: Pointer,
    /// `[n]` bf16, added to every row.
    pub bias: Option<Pointer>,
    /// [m, n] bf16, added last.
    pub residual: Option<Pointer>,
}

/// Device memory of one tensor. Dropping the last owner hands it back.
pub struct Buffer {
    address: u64,
    bytes: usize,
    device: Arc<str>,
    memory: Arc<dyn Memory>,
    uploaded: AtomicBool,
}

/// Takes back what was allocated.
pub trait Memory: Send + Sync {
    /// Takes back `bytes` bytes at `address`, after everything launched so far.
    fn release(&self, address: u64, bytes: usize);
}

impl Buffer {
    /// Memory that `memory` takes back. For runtimes.
    pub fn new(address: u64, bytes: usize, device: Arc<str>, memory: Arc<dyn Memory>) -> Self {
        Self { address, bytes, device, memory, uploaded: AtomicBool::new(false) }
    }

    /// Where it starts.
    pub fn pointer(&self) -> Pointer {
        Pointer(self.address)
    }

    /// Whether what it holds came from the host, and no kernel writes to it.
    pub(super) fn is_uploaded(&self) -> bool {
        self.uploaded.load(Ordering::Relaxed)
    }

    /// Says so.
    pub(super) fn set_uploaded(&self) {
        self.uploaded.store(true, Ordering::Relaxed);
    }

    /// The device it lies on.
    pub(super) fn device_name(&self) -> Arc<str> {
        self.device.clone()
    }
}

impl Storage for Buffer {
    fn device(&self) -> &str {
        &self.device
    }

    fn byte_len(&self) -> usize {
        self.bytes
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.memory.release(self.address, self.bytes);
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes on {} at {:#x}", self.bytes, self.device, self.address)
    }
}

impl Pointer {
    /// `bytes` further on.
    #[must_use]
    pub fn offset(self, bytes: usize) -> Self {
        Self(self.0 + bytes as u64)
    }
}

impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Source {}

impl std::hash::Hash for Source {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl From<Pointer> for Argument {
    fn from(pointer: Pointer) -> Self {
        Self::Pointer(pointer.0)
    }
}

impl From<Option<Pointer>> for Argument {
    fn from(pointer: Option<Pointer>) -> Self {
        Self::Pointer(pointer.map_or(0, |p| p.0))
    }
}
