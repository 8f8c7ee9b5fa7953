//! What bf16 and 8-bit arithmetic cost in accuracy, on the project's fixtures and, where `GAR_GOLDEN` names them, on the
//! golden cases; and that a checkpoint quantised before computes what one quantised at load does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use gar_core::{
    GarModel,
    kernels::{
        Kernels, NoProgress,
        cpu::{CpuOptions, Precision, WeightFormat},
    },
    quantize, trace,
};
use safetensors::SafeTensors;

const BF16: CpuOptions = CpuOptions { precision: Precision::Bf16, weights: WeightFormat::Stored, instructions: None };
const INT8: CpuOptions = CpuOptions { precision: Precision::Bf16, weights: WeightFormat::Int8, instructions: None };
/// In bf16, greedy tokens are compared where the two best logits lie at least this far apart at every step, and at least
/// this share of the logits' deviation: golden logits deviate by 0.6 to 1.3, those of the fixtures by 6 to 9.
const MARGIN: f64 = 0.1;
const MARGIN_OF_DEVIATION: f64 = 0.07;

fn load(checkpoint: &Path, options: CpuOptions) -> GarModel {
    GarModel::open(checkpoint).unwrap().with_kernels(Kernels::cpu_with(options).unwrap()).load().unwrap()
}

/// Paths of the cases of a checkpoint, without extension.
fn cases(checkpoint: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(checkpoint.join("cases")).unwrap().map(|e| e.unwrap().path());
    let mut cases: Vec<PathBuf> = files.filter(|p| p.extension().is_some_and(|e| e == "json")).collect();
    cases.sort();
    cases
}

/// Mean absolute error of the logits after the prompt over their standard deviation, of one case.
fn error(model: &GarModel, case: &Path, images: &Path, compare_tokens: bool) -> f64 {
    let json: serde_json::Value = serde_json::from_slice(&fs::read(case).unwrap()).unwrap();
    let greedy = &json["greedy"]["released"];
    let tokens: Vec<i32> = serde_json::from_value(greedy["tokens"].clone()).unwrap();
    let bytes = fs::read(case.with_extension("safetensors")).unwrap();
    let expected = SafeTensors::deserialize(&bytes).unwrap();
    let expected = expected.tensor("released.logits").unwrap();
    let expected: Vec<f64> =
        expected.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()).into()).collect();
    let n = expected.len() as f64;
    let mean = expected.iter().sum::<f64>() / n;
    let deviation = (expected.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
    let margin = greedy["min_margin"].as_f64().unwrap();
    let decisive = compare_tokens && margin >= MARGIN && margin >= MARGIN_OF_DEVIATION * deviation;
    let steps = if decisive { tokens.len() } else { 1 };
    let found = trace::trace(model, &trace::Case::read(case).unwrap(), images, steps).unwrap();
    if decisive {
        assert_eq!(found.i32("greedy").unwrap(), tokens, "{}: greedy tokens", case.display());
    }
    let found = found.f32("logits").unwrap();
    assert_eq!(found.len(), expected.len());
    found.iter().zip(&expected).map(|(f, e)| (f64::from(*f) - e).abs()).sum::<f64>() / n / deviation
}

/// Checks every case of some checkpoints against the bound on the mean error.
fn check(root: &Path, checkpoints: &[&str], options: CpuOptions, bound: f64) {
    let mut worst = 0.0_f64;
    for checkpoint in checkpoints.iter().map(|name| root.join(name)) {
        let model = load(&checkpoint, options);
        for case in cases(&checkpoint) {
            let error = error(&model, &case, root, options.weights == WeightFormat::Stored);
            println!("{:?}/{:?} {}: {:.2} %", options.precision, options.weights, case.display(), 100.0 * error);
            worst = worst.max(error);
        }
    }
    assert!(worst > 0.0 && worst <= bound, "mean error of logits {worst:.4} of their spread, expected at most {bound}");
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

#[test]
fn bf16_logits_are_within_two_percent() {
    check(&fixtures(), &["tile42", "tile48", "tile56", "tile64"], BF16, 0.02);
    if let Some(root) = golden() {
        check(&root, &["tiny-l", "tiny-g"], BF16, 0.02);
    }
}

#[test]
fn int8_logits_are_within_six_percent() {
    check(&fixtures(), &["tile42", "tile48", "tile56", "tile64"], INT8, 0.06);
    if let Some(root) = golden() {
        check(&root, &["tiny-l", "tiny-g"], INT8, 0.06);
    }
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
