//! The whole model against PyTorch's autograd and `torch.optim.AdamW` (`tools/reference/gradients.py`): tower, mask
//! encoder, projector, replay and decoder, through the answer's loss.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, missing_docs)]
use std::path::Path;

use gar_core::{
    Exchange, GarModel, ReplayBoxes, Said,
    kernels::{Kernels, Weights},
    trace::Case,
    vision::Image,
};
use gar_train::{OptimizerConfig, Result, RunConfig, Sample, Tape, Trainer};
use safetensors::SafeTensors;

const ANSWER: &str = "The dog is chasing the ball.";
/// Entries that the script keeps of a larger tensor.
const WHOLE: usize = 256;

struct Reference(Vec<u8>);

impl Reference {
    fn open() -> Self {
        Self(std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tile56.safetensors")).unwrap())
    }

    fn names(&self) -> Vec<String> {
        SafeTensors::deserialize(&self.0).unwrap().names().into_iter().map(Into::into).collect()
    }

    fn f32(&self, name: &str) -> Vec<f32> {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        file.tensor(name).unwrap().data().chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }
}

fn fixture() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/tile56")
}

fn model() -> GarModel {
    GarModel::open(fixture()).unwrap().with_replay_boxes(ReplayBoxes::Paper).load().unwrap()
}

/// The fixture's case; what it is asked stands `times` times, to be read as so many conversations.
fn sample(times: usize) -> Sample {
    let case = Case::read(&fixture().join("cases/relation.json")).unwrap();
    let image = Image::open(fixture().join("..").join(&case.image)).unwrap();
    let exchange = Exchange { said: Said::Question(case.question), answer: ANSWER.into() };
    Sample {
        image,
        regions: case.regions,
        conversations: vec![vec![exchange]; times],
        facts: Vec::new(),
        choices: Vec::new(),
    }
}

/// The entries that the script kept.
fn probe(values: &[f32]) -> Vec<f32> {
    if values.len() <= WHOLE {
        return values.to_vec();
    }
    let step = (values.len() - 1) as f64 / (WHOLE - 1) as f64;
    (0..WHOLE).map(|i| values[(i as f64 * step) as usize]).collect()
}

/// ‖found − expected‖ / ‖expected‖.
fn error(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
    let off = norm(&mut found.iter().zip(expected).map(|(a, b)| f64::from(a - b)));
    off / norm(&mut expected.iter().map(|&x| f64::from(x))).max(1e-12)
}

/// The tape's loss and gradients of every weight, and the worst error with its name.
fn compare(times: usize) -> (f64, f64, String) {
    let (reference, sample, weights) = (Reference::open(), sample(times), Weights::open(&fixture()).unwrap());
    let parameters = gar_train::Parameters::from_weights(&weights, &[]).unwrap();
    let (kernels, tape) = Tape::wrap(Kernels::cpu());
    let model = model().with_kernels(kernels).with_weights(&parameters.weights(&fixture())).unwrap();
    tape.watch(parameters.trained().map(|(_, t)| t));
    let (loss, gradients) =
        gar_train::loss(&model, &tape, &sample).and_then(|loss| Ok((loss.sum, tape.backward(&loss.node)?))).unwrap();
    let (mut worst, mut at, mut seen) = (0.0, String::new(), 0);
    for name in reference.names().iter().filter_map(|name| name.strip_prefix("grad.")) {
        let (_, tensor) = parameters.trained().find(|(n, _)| *n == name).unwrap();
        let found: Vec<f32> = probe(gradients.of(tensor).unwrap()).iter().map(|g| g / times as f32).collect();
        let error = error(&found, &reference.f32(&format!("grad.{name}")));
        seen += 1;
        if error > worst {
            (worst, at) = (error, name.to_owned());
        }
    }
    assert_eq!(seen, parameters.trained().len(), "every weight has a gradient");
    (loss / times as f64, worst, at)
}

#[test]
fn loss_and_every_gradient_agree_with_autograd() {
    let expected = f64::from(Reference::open().f32("losses")[0]);
    let (loss, worst, at) = compare(1);
    println!("loss {loss}, PyTorch {expected}; largest gradient error {worst:.2e} ({at})");
    assert!((loss / expected - 1.0).abs() < 1e-5, "loss {loss}, PyTorch {expected}");
    assert!(worst < 1e-4, "{at}: relative error {worst}");
}

#[test]
fn forks_of_one_prefix_give_the_gradients_of_conversations_alone() {
    let (_, worst, at) = compare(3);
    assert!(worst < 1e-4, "{at}: relative error {worst}");
}

#[test]
fn five_steps_agree_with_torch_adamw() {
    let (reference, sample) = (Reference::open(), sample(1));
    let optimizer =
        OptimizerConfig { lr: 1e-3, betas: [0.9, 0.98], weight_decay: 0.01, warmup: 0.2, ..OptimizerConfig::default() };
    let config = RunConfig { batch: 1, optimizer, ..RunConfig::new(5) };
    let weights = Weights::open(&fixture()).unwrap();
    let mut trainer = Trainer::new(model(), &weights, config).unwrap();
    let expected = reference.f32("losses");
    let stream = |_: u64| -> Result<Sample> { Ok(sample.clone()) };
    for expected in &expected[..5] {
        let report = trainer.step(&stream).unwrap();
        let loss = report.loss * report.tokens as f64;
        assert!((loss / f64::from(*expected) - 1.0).abs() < 1e-4, "step {}: {loss}, torch {expected}", report.step);
    }
    for (name, tensor) in trainer.parameters().trained() {
        let before = weights.tensor(name, tensor.shape()).unwrap().to_f32_vec().unwrap();
        let change = |now: &[f32]| probe(&before).iter().zip(now).map(|(b, n)| n - b).collect::<Vec<f32>>();
        let found = change(&probe(&tensor.to_f32_vec().unwrap()));
        let error = error(&found, &change(&reference.f32(&format!("after.{name}"))));
        // AdamW divides a gradient by its own size, so entries whose gradient is almost nothing move by its rounding
        // error's sign; and the change itself is rounded to the weight's last place, 6e-8 of 1 against 4e-3.
        assert!(error < 5e-3, "{name}: relative error of the change {error}");
    }
}
