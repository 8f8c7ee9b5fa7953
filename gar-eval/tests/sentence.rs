//! Sentence embeddings beside those that transformers computes; `tests/data/bert/make.py` makes what is expected.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};

use gar_core::kernels::Kernels;
use gar_eval::sentence::{SentenceEncoder, cosine};
use serde::Deserialize;
use serde::de::DeserializeOwned;

#[derive(Deserialize)]
struct Whole {
    text: String,
    embedding: Vec<f32>,
}

#[derive(Deserialize)]
struct Pair {
    a: String,
    b: String,
    cosine: f64,
    heads: [Vec<f32>; 2],
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/bert").join(name)
}

fn expected<T: DeserializeOwned>(name: &str) -> Vec<T> {
    serde_json::from_slice(&std::fs::read(data(name)).unwrap()).unwrap()
}

fn apart(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn a_tiny_bert_agrees_with_transformers() {
    let encoder = SentenceEncoder::open(data("tiny"), Kernels::cpu()).unwrap();
    let cases: Vec<Whole> = expected("tiny.json");
    for Whole { text, embedding } in &cases {
        let found = encoder.embed(text).unwrap();
        assert_eq!(found.len(), 12);
        // Both are f32 through two layers; entries are below 1, rounding moves them by some 1e-7.
        assert!(apart(&found, embedding) < 2e-6, "{text:?}: {found:?} {embedding:?}");
        assert!((cosine(&found, &found) - 1.0).abs() < 1e-6);
    }
    assert!(encoder.similarity("A red car.", "a RED car .").unwrap() > 0.999_999, "one text in two spellings");
}

#[test]
fn a_long_text_is_cut_at_its_end() {
    let encoder = SentenceEncoder::open(data("tiny"), Kernels::cpu()).unwrap();
    // 16 tokens are read: the start, 14 words, the end.
    let [exact, longer] = [14, 15].map(|words| encoder.embed(&"dog ".repeat(words)).unwrap());
    assert_eq!(exact, longer);
    assert_ne!(exact, encoder.embed(&"dog ".repeat(13)).unwrap());
}

#[test]
fn other_models_are_refused_by_name() {
    let refused = |change: &dyn Fn(&mut serde_json::Value)| {
        let folder = tempfile::tempdir().unwrap();
        for file in ["config.json", "tokenizer.json", "model.safetensors", "sentence_bert_config.json"] {
            std::fs::copy(data("tiny").join(file), folder.path().join(file)).unwrap();
        }
        let path = folder.path().join("config.json");
        let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut config);
        std::fs::write(&path, config.to_string()).unwrap();
        SentenceEncoder::open(folder.path(), Kernels::cpu()).unwrap_err().to_string()
    };
    let error = refused(&|config| config["hidden_act"] = "relu".into());
    assert!(error.ends_with("config.json: configuration: `hidden_act`: expected \"gelu\", found \"relu\""), "{error}");
    let error = refused(&|config| drop(config.as_object_mut().unwrap().remove("hidden_size")));
    assert!(error.contains("missing field `hidden_size`"), "{error}");
    let error = refused(&|config| config["num_attention_heads"] = 5.into());
    assert!(error.contains("`hidden_size`: expected a multiple of `num_attention_heads` (5), found 12"), "{error}");
    let error = refused(&|config| config["intermediate_size"] = 21.into());
    assert!(error.contains("encoder.layer.0.intermediate.dense.weight"), "{error}");
}

/// With all-MiniLM-L6-v2 itself, in the folder that the environment variable `GAR_MINILM` names.
#[test]
fn minilm_agrees_with_transformers() {
    let Some(folder) = std::env::var_os("GAR_MINILM") else { return };
    let encoder = SentenceEncoder::open(folder, Kernels::cpu()).unwrap();
    let mut worst: f64 = 0.0;
    for Pair { a, b, cosine: expected, heads } in expected::<Pair>("minilm.json") {
        let [left, right] = [&a, &b].map(|text| encoder.embed(text).unwrap());
        let found = cosine(&left, &right);
        worst = worst.max((found - expected).abs());
        // f32 against f32 through six layers.
        assert!((found - expected).abs() < 1e-5, "{a:?}, {b:?}: {found} {expected}");
        for (found, head) in [(&left, &heads[0]), (&right, &heads[1])] {
            assert!(apart(&found[..4], head) < 1e-5, "{a:?}, {b:?}");
        }
    }
    println!("greatest difference of a cosine: {worst:.1e}");
}
