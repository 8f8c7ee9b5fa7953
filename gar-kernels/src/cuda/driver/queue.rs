//! The one stream of a device, and the pool that its memory comes from.
//!
//! Memory is taken and given back in stream order: a buffer that is dropped while kernels that use it are still waiting to run
//! goes back after them. The pool gives nothing back to the system, so that after the first run no allocation reaches it.
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use cudarc::driver::{CudaContext, CudaEvent, CudaStream, DriverError, result, sys};
use rayon::prelude::*;

use super::failure;
use crate::{
    Error, Result,
    cuda::{Buffer, Memory, Pointer},
};

/// Up to this many bytes the driver copies host memory aside itself, without waiting for the device.
const SMALL: usize = 64 << 10;
/// Bytes of one staging buffer, of which there are two.
const STAGING: usize = 16 << 20;
/// Bytes that one thread copies into a staging buffer at a time.
const PIECE: usize = 1 << 20;

/// A stream with its memory.
pub(super) struct Queue {
    name: Arc<str>,
    stream: Arc<CudaStream>,
    pool: Pool,
    staging: Mutex<Vec<Staging>>,
}

/// A pool of device memory.
struct Pool(sys::CUmemoryPool);

// SAFETY: the handle is only passed to driver calls, which may come from any thread.
unsafe impl Send for Pool {}
// SAFETY: as above; the driver's memory calls are thread safe.
unsafe impl Sync for Pool {}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: the pool was made by `Queue::new` and is destroyed here alone. Every buffer holds the queue and with it the
        // pool, so nothing is allocated from it any more.
        let _ = unsafe { result::mem_pool::destroy(self.0) };
    }
}

/// Page-locked host memory, and when the device has read it.
struct Staging {
    start: *mut u8,
    read: CudaEvent,
}

// SAFETY: the memory belongs to this value alone; the pointer is freed once, by any thread.
unsafe impl Send for Staging {}

impl Drop for Staging {
    fn drop(&mut self) {
        let _ = self.read.synchronize();
        // SAFETY: `malloc_host` gave the memory, nothing refers to it, and the device has read it.
        let _ = unsafe { result::free_host(self.start.cast()) };
    }
}

impl Queue {
    pub(super) fn new(name: Arc<str>, context: Arc<CudaContext>) -> Result<Self> {
        let failed = |call: &'static str| {
            let name = name.clone();
            move |error| failure::error(&name, call, error)
        };
        if !context.has_async_alloc() {
            let why = "expected a device with memory pools, found one without".into();
            return Err(Error::Unavailable { device: name.to_string(), why });
        }
        // cudarc's own tracking of events concerns its slices alone, and none is ever made.
        let stream = context.new_stream().map_err(failed("make a stream"))?;
        let pool = make_pool(&context).map_err(failed("make a memory pool"))?;
        Ok(Self { name, stream, pool, staging: Mutex::default() })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn stream(&self) -> &CudaStream {
        &self.stream
    }

    pub(super) fn context(&self) -> &Arc<CudaContext> {
        self.stream.context()
    }

    /// Makes the device's context current and does `work` there.
    pub(super) fn call<T>(&self, call: &str, work: impl FnOnce() -> Result<T, DriverError>) -> Result<T> {
        let done = self.context().bind_to_thread().and_then(|()| work());
        done.map_err(|error| failure::error(&self.name, call, error))
    }

    pub(super) fn allocate(self: &Arc<Self>, bytes: usize) -> Result<Arc<Buffer>> {
        // SAFETY: pool and stream live as long as `self`; what is allocated is uninitialised, which is what callers are told.
        let take = || unsafe { result::mem_pool::alloc_async(self.pool.0, bytes, self.stream.cu_stream()) };
        let full = |result: &Result<_, DriverError>| {
            matches!(result, Err(DriverError(sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY)))
        };
        self.context().bind_to_thread().map_err(|e| failure::error(&self.name, "bind the device", e))?;
        let mut taken = take();
        if full(&taken) {
            // What was given back lately may still lie scattered in the pool: hand it to the system, and ask once more.
            self.synchronize()?;
            // SAFETY: the pool lives.
            let _ = unsafe { result::mem_pool::trim_to(self.pool.0, 0) };
            taken = take();
        }
        if full(&taken) {
            let free = result::mem_get_info().map_or(0, |(free, _)| free) + self.unused();
            return Err(Error::OutOfMemory { device: self.name.to_string(), asked: bytes, free });
        }
        let address = taken.map_err(|error| failure::error(&self.name, "allocate memory", error))?;
        Ok(Arc::new(Buffer::new(address, bytes, self.name.clone(), self.clone())))
    }

    /// Bytes that the pool holds and nobody uses.
    fn unused(&self) -> usize {
        use sys::CUmemPool_attribute as A;
        let get = |attribute| {
            let mut value = 0_u64;
            // SAFETY: both attributes are 64-bit numbers, and `value` is one.
            let got = unsafe { result::mem_pool::get_attribute(self.pool.0, attribute, (&raw mut value).cast()) };
            got.map_or(0, |()| value as usize)
        };
        get(A::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT).saturating_sub(get(A::CU_MEMPOOL_ATTR_USED_MEM_CURRENT))
    }

    pub(super) fn write(&self, to: Pointer, bytes: &[u8]) -> Result<()> {
        if bytes.len() > SMALL {
            return self.write_staged(to, bytes);
        }
        // SAFETY: callers pass addresses of live buffers with room for `bytes`; pageable memory has been copied aside when
        // the call returns.
        self.call("write memory", || unsafe { result::memcpy_htod_async(to.0, bytes, self.stream.cu_stream()) })
    }

    /// Through page-locked memory: while the device copies one part, all cores bring in the next (from a mapped file, often).
    fn write_staged(&self, to: Pointer, bytes: &[u8]) -> Result<()> {
        let mut staging = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        while staging.len() < 2 {
            staging.push(self.make_staging()?);
        }
        for (i, part) in bytes.chunks(STAGING).enumerate() {
            let Staging { start, read } = &mut staging[i % 2];
            self.call("wait for a copy", || read.synchronize())?;
            // SAFETY: `STAGING` bytes start there, the device has read what stood in them, and the lock keeps others away.
            let room = unsafe { std::slice::from_raw_parts_mut(*start, part.len()) };
            room.par_chunks_mut(PIECE).zip(part.par_chunks(PIECE)).for_each(|(to, from)| to.copy_from_slice(from));
            let to = to.offset(i * STAGING);
            self.call("write memory", || {
                // SAFETY: callers pass live buffers with room for all bytes; `room` is not written before `read` has come.
                unsafe { result::memcpy_htod_async(to.0, room, self.stream.cu_stream()) }?;
                read.record(&self.stream)
            })?;
        }
        Ok(())
    }

    fn make_staging(&self) -> Result<Staging> {
        self.call("lock host memory", || {
            let read = self.context().new_event(None)?;
            // SAFETY: plain memory, initialised before it becomes a slice.
            let start: *mut u8 = unsafe { result::malloc_host(STAGING, 0) }?.cast();
            // SAFETY: `STAGING` bytes start there.
            unsafe { start.write_bytes(0, STAGING) };
            Ok(Staging { start, read })
        })
    }

    pub(super) fn read(&self, from: Pointer, bytes: &mut [u8]) -> Result<()> {
        self.call("read memory", || {
            // SAFETY: callers pass addresses of live buffers that hold as many bytes; the copy is over before this returns.
            unsafe { result::memcpy_dtoh_async(bytes, from.0, self.stream.cu_stream()) }?;
            self.stream.synchronize()
        })
    }

    pub(super) fn zero(&self, at: Pointer, bytes: usize, stream: &CudaStream) -> Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: callers pass addresses of live buffers with room for as many bytes.
        self.call("clear memory", || unsafe { result::memset_d8_async(at.0, 0, bytes, stream.cu_stream()) })
    }

    pub(super) fn copy(&self, from: Pointer, to: Pointer, bytes: usize, stream: &CudaStream) -> Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: callers pass addresses of live buffers that hold as many bytes and do not overlap.
        self.call("copy memory", || unsafe { result::memcpy_dtod_async(to.0, from.0, bytes, stream.cu_stream()) })
    }

    pub(super) fn synchronize(&self) -> Result<()> {
        self.call("wait for the device", || self.stream.synchronize())
    }
}

/// A pool of a device's memory that keeps what it has.
fn make_pool(context: &CudaContext) -> Result<Pool, DriverError> {
    let location =
        sys::CUmemLocation { type_: sys::CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE, id: context.cu_device() };
    // SAFETY: a plain C structure for which zeros are the defaults.
    let mut wanted: sys::CUmemPoolProps = unsafe { std::mem::zeroed() };
    wanted.allocType = sys::CUmemAllocationType::CU_MEM_ALLOCATION_TYPE_PINNED;
    wanted.location = location;
    // SAFETY: `wanted` is complete.
    let pool = Pool(unsafe { result::mem_pool::create(&raw const wanted) }?);
    let mut keep = u64::MAX;
    let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: the attribute is a 64-bit number, and `keep` is one.
    unsafe { result::mem_pool::set_attribute(pool.0, attribute, (&raw mut keep).cast()) }?;
    Ok(pool)
}

impl Memory for Queue {
    fn release(&self, address: u64, _: usize) {
        // SAFETY: the address came from this pool and its only owner is gone; the stream runs what uses it before.
        // A device that is lost has no memory to give back.
        let _ = self.call("free memory", || unsafe { result::free_async(address, self.stream.cu_stream()) });
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Queue of {}", self.name)
    }
}
