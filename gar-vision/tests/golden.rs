//! What the released code computes on photographs, from the folder that `GAR_GOLDEN` names.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::fs;
use std::path::{Path, PathBuf};

use gar_kernels::ops::PatchSpec;
use gar_kernels::{Kernels, Tensor, Weights};
use gar_vision::{Image, ImageProcessor, PerceptionConfig, PerceptionEncoder, Projector, TileGrid, VisionTower};
use ndarray::Array2;
use safetensors::SafeTensors;
use serde_json::Value;

/// The folder of golden data, if there is one.
fn golden() -> Option<PathBuf> {
    let dir = std::env::var_os("GAR_GOLDEN").map(PathBuf::from);
    if dir.is_none() {
        println!("SKIPPED: GAR_GOLDEN is not set");
    }
    dir
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The cases of one model: name, description and tensors.
fn cases(model: &Path) -> Vec<(String, Value, Vec<u8>)> {
    let mut paths: Vec<PathBuf> = fs::read_dir(model.join("cases")).unwrap().map(|e| e.unwrap().path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "json"));
    paths.sort();
    assert!(!paths.is_empty(), "no cases in {}", model.display());
    let read = |p: &PathBuf| {
        let name = p.file_stem().unwrap().to_str().unwrap().to_owned();
        (name, json(p), fs::read(p.with_extension("safetensors")).unwrap())
    };
    paths.iter().map(read).collect()
}

fn f32s(tensors: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let bytes = tensors.tensor(name).unwrap();
    bytes.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

fn indices(tensors: &SafeTensors<'_>, name: &str) -> Vec<usize> {
    let view = tensors.tensor(name).unwrap();
    let size = view.data().len() / view.shape()[0];
    let index = |b: &[u8]| b.iter().rev().fold(0, |n, &d| n << 8 | usize::from(d));
    view.data().chunks_exact(size).map(index).collect()
}

#[test]
fn every_grid() {
    let Some(dir) = golden() else { return };
    let rows: Vec<[usize; 5]> = serde_json::from_value(json(&dir.join("grids.json"))).unwrap();
    assert!(rows.len() >= 1000);
    for [w, h, max, columns, rows] in rows {
        assert_eq!(TileGrid::choose(w, h, 448, max).unwrap(), TileGrid { columns, rows }, "{w}×{h}, at most {max}");
    }
}

#[test]
fn thumbnails_and_pixels_equal_the_released_code() {
    let Some(dir) = golden() else { return };
    let mut wrong = Vec::new();
    for model in ["tiny-l", "tiny-g"] {
        let model = dir.join(model);
        let processor = ImageProcessor::open(model.join("preprocessor_config.json")).unwrap();
        for (name, case, bytes) in cases(&model) {
            let tensors = SafeTensors::deserialize(&bytes).unwrap();
            let image = Image::open(dir.join(case["image"].as_str().unwrap())).unwrap();
            let max_tiles = case["max_num_tiles"].as_u64().map_or(processor.max_num_tiles, |n| n as usize);
            let tiled = processor.clone().with_max_tiles(max_tiles).process(&image).unwrap();
            let grid: [usize; 2] = serde_json::from_value(case["grid"].clone()).unwrap();
            assert_eq!([tiled.grid.columns, tiled.grid.rows], grid, "{name}");

            let thumb = tensors.tensor("pixels.thumb_u8").unwrap();
            assert_eq!(tiled.thumb().shape(), thumb.shape(), "{name}");
            let off = |(a, b): (&u8, &u8)| a.abs_diff(*b);
            let different = tiled.thumb().iter().zip(thumb.data()).map(off).filter(|&d| d > 0).count();
            let largest = tiled.thumb().iter().zip(thumb.data()).map(off).max().unwrap();

            let index = indices(&tensors, "pixels.index");
            let value = f32s(&tensors, "pixels.value");
            assert!(index.len() == value.len() && value.len() > 1000);
            let pixels = tiled.normalized().into_raw_vec_and_offset().0;
            let unlike = index.iter().zip(&value).filter(|&(&i, &v)| pixels[i] != v).count();
            println!("{name}: {different} thumbnail values differ (by at most {largest}), {unlike} probes");
            if (different, unlike) != (0, 0) {
                wrong.push(name);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// Writes `slot` into the pixels of a compressed COCO RLE (columns first) in `labels` [H, W].
fn mark(labels: &mut Array2<u8>, mask: &Value, slot: u8) {
    let height = labels.dim().0;
    let (mut runs, mut run, mut shift): (Vec<i64>, i64, u32) = (vec![], 0, 0);
    for c in mask["counts"].as_str().unwrap().bytes().map(|b| i64::from(b) - 48) {
        run |= (c & 0x1f) << shift;
        shift += 5;
        if c & 0x20 == 0 {
            if c & 0x10 != 0 {
                run |= -1 << shift;
            }
            runs.push(if runs.len() > 2 { run + runs[runs.len() - 2] } else { run });
            (run, shift) = (0, 0);
        }
    }
    let mut at = 0;
    for (i, run) in runs.into_iter().enumerate() {
        let run = usize::try_from(run).unwrap();
        if i % 2 == 1 {
            (at..at + run).for_each(|p| labels[[p % height, p / height]] = slot);
        }
        at += run;
    }
    assert_eq!(at, labels.len());
}

/// ‖out − reference‖ / ‖reference‖ over the probes of one tensor.
fn error(tensors: &SafeTensors<'_>, name: &str, out: &Tensor) -> f64 {
    let out = out.host::<f32>().unwrap();
    let (index, value) = (indices(tensors, &format!("{name}.index")), f32s(tensors, &format!("{name}.value")));
    assert!(index.len() == value.len() && value.len() > 1000);
    let square = |v: f64| v * v;
    let difference: f64 = index.iter().zip(&value).map(|(&i, &v)| square(f64::from(out[i]) - f64::from(v))).sum();
    let norm: f64 = value.iter().map(|&v| square(f64::from(v))).sum();
    (difference / norm).sqrt()
}

#[test]
fn tower_and_projector_follow_the_released_code() {
    let Some(dir) = golden() else { return };
    let k = Kernels::cpu();
    let mut wrong = Vec::new();
    for model in ["tiny-l", "tiny-g"] {
        let model = dir.join(model);
        let config = json(&model.join("config.json"));
        let mllm = &config["mllm_config"];
        let weights = Weights::open(&model).unwrap();
        let processor = ImageProcessor::open(model.join("preprocessor_config.json")).unwrap();
        let architecture = PerceptionConfig::from_json(&mllm["vision_config"]).unwrap();
        let (patch, width) = (architecture.spec.patch_size, architecture.spec.width);
        let scope = weights.scope("mllm.model.vision_tower.timm_model");
        let tower = PerceptionEncoder::load(&k, architecture, &scope).unwrap();
        let size = |v: &Value| v.as_u64().unwrap() as usize;
        let (decoder, pooling) = (size(&mllm["text_config"]["hidden_size"]), size(&mllm["projector_pooling_ratio"]));
        let scope = weights.scope("mllm.model.multi_modal_projector");
        let projector = Projector::load(&k, tower.spec(), decoder, pooling, &scope).unwrap();
        let none = u8::try_from(size(&config["prompt_numbers"])).unwrap();
        let mask_weight = weights.tensor("mask_patch_embedding.weight", &[width, 3, patch, patch]).unwrap();
        for (name, case, bytes) in cases(&model) {
            let tensors = SafeTensors::deserialize(&bytes).unwrap();
            let image = Image::open(dir.join(case["image"].as_str().unwrap())).unwrap();
            let tiled = processor.process(&image).unwrap();
            let slots: Vec<u8> = serde_json::from_value(case["prompts"].clone()).unwrap();
            let mut labels = Array2::from_elem((image.height(), image.width()), none);
            // A pixel belongs to the first region that covers it.
            for (&slot, mask) in slots.iter().zip(case["masks"].as_array().unwrap()).rev() {
                mark(&mut labels, mask, slot);
            }
            let labels = processor.process_labels(labels.view(), none, &tiled.grid).unwrap();

            let [tiles, side] = [tiled.pixels.dim().0, tiled.pixels.dim().2];
            let on: Vec<f32> = labels.iter().map(|&l| f32::from(u8::from(l != none))).collect();
            let mut per_patch = vec![0f32; tiles * (side / patch).pow(2)];
            for (i, &v) in on.iter().enumerate() {
                let (t, y, x) = (i / (side * side), i / side % side, i % side);
                per_patch[(t * (side / patch) + y / patch) * (side / patch) + x / patch] += v;
            }
            let expected = tensors.tensor("mask.tokens_on").unwrap();
            assert!(per_patch.iter().zip(expected.data()).all(|(&a, &b)| a == f32::from(b)), "{name}: mask");
            let binary: Vec<f32> = on.chunks_exact(side * side).flat_map(|tile| tile.repeat(3)).collect();
            let binary = Tensor::from_vec(binary, &[tiles, 3, side, side]).unwrap();
            let spec =
                PatchSpec { weight: &mask_weight, prompt: None, class_token: None, positions: None, levels: None };
            let prompt = k.patch_embed.patch_embed(&binary, &spec).unwrap();

            let vision = tower.encode(&k, &tiled.upload(&k).unwrap(), Some(&prompt)).unwrap();
            let features = projector.project(&k, &vision).unwrap();
            assert_eq!(features.shape(), [tiles, projector.tokens(), decoder]);
            let errors =
                ["vision", "features"].map(|n| error(&tensors, n, if n == "vision" { &vision } else { &features }));
            println!("{name}: relative L2 error {:.2e} and {:.2e}", errors[0], errors[1]);
            if errors.iter().any(|&e| e.is_nan() || e > 1e-5) {
                wrong.push(name);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}
