//! One operation of one's own on a card, every other as it comes: here an attention that counts the keys it was asked for.
//!
//! `cargo run --release -p gar-kernels --features cuda --example my_attention_on_cuda`
#![allow(clippy::print_stdout)]
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use gar_kernels::{
    DType, Kernels, Result, Tensor,
    ops::{Attention, AttentionSpec, Mask},
};

/// Passes the work on and counts.
struct Mine {
    inner: Arc<dyn Attention>,
    keys: AtomicUsize,
}

impl Attention for Mine {
    fn attention(&self, q: &Tensor, k: &Tensor, v: &Tensor, spec: &AttentionSpec) -> Result<Tensor> {
        self.keys.fetch_add(k.shape()[1], Ordering::Relaxed);
        self.inner.attention(q, k, v, spec)
    }
}

fn main() -> Result<()> {
    let cuda = Kernels::cuda(0)?;
    let mine = Arc::new(Mine { inner: cuda.attention.clone(), keys: AtomicUsize::new(0) });
    let kernels = Kernels { attention: mine.clone(), ..cuda };

    let x = kernels.device.zeros(&[1, 1025, 16, 64], DType::BF16)?;
    let spec = AttentionSpec { scale: 0.125, mask: Mask::Full, to: None };
    let y = kernels.attention.attention(&x, &x, &x, &spec)?;
    println!("{:?} on {}, {} keys", y.shape(), y.device(), mine.keys.load(Ordering::Relaxed));
    Ok(())
}
