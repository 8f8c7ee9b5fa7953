//! Whether NVIDIA's libraries are there. cudarc panics where one is missing, so they are looked for first.
use cudarc::{cublaslt, driver, nvrtc};

/// A library, how to look for it, and where it comes from.
type Library = (&'static str, unsafe fn() -> bool, &'static str);

const DRIVER: Library = ("libcuda", driver::sys::is_culib_present, "the NVIDIA driver");
const NVRTC: Library = (
    "libnvrtc",
    nvrtc::sys::is_culib_present,
    "the CUDA toolkit 13.0, or the Python package nvidia-cuda-nvrtc==13.0.*, and name its folder in LD_LIBRARY_PATH",
);
const CUBLASLT: Library = (
    "libcublasLt",
    cublaslt::sys::is_culib_present,
    "the CUDA toolkit 13.0, or the Python package nvidia-cublas==13.0.*, and name its folder in LD_LIBRARY_PATH",
);

/// What is missing, and what to install.
pub(super) fn find_all() -> Result<(), String> {
    [DRIVER, NVRTC, CUBLASLT].into_iter().try_for_each(find)
}

/// As [`find_all`], for the compiler alone.
pub(super) fn find_nvrtc() -> Result<(), String> {
    find(NVRTC)
}

fn find((name, is_there, install): Library) -> Result<(), String> {
    // SAFETY: loads the library by its name and drops it again. Loading runs the library's initialisers, as linking with it
    // would.
    match unsafe { is_there() } {
        true => Ok(()),
        false => Err(format!("{name} not found: install {install}")),
    }
}
