//! Compiles every kernel ahead, for a card that may be elsewhere, and keeps them where `GAR_KERNEL_CACHE` will point to there.
//!
//! `cargo run --release -p gar-kernels --features cuda --example fill_kernel_cache -- FOLDER [CAPABILITY] [DRIVER]`
//!
//! CAPABILITY is the card's, 9.0 where it is not given; DRIVER the version of CUDA that its driver knows, 13000 (for 13.0).
//! NVRTC must be the one that is found there.
#![allow(clippy::print_stdout)]
use std::error::Error;

use gar_kernels::cuda::{Compiler, KernelCache, architecture, kernels};
use rayon::prelude::*;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("FOLDER [CAPABILITY] [DRIVER]")?;
    let capability = arguments.next().unwrap_or_else(|| "9.0".into());
    let (major, minor) = capability.split_once('.').ok_or("a capability like 9.0")?;
    let capability = (major.parse()?, minor.parse()?);
    let driver: i32 = arguments.next().map_or(Ok(13_000), |driver| driver.parse())?;
    let (compiler, cache) = (Compiler::find()?, KernelCache::in_folder(&folder));
    let (kernels, architecture) = (kernels(capability), architecture(capability));
    kernels.par_iter().try_for_each(|kernel| compiler.cached(kernel, &architecture, driver, &cache).map(drop))?;
    println!("{} kernels for {architecture} in {folder}", kernels.len());
    Ok(())
}
