//! Masks and polygons against pycocotools (`data/masks.json`, written by `data/make_vectors.py`).
//! `GAR_MASK_VECTORS` may name a larger file of the same form.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use gar_prompt::{Counts, Mask, PixelBox, Rle};
use serde::Deserialize;

type Bounds = Option<(usize, usize, usize, usize)>;

#[derive(Deserialize)]
struct Vectors {
    masks: Vec<(usize, usize, String, Vec<u32>, usize, Bounds)>,
    polygons: Vec<(usize, usize, Vec<Vec<f64>>, String)>,
}

fn vectors() -> Vectors {
    let text = match std::env::var_os("GAR_MASK_VECTORS") {
        Some(path) => std::fs::read_to_string(path).unwrap(),
        None => include_str!("data/masks.json").to_owned(),
    };
    serde_json::from_str(&text).unwrap()
}

#[test]
fn run_lengths_read_and_write_as_pycocotools() {
    let masks = vectors().masks;
    assert!(masks.len() > 50);
    for (h, w, text, runs, area, bounds) in masks {
        let compressed = Rle { size: [h, w], counts: Counts::Compressed(text) };
        let uncompressed = Rle { size: [h, w], counts: Counts::Uncompressed(runs) };
        let mask = compressed.to_mask().unwrap();
        assert_eq!(mask, uncompressed.to_mask().unwrap());
        assert_eq!((mask.width(), mask.height(), mask.area()), (w, h, area));
        assert_eq!(mask.bounds(), bounds.map(|(x_min, y_min, x_max, y_max)| PixelBox { x_min, y_min, x_max, y_max }));
        assert_eq!(Rle::encode(&mask), compressed);
        assert_eq!(Rle::encode_uncompressed(&mask), uncompressed);
    }
}

#[test]
fn polygons_fill_as_in_pycocotools() {
    let polygons = vectors().polygons;
    let mut filled = 0;
    for (h, w, polygons, text) in &polygons {
        let mask = Mask::from_polygons(*w, *h, polygons).unwrap();
        assert_eq!(Rle::encode(&mask).counts, Counts::Compressed(text.clone()), "{w}×{h} {polygons:?}");
        filled += usize::from(!mask.is_empty());
    }
    assert!(polygons.len() > 100 && filled > polygons.len() / 3, "{filled} of {}", polygons.len());
}
