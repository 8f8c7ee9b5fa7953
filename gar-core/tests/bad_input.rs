//! Every broken input gets an error that names what is wrong; nothing panics, nothing is repaired in silence.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use gar_core::{
    AnswerOptions, GarModel,
    prompt::{Mask, RegionSet},
    trace::Case,
    vision::Image,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(name)
}

/// A copy of a fixture checkpoint that a test may break.
fn copy(name: &str) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixture(name)).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, to.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    to
}

fn load_error(directory: &Path) -> String {
    match GarModel::open(directory).and_then(|builder| builder.load()) {
        Ok(_) => panic!("{} loads", directory.display()),
        Err(error) => error.to_string(),
    }
}

fn edit_json(path: &Path, edit: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    edit(&mut value);
    fs::write(path, value.to_string()).unwrap();
}

/// Rewrites the header of a safetensors file; `edit` gets the JSON and the data behind it.
fn edit_weights(path: &Path, edit: impl FnOnce(&mut Value, &mut Vec<u8>)) {
    let bytes = fs::read(path).unwrap();
    let n = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&bytes[8..8 + n]).unwrap();
    let mut data = bytes[8 + n..].to_vec();
    edit(&mut header, &mut data);
    let header = header.to_string();
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(&data);
    fs::write(path, out).unwrap();
}

const NORM: &str = "mllm.model.language_model.norm.weight";

#[test]
fn broken_weights_are_named() {
    type Break = fn(&Path);
    let table: [(&str, Break); 7] = [
        ("no such tensor", |p| {
            edit_weights(p, |h, _| {
                let entry = h.as_object_mut().unwrap().remove(NORM).unwrap();
                h[format!("{NORM}.renamed")] = entry;
            });
        }),
        ("expected [", |p| {
            edit_weights(p, |h, _| h[NORM]["shape"] = json!([2, h[NORM]["shape"][0].as_u64().unwrap() / 2]))
        }),
        ("NaN or infinity at entry 3", |p| {
            edit_weights(p, |h, data| {
                let (start, dtype) = (h[NORM]["data_offsets"][0].as_u64().unwrap() as usize, h[NORM]["dtype"].clone());
                assert_eq!(dtype, "F32");
                data[start + 12..start + 16].copy_from_slice(&f32::NAN.to_le_bytes());
            });
        }),
        ("header", |p| {
            let mut bytes = fs::read(p).unwrap();
            bytes[..8].copy_from_slice(&u64::MAX.to_le_bytes());
            fs::write(p, bytes).unwrap();
        }),
        ("header", |p| {
            let bytes = fs::read(p).unwrap();
            fs::write(p, &bytes[..bytes.len() - 5]).unwrap();
        }),
        ("header", |p| fs::write(p, b"").unwrap()),
        ("model.safetensors", |p| fs::remove_file(p).unwrap()),
    ];
    for (expected, break_it) in table {
        let directory = copy("tile56");
        break_it(&directory.path().join("model.safetensors"));
        let error = load_error(directory.path());
        assert!(error.contains(expected), "expected {expected:?} in {error:?}");
    }
}

#[test]
fn broken_shards_are_named() {
    let directory = copy("tile64");
    let shard = directory.path().join("model-00002-of-00002.safetensors");
    fs::remove_file(&shard).unwrap();
    assert!(load_error(directory.path()).contains("model-00002-of-00002.safetensors"));
    let directory = copy("tile64");
    edit_json(&directory.path().join("model.safetensors.index.json"), |index| {
        index["weight_map"][NORM] = json!("../elsewhere.safetensors");
    });
    assert!(load_error(directory.path()).contains("without folders"));
}

#[test]
fn broken_configurations_are_named() {
    type Edit = fn(&mut Value);
    let table: [(&str, &str, Edit); 11] = [
        ("config.json", "model_type", |c| c["model_type"] = json!("llama")),
        ("config.json", "prompt_numbers", |c| c["prompt_numbers"] = json!(0)),
        ("config.json", "crop_tokens_ids", |c| c["crop_tokens_ids"] = json!([1])),
        ("config.json", "kernel_size", |c| c["kernel_size"] = json!([3, 3])),
        ("config.json", "replay_boxes", |c| c["replay_boxes"] = json!("both")),
        ("config.json", "\"local_cross_attention\"", |c| c["region_encoding"] = json!("both")),
        ("config.json", "region_encoding", |c| c["region_encoding"] = json!("Replay")),
        ("config.json", "architecture", |c| c["mllm_config"]["vision_config"]["architecture"] = json!("vit_tiny")),
        ("config.json", "hidden_size", |c| c["mllm_config"]["text_config"]["hidden_size"] = json!("wide")),
        ("config.json", "projector_pooling_ratio", |c| c["mllm_config"]["projector_pooling_ratio"] = json!(3)),
        ("preprocessor_config.json", "tile_size", |c| c["tile_size"] = json!(60)),
    ];
    for (file, field, edit) in table {
        let directory = copy("tile56");
        edit_json(&directory.path().join(file), edit);
        let error = load_error(directory.path());
        assert!(error.contains(field), "expected {field:?} in {error:?}");
    }
    for file in ["config.json", "tokenizer.json", "preprocessor_config.json"] {
        let directory = copy("tile56");
        fs::write(directory.path().join(file), "{").unwrap();
        assert!(load_error(directory.path()).contains(file));
        fs::remove_file(directory.path().join(file)).unwrap();
        assert!(load_error(directory.path()).contains(file));
    }
}

#[test]
fn a_tokenizer_without_the_special_tokens_is_refused() {
    let directory = copy("tile56");
    edit_json(&directory.path().join("tokenizer.json"), |t| {
        let tokens = t["added_tokens"].as_array_mut().unwrap();
        tokens.retain(|token| token["content"] != "<Prompt1>");
    });
    assert!(load_error(directory.path()).contains("<Prompt1>"));
}

#[test]
fn broken_requests_are_named() {
    let model = GarModel::open(fixture("tile56")).unwrap().load().unwrap();
    let image = Image::from_rgb(ndarray::Array3::zeros((20, 30, 3))).unwrap();
    let full = |w: usize, h: usize| Mask::from_box(w, h, [0.0, 0.0, w as f64, h as f64]).unwrap();
    let other = RegionSet::numbered([full(30, 21)]).unwrap();
    let error = model.scene(&image, &other).err().unwrap().to_string();
    assert!(error.contains("20") && error.contains("21"), "{error}");
    let slots = model.config().prompt_slots;
    let many = RegionSet::numbered((0..=slots).map(|_| full(30, 20))).unwrap();
    assert!(model.scene(&image, &many).is_err());

    let scene = model.scene(&image, &RegionSet::numbered([full(30, 20)]).unwrap()).unwrap();
    for (question, named) in
        [("What is <Prompt3>?", "<Prompt3>"), ("What is <|image|>?", "<|image|>"), ("Hi<|eot_id|>", "<|eot_id|>")]
    {
        let error = scene.ask(question).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
    let long = "many words ".repeat(20_000);
    let error = scene.ask(&long).unwrap_err().to_string();
    assert!(error.contains("fewer than"), "{error}");
    let empty = AnswerOptions { stop: vec![String::new()], ..AnswerOptions::default() };
    assert!(scene.ask_with("Hello?", &empty, &mut |_| std::ops::ControlFlow::Continue(())).is_err());
    assert!(
        scene
            .ask_with("Hello?", &AnswerOptions { max_new_tokens: 2, ..AnswerOptions::default() }, &mut |_| {
                std::ops::ControlFlow::Continue(())
            })
            .is_ok()
    );
}

#[test]
fn one_pixel_is_a_picture() {
    let model = GarModel::open(fixture("tile56")).unwrap().load().unwrap();
    let image = Image::from_rgb(ndarray::Array3::zeros((1, 1, 3))).unwrap();
    let regions = RegionSet::single(Mask::from_box(1, 1, [0.0, 0.0, 1.0, 1.0]).unwrap()).unwrap();
    assert!(model.scene(&image, &regions).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A bounded run of the fuzz target `case`.
    #[test]
    fn any_case_file_parses_or_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0..400_usize) {
        let _ = Case::from_json(&bytes, Path::new("case.json"));
        let mut good = fs::read(fixture("tile56/cases/describe.json")).unwrap();
        let at = at % good.len();
        good.splice(at..(at + bytes.len() / 16).min(good.len()), bytes.iter().take(8).copied());
        let _ = Case::from_json(&good, Path::new("case.json"));
    }

    /// A bounded run of the fuzz target `weights`.
    #[test]
    fn any_weight_file_opens_or_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0..600_usize) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.safetensors");
        let mut good = fs::read(fixture("tile56/model.safetensors")).unwrap();
        good.truncate(20_000);
        for (i, byte) in bytes.iter().enumerate() {
            if let Some(slot) = good.get_mut(at + i * 7) {
                *slot = *byte;
            }
        }
        for content in [&bytes, &good] {
            fs::write(&path, content).unwrap();
            if let Ok(weights) = gar_core::kernels::Weights::open(directory.path()) {
                for info in weights.tensors().collect::<Vec<_>>() {
                    let _ = weights.tensor(&info.name, &info.shape);
                }
            }
        }
    }
}
