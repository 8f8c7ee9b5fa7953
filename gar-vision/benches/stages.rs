//! Preprocessing of a 12-megapixel photograph, and two tiles through two blocks of GAR-1B's tower, random weights:
//! `cargo bench -p gar-vision`. A whole tower has 23 blocks.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gar_kernels::{
    Kernels, Tensor, Weights, bf16,
    cpu::{CpuOptions, Precision, WeightFormat},
};
use gar_vision::{Image, ImageProcessor, PerceptionConfig, PerceptionEncoder, Tiles, VisionTower};
use ndarray::{Array2, Array3};
use safetensors::{Dtype, tensor::TensorView};

const WIDTH: usize = 1024;
const MLP: usize = 4096;
const DEPTH: usize = 2;

const OPTIONS: [(&str, Precision, WeightFormat); 3] = [
    ("f32", Precision::F32, WeightFormat::Stored),
    ("bf16", Precision::Bf16, WeightFormat::Stored),
    ("int8", Precision::Bf16, WeightFormat::Int8),
];

fn preprocess(c: &mut Criterion) {
    let mut group = c.benchmark_group("preprocess");
    group.sample_size(10);
    let byte = |y: usize, x: usize, c: usize| (y * 7 + x * 13 + c * 101 + x * y / 64) as u8;
    let image = Image::from_rgb(Array3::from_shape_fn((3000, 4000, 3), |(y, x, c)| byte(y, x, c))).unwrap();
    let labels = Array2::from_shape_fn((3000, 4000), |(y, x)| u8::from((y / 1000, x / 1000) != (1, 2)) * 5);
    let processor = ImageProcessor { max_num_tiles: 16, ..ImageProcessor::default() };
    let grid = processor.process(&image).unwrap().grid;
    group.bench_function(format!("12 megapixels to {} tiles", grid.tiles() + 1), |b| {
        b.iter(|| processor.process(black_box(&image)).unwrap());
    });
    group.bench_function("its label map", |b| {
        b.iter(|| processor.process_labels(black_box(labels.view()), 5, &grid).unwrap());
    });
}

/// Writes the tower's weights to a file of their own.
fn weights(folder: &std::path::Path) -> Weights {
    let mut shapes = vec![
        ("patch_embed.proj.weight".to_owned(), vec![WIDTH, 3, 14, 14]),
        ("cls_token".to_owned(), vec![1, 1, WIDTH]),
        ("pos_embed".to_owned(), vec![1, 1025, WIDTH]),
        ("norm_pre.weight".to_owned(), vec![WIDTH]),
        ("norm_pre.bias".to_owned(), vec![WIDTH]),
    ];
    for block in 0..DEPTH {
        for (name, shape) in [
            ("norm1.weight", vec![WIDTH]),
            ("norm1.bias", vec![WIDTH]),
            ("norm2.weight", vec![WIDTH]),
            ("norm2.bias", vec![WIDTH]),
            ("gamma_1", vec![WIDTH]),
            ("gamma_2", vec![WIDTH]),
            ("attn.qkv.weight", vec![3 * WIDTH, WIDTH]),
            ("attn.qkv.bias", vec![3 * WIDTH]),
            ("attn.proj.weight", vec![WIDTH, WIDTH]),
            ("attn.proj.bias", vec![WIDTH]),
            ("mlp.fc1.weight", vec![MLP, WIDTH]),
            ("mlp.fc1.bias", vec![MLP]),
            ("mlp.fc2.weight", vec![WIDTH, MLP]),
            ("mlp.fc2.bias", vec![WIDTH]),
        ] {
            shapes.push((format!("blocks.{block}.{name}"), shape));
        }
    }
    let noise = |i: usize| (i as u32).wrapping_mul(2_654_435_761) as i32 as f32 / 2_147_483_648.0 * 0.03;
    let bytes: Vec<u8> = (0..MLP * WIDTH).flat_map(|i| bf16::from_f32(noise(i)).to_le_bytes()).collect();
    let views = shapes.into_iter().map(|(name, shape)| {
        let len = 2 * shape.iter().product::<usize>();
        (name, TensorView::new(Dtype::BF16, shape, &bytes[..len]).unwrap())
    });
    let path = folder.join("model.safetensors");
    safetensors::serialize_to_file(views, None, &path).unwrap();
    Weights::open(&path).unwrap()
}

fn tower(c: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let weights = weights(folder.path());
    let config = PerceptionConfig::from_json(&serde_json::json!({
        "architecture": "vit_pe_core_large_patch14_336",
        "model_args": {
            "depth": DEPTH, "embed_dim": WIDTH, "img_size": [448, 448], "init_values": 0.1, "global_pool": "",
            "use_post_transformer_norm": false, "ref_feat_shape": [32, 32]
        }
    }))
    .unwrap();
    let mut group = c.benchmark_group("tower");
    group.sample_size(10);
    group.throughput(Throughput::Elements(2));
    let values = (0..2 * 3 * 448 * 448).map(|i| (i as f32 * 0.11).sin()).collect();
    let tiles = Tiles::from(Tensor::from_vec(values, &[2, 3, 448, 448]).unwrap());
    for (name, precision, format) in OPTIONS {
        let kernels = Kernels::cpu_with(CpuOptions { precision, weights: format, instructions: None }).unwrap();
        let tower = PerceptionEncoder::load(&kernels, config.clone(), &weights).unwrap();
        group.bench_function(name, |b| b.iter(|| tower.encode(&kernels, black_box(&tiles), None).unwrap()));
    }
}

criterion_group!(benches, preprocess, tower);
criterion_main!(benches);
