//! Where a card's time goes while it answers: every kernel and product timed by itself, the longest first; Markdown.
//!
//! `cargo run --release -p gar-core --features cuda --example profile_answer -- MODEL IMAGE MASK [NEW_TOKENS] [MAX_TILES]`
//!
//! Each is waited for, so that all take some 5 µs more than in a row, and nothing overlaps. With one new token the table is that
//! of a picture and a prompt, with many mostly that of a decode step.
#![allow(clippy::print_stdout)]
use std::{
    collections::BTreeMap,
    error::Error,
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use gar_core::{
    AnswerOptions, GarModel, RegionModel, RegionRequest,
    kernels::{
        Kernels, Result,
        cuda::{Argument, Blas, Buffer, Cuda, Driver, Kernel, Launch, Pointer, Product, Properties, Runtime},
    },
    prompt::{DESCRIBE, Mask, RegionSet},
    vision::Image,
};

/// How often something ran, and how long altogether.
#[derive(Clone, Copy, Default)]
struct Sum {
    count: u32,
    time: Duration,
}

/// A driver that times whatever it is asked for.
struct Profiler {
    driver: Driver,
    sums: Mutex<BTreeMap<String, Sum>>,
}

impl Profiler {
    fn timed(&self, name: impl FnOnce() -> String, work: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        let time = self.driver.time(work)?;
        let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = sums.entry(name()).or_default();
        (sum.count, sum.time) = (sum.count + 1, sum.time + time);
        Ok(())
    }

    /// What was timed since the last call.
    fn take(&self) -> Vec<(String, Sum)> {
        let sums = std::mem::take(&mut *self.sums.lock().unwrap_or_else(PoisonError::into_inner));
        let mut sums: Vec<_> = sums.into_iter().collect();
        sums.sort_by_key(|(_, sum)| std::cmp::Reverse(sum.time));
        sums
    }
}

impl std::fmt::Debug for Profiler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Profiler of {:?}", self.driver)
    }
}

impl Runtime for Profiler {
    fn name(&self) -> &str {
        self.driver.name()
    }

    fn properties(&self) -> Properties {
        self.driver.properties()
    }

    fn allocate(&self, bytes: usize) -> Result<Arc<Buffer>> {
        self.driver.allocate(bytes)
    }

    fn write(&self, to: Pointer, bytes: &[u8]) -> Result<()> {
        let name = || if bytes.len() > 1 << 16 { "to the card" } else { "to the card, up to 64 KiB" }.into();
        self.timed(name, &mut || self.driver.write(to, bytes))
    }

    fn read(&self, from: Pointer, bytes: &mut [u8]) -> Result<()> {
        self.driver.read(from, bytes)
    }

    fn zero(&self, at: Pointer, bytes: usize) -> Result<()> {
        self.timed(|| "zeros".into(), &mut || self.driver.zero(at, bytes))
    }

    fn copy(&self, from: Pointer, to: Pointer, bytes: usize) -> Result<()> {
        self.timed(|| "copy".into(), &mut || self.driver.copy(from, to, bytes))
    }

    fn launch(&self, kernel: &Kernel, launch: Launch, arguments: &[Argument]) -> Result<()> {
        let blocks: u64 = launch.grid.iter().map(|&n| u64::from(n)).product();
        let name = || format!("{} in {blocks} blocks", kernel.function);
        self.timed(name, &mut || self.driver.launch(kernel, launch, arguments))
    }

    fn blas(&self) -> Option<&dyn Blas> {
        self.driver.blas().map(|_| self as &dyn Blas)
    }

    fn synchronize(&self) -> Result<()> {
        self.driver.synchronize()
    }
}

impl Blas for Profiler {
    fn matmul(&self, product: &Product) -> Result<()> {
        let Product { m, n, k, bias, residual, .. } = *product;
        let also = |there: bool, what: &'static str| if there { what } else { "" };
        let name = || {
            format!(
                "product {m} × {n} × {k}{}{}",
                also(bias.is_some(), " + bias"),
                also(residual.is_some(), " + residual")
            )
        };
        let library = self.driver.blas();
        self.timed(name, &mut || library.map_or(Ok(()), |blas| blas.matmul(product)))
    }
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, image, mask, rest @ ..] = arguments.as_slice() else {
        return Err("usage: profile_answer MODEL IMAGE MASK [NEW_TOKENS] [MAX_TILES]".into());
    };
    let max_new_tokens = rest.first().map_or(Ok(1), |n| n.parse())?;
    let max_tiles = rest.get(1).map(|n| n.parse::<NonZeroUsize>()).transpose()?;
    let profiler = Arc::new(Profiler { driver: Driver::open(0)?, sums: Mutex::default() });
    // Straight on the driver: a recorder would start many kernels with one call.
    let kernels = Kernels::from(Cuda::new(profiler.clone()));
    let model = GarModel::open(model)?.with_kernels(kernels).load()?;
    let request = RegionRequest {
        image: Image::open(image)?,
        regions: RegionSet::single(Mask::open_picture(mask)?)?,
        question: DESCRIBE.into(),
        options: AnswerOptions { max_new_tokens, max_tiles: max_tiles.map(Into::into), ..AnswerOptions::default() },
    };
    // The first answer compiles and loads.
    model.answer(&request)?;
    profiler.take();
    model.answer(&request)?;
    let sums = profiler.take();
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    println!("| | times | µs each | ms |\n|---|---:|---:|---:|");
    for (name, Sum { count, time }) in &sums {
        let each = milliseconds(*time) * 1e3 / f64::from(*count);
        println!("| {name} | {count} | {each:.1} | {:.3} |", milliseconds(*time));
    }
    println!("| all | | | {:.3} |", sums.iter().map(|(_, sum)| milliseconds(sum.time)).sum::<f64>());
    Ok(())
}
