//! An emulator with a matrix library, host loops in the place of cuBLASLt, that tells what was launched last.
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use gar_kernels::{
    Result, bf16,
    cuda::{Argument, Blas, Buffer, Kernel, Launch, Pointer, Product, Properties, Runtime},
};

#[derive(Debug)]
pub(crate) struct WithLibrary {
    inner: Arc<dyn Runtime>,
    calls: AtomicUsize,
    last: Mutex<Vec<Argument>>,
}

impl WithLibrary {
    pub(crate) fn new(inner: Arc<dyn Runtime>) -> Self {
        Self { inner, calls: AtomicUsize::new(0), last: Mutex::default() }
    }

    /// Products so far.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// Arguments of the last launch.
    pub(crate) fn last_arguments(&self) -> Vec<Argument> {
        self.last.lock().unwrap().clone()
    }

    fn values(&self, at: Pointer, len: usize) -> Result<Vec<f32>> {
        let mut values = vec![bf16::ZERO; len];
        self.inner.read(at, bytemuck::cast_slice_mut(&mut values))?;
        Ok(values.into_iter().map(f32::from).collect())
    }
}

impl Blas for WithLibrary {
    fn matmul(&self, p: &Product) -> Result<()> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let (x, w) = (self.values(p.x, p.m * p.k)?, self.values(p.w, p.n * p.k)?);
        let bias = p.bias.map(|b| self.values(b, p.n)).transpose()?;
        let residual = p.residual.map(|r| self.values(r, p.m * p.n)).transpose()?;
        let entry = |at: usize| {
            let (row, column) = (&x[at / p.n * p.k..][..p.k], at % p.n);
            let sum: f32 = row.iter().zip(&w[column * p.k..]).map(|(x, w)| x * w).sum();
            bf16::from_f32(sum + bias.as_ref().map_or(0.0, |b| b[column]) + residual.as_ref().map_or(0.0, |r| r[at]))
        };
        let y: Vec<bf16> = (0..p.m * p.n).map(entry).collect();
        self.inner.write(p.y, bytemuck::cast_slice(&y))
    }
}

impl Runtime for WithLibrary {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn properties(&self) -> Properties {
        self.inner.properties()
    }

    fn allocate(&self, bytes: usize) -> Result<Arc<Buffer>> {
        self.inner.allocate(bytes)
    }

    fn write(&self, to: Pointer, bytes: &[u8]) -> Result<()> {
        self.inner.write(to, bytes)
    }

    fn read(&self, from: Pointer, bytes: &mut [u8]) -> Result<()> {
        self.inner.read(from, bytes)
    }

    fn zero(&self, at: Pointer, bytes: usize) -> Result<()> {
        self.inner.zero(at, bytes)
    }

    fn copy(&self, from: Pointer, to: Pointer, bytes: usize) -> Result<()> {
        self.inner.copy(from, to, bytes)
    }

    fn launch(&self, kernel: &Kernel, launch: Launch, arguments: &[Argument]) -> Result<()> {
        *self.last.lock().unwrap() = arguments.to_vec();
        self.inner.launch(kernel, launch, arguments)
    }

    fn blas(&self) -> Option<&dyn Blas> {
        Some(self)
    }

    fn synchronize(&self) -> Result<()> {
        self.inner.synchronize()
    }
}
