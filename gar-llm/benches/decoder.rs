//! Prefill and decoding with two layers of GAR-1B's decoder and a short vocabulary, random weights:
//! `cargo bench -p gar-llm`. A whole decoder has sixteen layers and a head eight times as large.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gar_kernels::{
    Kernels, NoProgress, Weights, bf16,
    cpu::{CpuOptions, Precision, WeightFormat},
};
use gar_llm::{Decoder, Llama, LlamaConfig, LlamaNames, Sequence};
use safetensors::{Dtype, tensor::TensorView};

const D: usize = 2048;
const INNER: usize = 8192;
const KV: usize = 512;
const VOCABULARY: usize = 16032;
const LAYERS: usize = 2;

const OPTIONS: [(&str, Precision, WeightFormat); 3] = [
    ("f32", Precision::F32, WeightFormat::Stored),
    ("bf16", Precision::Bf16, WeightFormat::Stored),
    ("int8", Precision::Bf16, WeightFormat::Int8),
];

/// Writes the weights to a file of their own.
fn weights(folder: &std::path::Path) -> Weights {
    let mut shapes = vec![("embed_tokens".to_owned(), vec![VOCABULARY, D]), ("norm".to_owned(), vec![D])];
    for layer in 0..LAYERS {
        for (name, shape) in [
            ("input_layernorm", vec![D]),
            ("post_attention_layernorm", vec![D]),
            ("self_attn.q_proj", vec![D, D]),
            ("self_attn.k_proj", vec![KV, D]),
            ("self_attn.v_proj", vec![KV, D]),
            ("self_attn.o_proj", vec![D, D]),
            ("mlp.gate_proj", vec![INNER, D]),
            ("mlp.up_proj", vec![INNER, D]),
            ("mlp.down_proj", vec![D, INNER]),
        ] {
            shapes.push((format!("layers.{layer}.{name}"), shape));
        }
    }
    let noise = |i: usize| (i as u32).wrapping_mul(2_654_435_761) as i32 as f32 / 2_147_483_648.0 * 0.03;
    let bytes: Vec<u8> = (0..VOCABULARY * D).flat_map(|i| bf16::from_f32(noise(i)).to_le_bytes()).collect();
    let views = shapes.into_iter().map(|(name, shape)| {
        let len = 2 * shape.iter().product::<usize>();
        (format!("model.{name}.weight"), TensorView::new(Dtype::BF16, shape, &bytes[..len]).unwrap())
    });
    let path = folder.join("model.safetensors");
    safetensors::serialize_to_file(views, None, &path).unwrap();
    Weights::open(&path).unwrap()
}

fn config() -> LlamaConfig {
    let json = serde_json::json!({
        "model_type": "llama", "vocab_size": VOCABULARY, "hidden_size": D, "intermediate_size": INNER,
        "num_hidden_layers": LAYERS, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64,
        "max_position_embeddings": 4096, "rope_theta": 500000.0, "rms_norm_eps": 1e-5, "tie_word_embeddings": true
    });
    LlamaConfig::from_json(&json, "bench").unwrap()
}

fn decoder(c: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let weights = weights(folder.path());
    for (name, precision, format) in OPTIONS {
        let kernels = Kernels::cpu_with(CpuOptions { precision, weights: format, instructions: None }).unwrap();
        let llama = Llama::load(&weights, &LlamaNames::default(), config(), &kernels, &NoProgress).unwrap();
        let ids: Vec<u32> = (0..800).map(|i| i * 17 % VOCABULARY as u32).collect();
        let embeds = llama.embed(&kernels, &ids).unwrap();
        let mut group = c.benchmark_group(name);
        group.sample_size(10);
        group.throughput(Throughput::Elements(ids.len() as u64));
        group.bench_function("prefill 800", |b| {
            b.iter(|| {
                let mut sequence = llama.sequence(&kernels, 801).unwrap();
                black_box(llama.prefill(&kernels, sequence.as_mut(), &embeds).unwrap());
            });
        });
        let mut sequence = llama.sequence(&kernels, 801).unwrap();
        llama.prefill(&kernels, sequence.as_mut(), &embeds).unwrap();
        for batch in [1, 4] {
            let mut sequences: Vec<Box<dyn Sequence>> = (0..batch).map(|_| sequence.fork().unwrap()).collect();
            group.throughput(Throughput::Elements(batch as u64));
            group.bench_function(format!("decode {batch} at 800"), |b| {
                b.iter(|| {
                    let mut all: Vec<&mut dyn Sequence> = Vec::new();
                    for sequence in &mut sequences {
                        sequence.truncate(800);
                        all.push(sequence.as_mut());
                    }
                    black_box(llama.step(&kernels, &mut all, &vec![7; batch]).unwrap());
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, decoder);
criterion_main!(benches);
