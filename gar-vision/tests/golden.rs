//! What the released code computes on photographs, from the folder that `GAR_GOLDEN` names.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::fs;
use std::path::{Path, PathBuf};

use gar_vision::{Image, ImageProcessor, TileGrid};
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
            assert_eq!(tiled.thumb.shape(), thumb.shape(), "{name}");
            let off = |(a, b): (&u8, &u8)| a.abs_diff(*b);
            let different = tiled.thumb.iter().zip(thumb.data()).map(off).filter(|&d| d > 0).count();
            let largest = tiled.thumb.iter().zip(thumb.data()).map(off).max().unwrap();

            let index = indices(&tensors, "pixels.index");
            let value = f32s(&tensors, "pixels.value");
            assert!(index.len() == value.len() && value.len() > 1000);
            let pixels = tiled.pixels.as_slice().unwrap();
            let unlike = index.iter().zip(&value).filter(|&(&i, &v)| pixels[i] != v).count();
            println!("{name}: {different} thumbnail values differ (by at most {largest}), {unlike} probes");
            assert_eq!((different, unlike), (0, 0), "{name}");
        }
    }
}
