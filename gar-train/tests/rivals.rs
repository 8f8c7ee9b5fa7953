//! The architectures of Table 8 train: gradients reach every part, and are those of finite differences.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, missing_docs)]
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use gar_core::{
    EncodingKind, Exchange, GarModel, Said,
    kernels::{Kernels, Tensor, Weights},
    prompt::{Mask, RegionSet},
    vision::Image,
};
use gar_train::{OptimizerConfig, Part, Result, RunConfig, Sample, Tape, Trainer, fresh, loss};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures")
}

/// The fixture `tile42` with another encoding in its configuration, and fresh weights.
fn checkpoint(kind: EncodingKind) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixtures().join("tile42")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() && path.extension().is_none_or(|e| e != "safetensors") {
            fs::copy(&path, to.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    let path = to.path().join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config["region_encoding"] = kind.name().into();
    config["replay_boxes"] = "paper".into();
    fs::write(&path, config.to_string()).unwrap();
    fresh::write(to.path(), 1, None).unwrap();
    to
}

/// Two questions about two regions, the first of which has its place by the position.
fn sample(position: u64) -> Result<Sample> {
    let image = Image::open(fixtures().join("images/shapes.png")).map_err(gar_core::Error::from)?;
    let left = 10.0 + 30.0 * (position % 4) as f64;
    let masks = [[left, 10.0, left + 25.0, 45.0], [20.0, 50.0, 140.0, 90.0]].map(|c| Mask::from_box(150, 100, c));
    let masks = masks.into_iter().collect::<std::result::Result<Vec<_>, _>>();
    let regions = masks.and_then(RegionSet::numbered).map_err(gar_core::Error::from)?;
    let exchange = |question: &str, answer: String| vec![Exchange { said: Said::Question(question.into()), answer }];
    let conversations = vec![
        exchange("Where is <Prompt0>?", format!("Place {}.", position % 4)),
        exchange("What is above <Prompt1>?", "<Prompt0>".into()),
    ];
    Ok(Sample { image, regions, conversations, facts: Vec::new(), choices: Vec::new() })
}

#[test]
fn every_rival_trains_and_is_exported_as_what_it_is() {
    for kind in EncodingKind::ALL {
        let (source, out) = (checkpoint(kind), tempfile::tempdir().unwrap());
        let weights = Weights::open(source.path()).unwrap();
        let optimizer = OptimizerConfig { lr: 3e-3, ..OptimizerConfig::default() };
        let config = RunConfig { batch: 2, optimizer, ..RunConfig::new(60) };
        let model = GarModel::open(source.path()).unwrap().load().unwrap();
        let mut trainer = Trainer::new(model, &weights, config).unwrap();
        let held_out = [sample(1).unwrap()];
        let before = trainer.evaluate(&held_out).unwrap();
        trainer.run(&sample, out.path(), &mut |_, _| Ok(())).unwrap();
        let after = trainer.evaluate(&held_out).unwrap();
        println!("{kind:?}: evaluation loss {before} → {after}");
        assert!(after < 0.5 * before, "{kind:?}: evaluation loss {before} → {after}");
        let mut moved = BTreeSet::new();
        for (name, tensor) in trainer.parameters().trained() {
            if tensor.to_f32_vec().unwrap() != weights.tensor(name, tensor.shape()).unwrap().to_f32_vec().unwrap() {
                moved.insert(format!("{:?}", Part::of(name)));
            } else {
                assert_ne!(Part::of(name), Part::Encoding, "{kind:?}: {name} moved");
            }
        }
        let mut parts = BTreeSet::from(["Decoder", "Mask", "Projector", "Tower"].map(String::from));
        parts.extend((kind == EncodingKind::LocalCrossAttention).then(|| "Encoding".into()));
        assert_eq!(moved, parts, "{kind:?}");

        let exported = out.path().join("model");
        trainer.export(source.path(), &exported).unwrap();
        let model = GarModel::open(&exported).unwrap().load().unwrap();
        assert_eq!(model.config().region_encoding, kind);
        model.scene(&held_out[0].image, &held_out[0].regions).unwrap().ask("Where is <Prompt0>?").unwrap();
    }
}

type Tensors = BTreeMap<String, Tensor>;

/// Of one sample with given weights: the loss, and the gradients of all weights that have any.
fn measured(model: &GarModel, weights: &Tensors) -> (f64, BTreeMap<String, Vec<f32>>) {
    let (kernels, tape) = Tape::wrap(Kernels::cpu());
    tape.watch(weights.values());
    let weights_of = Weights::from_tensors(weights.clone(), Path::new("test"));
    let model = model.with_kernels(kernels).with_weights(&weights_of).unwrap();
    let loss = loss(&model, &tape, &sample(1).unwrap()).unwrap();
    let gradients = tape.backward(&loss.node).unwrap();
    let some = weights.iter().filter_map(|(name, tensor)| Some((name.clone(), gradients.of(tensor)?.to_vec())));
    (loss.sum, some.collect())
}

fn edited(weights: &Tensors, name: &str, edit: impl FnOnce(&mut Vec<f32>)) -> Tensors {
    let (mut weights, mut values) = (weights.clone(), weights[name].to_f32_vec().unwrap());
    edit(&mut values);
    weights.insert(name.into(), Tensor::from_vec(values, weights[name].shape()).unwrap());
    weights
}

#[test]
fn a_trained_tower_begins_every_rival() {
    let trained = checkpoint(EncodingKind::Replay);
    let of_tower = |name: &str| matches!(Part::of(name), Part::Tower | Part::Mask | Part::Projector);
    for kind in EncodingKind::ALL {
        let folder = checkpoint(kind);
        let own = Weights::open(folder.path()).unwrap();
        let drawn = fresh::weights(GarModel::open(folder.path()).unwrap().load().unwrap().config(), 2).unwrap();
        fresh::write(folder.path(), 2, Some(trained.path())).unwrap();
        let (written, trained) = (Weights::open(folder.path()).unwrap(), Weights::open(trained.path()).unwrap());
        for info in written.tensors() {
            let read = |from: &Weights| from.tensor(&info.name, &info.shape).unwrap().to_f32_vec().unwrap();
            let expected = if of_tower(&info.name) { read(&trained) } else { drawn[&info.name].to_f32_vec().unwrap() };
            assert_eq!(read(&written), expected, "{}", info.name);
        }
        assert_eq!(written.tensors().count(), own.tensors().count());
    }
    let nothing = fresh::write(trained.path(), 2, Some(&trained.path().join("absent")));
    assert!(nothing.unwrap_err().to_string().contains("absent"));
}

const GATE: &str = "region_encoding.gate";

#[test]
fn a_closed_gate_opens_first() {
    let source = checkpoint(EncodingKind::LocalCrossAttention);
    let model = GarModel::open(source.path()).unwrap().load().unwrap();
    let weights = fresh::weights(model.config(), 1).unwrap();
    let reached = |weights: &Tensors| -> Vec<(String, bool)> {
        let (_, gradients) = measured(&model, weights);
        let own = gradients.into_iter().filter(|(name, _)| Part::of(name) == Part::Encoding);
        own.map(|(name, gradient)| (name, gradient.iter().any(|&v| v != 0.0))).collect()
    };
    let closed = reached(&weights);
    assert!(closed.iter().all(|(name, reached)| *reached == (name == GATE)), "{closed:?}");
    let open = reached(&edited(&weights, GATE, |gate| gate.fill(0.3)));
    assert_eq!(open.len(), 9);
    assert!(open.iter().all(|(_, reached)| *reached), "{open:?}");
}

/// The loss is a sum in f32 of about 100, known to about 1e-5, so a difference over ±`STEP` is known to about 2e-4: 1 % of
/// the flattest gradient here, 0.1 % of most. No entry was off by more than 0.7 %; a wrong term is off by far more than 2 %.
#[test]
fn gradients_are_those_of_finite_differences() {
    const STEP: f32 = 0.02;
    for kind in EncodingKind::ALL {
        let source = checkpoint(kind);
        let model = GarModel::open(source.path()).unwrap().load().unwrap();
        let mut weights = fresh::weights(model.config(), 1).unwrap();
        let tower = "mllm.model.vision_tower.timm_model.patch_embed.proj.weight";
        let mut names = vec!["mask_patch_embedding.weight", tower, "mllm.model.multi_modal_projector.linear_2.weight"];
        if kind == EncodingKind::LocalCrossAttention {
            weights = edited(&weights, GATE, |gate| gate.fill(0.3));
            names.extend([GATE, "region_encoding.v_proj.weight", "region_encoding.o_proj.weight"]);
        }
        let (_, gradients) = measured(&model, &weights);
        for name in names {
            let gradient = &gradients[name];
            // The steepest entries: there the difference stands out of the rounding.
            let mut order: Vec<usize> = (0..gradient.len()).collect();
            order.sort_by(|&a, &b| gradient[b].abs().total_cmp(&gradient[a].abs()));
            let steepest = f64::from(gradient[order[0]].abs());
            let mut off = 0.0_f64;
            for &at in &order[..4] {
                let loss = |by: f32| measured(&model, &edited(&weights, name, |values| values[at] += by)).0;
                let numeric = (loss(STEP) - loss(-STEP)) / (2.0 * f64::from(STEP));
                off = off.max((f64::from(gradient[at]) - numeric).abs() / steepest);
            }
            println!("{kind:?} {name}: steepest {steepest:.2e}, off by {off:.1e} of it");
            assert!(off < 0.02, "{kind:?} {name}: off by {off:.1e} of {steepest:.2e}");
        }
    }
}
