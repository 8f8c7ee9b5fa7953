//! Compares traces with reference tensors: whole ones, or probes at flat positions.
pub(crate) mod coarse;

use std::{collections::BTreeMap, fs, path::Path};

use gar_core::{GarModel, ReplayBoxes, trace, trace::Trace};
use safetensors::{Dtype, SafeTensors};

/// ‖out − ref‖ / ‖ref‖ that a stage may show. Both sides compute in f32 and differ in the order of additions alone:
/// about 1e-6 after a few layers. The bound leaves what deeper models add.
const RELATIVE: f64 = 5e-5;
/// Greedy tokens are compared where the two best logits lie further apart than this, well above the error of a logit.
const MARGIN: f64 = 0.01;

/// Checks every case of a checkpoint; gives their number.
pub(crate) fn check_checkpoint(checkpoint: &Path, images: &Path) -> usize {
    let mut names: Vec<_> = fs::read_dir(checkpoint.join("cases")).unwrap().map(|e| e.unwrap().path()).collect();
    names.retain(|path| path.extension().is_some_and(|e| e == "json"));
    names.sort();
    for rule in ["released", "paper"] {
        let boxes = if rule == "paper" { ReplayBoxes::Paper } else { ReplayBoxes::Released };
        let model = GarModel::open(checkpoint).unwrap().with_replay_boxes(boxes).load().unwrap();
        for name in &names {
            check_case(&model, name, images, rule);
        }
    }
    names.len()
}

fn check_case(model: &GarModel, path: &Path, images: &Path, rule: &str) {
    let case = trace::Case::read(path).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let expected = &json["greedy"][rule];
    let tokens: Vec<i32> = serde_json::from_value(expected["tokens"].clone()).unwrap();
    let found = trace::trace(model, &case, images, tokens.len()).unwrap();
    let bytes = fs::read(path.with_extension("safetensors")).unwrap();
    let reference = Reference(SafeTensors::deserialize(&bytes).unwrap());
    let at = format!("{} ({rule})", path.display());

    assert_eq!(found.i32("input_ids").unwrap(), reference.i32("input_ids"), "{at}: input_ids");
    let mask = reference.0.tensor("mask.tokens_on").unwrap();
    let off = mask.data().iter().zip(found.u8("mask.tokens_on").unwrap()).filter(|(a, b)| a != b).count();
    assert_eq!(off, 0, "{at}: {off} of {} counts of mask pixels differ", mask.data().len());
    let thumb = ["pixels.thumb_u8", "thumb_u8"].into_iter().find_map(|n| reference.0.tensor(n).ok()).unwrap();
    let thumb = thumb.data();
    let off = thumb.iter().zip(found.u8("thumb_u8").unwrap()).filter(|(a, b)| a != b).count();
    assert_eq!(off, 0, "{at}: {off} of {} thumbnail values differ", thumb.len());

    let mut errors = BTreeMap::new();
    for stage in ["pixels", "vision", "features"] {
        errors.insert(stage.to_string(), reference.error(&found, stage, stage));
    }
    for (region, _) in json["prompts"].as_array().unwrap().iter().zip(case.regions.iter()) {
        let stage = format!("replay.{region}");
        errors.insert(stage.clone(), reference.error(&found, &stage, &format!("{rule}.{stage}")));
    }
    for stage in ["embeds", "logits"] {
        errors.insert(stage.into(), reference.error(&found, stage, &format!("{rule}.{stage}")));
    }
    if expected["min_margin"].as_f64().unwrap() >= MARGIN {
        assert_eq!(found.i32("greedy").unwrap(), tokens, "{at}: greedy tokens");
        errors.insert("last_logits".into(), reference.error(&found, "last_logits", &format!("{rule}.last_logits")));
    }
    let worst = errors.values().copied().fold(0.0, f64::max);
    println!("{at}: largest relative error {worst:.1e}");
    for (stage, error) in errors {
        assert!(error <= RELATIVE, "{at}: {stage}: relative error {error:.2e}, expected at most {RELATIVE:.0e}");
    }
}

struct Reference<'a>(SafeTensors<'a>);

impl Reference<'_> {
    /// Relative L2 error of `stage`, over probes where the reference holds `key.index` and `key.value`.
    fn error(&self, found: &Trace, stage: &str, key: &str) -> f64 {
        let (found, expected) = self.pair(found, stage, key);
        let square = |v: f64| v * v;
        let error: f64 = found.iter().zip(&expected).map(|(f, e)| square(f64::from(*f) - f64::from(*e))).sum();
        let norm: f64 = expected.iter().map(|e| square(f64::from(*e))).sum();
        if norm == 0.0 { error.sqrt() } else { (error / norm).sqrt() }
    }

    /// What was found of `stage`, and what the reference holds of it.
    fn pair(&self, found: &Trace, stage: &str, key: &str) -> (Vec<f32>, Vec<f32>) {
        let all = found.f32(stage).unwrap_or_else(|| panic!("trace without {stage}"));
        let (found, expected): (Vec<f32>, Vec<f32>) = match self.0.tensor(&format!("{key}.index")) {
            Ok(_) => {
                let at = self.i32(&format!("{key}.index"));
                (at.iter().map(|&i| all[i as usize]).collect(), self.f32(&format!("{key}.value")))
            }
            Err(_) => (all, self.f32(key)),
        };
        assert_eq!(found.len(), expected.len(), "{key}: number of values");
        assert!(!expected.is_empty(), "{key}: nothing to compare");
        (found, expected)
    }

    fn i32(&self, name: &str) -> Vec<i32> {
        let tensor = self.0.tensor(name).unwrap();
        match tensor.dtype() {
            Dtype::I64 => {
                tensor.data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as i32).collect()
            }
            Dtype::I32 => tensor.data().chunks_exact(4).map(|b| i32::from_le_bytes(b.try_into().unwrap())).collect(),
            other => panic!("{name}: {other:?}"),
        }
    }

    fn f32(&self, name: &str) -> Vec<f32> {
        let tensor = self.0.tensor(name).unwrap();
        assert_eq!(tensor.dtype(), Dtype::F32, "{name}");
        tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }
}
