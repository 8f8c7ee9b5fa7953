//! Masks, boxes, prompt text, token layout and mask embedding on the reference cases in `GAR_GOLDEN`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, missing_docs)]

use std::path::{Path, PathBuf};

use gar_kernels::{Kernels, Weights};
use gar_prompt::{MaskEncoder, NormBox, RegionSet, Rle, TokenLayout, crop_token_name, user_text};
use ndarray::Array3;
use safetensors::SafeTensors;
use serde_json::Value;

const MODELS: [&str; 2] = ["tiny-l", "tiny-g"];
const CROP_TOKENS: usize = 256;

fn golden() -> Option<PathBuf> {
    let folder = std::env::var_os("GAR_GOLDEN").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("SKIPPED: GAR_GOLDEN is not set");
    }
    folder
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn cases(model: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(model.join("cases")).unwrap().map(|f| f.unwrap().path());
    let mut cases: Vec<_> = files.filter(|f| f.extension().is_some_and(|e| e == "json")).collect();
    cases.sort();
    assert!(cases.len() >= 7);
    cases
}

fn number(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

fn regions(case: &Value) -> RegionSet {
    let mut regions = RegionSet::new();
    for (slot, rle) in case["prompts"].as_array().unwrap().iter().zip(case["masks"].as_array().unwrap()) {
        let text = rle.to_string();
        let rle = Rle::from_json(&text).unwrap();
        let mask = rle.to_mask().unwrap();
        assert_eq!(serde_json::to_string(&Rle::encode(&mask)).unwrap(), text);
        regions.push(number(slot), mask).unwrap();
    }
    regions
}

#[test]
fn masks_and_boxes() {
    let Some(golden) = golden() else { return };
    for path in MODELS.iter().flat_map(|m| cases(&golden.join(m))) {
        let case = json(&path);
        let regions = regions(&case);
        regions.check_image(number(&case["size"][0]), number(&case["size"][1])).unwrap();
        assert!(!regions.is_empty());
        for region in &regions {
            let b = &case["boxes"][region.slot().to_string()];
            let [x_min, y_min, x_max, y_max] = [0, 1, 2, 3].map(|i| b[i].as_f64().unwrap());
            assert_eq!(region.mask().normalized_box().unwrap(), NormBox { x_min, y_min, x_max, y_max }, "{path:?}");
        }
    }
}

#[test]
fn text_and_layout() {
    let Some(golden) = golden() else { return };
    for model in MODELS.map(|m| golden.join(m)) {
        let config = json(&model.join("config.json"));
        let image_token = number(&config["mllm_config"]["image_token_id"]) as u32;
        let tokenizer = tokenizers::Tokenizer::from_file(model.join("tokenizer.json")).unwrap();
        for path in cases(&model) {
            let case = json(&path);
            let slots = regions(&case).slots();
            let bytes = std::fs::read(path.with_extension("safetensors")).unwrap();
            let tensors = SafeTensors::deserialize(&bytes).unwrap();
            let ids: Vec<u32> = tensors
                .tensor("input_ids")
                .unwrap()
                .data()
                .chunks_exact(4)
                .map(|b| u32::from_le_bytes(b.try_into().unwrap()))
                .collect();

            // The user's turn stands between the image and the end of the turn.
            let question = case["user_text"].as_str().unwrap();
            let text = user_text(&slots, question, CROP_TOKENS, crop_token_name).unwrap();
            let turn = tokenizer.encode(text.as_str(), false).unwrap();
            let crops: Vec<_> = slots.iter().map(|&s| (s, number(&config["crop_tokens_ids"][s]) as u32)).collect();
            let image_count = number(&case["tiles"]) * 256;
            let layout = TokenLayout::find(&ids, image_token, image_count, &crops, CROP_TOKENS).unwrap();
            assert_eq!(layout.len, number(&case["tokens"]));
            assert_eq!(turn.get_ids(), &ids[layout.image.end..][..turn.len()], "{path:?}");
            let rest = tokenizer.decode(&ids[layout.image.end + turn.len()..], false).unwrap();
            assert!(rest.starts_with("<|eot_id|>"), "{rest:?}");
            for (slot, range) in &layout.regions {
                let before = tokenizer.decode(&ids[..range.start], false).unwrap();
                assert!(before.ends_with(&format!("<Prompt{slot}>: ")), "{path:?}");
            }
            assert!(TokenLayout::find(&ids, image_token, image_count + 1, &crops, CROP_TOKENS).is_err());
        }
    }
}

#[test]
fn released_weights_encode_masks() {
    let Some(golden) = golden() else { return };
    let kernels = Kernels::cpu();
    for model in MODELS.map(|m| golden.join(m)) {
        let weights = Weights::open(&model).unwrap();
        let shape = weights.shape("mask_patch_embedding.weight").unwrap().to_vec();
        let (width, patch) = (shape[0], shape[3]);
        let encoder = MaskEncoder::load(&weights, &kernels, width, patch).unwrap();
        // One pixel set: the embedding of its patch is that pixel's weight summed over the channels.
        let mut labels = Array3::from_elem((2, 2 * patch, 2 * patch), 5_u8);
        labels[[1, patch + 3, 2]] = 0;
        let out = encoder.encode(&kernels, labels.view(), 5).unwrap();
        assert_eq!(out.shape(), [2, 4, width]);
        let out = kernels.device.download(&out).unwrap().to_f32_vec().unwrap();
        let weight = weights.tensor("mask_patch_embedding.weight", &shape).unwrap().to_f32_vec().unwrap();
        assert!(weight.iter().any(|&w| w != 0.0));
        for (i, &value) in out.iter().enumerate() {
            let (token, c) = (i / width, i % width);
            let at = |channel: usize| f64::from(weight[((c * 3 + channel) * patch + 3) * patch + 2]);
            let expected = if token == 4 + 2 { at(0) + at(1) + at(2) } else { 0.0 };
            assert!((f64::from(value) - expected).abs() <= 1e-5, "token {token}, channel {c}: {value} {expected}");
        }
        assert!(MaskEncoder::load(&weights, &kernels, width + 1, patch).is_err());
    }
}
