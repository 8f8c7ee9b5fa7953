//! What bf16 and 8-bit arithmetic cost in accuracy, on the project's fixtures and, where `GAR_GOLDEN` names them, on the
//! golden cases; and that a checkpoint quantised before computes what one quantised at load does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

#[allow(dead_code)]
mod parity;

use std::path::{Path, PathBuf};

use gar_core::{
    GarModel,
    kernels::{
        Kernels, NoProgress, Tensor, Weights,
        cpu::{CpuOptions, InstructionSet, Precision, WeightFormat},
    },
    quantize, trace,
};
use parity::coarse::{self, Bounds, Judge, cases};

const BF16: CpuOptions = CpuOptions { precision: Precision::Bf16, weights: WeightFormat::Stored, instructions: None };
const INT8: CpuOptions = CpuOptions { precision: Precision::Bf16, weights: WeightFormat::Int8, instructions: None };

fn load(checkpoint: &Path, options: CpuOptions) -> GarModel {
    GarModel::open(checkpoint).unwrap().with_kernels(Kernels::cpu_with(options).unwrap()).load().unwrap()
}

/// Checks every case of some checkpoints; the golden ones in bf16 by their own rule.
fn check(root: &Path, checkpoints: &[&str], options: CpuOptions, bounds: Bounds, golden: bool) {
    for checkpoint in checkpoints.iter().map(|name| root.join(name)) {
        let (model, judge) = (load(&checkpoint, options), Judge::new(&checkpoint, root, "released", bounds));
        for case in cases(&checkpoint) {
            let found = if golden { judge.golden_case(&model, &case) } else { judge.case(&model, &case) };
            assert!(found.unwrap().mean > 0.0, "{}: bits of f32", case.display());
        }
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures")
}

fn golden() -> Option<PathBuf> {
    let root = std::env::var_os("GAR_GOLDEN").map(PathBuf::from);
    if root.is_none() {
        println!("SKIPPED: GAR_GOLDEN does not name a folder of golden cases");
    }
    root
}

const OWN: [&str; 4] = ["tile42", "tile48", "tile56", "tile64"];

#[test]
fn bf16_answers_are_those_of_f32_within_its_bounds() {
    check(&fixtures(), &OWN, BF16, coarse::BF16, false);
    if let Some(root) = golden() {
        check(&root, &["tiny-l", "tiny-g"], BF16, coarse::BF16, true);
    }
}

/// AMX adds products of bf16 up in an order of its own, which its model has on every CPU, slowly: golden cases are left to AMX.
#[test]
fn the_order_of_amx_keeps_the_bounds_of_bf16() {
    let tiles = CpuOptions { instructions: Some(InstructionSet::PortableTiles), ..BF16 };
    check(&fixtures(), &OWN, tiles, coarse::BF16, false);
}

#[test]
fn int8_answers_are_those_of_f32_within_its_bounds() {
    check(&fixtures(), &OWN, INT8, coarse::INT8, false);
    if let Some(root) = golden() {
        check(&root, &["tiny-l", "tiny-g"], INT8, coarse::INT8, false);
    }
}

/// The model with something done to one tensor's entries.
fn spoiled(model: &GarModel, checkpoint: &Path, name: &str, spoil: impl Fn(&mut [f32])) -> GarModel {
    let weights = Weights::open(checkpoint).unwrap();
    assert!(weights.contains(name), "{name}");
    let tensors = weights.tensors().map(|tensor| {
        let mut values = weights.tensor(&tensor.name, &tensor.shape).unwrap().to_f32_vec().unwrap();
        if tensor.name == name {
            spoil(&mut values);
        }
        (tensor.name, Tensor::from_vec(values, &tensor.shape).unwrap())
    });
    model.with_weights(&Weights::from_tensors(tensors, checkpoint)).unwrap()
}

/// What the bounds are for: a few per cent too much in one matrix, a factor or a row that is lost.
#[test]
fn a_spoiled_model_is_refused() {
    let checkpoint = fixtures().join("tile48");
    let case = checkpoint.join("cases/one_pixel.json");
    let (model, judge) = (load(&checkpoint, BF16), Judge::new(&checkpoint, &fixtures(), "released", coarse::BF16));
    let refused = |name: &str, spoil: &dyn Fn(&mut [f32])| {
        judge.case(&spoiled(&model, &checkpoint, &format!("mllm.{name}"), spoil), &case).expect_err(name)
    };
    for (name, factor) in [
        ("model.language_model.layers.0.input_layernorm.weight", 1.05),
        ("model.language_model.layers.0.mlp.down_proj.weight", 1.05),
        ("model.language_model.layers.0.self_attn.o_proj.weight", 1.05),
        ("model.language_model.layers.0.self_attn.k_proj.weight", -1.0),
        ("model.vision_tower.timm_model.blocks.0.attn.qkv.weight", 1.1),
        ("model.vision_tower.timm_model.blocks.0.gamma_1", 0.0),
        ("model.vision_tower.timm_model.blocks.0.gamma_2", 0.0),
    ] {
        let why = refused(name, &|values| values.iter_mut().for_each(|value| *value *= factor));
        assert!(why.contains("mean error"), "{name}: {why}");
    }
    // One logit of hundreds does not show in a mean.
    let (tokens, _) = judge.answer(&case);
    let row = tokens[1] as usize * model.decoder().width()..(tokens[1] as usize + 1) * model.decoder().width();
    let why = refused("lm_head.weight", &|values| values[row.clone()].fill(0.0));
    assert!(why.contains("step 1: token") && !why.contains("mean error"), "{why}");
}

/// `tile56` ties its head to the token table, `tile64` comes in shards.
#[test]
fn a_quantised_checkpoint_loads_back_bit_equal() {
    for name in ["tile56", "tile64"] {
        let (old, folder) = (fixtures().join(name), tempfile::tempdir().unwrap());
        let new = folder.path().join("int8");
        quantize(&old, &new, &NoProgress).unwrap();
        let case = cases(&old).remove(0);
        let logits = |checkpoint: &Path, options| {
            let case = trace::Case::read(&case).unwrap();
            trace::trace(&load(checkpoint, options), &case, &fixtures(), 2).unwrap().f32("last_logits").unwrap()
        };
        let expected = logits(&old, INT8);
        assert_eq!(expected, logits(&new, BF16), "{name}: weights stay in 8 bits without being asked to");
        assert_ne!(expected, logits(&old, BF16), "{name}: 8 bits make a difference");
        assert!(quantize(&old, &new, &NoProgress).is_err(), "a directory with files in it");
        assert!(quantize(&new, &folder.path().join("again"), &NoProgress).is_err(), "a quantised checkpoint");
    }
}
