//! The operations at the shapes of GAR-1B: `cargo bench -p gar-kernels`.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gar_kernels::{
    Kernels, Tensor, bf16,
    cpu::{CpuOptions, Precision, WeightFormat},
    ops::{AttentionSpec, CacheSpec, CachedAttentionSpec, Epilogue, Mask, NormKind, NormSpec, RoiAlignSpec},
};

const OPTIONS: [(&str, Precision, WeightFormat); 3] = [
    ("f32", Precision::F32, WeightFormat::Stored),
    ("bf16", Precision::Bf16, WeightFormat::Stored),
    ("int8", Precision::Bf16, WeightFormat::Int8),
];

fn kernels(precision: Precision, weights: WeightFormat) -> Kernels {
    Kernels::cpu_with(CpuOptions { precision, weights, instructions: None }).unwrap()
}

/// Numbers in (−1, 1) that repeat nowhere soon.
fn noise(n: usize) -> impl Iterator<Item = f32> {
    (0..n).map(|i| (i as u32).wrapping_mul(2_654_435_761) as i32 as f32 / 2_147_483_648.0)
}

fn activations(shape: &[usize]) -> Tensor {
    Tensor::from_vec(noise(shape.iter().product()).collect::<Vec<f32>>(), shape).unwrap()
}

fn weight(n: usize, k: usize) -> Tensor {
    Tensor::from_vec(noise(n * k).map(bf16::from_f32).collect::<Vec<bf16>>(), &[n, k]).unwrap()
}

/// Tower (1025 tokens, 1024 wide), prefill (512 rows) and decode (1 row) of the decoder's MLP.
fn matmul(c: &mut Criterion) {
    for (option, precision, weights) in OPTIONS {
        let k = kernels(precision, weights);
        let mut group = c.benchmark_group(format!("matmul {option}"));
        group.sample_size(10);
        for (name, m, n, depth) in
            [("tower", 1025, 4096, 1024), ("prefill", 512, 8192, 2048), ("decode", 1, 8192, 2048)]
        {
            let (x, w) = (activations(&[m, depth]), k.matmul.prepare(&weight(n, depth)).unwrap());
            group.throughput(Throughput::Elements((2 * m * n * depth) as u64));
            group.bench_function(name, |b| {
                b.iter(|| k.matmul.matmul(black_box(&x), black_box(&w), Epilogue::default()).unwrap());
            });
        }
        group.bench_function("prepare", |b| {
            let w = weight(8192, 2048);
            b.iter(|| k.matmul.prepare(black_box(&w)).unwrap());
        });
    }
}

/// The tower's attention, and a decoded token's over 2,000 cached positions.
fn attention(c: &mut Criterion) {
    for (option, precision, weights) in &OPTIONS[..2] {
        let k = kernels(*precision, *weights);
        let mut group = c.benchmark_group(format!("attention {option}"));
        group.sample_size(10);
        let (len, heads, d) = (1025, 16, 64);
        let q = activations(&[1, len, heads, d]);
        group.throughput(Throughput::Elements((4 * len * len * heads * d) as u64));
        let spec = AttentionSpec { scale: 0.125, mask: Mask::Full, to: None };
        group.bench_function("tower", |b| b.iter(|| k.attention.attention(&q, &q, &q, black_box(&spec)).unwrap()));
        let past = 2000;
        let mut cache =
            k.cached_attention.cache(CacheSpec { layers: 1, kv_heads: 8, head_dim: d, capacity: 2048 }).unwrap();
        let attend = |len: usize, cache: &mut dyn gar_kernels::ops::KvCache| {
            let (q, kv) = (activations(&[1, len, 32, d]), activations(&[1, len, 8, d]));
            let spec = CachedAttentionSpec { layer: 0, scale: 0.125, to: None };
            k.cached_attention.attend(&q, &kv, &kv, &mut [cache], &spec).unwrap()
        };
        attend(past, &mut *cache);
        cache.advance(past).unwrap();
        group.throughput(Throughput::Elements((4 * past * 32 * d) as u64));
        group.bench_function("decode", |b| b.iter(|| attend(1, &mut *cache)));
    }
}

fn rows(c: &mut Criterion) {
    let k = Kernels::cpu();
    let mut group = c.benchmark_group("rows");
    group.sample_size(20);
    let (x, w) = (activations(&[1025, 1024]), activations(&[1024]));
    let spec = NormSpec { kind: NormKind::Layer, weight: &w, bias: Some(&w), eps: 1e-5, to: None };
    group.bench_function("layer norm", |b| b.iter(|| k.norm.norm(black_box(&x), &spec).unwrap()));
    let map = activations(&[64, 64, 2048]);
    let spec = RoiAlignSpec { output: [16, 16], spatial_scale: 1.0, sampling_ratio: 2, aligned: true };
    group.bench_function("roi align", |b| {
        b.iter(|| k.roi_align.roi_align(&map, black_box(&[[3.0, 5.0, 40.0, 61.0]]), &spec).unwrap());
    });
}

criterion_group!(benches, matmul, attention, rows);
criterion_main!(benches);
