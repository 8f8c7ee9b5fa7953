//! The whole model through the CUDA kernels: on the emulator one small case, on a card every case.
//!
//! The emulated part is skipped without a C++ compiler, unless `GAR_REQUIRE_CXX=1`; the part on a card without a GPU, unless
//! `GAR_REQUIRE_GPU=1`. `GAR_FIXTURES` names the project's fixtures where they have been moved.
#![cfg(any(feature = "cuda", feature = "emulator"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

#[allow(dead_code)]
mod parity;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use gar_core::{
    GarModel, ReplayBoxes,
    kernels::{
        Error, Kernels,
        cuda::{Cuda, Recorder, Runtime},
    },
};
use parity::coarse::{self, Judge, cases};

fn fixtures() -> PathBuf {
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures");
    std::env::var_os("GAR_FIXTURES").map_or_else(own, PathBuf::from)
}

/// A runtime, or nothing where the machine has none and `required` is not set.
fn or_skip<T>(runtime: Result<T, Error>, required: &str) -> Option<T> {
    match runtime {
        Ok(runtime) => Some(runtime),
        Err(why @ Error::Unavailable { .. }) if std::env::var_os(required).is_none() => {
            println!("SKIPPED: {why}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn recorded(runtime: Arc<dyn Runtime>) -> (Kernels, Arc<Recorder>) {
    let recorder = Arc::new(Recorder::new(runtime));
    (Kernels::from(Cuda::new(recorder.clone())), recorder)
}

fn load(checkpoint: &Path, rule: &str, kernels: Kernels) -> GarModel {
    let boxes = if rule == "paper" { ReplayBoxes::Paper } else { ReplayBoxes::Released };
    GarModel::open(checkpoint).unwrap().with_kernels(kernels).with_replay_boxes(boxes).load().unwrap()
}

fn judge(root: &Path, checkpoint: &str, rule: &'static str) -> Judge {
    Judge::new(&root.join(checkpoint), root, rule, coarse::BF16)
}

/// A card is rare, and the emulator slow: one case that fails does not keep the others from being judged.
fn judge_every_case(runtime: &Arc<dyn Runtime>) {
    let own = fixtures();
    let golden = std::env::var_os("GAR_GOLDEN").map(PathBuf::from);
    let mut checkpoints: Vec<_> = ["tile42", "tile48", "tile56", "tile64"].map(|name| (&own, name, false)).into();
    if let Some(golden) = &golden {
        checkpoints.extend(["tiny-l", "tiny-g"].map(|name| (golden, name, true)));
    }
    let mut failed = Vec::new();
    for (root, name, golden) in checkpoints {
        for rule in ["released", "paper"] {
            let checkpoint = root.join(name);
            let (model, judge) = (load(&checkpoint, rule, recorded(runtime.clone()).0), judge(root, name, rule));
            failed.extend(cases(&checkpoint).iter().filter_map(|case| match golden {
                true => judge.golden_case(&model, case).err(),
                false => judge.case(&model, case).err(),
            }));
        }
    }
    assert!(failed.is_empty(), "{} cases fail:\n{}", failed.len(), failed.join("\n"));
}

#[cfg(feature = "emulator")]
mod emulated {
    use super::*;
    use gar_core::{
        kernels::{
            NoProgress,
            cuda::{Edit, Emulator, EmulatorOptions},
        },
        llm::{Decoder, LanguageModel, Sequence},
    };

    fn emulator() -> Option<Arc<dyn Runtime>> {
        emulator_with(Vec::new())
    }

    fn emulator_with(edits: Vec<Edit>) -> Option<Arc<dyn Runtime>> {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("emulator");
        or_skip(Emulator::start(EmulatorOptions { folder, edits, ..EmulatorOptions::default() }), "GAR_REQUIRE_CXX")
    }

    #[test]
    fn a_case_equals_the_reference_within_bf16() {
        let Some(runtime) = emulator() else { return };
        let (kernels, recorder) = recorded(runtime);
        let root = fixtures();
        let model = load(&root.join("tile42"), "released", kernels);
        judge(&root, "tile42", "released").case(&model, &root.join("tile42/cases/relation.json")).unwrap();
        assert!(recorder.recordings().replayed > 10, "{:?}", recorder.recordings());
    }

    /// The tower's heads are no multiple of 8, the decoder's are.
    #[test]
    fn a_case_with_heads_of_twelve_equals_the_reference_within_bf16() {
        let Some(runtime) = emulator() else { return };
        let root = fixtures();
        let model = load(&root.join("tile48"), "paper", Kernels::from(Cuda::new(runtime)));
        judge(&root, "tile48", "paper").case(&model, &root.join("tile48/cases/one_pixel.json")).unwrap();
    }

    #[test]
    fn a_rotation_the_other_way_is_refused() {
        let turn = Edit { file: "rotary", from: "b * cosine + first * sine", to: "b * cosine - first * sine" };
        let Some(runtime) = emulator_with(vec![turn]) else { return };
        let root = fixtures();
        let model = load(&root.join("tile48"), "paper", Kernels::from(Cuda::new(runtime)));
        let judged = judge(&root, "tile48", "paper").case(&model, &root.join("tile48/cases/one_pixel.json"));
        assert!(judged.is_err(), "{judged:?}");
    }

    #[test]
    #[ignore = "the card's cases where there is no card: 15 s in release for the fixtures, minutes for golden ones"]
    fn every_case_equals_the_reference_within_bf16() {
        let Some(runtime) = emulator() else { return };
        judge_every_case(&runtime);
    }

    /// One decoder on two tables of kernels: straight on the emulator, and behind a recorder.
    struct Twins {
        models: [LanguageModel; 2],
        recorder: Arc<Recorder>,
    }

    type Pair = [Box<dyn Sequence>; 2];

    impl Twins {
        fn load(runtime: Arc<dyn Runtime>) -> Self {
            let (kernels, recorder) = recorded(runtime.clone());
            let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../gar-llm/tests/fixtures/tied");
            let load = |kernels| LanguageModel::open(&dir, kernels, &NoProgress).unwrap();
            Self { models: [load(Kernels::from(Cuda::new(runtime))), load(kernels)], recorder }
        }

        fn sequence(&self, prompt: &[u32], capacity: usize) -> Pair {
            self.models.each_ref().map(|model| {
                let (llama, k) = (model.llama(), model.kernels());
                let mut sequence = llama.sequence(k, capacity).unwrap();
                let embeds = llama.embed(k, prompt).unwrap();
                llama.prefill(k, sequence.as_mut(), &embeds).unwrap();
                sequence
            })
        }

        /// A step of several sequences on both sides; the logits must have the same bits.
        fn step(&self, pairs: &mut [&mut Pair], tokens: &[u32], what: &str) {
            let mut found = Vec::new();
            for (side, model) in self.models.iter().enumerate() {
                let mut sequences: Vec<&mut dyn Sequence> = Vec::new();
                for pair in pairs.iter_mut() {
                    sequences.push(&mut *pair[side]);
                }
                let logits = model.llama().step(model.kernels(), &mut sequences, tokens).unwrap();
                let host = model.kernels().device.download(&logits).unwrap().to_f32_vec().unwrap();
                found.push(host.into_iter().map(f32::to_bits).collect::<Vec<_>>());
            }
            assert!(found[0] == found[1], "{what}: other bits behind the recorder");
        }
    }

    fn fork(pair: &Pair) -> Pair {
        pair.each_ref().map(|sequence| sequence.fork().unwrap())
    }

    #[test]
    fn recorded_steps_give_the_bits_of_unrecorded_ones() {
        let Some(runtime) = emulator() else { return };
        let twins = Twins::load(runtime);
        // The cache's pages end at multiples of 128, so one sequence crosses into a new one.
        let long: Vec<u32> = (0..122).map(|i| i % 50 + 3).collect();
        let mut a = twins.sequence(&long, 150);
        let mut b = twins.sequence(&[5, 6, 7], 60);
        for i in 0..10 {
            twins.step(&mut [&mut a], &[i + 1], "one sequence");
        }
        for i in 0..4 {
            twins.step(&mut [&mut a], &[i + 1], "interleaved, the first");
            twins.step(&mut [&mut b], &[i + 9], "interleaved, the second");
        }
        for i in 0..4 {
            twins.step(&mut [&mut a, &mut b], &[i + 1, i + 2], "together");
        }
        let mut c = fork(&a);
        for i in 0..3 {
            twins.step(&mut [&mut c], &[i + 20], "a fork");
            twins.step(&mut [&mut a], &[i + 30], "what it was forked from");
        }
        c.iter_mut().for_each(|sequence| sequence.truncate(40));
        for i in 0..3 {
            twins.step(&mut [&mut c], &[i + 4], "cut short");
        }
        // A step that fails leaves no trace: a token beyond the vocabulary, then the same step with a good one.
        for (model, sequence) in twins.models.iter().zip(&mut a) {
            let len = sequence.len();
            let bad = model.llama().step(model.kernels(), &mut [sequence.as_mut()], &[u32::MAX]);
            assert!(bad.is_err() && sequence.len() == len);
        }
        twins.step(&mut [&mut a], &[2], "after a failure");
        twins.step(&mut [&mut a], &[3], "after a failure, again");
        let recordings = twins.recorder.recordings();
        println!("{recordings:?}");
        assert!(recordings.replayed >= 12, "most steps are replayed: {recordings:?}");
    }
}

#[cfg(feature = "cuda")]
#[test]
fn every_case_on_a_card_equals_the_reference_within_bf16() {
    use gar_core::kernels::cuda::Driver;
    let Some(driver) = or_skip(Driver::open(0), "GAR_REQUIRE_GPU") else { return };
    judge_every_case(&(Arc::new(driver) as Arc<dyn Runtime>));
}
