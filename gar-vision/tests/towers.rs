//! Small towers of other shapes than the published ones, against timm (`data/make_towers.py`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use gar_kernels::{Kernels, Tensor, Weights};
use gar_vision::{
    Error, Image, ImageProcessor, Normalization, PerceptionConfig, PerceptionEncoder, Projector, Tiles, TowerSpec,
    VisionTower,
};
use ndarray::Array3;
use serde_json::Value;

fn weights() -> Weights {
    Weights::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/towers.safetensors")).unwrap()
}

fn relative_error(out: &Tensor, reference: &Tensor) -> f64 {
    assert_eq!(out.shape(), reference.shape());
    let square = |v: f64| v * v;
    let pairs = out.host::<f32>().unwrap().iter().zip(reference.host::<f32>().unwrap());
    let (difference, norm) =
        pairs.fold((0.0, 0.0), |(d, n), (&a, &b)| (d + square(f64::from(a) - f64::from(b)), n + square(f64::from(b))));
    (difference / norm).sqrt()
}

#[test]
fn towers_follow_timm_and_do_not_depend_on_grouping() {
    let k = Kernels::cpu();
    let configs: Vec<Value> = serde_json::from_str(include_str!("data/towers.json")).unwrap();
    assert!(configs.len() >= 5);
    for (i, config) in configs.iter().enumerate() {
        let scope = weights().scope(&i.to_string());
        let config = PerceptionConfig::from_json(config).unwrap();
        let TowerSpec { tile_size, width, .. } = config.spec;
        let shape = [3, config.spec.patches(), width];
        let tiles = Tiles::from(scope.tensor("tiles", &[3, 3, tile_size, tile_size]).unwrap());
        let prompt = scope.tensor("prompt", &shape).unwrap();
        let expected = scope.tensor("features", &shape).unwrap();
        for group in [1, 2, 3] {
            let tower = PerceptionEncoder::load(&k, config.clone(), &scope).unwrap().with_tiles_at_once(group);
            let error = relative_error(&tower.encode(&k, &tiles, Some(&prompt)).unwrap(), &expected);
            assert!(error < 1e-5, "tower {i}, {group} tiles at once: relative error {error:.2e}");
        }
    }
}

#[test]
fn bytes_give_the_bits_of_their_values() {
    let k = Kernels::cpu();
    let configs: Vec<Value> = serde_json::from_str(include_str!("data/towers.json")).unwrap();
    let config = PerceptionConfig::from_json(&configs[0]).unwrap();
    let tile_size = config.spec.tile_size;
    let tower = PerceptionEncoder::load(&k, config, &weights().scope("0")).unwrap().with_tiles_at_once(2);
    let normalize = Some(Normalization { mean: [0.4, 0.5, 0.6], std: [0.2, 0.3, 0.4] });
    let processor = ImageProcessor { tile_size, max_num_tiles: 4, normalize, ..ImageProcessor::default() };
    let image =
        Image::from_rgb(Array3::from_shape_fn((50, 90, 3), |(y, x, c)| (9 * y + 4 * x + 50 * c) as u8)).unwrap();
    let tiled = processor.process(&image).unwrap();
    let values = tiled.normalized();
    let host = |tensor: &Tensor| tensor.host::<f32>().unwrap().to_vec();
    let tiles = tiled.upload(&k).unwrap();
    assert!(tiles.count() > 2);
    assert_eq!(host(&tiles.normalized(&k).unwrap()), values.iter().copied().collect::<Vec<_>>());
    let ready = Tiles::from(tiles.normalized(&k).unwrap());
    let [bytes, values] = [&tiles, &ready].map(|tiles| host(&tower.encode(&k, tiles, None).unwrap()));
    assert_eq!(bytes, values);
    assert_eq!(host(&ready.normalized(&k).unwrap()), host(&ready.pixels));
}

#[test]
fn misfits_are_refused() {
    let k = Kernels::cpu();
    let configs: Vec<Value> = serde_json::from_str(include_str!("data/towers.json")).unwrap();
    let config = PerceptionConfig::from_json(&configs[0]).unwrap();
    let tower = PerceptionEncoder::load(&k, config.clone(), &weights().scope("0")).unwrap();
    let tiles = |shape: &[usize]| Tensor::from_vec(vec![0f32; shape.iter().product()], shape).unwrap();
    let wrong = tower.encode(&k, &tiles(&[1, 3, 48, 48]).into(), None);
    assert!(matches!(wrong, Err(Error::Kernels(_))), "{wrong:?}");
    assert!(tower.encode(&k, &tiles(&[1, 3, 40, 40]).into(), Some(&tiles(&[1, 4, 32]))).is_err());
    assert_eq!(tower.encode(&k, &tiles(&[0, 3, 40, 40]).into(), None).unwrap().shape(), [0, 25, 32]);

    let deeper = PerceptionConfig { depth: 3, ..config.clone() };
    let error = PerceptionEncoder::load(&k, deeper, &weights().scope("0")).unwrap_err().to_string();
    assert!(error.contains("0.blocks.2"), "{error}");
    let pooling = Projector::load(&k, config.spec, 8, 2, &weights()).unwrap_err();
    assert!(matches!(pooling, Error::Unsupported { .. }), "{pooling}");
}
