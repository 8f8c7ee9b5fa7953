//! Pictures good and bad, grids, label maps and configurations.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Cursor;

use gar_vision::{DecodeLimits, Error, Image, ImageProcessor, PerceptionConfig, TileGrid, resize};
use image::{DynamicImage, ImageFormat, Luma, Rgb, RgbImage, Rgba};
use ndarray::{Array2, Array3, Axis};
use proptest::prelude::*;
use serde_json::{Value, json};

fn encode(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Vec::new();
    picture.write_to(&mut Cursor::new(&mut bytes), format).unwrap();
    bytes
}

fn decode(bytes: &[u8]) -> gar_vision::Result<Image> {
    Image::decode(bytes, &DecodeLimits::default())
}

fn gradient(width: u32, height: u32) -> DynamicImage {
    RgbImage::from_fn(width, height, |x, y| Rgb([(x * 7) as u8, (y * 5) as u8, (x * y) as u8])).into()
}

#[test]
fn colour_modes_become_rgb() {
    let grey16 = image::ImageBuffer::from_pixel(2, 2, Luma([0x1280u16]));
    let clear = image::ImageBuffer::from_pixel(2, 2, Rgba([10u8, 20, 30, 0]));
    let deep = image::ImageBuffer::from_pixel(2, 2, Rgba([0x0AFFu16, 0x14FF, 0x1EFF, 0]));
    let cases: [(DynamicImage, [u8; 3]); 3] =
        [(grey16.into(), [0x12; 3]), (clear.into(), [10, 20, 30]), (deep.into(), [10, 20, 30])];
    for (picture, expected) in cases {
        let image = decode(&encode(&picture, ImageFormat::Png)).unwrap();
        assert!(image.pixels().rows().into_iter().all(|p| p.to_vec() == expected), "{:?}", picture.color());
    }
}

#[test]
fn every_cut_of_a_picture_is_an_error() {
    for format in [ImageFormat::Png, ImageFormat::Jpeg] {
        let bytes = encode(&gradient(40, 30), format);
        decode(&bytes).unwrap();
        // The last few bytes of a PNG end a chunk that holds nothing.
        let needed = if format == ImageFormat::Png { bytes.len() - 16 } else { bytes.len() };
        for cut in 0..needed {
            assert!(decode(&bytes[..cut]).is_err(), "{format:?} cut to {cut} of {} bytes", bytes.len());
        }
    }
}

#[test]
fn headers_that_promise_too_much_are_errors() {
    let mut jpeg = encode(&gradient(40, 30), ImageFormat::Jpeg);
    let frame = jpeg.windows(2).position(|w| w == [0xFF, 0xC0]).unwrap();
    jpeg[frame + 5] = 0x10; // height 30 → 4126
    assert!(matches!(decode(&jpeg), Err(Error::BadJpeg { .. })), "{:?}", decode(&jpeg));
    jpeg[frame + 5] = 0;
    jpeg[frame + 6] = 0;
    assert!(decode(&jpeg).is_err());

    let small = DecodeLimits { max_pixels: 1199, ..DecodeLimits::default() };
    let few = DecodeLimits { max_bytes: 10, ..DecodeLimits::default() };
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Bmp] {
        let bytes = encode(&gradient(40, 30), format);
        let found = Image::decode(&bytes, &small);
        assert!(matches!(found, Err(Error::TooManyPixels { width: 40, height: 30, limit: 1199 })), "{found:?}");
        assert!(matches!(Image::decode(&bytes, &few), Err(Error::FileTooLarge { limit: 10, .. })));
    }
    for rubbish in [&b""[..], b"not a picture", &[0xFF, 0xD8, 0xFF]] {
        assert!(decode(rubbish).is_err());
    }
}

#[test]
fn errors_name_the_file_and_odd_names_work() {
    let dir = tempfile::tempdir().unwrap();
    let missing = Image::open(dir.path().join("nothing.png")).unwrap_err();
    assert!(missing.to_string().contains("nothing.png"), "{missing}");
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::ffi::OsStrExt;
        let path = dir.path().join(std::ffi::OsStr::from_bytes(b"photo-\xff\xfe.png"));
        std::fs::write(&path, encode(&gradient(4, 3), ImageFormat::Png)).unwrap();
        assert_eq!(Image::open(&path).unwrap().width(), 4);
    }
}

#[test]
fn orientation_is_applied() {
    // A JPEG with an EXIF orientation of 6: turn by 90 degrees clockwise to see it upright.
    let plain = encode(&gradient(48, 16), ImageFormat::Jpeg);
    let exif = b"\xFF\xE1\x00\x22Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    let turned = [&plain[..2], &exif[..], &plain[2..]].concat();
    let (upright, turned) = (decode(&plain).unwrap(), decode(&turned).unwrap());
    assert_eq!((turned.width(), turned.height()), (16, 48));
    assert_eq!(turned.pixels()[[40, 3, 0]], upright.pixels()[[16 - 1 - 3, 40, 0]]);
}

#[test]
fn one_pixel_works_and_none_is_refused() {
    let processor = ImageProcessor { tile_size: 28, max_num_tiles: 4, ..ImageProcessor::default() };
    let image = Image::from_rgb(Array3::from_elem((1, 1, 3), 255)).unwrap();
    let tiled = processor.process(&image).unwrap();
    assert!(tiled.normalized().iter().all(|&v| v == 1.0));
    assert!(matches!(Image::from_rgb(Array3::zeros((0, 5, 3))), Err(Error::EmptyImage { width: 5, height: 0 })));
    assert!(matches!(Image::from_rgb(Array3::zeros((5, 5, 4))), Err(Error::PixelBuffer { .. })));
    assert!(resize::bicubic(image.pixels(), 0, 4).is_err());
}

#[test]
fn grids_equal_the_released_code() {
    let rows: Vec<[usize; 5]> = serde_json::from_str(include_str!("data/grids.json")).unwrap();
    assert!(rows.len() >= 200);
    for [w, h, max, columns, rows] in rows {
        assert_eq!(TileGrid::choose(w, h, 448, max).unwrap(), TileGrid { columns, rows }, "{w}×{h}, at most {max}");
    }
    for (w, h, size, max) in [(0, 1, 448, 1), (1, 0, 448, 1), (1, 1, 0, 1), (1, 1, 448, 0), (1, 1, 448, 1 << 40)] {
        assert!(TileGrid::choose(w, h, size, max).is_err());
    }
}

#[test]
fn label_maps_are_cut_like_pictures() {
    let processor = ImageProcessor { tile_size: 4, ..ImageProcessor::default() };
    let grid = TileGrid { columns: 2, rows: 3 };
    let labels = Array2::from_shape_fn((12, 8), |(y, x)| (y / 4 * 2 + x / 4) as u8);
    let tiles = processor.process_labels(labels.view(), 9, &grid).unwrap();
    assert_eq!(tiles.shape(), [7, 4, 4]);
    for (t, tile) in tiles.outer_iter().enumerate().skip(1) {
        assert!(tile.iter().all(|&l| usize::from(l) == t - 1), "tile {t}");
    }
    let clamped = processor.process_labels(labels.view(), 3, &grid).unwrap();
    assert_eq!(clamped.iter().max(), Some(&3));
    for grid in [TileGrid { columns: 0, rows: 1 }, TileGrid { columns: usize::MAX, rows: 2 }] {
        assert!(matches!(processor.process_labels(labels.view(), 9, &grid), Err(Error::Grid { .. })));
    }
    assert!(processor.process_labels(Array2::zeros((0, 3)).view(), 9, &TileGrid { columns: 1, rows: 1 }).is_err());
}

#[test]
fn a_vanilla_processor_shows_the_thumbnail_alone() {
    let read = |kind: &str| {
        let text = json!({ "tile_size": 28, "max_num_tiles": 4, "vision_input_type": kind }).to_string();
        ImageProcessor::from_json(text.as_bytes()).unwrap()
    };
    let [tiles, vanilla] = ["thumb+tile", "vanilla"].map(read);
    let image = Image::from_rgb(Array3::from_shape_fn((20, 50, 3), |(y, x, c)| (9 * y + 4 * x + c) as u8)).unwrap();
    let labels = Array2::from_shape_fn((20, 50), |(_, x)| u8::from(x > 20));
    let (all, one) = (tiles.process(&image).unwrap(), vanilla.process(&image).unwrap());
    assert_eq!(one.grid, TileGrid { columns: 1, rows: 1 });
    assert_eq!(one.pixels.shape(), [1, 3, 28, 28]);
    assert_eq!(one.pixels.index_axis(Axis(0), 0), all.pixels.index_axis(Axis(0), 0));
    let [all, one] = [(&tiles, &all.grid), (&vanilla, &one.grid)]
        .map(|(processor, grid)| processor.process_labels(labels.view(), 1, grid).unwrap());
    assert_eq!(one.shape(), [1, 28, 28]);
    assert_eq!(one.index_axis(Axis(0), 0), all.index_axis(Axis(0), 0));
}

#[test]
fn processor_configurations() {
    let read = |v: Value| ImageProcessor::from_json(v.to_string().as_bytes());
    assert_eq!(read(json!({})).unwrap(), ImageProcessor::default());
    assert_eq!(read(json!({ "image_mean": 0.5, "tile_size": 224 })).unwrap().tile_size, 224);
    for bad in [
        json!({ "vision_input_type": "tile" }),
        json!({ "resample": 2 }),
        json!({ "do_resize": false }),
        json!({ "tile_size": 0 }),
        json!({ "max_num_tiles": 0 }),
        json!({ "image_std": [0.5, 0.0, 0.5] }),
        json!({ "rescale_factor": 0.0 }),
    ] {
        let key = bad.as_object().unwrap().keys().next().unwrap().clone();
        let error = read(bad).unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }) && error.to_string().contains(&key), "{error}");
    }
    assert!(matches!(ImageProcessor::from_json(b"{"), Err(Error::Json { .. })));
    assert!(matches!(read(json!({ "tile_size": -3 })), Err(Error::Json { .. })));
}

#[test]
fn tower_configurations() {
    let large = |args: Value| {
        PerceptionConfig::from_json(&json!({ "architecture": "vit_pe_core_large_patch14_336", "model_args": args }))
    };
    let own = large(Value::Null).unwrap();
    assert_eq!(
        (own.spec.tile_size, own.spec.patch_size, own.spec.width, own.depth, own.heads),
        (336, 14, 1024, 24, 16)
    );
    assert!(own.class_token && own.post_norm && own.layer_scale.is_none() && own.qkv_bias && own.absolute_positions);
    assert_eq!(own.rotary.map(|r| (r.reference, r.offset, r.theta)), Some(([24, 24], 1.0, 10_000.0)));
    let giant = json!({ "architecture": "vit_pe_core_gigantic_patch14_448" });
    let giant = PerceptionConfig::from_json(&giant).unwrap();
    assert_eq!((giant.spec.tile_size, giant.spec.width, giant.depth, giant.mlp_width), (448, 1536, 50, 8960));
    assert!(!giant.class_token);

    let other = json!({ "img_size": [224, 224], "patch_size": 16, "embed_dim": 96, "num_heads": 4, "mlp_ratio": 2.5,
        "init_values": 1e-5, "ref_feat_shape": null, "drop_path_rate": 0.1, "global_pool": "avg", "class_token": false });
    let other = large(other).unwrap();
    assert_eq!((other.spec.patches(), other.tokens(), other.head_dim(), other.mlp_width), (196, 196, 24, 240));
    assert!(other.layer_scale == Some(1e-5) && !other.post_norm && other.rotary.unwrap().reference == [24, 24]);

    for (key, value) in [
        ("swiglu_mlp", json!(true)),
        ("attn_type", json!("eva")),
        ("num_reg_tokens", json!(4)),
        ("img_size", json!(450)),
        ("img_size", json!([448, 224])),
        ("embed_dim", json!(1000)),
        ("depth", json!("many")),
        ("use_pre_transformer_norm", json!(false)),
        ("no_embed_class", json!(true)),
        ("rope_grid_indexing", json!("yx")),
        ("something_new", json!(1)),
    ] {
        let mut args = serde_json::Map::new();
        args.insert(key.into(), value);
        let error = large(Value::Object(args)).unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }) && error.to_string().contains(key), "{error}");
    }
    let error = PerceptionConfig::from_json(&json!({ "architecture": "resnet50" })).unwrap_err();
    assert!(error.to_string().contains("resnet50"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Resizing keeps constants, commutes with exchanging the axes up to rounding, and does not depend on channels.
    #[test]
    fn resize_laws(h in 1usize..70, w in 1usize..70, to_h in 1usize..70, to_w in 1usize..70, seed: u8) {
        let flat = Array3::from_elem((h, w, 3), seed);
        prop_assert!(resize::bicubic(flat.view(), to_h, to_w).unwrap().iter().all(|&v| v == seed));
        let value = |y: usize, x: usize, c: usize| (y * 31 + x * 17 + c * 91 + usize::from(seed)).wrapping_mul(2654435761) as u8;
        let picture = Array3::from_shape_fn((h, w, 3), |(y, x, c)| value(y, x, c));
        let resized = resize::bicubic(picture.view(), to_h, to_w).unwrap();
        let green = Array3::from_shape_fn((h, w, 1), |(y, x, _)| picture[[y, x, 1]]);
        let green = resize::bicubic(green.view(), to_h, to_w).unwrap();
        prop_assert!(green.indexed_iter().all(|((y, x, _), &v)| v == resized[[y, x, 1]]));
        let turned = resize::bicubic(picture.view().permuted_axes([1, 0, 2]), to_w, to_h).unwrap();
        prop_assert!(resized.indexed_iter().all(|((y, x, c), &v)| v.abs_diff(turned[[x, y, c]]) <= 1));
    }

    /// Damaged files give errors or pictures, never a panic.
    #[test]
    fn damaged_pictures_never_panic(at in 0usize..2000, value: u8, jpeg: bool) {
        let mut bytes = encode(&gradient(33, 21), if jpeg { ImageFormat::Jpeg } else { ImageFormat::Png });
        let at = at % bytes.len();
        bytes[at] = value;
        let limits = DecodeLimits { max_pixels: 1 << 20, ..DecodeLimits::default() };
        if let Ok(image) = Image::decode(&bytes, &limits) {
            prop_assert!(image.width() * image.height() <= 1 << 20);
        }
    }
}
