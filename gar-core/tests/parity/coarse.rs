//! Judges a computation of few bits against the model in f32, at every step of the reference's greedy answer.
//!
//! In bf16 a value keeps 8 bits; some ten roundings in a row and sums of a few hundred of them move a logit by about 1 % of
//! the logits' deviation. PyTorch's own bf16, over perturbed draws of this project's fixtures, is off by 1.48 % on average at
//! the first step, by up to 3.3 % at single ones, and by at most 1.47 % over the 24 steps of an answer together. So all steps
//! are judged together, and single ones by the token they choose.
use std::{
    fs,
    path::{Path, PathBuf},
};

use gar_core::{GarModel, ReplayBoxes, trace, trace::Trace};
use safetensors::SafeTensors;

use super::Reference;

/// What a precision may cost, in standard deviations of the logits: those of the golden cases deviate by 0.6 to 1.3, those of
/// the fixtures by 6 to 9.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Of the mean error of the logits of all steps.
    mean: f64,
    /// A step's token is compared where its two best logits lie at least this far apart, and at least [`MARGIN`].
    margin: f64,
}

/// The largest margin of another token seen in bf16 is 5.1 % of the deviation.
pub(crate) const BF16: Bounds = Bounds { mean: 0.02, margin: 0.07 };
/// Weights of 8 bits and a scale for each row: the largest mean error seen is 4.0 %, the largest margin of another token 6.7 %.
pub(crate) const INT8: Bounds = Bounds { mean: 0.06, margin: 0.15 };
/// Two logits closer than this in themselves say nothing about either.
const MARGIN: f64 = 0.1;

/// The exact side: a checkpoint on the CPU in f32, which `golden.rs` and `fixtures.rs` prove equal to PyTorch's to 5e-5.
pub(crate) struct Judge {
    exact: GarModel,
    images: PathBuf,
    rule: &'static str,
    bounds: Bounds,
}

/// What a computation was off by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    /// Mean error of the logits of all steps, in standard deviations.
    pub(crate) mean: f64,
    /// Mean error at the first step.
    pub(crate) first: f64,
    /// How many steps have a margin that is judged, of how many.
    pub(crate) judged: (usize, usize),
    /// The largest margin of a step that chose another token.
    pub(crate) missed: f64,
}

impl Judge {
    pub(crate) fn new(checkpoint: &Path, images: &Path, rule: &'static str, bounds: Bounds) -> Self {
        let boxes = if rule == "paper" { ReplayBoxes::Paper } else { ReplayBoxes::Released };
        let exact = GarModel::open(checkpoint).unwrap().with_replay_boxes(boxes).load().unwrap();
        Self { exact, images: images.to_path_buf(), rule, bounds }
    }

    /// Judges a case: the prompt, the logits of all steps, and the tokens where their margin allows. `Err` says what is wrong.
    pub(crate) fn case(&self, model: &GarModel, path: &Path) -> Result<Found, String> {
        self.compare(model, path).map(|(found, _)| found)
    }

    /// As [`case`](Self::case); the logits after the prompt alone keep the bound of all steps as well, against PyTorch's as
    /// they are on file, and where the whole answer's margin allows, it is the same answer. Every golden case passes by a
    /// factor of 3.
    pub(crate) fn golden_case(&self, model: &GarModel, path: &Path) -> Result<Found, String> {
        let (found, trace) = self.compare(model, path)?;
        let bytes = fs::read(path.with_extension("safetensors")).unwrap();
        let reference = Reference(SafeTensors::deserialize(&bytes).unwrap());
        let (logits, expected) = reference.pair(&trace, "logits", &format!("{}.logits", self.rule));
        let first = mean_error(&logits, &expected);
        let (tokens, margin) = self.answer(path);
        if first > self.bounds.mean {
            let most = self.bounds.mean;
            return Err(format!("{}: first step: mean error {first:.4}, expected at most {most}", self.name(path)));
        }
        // Along the right tokens, all choices are right exactly if the greedy answer is.
        let greedy = trace.i32("greedy").unwrap();
        if margin >= MARGIN && tokens.iter().zip(&greedy).any(|(&token, &best)| token as i32 != best) {
            return Err(format!("{}: greedy tokens: expected {tokens:?}, found {greedy:?}", self.name(path)));
        }
        Ok(found)
    }

    fn compare(&self, model: &GarModel, path: &Path) -> Result<(Found, Trace), String> {
        let name = self.name(path);
        let case = trace::Case::read(path).unwrap();
        let (tokens, _) = self.answer(path);
        let along = |model| trace::trace_along(model, &case, &self.images, &tokens);
        let exact = along(&self.exact).unwrap();
        let trace = along(model).map_err(|error| format!("{name}: {error}"))?;
        if trace.i32("input_ids") != exact.i32("input_ids") {
            return Err(format!("{name}: other input_ids"));
        }
        let [logits, expected] = [&trace, &exact].map(|side| side.f32("step_logits").unwrap());
        assert_eq!((logits.len(), trace.shape("step_logits")), (expected.len(), exact.shape("step_logits")));
        let (vocabulary, deviation) = (expected.len() / tokens.len(), deviation(&expected));
        let mut found = Found {
            mean: mean_error(&logits, &expected),
            first: mean_error(&logits[..vocabulary], &expected[..vocabulary]),
            judged: (0, tokens.len()),
            missed: 0.0,
        };
        let least = MARGIN.max(self.bounds.margin * deviation);
        let [chosen, best] = [&trace, &exact].map(|side| side.i32("greedy").unwrap());
        let mut wrong = Vec::new();
        for (step, row) in expected.chunks_exact(vocabulary).enumerate() {
            let margin = margin(row);
            found.judged.0 += usize::from(margin >= least);
            if chosen[step] != best[step] {
                found.missed = found.missed.max(margin / deviation);
                if margin >= least {
                    wrong.push(format!("step {step}: token {}, expected {}", chosen[step], best[step]));
                }
            }
        }
        println!("{name}: {found:.4?}");
        if found.mean > self.bounds.mean {
            wrong.push(format!("mean error {:.4} of the deviation, expected at most {}", found.mean, self.bounds.mean));
        }
        if wrong.is_empty() { Ok((found, trace)) } else { Err(format!("{name}: {}", wrong.join("; "))) }
    }

    /// The reference's greedy tokens, and the least margin among them.
    pub(crate) fn answer(&self, path: &Path) -> (Vec<u32>, f64) {
        let json: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let greedy = &json["greedy"][self.rule];
        (serde_json::from_value(greedy["tokens"].clone()).unwrap(), greedy["min_margin"].as_f64().unwrap())
    }

    fn name(&self, path: &Path) -> String {
        format!("{} ({})", path.display(), self.rule)
    }
}

/// The cases of a checkpoint.
pub(crate) fn cases(checkpoint: &Path) -> Vec<PathBuf> {
    let mut cases: Vec<_> = fs::read_dir(checkpoint.join("cases")).unwrap().map(|e| e.unwrap().path()).collect();
    cases.retain(|path| path.extension().is_some_and(|end| end == "json"));
    cases.sort();
    assert!(!cases.is_empty(), "no cases in {}", checkpoint.display());
    cases
}

/// Mean of |found − expected|, as a share of the standard deviation of `expected`; infinite where one is no number.
fn mean_error(found: &[f32], expected: &[f32]) -> f64 {
    let errors = found.iter().zip(expected).map(|(f, e)| (f64::from(*f) - f64::from(*e)).abs());
    let mean = errors.sum::<f64>() / expected.len() as f64;
    if mean.is_nan() { f64::INFINITY } else { mean / deviation(expected) }
}

fn deviation(values: &[f32]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
    (values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n).sqrt()
}

/// How far the two largest lie apart.
fn margin(row: &[f32]) -> f64 {
    let mut best = [f32::NEG_INFINITY; 2];
    for &value in row {
        if value > best[0] {
            best = [value, best[0]];
        } else if value > best[1] {
            best[1] = value;
        }
    }
    f64::from(best[0]) - f64::from(best[1])
}
