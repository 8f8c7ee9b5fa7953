//! Times every kernel on a card, one JSON object a line, for `tools/gpu/peers.py` to set beside PyTorch.
//!
//! `cargo run --release -p gar-kernels --features cuda --example time_kernels [-- ORDINAL]`
//!
//! Each operation runs over a ring of inputs that is larger than the second-level cache, recorded, so that what is timed is
//! the device and not the launches.
#![allow(clippy::print_stdout)]
use std::{
    error::Error,
    sync::{Arc, Mutex, PoisonError},
};

use gar_kernels::{
    DType, Kernels, Result, Tensor, bf16,
    cuda::{Cuda, Driver, Recorder, Runtime},
    ops::{
        Activation, AttentionSpec, CacheSpec, CachedAttentionSpec, Draw, Epilogue, Gated, KvCache, Mask, NormKind,
        NormSpec, Normalization, Pairing, PoolSpec, Projection, RoiAlignSpec, RotarySpec, Rotation,
    },
};

/// Bytes of a ring of inputs: several times the largest second-level cache (50 MB on an H100, 60 on an H200).
const RING: usize = 256 << 20;
/// Timings, of which the fastest counts, and the turns of the ring in each: a turn is started while the one before it runs.
const TIMINGS: usize = 10;
const TURNS: u32 = 5;
/// Layers of the decoder, its query heads, key/value heads and entries of a head.
const LAYERS: usize = 16;
const HEADS: (usize, usize, usize) = (32, 8, 64);

struct Bench {
    driver: Arc<Driver>,
    k: Kernels,
}

/// Attention through caches in one of their layers.
fn at(layer: usize) -> CachedAttentionSpec {
    CachedAttentionSpec { layer, scale: 0.125, to: None }
}

impl Bench {
    fn random(&self, shape: &[usize], dtype: DType) -> Result<Tensor> {
        let mut state = 0x9e37_79b9_u32;
        let mut next = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        let len = shape.iter().product();
        let host = match dtype {
            DType::F32 => Tensor::from_vec((0..len).map(|_| next()).collect::<Vec<f32>>(), shape)?,
            _ => Tensor::from_vec((0..len).map(|_| bf16::from_f32(next())).collect(), shape)?,
        };
        self.k.device.upload(&host)
    }

    /// Copies of one tensor, enough to fill the ring.
    fn ring(&self, shape: &[usize], dtype: DType) -> Result<Vec<Tensor>> {
        let bytes = shape.iter().product::<usize>() * dtype.size();
        (0..(RING / bytes.max(1)).clamp(2, 48)).map(|_| self.random(shape, dtype)).collect()
    }

    /// Prints microseconds of one call beside its parameters.
    fn line<T: Sync>(&self, parameters: &str, ring: &[T], call: impl Fn(&T) -> Result<Tensor> + Sync) -> Result<()> {
        let turn = || -> Result<()> {
            let mut outcome = Ok(());
            let mut work = || outcome = ring.iter().try_for_each(|input| call(input).map(drop));
            self.k.device.repeat(ring.as_ptr() as u64, &mut work)?;
            outcome
        };
        // Compiled and recorded; made into graphs; warm.
        for _ in 0..3 {
            turn()?;
        }
        let mut best = f64::INFINITY;
        for _ in 0..TIMINGS {
            let time = self.driver.time(&mut || (0..TURNS).try_for_each(|_| turn()))? / TURNS;
            best = best.min(time.as_secs_f64());
        }
        println!("{{{parameters}, \"us\": {:.3}}}", best * 1e6 / ring.len() as f64);
        Ok(())
    }

    fn attention(&self) -> Result<()> {
        // The tower's sizes (1024 patches, one more with a class token), then Llama's, B·L = 16k as FlashAttention's plots.
        for (heads, kv_heads, d, causal) in
            [(16, 16, 64, false), (16, 16, 96, false), (16, 16, 128, false), (32, 8, 64, true), (16, 16, 128, true)]
        {
            for len in [512, 1024, 1025, 4096] {
                let batch = (16_384 / len).max(1);
                let q = self.ring(&[batch, len, heads, d], DType::BF16)?;
                let kv = self.random(&[batch, len, kv_heads, d], DType::BF16)?;
                let mask = if causal { Mask::Causal { offset: 0 } } else { Mask::Full };
                let spec = AttentionSpec { scale: 1.0 / (d as f32).sqrt(), mask, to: None };
                let line = format!(
                    "\"op\": \"attention\", \"b\": {batch}, \"l\": {len}, \"h\": {heads}, \"g\": {kv_heads}, \"d\": {d}, \"causal\": {causal}"
                );
                self.line(&line, &q, |q| self.k.attention.attention(q, &kv, &kv, &spec))?;
            }
        }
        Ok(())
    }

    /// With room for one more position.
    fn filled_cache(&self, len: usize) -> Result<Box<dyn KvCache>> {
        let (heads, kv_heads, d) = HEADS;
        let spec = CacheSpec { layers: LAYERS, kv_heads, head_dim: d, capacity: len + 1 };
        let mut cache = self.k.cached_attention.cache(spec)?;
        let [q, kv] = [heads, kv_heads].map(|heads| self.random(&[1, len, heads, d], DType::BF16));
        let (q, kv) = (q?, kv?);
        for layer in 0..LAYERS {
            self.k.cached_attention.attend(&q, &kv, &kv, &mut [&mut *cache], &at(layer))?;
        }
        cache.advance(len)?;
        Ok(cache)
    }

    fn decode(&self) -> Result<()> {
        let (heads, kv_heads, d) = HEADS;
        for (batch, len) in [(1, 1024), (1, 4864), (8, 4864), (16, 16_384)] {
            let caches = (0..batch).map(|_| self.filled_cache(len)).collect::<Result<Vec<_>>>()?;
            let (q, kv) =
                (self.random(&[batch, 1, heads, d], DType::BF16)?, self.random(&[batch, 1, kv_heads, d], DType::BF16)?);
            let caches = Mutex::new(caches);
            let ring: Vec<usize> = (0..LAYERS).collect();
            let line = format!(
                "\"op\": \"decode\", \"b\": {batch}, \"l\": {len}, \"h\": {heads}, \"g\": {kv_heads}, \"d\": {d}"
            );
            self.line(&line, &ring, |&layer| {
                let mut caches = caches.lock().unwrap_or_else(PoisonError::into_inner);
                let mut all: Vec<&mut dyn KvCache> = Vec::new();
                for cache in caches.iter_mut() {
                    all.push(&mut **cache);
                }
                self.k.cached_attention.attend(&q, &kv, &kv, &mut all, &at(layer))
            })?;
        }
        Ok(())
    }

    fn matmul(&self) -> Result<()> {
        // Decoding reads the weight once: the ring is one of weights. Then a prompt, and the tower's tiles with epilogues.
        for (n, k) in [(2048, 2048), (8192, 2048), (2048, 8192), (128_262, 2048)] {
            let (x, w) = (self.random(&[1, k], DType::BF16)?, self.ring(&[n, k], DType::BF16)?);
            let line = format!("\"op\": \"matmul\", \"m\": 1, \"n\": {n}, \"k\": {k}, \"gelu\": false");
            self.line(&line, &w, |w| self.k.matmul.matmul(&x, w, Epilogue::default()))?;
        }
        for (m, n, k, gelu) in [(4864, 8192, 2048, false), (17_408, 1024, 1024, false), (17_408, 4096, 1024, true)] {
            let (x, w) = (self.ring(&[m, k], DType::BF16)?, self.random(&[n, k], DType::BF16)?);
            let bias = self.random(&[n], DType::BF16)?;
            let activation = if gelu { Activation::Gelu } else { Activation::Identity };
            let epilogue = Epilogue { bias: gelu.then_some(&bias), activation, ..Epilogue::default() };
            let line = format!("\"op\": \"matmul\", \"m\": {m}, \"n\": {n}, \"k\": {k}, \"gelu\": {gelu}");
            self.line(&line, &x, |x| self.k.matmul.matmul(x, &w, epilogue))?;
        }
        Ok(())
    }

    /// What stands around the products of a decoder's layer, joined with them and one after the other.
    fn layer(&self) -> Result<()> {
        let (heads, kv_heads, d) = HEADS;
        let (width, inner) = (heads * d, 8192);
        let (x, weight) = (self.random(&[1, width], DType::BF16)?, self.random(&[width], DType::BF16)?);
        let spec = NormSpec { kind: NormKind::Rms, weight: &weight, bias: None, eps: 1e-5, to: None };
        let normalization = Normalization { norm: &*self.k.norm, spec };
        let plain = |w| Projection { w, epilogue: Epilogue::default() };
        let [q, k, v] = [heads, kv_heads, kv_heads].map(|heads| self.ring(&[heads * d, width], DType::BF16));
        let (q, k, v) = (q?, k?, v?);
        let qkv: Vec<[&Tensor; 3]> = q.iter().zip(k.iter().zip(&v)).map(|(q, (k, v))| [q, k, v]).collect();
        let line = |what: &str, joined: bool| format!("\"op\": \"layer\", \"part\": \"{what}\", \"joined\": {joined}");
        let first = |mut all: Vec<Tensor>| all.swap_remove(0);
        self.line(&line("norm, queries, keys, values", true), &qkv, |w| {
            Ok(first(self.k.matmul.matmuls_normalized(&x, normalization, &w.map(plain))?))
        })?;
        self.line(&line("norm, queries, keys, values", false), &qkv, |w| {
            Ok(first(self.k.matmul.matmuls(&normalization.apply(&x)?, &w.map(plain))?))
        })?;
        let (gate, up) = (self.ring(&[inner, width], DType::BF16)?, self.ring(&[inner, width], DType::BF16)?);
        let both: Vec<[&Tensor; 2]> = gate.iter().zip(&up).map(|(gate, up)| [gate, up]).collect();
        self.line(&line("norm, gate, up, SwiGLU", true), &both, |w| {
            let [gate, up] = w.map(plain);
            let gated = Gated { gate, up, pointwise: &*self.k.pointwise, to: None };
            self.k.matmul.swiglu_normalized(&x, normalization, gated)
        })?;
        self.line(&line("norm, gate, up, SwiGLU", false), &both, |w| {
            let [gate, up] = self.k.matmul.matmuls_of(&normalization.apply(&x)?, w.map(plain))?;
            self.k.pointwise.swiglu(&gate, &up)
        })?;
        for len in [1024, 4864] {
            let cache = Mutex::new(self.filled_cache(len)?);
            let [q, kv] =
                [self.random(&[1, 1, heads, d], DType::BF16)?, self.random(&[1, 1, kv_heads, d], DType::BF16)?];
            let (cos, sin) = (self.random(&[len + 1, d / 2], DType::F32)?, self.random(&[len + 1, d / 2], DType::F32)?);
            let spec = RotarySpec { cos: &cos, sin: &sin, start: &[len], pairing: Pairing::HalfSplit };
            let rotation = Rotation { rotary: &*self.k.rotary, spec };
            let ring: Vec<usize> = (0..LAYERS).collect();
            let op = &*self.k.cached_attention;
            let lock = || cache.lock().unwrap_or_else(PoisonError::into_inner);
            let what = format!("rotary, attention behind {len}");
            self.line(&line(&what, true), &ring, |&layer| {
                op.attend_rotated(&q, &kv, &kv, rotation, &mut [&mut **lock()], &at(layer))
            })?;
            self.line(&line(&what, false), &ring, |&layer| {
                op.attend(&rotation.apply(&q)?, &rotation.apply(&kv)?, &kv, &mut [&mut **lock()], &at(layer))
            })?;
        }
        Ok(())
    }

    fn roi_align(&self) -> Result<()> {
        let boxes: Vec<[f32; 4]> =
            (0..16).map(|i| [i as f32, 2.0 * i as f32, 30.0 + i as f32, 20.0 + 2.0 * i as f32]).collect();
        let spec = RoiAlignSpec { output: [16, 16], spatial_scale: 1.0, sampling_ratio: 2, aligned: true };
        for dtype in [DType::F32, DType::BF16] {
            for n in [1, 16] {
                let map = self.ring(&[64, 64, 2048], dtype)?;
                let line = format!(
                    "\"op\": \"roi_align\", \"h\": 64, \"w\": 64, \"c\": 2048, \"n\": {n}, \"dtype\": \"{dtype}\""
                );
                self.line(&line, &map, |map| self.k.roi_align.roi_align(map, &boxes[..n], &spec))?;
            }
        }
        Ok(())
    }

    /// Operations that are bound by memory.
    fn rest(&self) -> Result<()> {
        let k = &self.k;
        let x = self.ring(&[17, 1024, 1024], DType::BF16)?;
        let weight = self.random(&[1024], DType::BF16)?;
        for (kind, name) in [(NormKind::Layer, "layer_norm"), (NormKind::Rms, "rms_norm")] {
            let bias = (kind == NormKind::Layer).then_some(&weight);
            let spec = NormSpec { kind, weight: &weight, bias, eps: 1e-5, to: None };
            let line = format!("\"op\": \"{name}\", \"rows\": 17408, \"width\": 1024");
            self.line(&line, &x, |x| k.norm.norm(x, &spec))?;
        }
        self.line("\"op\": \"gelu\", \"rows\": 17408, \"width\": 1024", &x, |x| k.pointwise.gelu(x))?;
        self.line("\"op\": \"swiglu\", \"rows\": 17408, \"width\": 1024", &x, |x| k.pointwise.swiglu(x, x))?;
        let pool = PoolSpec { grid: [32, 32], window: 2 };
        self.line("\"op\": \"pool\", \"rows\": 17408, \"width\": 1024", &x, |x| k.pool.average_pool(x, &pool))?;
        let (cos, sin) = (self.random(&[1024, 32], DType::F32)?, self.random(&[1024, 32], DType::F32)?);
        let start = [0; 17];
        for (pairing, name) in [(Pairing::Interleaved, "rotary_interleaved"), (Pairing::HalfSplit, "rotary_half_split")]
        {
            let spec = RotarySpec { cos: &cos, sin: &sin, start: &start, pairing };
            let line = format!("\"op\": \"{name}\", \"rows\": 17408, \"width\": 1024");
            self.line(&line, &x, |x| k.rotary.rotary(&x.reshape(&[17, 1024, 16, 64])?, &spec))?;
        }
        let index: Vec<u32> = (0..17_408).rev().collect();
        self.line("\"op\": \"gather\", \"rows\": 17408, \"width\": 1024", &x, |x| {
            k.rows.gather(&x.reshape(&[17_408, 1024])?, &index)
        })?;
        let logits = self.ring(&[1, 128_262], DType::BF16)?;
        self.line("\"op\": \"argmax\", \"rows\": 1, \"width\": 128262", &logits, |x| {
            k.argmax.argmax(x)?;
            Ok(x.clone())
        })?;
        self.line("\"op\": \"sample_greedy\", \"rows\": 1, \"width\": 128262", &logits, |x| {
            k.sample.sample(x, &[Draw::GREEDY])?;
            Ok(x.clone())
        })
    }

    /// What the card itself can do: bytes copied, read and written counted.
    fn copy(&self) -> Result<()> {
        let bytes = 1_usize << 30;
        let (from, to) = (self.driver.allocate(bytes)?, self.driver.allocate(bytes)?);
        let mut best = f64::INFINITY;
        for _ in 0..TIMINGS {
            let time = self.driver.time(&mut || self.driver.copy(from.pointer(), to.pointer(), bytes))?;
            best = best.min(time.as_secs_f64());
        }
        println!("{{\"op\": \"copy\", \"bytes\": {bytes}, \"us\": {:.3}}}", best * 1e6);
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let ordinal = std::env::args().nth(1).map_or(Ok(0), |n| n.parse())?;
    let driver = Arc::new(Driver::open(ordinal)?);
    let k = Kernels::from(Cuda::new(Arc::new(Recorder::new(driver.clone()))));
    let bench = Bench { driver, k };
    bench.copy()?;
    bench.attention()?;
    bench.decode()?;
    bench.matmul()?;
    bench.layer()?;
    bench.roi_align()?;
    bench.rest()?;
    Ok(())
}
