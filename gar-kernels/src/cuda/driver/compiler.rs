//! Kernels to machine code, by NVIDIA's compiler at run time (NVRTC). It needs no GPU.
use std::ffi::{CStr, CString, c_char, c_int};

use cudarc::nvrtc::{result::NvrtcError, sys};

use super::{CacheKey, KernelCache, library};
use crate::{
    Error, Result,
    cuda::{HEADERS, Kernel},
};

/// What every kernel is compiled with. Line numbers cost nothing on the device and name the line in profilers; `-v` puts
/// registers and spills in the log.
const OPTIONS: &[&str] = &["--std=c++17", "--generate-line-info", "--ptxas-options=-v"];

/// The compiler.
#[derive(Clone, Debug)]
pub struct Compiler {
    version: (i32, i32),
}

/// Machine code of one source with its macros: all its functions.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// A cubin.
    pub image: Vec<u8>,
    /// What the compiler says of each function: registers, shared memory, spills.
    pub log: String,
}

/// The architecture that kernels are compiled for, by compute capability. On 9.0 it is `sm_90a`: without the letter, NVRTC
/// leaves that chip's own instructions out.
pub fn architecture((major, minor): (u32, u32)) -> String {
    let own = if (major, minor) == (9, 0) { "a" } else { "" };
    format!("sm_{major}{minor}{own}")
}

impl Compiler {
    /// Looks for the library.
    ///
    /// # Errors
    /// [`Error::Unavailable`] with what to install.
    pub fn find() -> Result<Self> {
        library::find_nvrtc().map_err(|why| Error::Unavailable { device: "cuda".into(), why })?;
        let (mut major, mut minor) = (0, 0);
        // SAFETY: two numbers to be filled in.
        let asked = unsafe { sys::nvrtcVersion(&raw mut major, &raw mut minor) }.result();
        asked.map_err(|e| Error::Unavailable { device: "cuda".into(), why: format!("libnvrtc: {e:?}") })?;
        Ok(Self { version: (major, minor) })
    }

    /// Major and minor version.
    pub fn version(&self) -> (i32, i32) {
        self.version
    }

    /// Everything that [`compile`](Self::compile) depends on.
    pub fn key(&self, kernel: &Kernel, architecture: &str) -> CacheKey {
        let (major, minor) = self.version;
        let version = format!("NVRTC {major}.{minor}");
        let mut key =
            CacheKey::default().with(version).with(architecture).with(kernel.source.name).with(kernel.source.text);
        for option in OPTIONS {
            key = key.with(option);
        }
        for (name, value) in &kernel.defines {
            key = key.with(name).with(value);
        }
        HEADERS.iter().fold(key.with("headers"), |key, (name, text)| key.with(name).with(text))
    }

    /// The image that a machine loads whose driver has the version `driver` (13000 for 13.0): from the cache, or compiled and kept
    /// there. So a cache can be filled on a machine without a card.
    ///
    /// # Errors
    /// As [`compile`](Self::compile).
    pub fn cached(&self, kernel: &Kernel, architecture: &str, driver: i32, cache: &KernelCache) -> Result<Vec<u8>> {
        let key = self.key(kernel, architecture).with(format!("driver {driver}"));
        cache.get(&key, || Ok(self.compile(kernel, architecture)?.image))
    }

    /// Compiles the source of `kernel` with its macros for `architecture`.
    ///
    /// # Errors
    /// [`Error::Kernel`] with the compiler's messages.
    pub fn compile(&self, kernel: &Kernel, architecture: &str) -> Result<Compiled> {
        let failed = |what: String| Error::Kernel { kernel: kernel.function.into(), what };
        let text = |text: &str| CString::new(text).map_err(|_| failed("a text holds a zero byte".into()));
        let mut options = vec![text(&format!("--gpu-architecture={architecture}"))?];
        for option in OPTIONS {
            options.push(text(option)?);
        }
        for (name, value) in &kernel.defines {
            options.push(text(&format!("--define-macro={name}={value}"))?);
        }
        let headers = HEADERS.iter().map(|(name, body)| Ok((text(name)?, text(body)?))).collect::<Result<Vec<_>>>()?;
        let name = text(&format!("{}.cu", kernel.source.name))?;
        let program = Program::new(&text(kernel.source.text)?, &name, &headers)
            .map_err(|e| failed(format!("NVRTC refuses the program: {e:?}")))?;
        let compiled = program.compile(&options);
        let log = program.log();
        match compiled.and_then(|()| program.image()) {
            Ok(image) => Ok(Compiled { image, log }),
            Err(e) => Err(failed(format!("does not compile for {architecture} ({e:?}): {}", log.trim()))),
        }
    }
}

/// A program in the compiler, destroyed when it is dropped.
struct Program(sys::nvrtcProgram);

impl Program {
    fn new(source: &CStr, name: &CStr, headers: &[(CString, CString)]) -> Result<Self, NvrtcError> {
        let names: Vec<*const c_char> = headers.iter().map(|(name, _)| name.as_ptr()).collect();
        let texts: Vec<*const c_char> = headers.iter().map(|(_, text)| text.as_ptr()).collect();
        let mut program = std::ptr::null_mut();
        let count = headers.len() as c_int;
        // SAFETY: all texts end with a zero byte and live until the call returns, which copies them; both lists hold `count`.
        unsafe {
            sys::nvrtcCreateProgram(
                &raw mut program,
                source.as_ptr(),
                name.as_ptr(),
                count,
                texts.as_ptr(),
                names.as_ptr(),
            )
        }
        .result()?;
        Ok(Self(program))
    }

    fn compile(&self, options: &[CString]) -> Result<(), NvrtcError> {
        let options: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
        // SAFETY: the program lives; the options end with zero bytes and live until the call returns.
        unsafe { sys::nvrtcCompileProgram(self.0, options.len() as c_int, options.as_ptr()) }.result()
    }

    fn image(&self) -> Result<Vec<u8>, NvrtcError> {
        let mut size = 0;
        // SAFETY: the program lives; `size` is to be filled in.
        unsafe { sys::nvrtcGetCUBINSize(self.0, &raw mut size) }.result()?;
        let mut image = vec![0_u8; size];
        // SAFETY: the program lives, and `image` has the size that was asked for.
        unsafe { sys::nvrtcGetCUBIN(self.0, image.as_mut_ptr().cast()) }.result()?;
        Ok(image)
    }

    /// The compiler's messages; none where it has none.
    fn log(&self) -> String {
        let mut size = 0;
        // SAFETY: the program lives; `size` is to be filled in.
        if unsafe { sys::nvrtcGetProgramLogSize(self.0, &raw mut size) }.result().is_err() {
            return String::new();
        }
        let mut log = vec![0_u8; size];
        // SAFETY: the program lives, and `log` has the size that was asked for.
        match unsafe { sys::nvrtcGetProgramLog(self.0, log.as_mut_ptr().cast()) }.result() {
            Ok(()) => String::from_utf8_lossy(&log).trim_end_matches('\0').to_owned(),
            Err(_) => String::new(),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: made by `new`, destroyed here alone.
        let _ = unsafe { sys::nvrtcDestroyProgram(&raw mut self.0) }.result();
    }
}
