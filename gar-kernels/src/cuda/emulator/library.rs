//! The shared library of one kernel: what it exports, and how it is called.
use std::{
    ffi::{CStr, c_char, c_int, c_void},
    path::Path,
};

use super::{Copies, heap::GUARD};
use crate::{
    Error, Result,
    cuda::{Argument, Launch},
};

/// `emulator::Launch` in `emulator_fibers.h`.
#[repr(C)]
struct RawLaunch {
    grid: [u32; 3],
    threads: u32,
    shared_bytes: u32,
    lazy: u32,
    buffers: *const [u64; 2],
    buffer_count: u64,
    guard_bytes: u64,
}

/// `gar_run` in `entry.cpp`.
type Run = unsafe extern "C" fn(*const RawLaunch, *const *const c_void, *mut c_char, usize) -> c_int;
/// `gar_signature` in `entry.cpp`.
type Signature = unsafe extern "C" fn() -> *const c_char;

/// A loaded kernel.
#[derive(Debug)]
pub(super) struct Library {
    run: Run,
    /// A letter for each parameter.
    signature: Vec<u8>,
    /// Keeps the code that `run` points to.
    _library: libloading::Library,
}

impl Library {
    pub(super) fn open(file: &Path, function: &str) -> Result<Self> {
        let failed = |e: libloading::Error| Error::Kernel {
            kernel: function.into(),
            what: format!("{} does not load: {e}", file.display()),
        };
        // SAFETY: a library that this crate compiled, or found in its folder under a fingerprint of its text; its
        // initialisers construct empty containers and nothing else.
        let library = unsafe { libloading::Library::new(file) }.map_err(failed)?;
        // SAFETY: entry.cpp defines both functions with these types.
        let (run, signature) = unsafe {
            let run = *library.get::<Run>(b"gar_run\0").map_err(failed)?;
            let signature = *library.get::<Signature>(b"gar_signature\0").map_err(failed)?;
            (run, CStr::from_ptr(signature()).to_bytes().to_vec())
        };
        Ok(Self { run, signature, _library: library })
    }

    /// Compares arguments with the parameters of the kernel, which a GPU does not.
    pub(super) fn check(&self, arguments: &[Argument]) -> Result<(), String> {
        let found: Vec<u8> = arguments.iter().map(letter).collect();
        if found == self.signature {
            return Ok(());
        }
        let text = |letters: &[u8]| letters.iter().map(|&l| name(l)).collect::<Vec<_>>().join(", ");
        Err(format!("expected arguments ({}), found ({})", text(&self.signature), text(&found)))
    }

    /// Runs every block. Arguments have been checked.
    pub(super) fn run(
        &self,
        launch: Launch,
        copies: Copies,
        buffers: &[[u64; 2]],
        arguments: &[Argument],
    ) -> Result<(), String> {
        let raw = RawLaunch {
            grid: launch.grid,
            threads: launch.threads,
            shared_bytes: launch.shared_bytes,
            lazy: u32::from(copies == Copies::Lazy),
            buffers: buffers.as_ptr(),
            buffer_count: buffers.len() as u64,
            guard_bytes: GUARD as u64,
        };
        let values: Vec<u64> = arguments.iter().map(bits).collect();
        let pointers: Vec<*const c_void> = values.iter().map(|v| std::ptr::from_ref(v).cast()).collect();
        let mut message = [0_u8; 1024];
        // SAFETY: `raw` and `message` outlive the call; each pointer leads to as many bytes as the parameter has, because
        // letters agree and the target is little-endian. The kernel itself may touch any address: it is trusted as it
        // is on a GPU, and watched by guards.
        let failed =
            unsafe { (self.run)(&raw const raw, pointers.as_ptr(), message.as_mut_ptr().cast(), message.len()) };
        if failed == 0 {
            return Ok(());
        }
        let end = message.iter().position(|&b| b == 0).unwrap_or(message.len());
        Err(String::from_utf8_lossy(&message[..end]).into_owned())
    }
}

fn bits(argument: &Argument) -> u64 {
    match *argument {
        Argument::Pointer(v) | Argument::U64(v) => v,
        Argument::I32(v) => u64::from(v.cast_unsigned()),
        Argument::U32(v) => u64::from(v),
        Argument::F32(v) => u64::from(v.to_bits()),
    }
}

fn letter(argument: &Argument) -> u8 {
    match argument {
        Argument::Pointer(_) => b'p',
        Argument::I32(_) => b'i',
        Argument::U32(_) => b'u',
        Argument::U64(_) => b'U',
        Argument::F32(_) => b'f',
    }
}

fn name(letter: u8) -> &'static str {
    match letter {
        b'p' => "pointer",
        b'i' => "int",
        b'u' => "unsigned",
        b'U' => "unsigned long long",
        b'f' => "float",
        _ => "a type that no argument has",
    }
}
