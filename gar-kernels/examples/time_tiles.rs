//! Times attention on a Hopper by the tile that a block takes, beside the kernel for older cards: one JSON object a line.
//!
//! `cargo run --release -p gar-kernels --features cuda --example time_tiles [-- ORDINAL]`
//!
//! `off` is the largest difference from the older kernel's results.
#![allow(clippy::print_stdout)]
use std::{error::Error, sync::Arc};

use gar_kernels::{
    Kernels, Result, Tensor, bf16,
    cuda::{Cuda, Driver, FlashAttention, FlashTile, HopperAttention, HopperTile, Recorder},
    ops::{Attention, AttentionSpec, Mask},
};

/// Calls of one timing, and timings, of which the fastest counts.
const CALLS: usize = 20;
const TURNS: usize = 5;

struct Bench {
    driver: Arc<Driver>,
    cuda: Cuda,
    k: Kernels,
}

impl Bench {
    fn random(&self, seed: u32, shape: &[usize]) -> Result<Tensor> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            bf16::from_f32((state >> 8) as f32 / (1 << 23) as f32 - 1.0)
        };
        let values = (0..shape.iter().product()).map(|_| next()).collect();
        self.k.device.upload(&Tensor::from_vec(values, shape)?)
    }

    /// Seconds of one call.
    fn time(&self, key: u64, call: &(dyn Fn() -> Result<Tensor> + Sync)) -> Result<f64> {
        let turn = || -> Result<()> {
            let mut outcome = Ok(());
            self.k.device.repeat(key, &mut || outcome = (0..CALLS).try_for_each(|_| call().map(drop)))?;
            outcome
        };
        for _ in 0..3 {
            turn()?;
        }
        let mut best = f64::INFINITY;
        for _ in 0..TURNS {
            best = best.min(self.driver.time(&mut || turn())?.as_secs_f64());
        }
        Ok(best / CALLS as f64)
    }

    fn shape(&self, [len, heads, kv_heads, d]: [usize; 4], causal: bool, tiles: &[HopperTile]) -> Result<()> {
        let batch = (16_384 / len).max(1);
        let q = self.random(1, &[batch, len, heads, d])?;
        let (k, v) = (self.random(2, &[batch, len, kv_heads, d])?, self.random(3, &[batch, len, kv_heads, d])?);
        let mask = if causal { Mask::Causal { offset: 0 } } else { Mask::Full };
        let spec = AttentionSpec { scale: 1.0 / (d as f32).sqrt(), mask, to: None };
        let keys = if d > 96 { 32 } else { 64 };
        let older = FlashAttention { cuda: self.cuda.clone(), tile: FlashTile { sixteens: 2, keys } };
        let expected = self.k.device.download(&older.attention(&q, &k, &v, &spec)?)?.to_f32_vec()?;
        let flop = 4.0 * (batch * heads * len * len * d) as f64 / if causal { 2.0 } else { 1.0 };
        let line = |name: &str, key: usize, op: &(dyn Attention + Sync)| -> Result<()> {
            let found = self.k.device.download(&op.attention(&q, &k, &v, &spec)?)?.to_f32_vec()?;
            // A NaN is as wrong as can be.
            let off = |(e, f): (&f32, &f32)| if f.is_nan() { f32::INFINITY } else { (e - f).abs() };
            let most = expected.iter().zip(&found).map(off).fold(0.0, f32::max);
            let seconds = self.time(key as u64, &|| op.attention(&q, &k, &v, &spec))?;
            println!(
                "{{\"l\": {len}, \"h\": {heads}, \"g\": {kv_heads}, \"d\": {d}, \"causal\": {causal}, \"tile\": \"{name}\", \
                 \"us\": {:.1}, \"tflops\": {:.0}, \"off\": {most:.4}}}",
                seconds * 1e6,
                flop / seconds / 1e12
            );
            Ok(())
        };
        let key = (len * 131 + heads) * 257 + d * 2 + usize::from(causal);
        line("older", key * 64, &older)?;
        for (i, &tile) in tiles.iter().enumerate() {
            for turns in [false, true] {
                let tile = HopperTile { turns, ..tile };
                let fast = HopperAttention { cuda: self.cuda.clone(), tile };
                let name =
                    format!("{} groups, {} keys{}", tile.groups, tile.keys, if turns { ", in turn" } else { "" });
                line(&name, key * 64 + 2 * i + usize::from(turns) + 1, &fast)?;
            }
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let ordinal = std::env::args().nth(1).map_or(Ok(0), |n| n.parse())?;
    let driver = Arc::new(Driver::open(ordinal)?);
    let cuda = Cuda::new(Arc::new(Recorder::new(driver.clone())));
    let bench = Bench { driver, k: Kernels::from(cuda.clone()), cuda };
    let tile = |(groups, keys)| HopperTile { groups, keys, turns: false };
    let narrow = [(3, 128), (3, 112), (2, 128), (2, 176), (2, 192)].map(tile);
    let wide = [(2, 128), (2, 160), (2, 176)].map(tile);
    for len in [1024, 1025, 4096] {
        bench.shape([len, 16, 16, 64], false, &narrow)?;
        bench.shape([len, 32, 8, 64], true, &narrow)?;
        bench.shape([len, 16, 16, 96], false, &[(3, 96), (2, 128), (2, 144)].map(tile))?;
        bench.shape([len, 16, 16, 128], false, &wide)?;
        bench.shape([len, 16, 16, 128], true, &wide)?;
    }
    Ok(())
}
