//! The architectures of Grasp Any Region, Table 8: what each shows to the tower and to the decoder.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use gar_core::{
    AnswerOptions, AttentionHeads, CrossAttention, EncodingKind, Exchange, Eye, GarModel, ImageFeatures,
    RegionEncoding, Said, Scene, View,
    kernels::{
        Kernels, Tensor, Weights,
        laws::reference,
        ops::{Activation, Mask as Seen, NormKind},
    },
    prompt::{Mask, RegionSet},
    vision::{Image, TileGrid, Tiles, TowerSpec, VisionTower},
};
use ndarray::{Array1, Array2, Array4};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

/// Of the fixture `tile56`: tile, features of a tile, width and heads of the decoder, tokens of the image and of slots 0 to 2.
const TILE: usize = 56;
const FEATURES: usize = 4;
const HEADS: AttentionHeads = AttentionHeads { width: 32, heads: 4, head_dim: 8 };
const IMAGE: u32 = 322;
const CROPS: [u32; 3] = [324, 325, 328];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures")
}

/// Values in −1…1.
fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as i32 - (1 << 23)) as f32 / (1 << 23) as f32
    };
    (0..count).map(|_| next()).collect()
}

/// Names, shapes and values of a cross-attention.
fn attention_weights(gate: f32) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let (d, inner) = (HEADS.width, HEADS.heads * HEADS.head_dim);
    [
        ("norm.weight", vec![d]),
        ("norm.bias", vec![d]),
        ("context_norm.weight", vec![d]),
        ("context_norm.bias", vec![d]),
        ("q_proj.weight", vec![inner, d]),
        ("k_proj.weight", vec![inner, d]),
        ("v_proj.weight", vec![inner, d]),
        ("o_proj.weight", vec![d, inner]),
        ("gate", vec![d]),
    ]
    .into_iter()
    .enumerate()
    .map(|(i, (name, shape))| {
        let count = shape.iter().product();
        let values = if name == "gate" { vec![gate; count] } else { noise(i as u64, count) };
        (format!("{}.{name}", CrossAttention::PREFIX), shape, values)
    })
    .collect()
}

/// The fixture `tile56` with another encoding in its configuration, and the weights of a cross-attention.
fn checkpoint(name: &str, gate: Option<f32>) -> tempfile::TempDir {
    let (from, to) = (fixtures().join("tile56"), tempfile::tempdir().unwrap());
    for entry in fs::read_dir(&from).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, to.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    let path = to.path().join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config["region_encoding"] = name.into();
    // The boxes of the released weights lie in one corner, where regions may look alike.
    config["replay_boxes"] = "paper".into();
    fs::write(&path, config.to_string()).unwrap();
    if let Some(gate) = gate {
        let path = to.path().join("model.safetensors");
        let bytes = fs::read(&path).unwrap();
        let extra: Vec<_> = attention_weights(gate)
            .into_iter()
            .map(|(name, shape, values)| {
                (name, shape, values.into_iter().flat_map(f32::to_le_bytes).collect::<Vec<_>>())
            })
            .collect();
        let mut all = SafeTensors::deserialize(&bytes).unwrap().tensors();
        for (name, shape, data) in &extra {
            all.push((name.clone(), TensorView::new(Dtype::F32, shape.clone(), data).unwrap()));
        }
        fs::write(&path, safetensors::serialize(all, None).unwrap()).unwrap();
    }
    to
}

fn load(kind: EncodingKind) -> GarModel {
    load_gated(kind, 0.5)
}

fn load_gated(kind: EncodingKind, gate: f32) -> GarModel {
    let gate = (kind == EncodingKind::LocalCrossAttention).then_some(gate);
    GarModel::open(checkpoint(kind.name(), gate).path()).unwrap().load().unwrap()
}

fn picture() -> Image {
    Image::open(fixtures().join("images/shapes.png")).unwrap()
}

/// Boxes of the picture's 150 × 100 pixels as regions in slots 0, 1, ….
fn boxes(corners: &[[f64; 4]]) -> RegionSet {
    RegionSet::numbered(corners.iter().map(|&c| Mask::from_box(150, 100, c).unwrap())).unwrap()
}

const LEFT: [f64; 4] = [10.0, 10.0, 60.0, 60.0];
const RIGHT: [f64; 4] = [90.0, 20.0, 130.0, 65.0];

/// What the decoder reads and says to one question.
struct Read {
    ids: Vec<u32>,
    /// [L, D].
    embeds: Vec<f32>,
    logits: Vec<f32>,
}

impl Read {
    fn of(model: &GarModel, scene: &Scene, question: &str) -> Self {
        let exchange = Exchange { said: Said::Question(question.into()), answer: "Yes".into() };
        let transcript = scene.transcript(&[exchange]).unwrap();
        let prompt = transcript.answers[0].start;
        let (k, decoder) = (model.kernels(), model.decoder());
        let embeds = scene.embeddings(&transcript, 0..prompt).unwrap();
        let mut sequence = decoder.sequence(k, prompt).unwrap();
        let logits = decoder.prefill(k, sequence.as_mut(), &embeds).unwrap();
        let [embeds, logits] = [embeds, logits].map(|t| k.device.download(&t).unwrap().to_f32_vec().unwrap());
        Self { ids: transcript.ids[..prompt].to_vec(), embeds, logits }
    }

    fn new(model: &GarModel, image: &Image, regions: &RegionSet) -> Self {
        Self::of(model, &model.scene(image, regions).unwrap(), "What is <Prompt0>?")
    }

    fn count(&self, token: u32) -> usize {
        self.ids.iter().filter(|&&id| id == token).count()
    }

    /// The rows that stand for a region.
    fn region(&self, slot: usize) -> &[f32] {
        let start = self.ids.iter().position(|&id| id == CROPS[slot]).unwrap();
        &self.embeds[start * HEADS.width..][..FEATURES * HEADS.width]
    }
}

/// A tower that counts the tiles it is shown.
struct Counting(Arc<Mutex<Vec<usize>>>);

impl VisionTower for Counting {
    fn spec(&self) -> TowerSpec {
        TowerSpec { tile_size: TILE, patch_size: 14, width: 16 }
    }

    fn encode(&self, k: &Kernels, tiles: &Tiles, prompt: Option<&Tensor>) -> gar_core::vision::Result<Tensor> {
        assert_eq!(prompt.unwrap().shape()[0], tiles.count());
        self.0.lock().unwrap().push(tiles.count());
        Ok(k.device.zeros(&[tiles.count(), 16, 16], gar_core::kernels::DType::F32)?)
    }
}

/// The counts of Table 8, here with 1 + 4 tiles of 4 features and two regions.
#[test]
fn tower_and_decoder_are_shown_what_the_table_says() {
    for (kind, towers, image) in [
        (EncodingKind::Local, vec![2], 0),
        (EncodingKind::LocalCrossAttention, vec![2, 5], 0),
        (EncodingKind::GlobalLocal, vec![5, 2], 5 * FEATURES),
        (EncodingKind::Replay, vec![5], 5 * FEATURES),
    ] {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let directory = checkpoint(kind.name(), Some(0.5));
        let builder = GarModel::open(directory.path()).unwrap().with_tower(Arc::new(Counting(seen.clone())));
        assert_eq!(builder.config().region_encoding, kind);
        let model = builder.load().unwrap();
        let read = Read::new(&model, &picture(), &boxes(&[LEFT, RIGHT]));
        assert_eq!(*seen.lock().unwrap(), towers, "{kind:?}: tiles of each pass of the tower");
        assert_eq!(read.count(IMAGE), image, "{kind:?}");
        assert_eq!(CROPS.map(|token| read.count(token)), [FEATURES, FEATURES, 0], "{kind:?}");
    }
}

/// The one tile of a grid is the thumbnail over again: the decoder reads both, the tower sees one.
#[test]
fn equal_tiles_are_looked_at_once() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let directory = checkpoint("replay", None);
    let builder = GarModel::open(directory.path()).unwrap();
    let model = builder.with_tower(Arc::new(Counting(seen.clone()))).load().unwrap();
    for (max_tiles, towers, tiles) in [(1, 1, 2), (4, 5, 5)] {
        let scene = model.scene_with(&picture(), &boxes(&[LEFT]), Some(max_tiles)).unwrap();
        assert_eq!(seen.lock().unwrap().pop(), Some(towers));
        assert_eq!(Read::of(&model, &scene, "What is <Prompt0>?").count(IMAGE), tiles * FEATURES);
    }
}

#[test]
fn every_encoding_answers_about_any_mask() {
    let thin = Mask::from_box(150, 100, [0.0, 99.0, 150.0, 100.0]).unwrap();
    for kind in EncodingKind::ALL {
        let model = load(kind);
        let mut regions = boxes(&[[149.0, 99.0, 150.0, 100.0], [0.0, 0.0, 150.0, 100.0]]);
        regions.push(2, thin.clone()).unwrap();
        let scene = model.scene(&picture(), &regions).unwrap();
        let read = Read::of(&model, &scene, "What is <Prompt0>?");
        assert!(read.embeds.iter().chain(&read.logits).all(|v| v.is_finite()), "{kind:?}");
        assert_ne!(read.region(1), read.region(2), "{kind:?}");
        let options = AnswerOptions { max_new_tokens: 4, ..AnswerOptions::default() };
        let mut chat = scene.chat();
        for question in ["What is <Prompt0>?", "And <Prompt2>?"] {
            let answer = chat.ask_with(question, &options, &mut |_| std::ops::ControlFlow::Continue(()));
            assert!(!answer.unwrap().tokens.is_empty(), "{kind:?}");
        }
    }
}

#[test]
fn a_closed_gate_leaves_crops_as_they_are() {
    let regions = boxes(&[LEFT, RIGHT]);
    let read = |model: &GarModel| Read::new(model, &picture(), &regions);
    let local = read(&load(EncodingKind::Local));
    let closed = load_gated(EncodingKind::LocalCrossAttention, 0.0);
    let shut = read(&closed);
    assert_eq!((&local.ids, &local.embeds, &local.logits), (&shut.ids, &shut.embeds, &shut.logits));
    let open = read(&load_gated(EncodingKind::LocalCrossAttention, 0.5));
    assert_ne!(local.region(0), open.region(0));

    // Other weights are other weights of the encoding too.
    let directory = checkpoint("local_cross_attention", Some(0.5));
    let opened = closed.with_weights(&Weights::open(directory.path()).unwrap()).unwrap();
    assert_eq!(read(&opened).logits, open.logits);
}

/// Far from the region, the picture is changed: who sees it?
#[test]
fn context_reaches_all_but_the_crop_alone() {
    let regions = boxes(&[LEFT]);
    let mut pixels = picture().into_pixels();
    pixels.indexed_iter_mut().filter(|((_, x, _), _)| *x > 100).for_each(|(_, value)| *value = 255 - *value);
    let changed = Image::from_rgb(pixels).unwrap();
    for (kind, decoder, region) in [
        (EncodingKind::Local, false, false),
        (EncodingKind::LocalCrossAttention, true, true),
        // The picture reaches the decoder beside the crop, not through it.
        (EncodingKind::GlobalLocal, true, false),
    ] {
        let model = load(kind);
        let [before, after] = [&picture(), &changed].map(|image| Read::new(&model, image, &regions));
        assert_eq!(before.logits != after.logits, decoder, "{kind:?}: the answer");
        assert_eq!(before.region(0) != after.region(0), region, "{kind:?}: the region's rows");
    }
}

#[test]
fn a_crop_holds_its_own_mask_and_no_other() {
    let model = load(EncodingKind::Local);
    let read = |corners: &[[f64; 4]]| Read::new(&model, &picture(), &boxes(corners));
    let alone = read(&[LEFT]);
    assert_eq!(alone.region(0), read(&[LEFT, [30.0, 30.0, 80.0, 80.0]]).region(0));
    // Of one box, but for a corner.
    let mut pixels = Mask::from_box(150, 100, LEFT).unwrap().into_array();
    pixels.indexed_iter_mut().filter(|((y, x), _)| *y < 40 && *x < 40).for_each(|(_, set)| *set = false);
    let notched = RegionSet::numbered([Mask::from_array(pixels)]).unwrap();
    assert_eq!(notched.iter().next().unwrap().mask().bounds().unwrap().x_min, 10);
    assert_ne!(alone.region(0), Read::new(&model, &picture(), &notched).region(0));
}

#[test]
fn what_shows_nothing_is_refused() {
    for kind in EncodingKind::ALL {
        let scene = load(kind).scene(&picture(), &RegionSet::new());
        match kind {
            EncodingKind::Replay | EncodingKind::GlobalLocal => drop(scene.unwrap()),
            _ => {
                let error = scene.err().unwrap().to_string();
                assert!(error.contains("whole picture") && error.contains("at least one region"), "{error}");
            }
        }
    }
    let directory = checkpoint("local_cross_attention", None);
    let error = GarModel::open(directory.path()).unwrap().load().err().unwrap().to_string();
    assert!(error.contains("region_encoding.norm.weight"), "{error}");
}

/// Matrices in 8 bits have steps of 1/127 of their largest entry, so rows move by a few percent.
#[test]
fn a_quantised_checkpoint_keeps_its_encoding() {
    let (from, to) = (checkpoint("local_cross_attention", Some(0.5)), tempfile::tempdir().unwrap());
    gar_core::quantize(from.path(), to.path(), &gar_core::kernels::NoProgress).unwrap();
    let regions = boxes(&[LEFT]);
    let [exact, coarse] = [&from, &to].map(|directory| {
        let model = GarModel::open(directory.path()).unwrap().load().unwrap();
        assert_eq!(model.config().region_encoding, EncodingKind::LocalCrossAttention);
        Read::new(&model, &picture(), &regions).region(0).to_vec()
    });
    let square = |v: f32| f64::from(v) * f64::from(v);
    let off: f64 = exact.iter().zip(&coarse).map(|(a, b)| square(a - b)).sum();
    let off = (off / exact.iter().map(|&v| square(v)).sum::<f64>()).sqrt();
    println!("rows of the region: off by {off:.4}");
    assert!(off > 0.0 && off < 0.1, "off by {off}");
}

/// An eye that has seen given features.
struct Given {
    picture: ImageFeatures,
    tiles: Tensor,
}

impl Eye for Given {
    fn picture(&self) -> gar_core::Result<&ImageFeatures> {
        Ok(&self.picture)
    }

    fn tiles(&self, pictures: &[(Image, RegionSet)]) -> gar_core::Result<Tensor> {
        assert_eq!(pictures.len(), self.tiles.shape()[0]);
        Ok(self.tiles.clone())
    }
}

/// The documented formula in f64. Sums are of 32 terms in f32, so 1e-5 leaves room for their order alone.
#[test]
fn cross_attention_is_its_formula() {
    let (d, tiles, regions) = (HEADS.width, 3, 2);
    let stored = attention_weights(0.7);
    let tensors = stored.iter().map(|(name, shape, v)| (name.clone(), Tensor::from_vec(v.clone(), shape).unwrap()));
    let k = Kernels::cpu();
    let encoding = CrossAttention::load(&k, &Weights::from_tensors(tensors, Path::new("test")), HEADS).unwrap();
    let (local, context) = (noise(50, regions * FEATURES * d), noise(51, tiles * FEATURES * d));
    let eye = Given {
        picture: ImageFeatures {
            tokens: Tensor::from_vec(context.clone(), &[tiles, FEATURES, d]).unwrap(),
            grid: TileGrid { columns: 2, rows: 1 },
            side: 2,
        },
        tiles: Tensor::from_vec(local.clone(), &[regions, FEATURES, d]).unwrap(),
    };
    let view = View { kernels: &k, image: &picture(), regions: &boxes(&[LEFT, RIGHT]), eye: &eye };
    let found: Vec<f32> = encoding.encode(&view).unwrap().iter().flat_map(|rows| rows.to_f32_vec().unwrap()).collect();

    let wide = |v: &[f32]| v.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
    let weight = |i: usize| Array2::from_shape_vec((stored[i].1[0], d), wide(&stored[i].2)).unwrap();
    let vector = |i: usize| Array1::from(wide(&stored[i].2));
    let rows = |v: &[f32]| Array2::from_shape_vec((v.len() / d, d), wide(v)).unwrap();
    let normed = |v: &[f32], i| reference::norm(&rows(v), NormKind::Layer, &vector(i), Some(&vector(i + 1)), 1e-5);
    let heads = |x: &Array2<f64>, i| -> Array4<f64> {
        let y = reference::matmul(x, &weight(i), None, Activation::Identity, None, None);
        y.into_shape_with_order((1, x.nrows(), HEADS.heads, HEADS.head_dim)).unwrap()
    };
    let context = normed(&context, 2);
    let (q, keys, values) = (heads(&normed(&local, 0), 4), heads(&context, 5), heads(&context, 6));
    let mixed = reference::attention(&q, &keys, &values, 8_f64.sqrt().recip(), Seen::Full);
    let mixed = mixed.into_shape_with_order((regions * FEATURES, d)).unwrap();
    let (gate, local) = (vector(8), rows(&local));
    let expected = reference::matmul(&mixed, &weight(7), None, Activation::Identity, Some(&gate), Some(&local));
    let off = found.iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
    assert!(off < 1e-5, "off by {off:.1e}");
}

/// Kernels of CUDA compute in bf16: logits lay 1.2 to 1.8 % of their deviation from the exact ones. Skipped without a C++
/// compiler, unless `GAR_REQUIRE_CXX=1`.
#[cfg(feature = "emulator")]
#[test]
fn every_encoding_is_the_same_through_the_cuda_kernels() {
    use gar_core::kernels::{Error, cuda::EmulatorOptions};
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("emulator");
    let emulated = match Kernels::emulated(EmulatorOptions { folder, ..EmulatorOptions::default() }) {
        Ok(kernels) => kernels,
        Err(why @ Error::Unavailable { .. }) if std::env::var_os("GAR_REQUIRE_CXX").is_none() => {
            return println!("SKIPPED: {why}");
        }
        Err(error) => panic!("{error}"),
    };
    let regions = boxes(&[LEFT, RIGHT]);
    for kind in EncodingKind::ALL {
        let directory = checkpoint(kind.name(), Some(0.5));
        let [exact, found] = [Kernels::cpu(), emulated.clone()].map(|kernels| {
            let model = GarModel::open(directory.path()).unwrap().with_kernels(kernels).load().unwrap();
            Read::new(&model, &picture(), &regions)
        });
        assert_eq!(exact.ids, found.ids);
        let n = exact.logits.len() as f32;
        let mean = exact.logits.iter().sum::<f32>() / n;
        let deviation = (exact.logits.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / n).sqrt();
        let off = exact.logits.iter().zip(&found.logits).map(|(a, b)| (a - b).abs()).sum::<f32>() / n / deviation;
        println!("{kind:?}: mean error of the logits {:.2} % of their deviation", 100.0 * off);
        assert!(off < 0.03, "{kind:?}: mean error {off:.4} of the deviation");
    }
}
