//! Runs on a fixture checkpoint: the loss falls, runs repeat and resume bit by bit, what cannot go on says why.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, missing_docs)]
use std::{fs, path::Path, path::PathBuf};

use gar_core::{
    Exchange, GarModel, Said,
    kernels::Weights,
    prompt::{Mask, RegionSet},
    vision::Image,
};
use gar_train::{
    Answer, Choice, Error, Fact, Head, Heads, Layers, OptimizerConfig, Part, ProbeConfig, Recorded, Result, RunConfig,
    Sample, Samples, StepReport, Trainer,
};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures")
}

fn trainer(config: RunConfig) -> Trainer {
    trainer_of("tile42", config)
}

fn trainer_of(fixture: &str, config: RunConfig) -> Trainer {
    let checkpoint = fixtures().join(fixture);
    let model = GarModel::open(&checkpoint).unwrap().load().unwrap();
    Trainer::new(model, &Weights::open(&checkpoint).unwrap(), config).unwrap()
}

fn config(steps: u64) -> RunConfig {
    let optimizer = OptimizerConfig { lr: 3e-3, ..OptimizerConfig::default() };
    RunConfig { batch: 3, checkpoint_every: 3, optimizer, ..RunConfig::new(steps) }
}

/// Two questions about two regions whose place depends on the position; the answer depends on the place.
fn sample(position: u64) -> Result<Sample> {
    let left = 4.0 + 10.0 * (position % 4) as f64;
    let image = Image::open(fixtures().join("images/tiny.png")).map_err(gar_core::Error::from)?;
    let (width, height) = (image.width(), image.height());
    let mask = |from: f64| {
        let scale = width as f64 / 60.0;
        Mask::from_box(width, height, [from * scale, 0.0, (from + 20.0) * scale, height as f64])
    };
    let regions = [mask(left), mask(30.0)].into_iter().collect::<std::result::Result<Vec<_>, _>>();
    let regions = regions.and_then(RegionSet::numbered).map_err(gar_core::Error::from)?;
    let exchange = |question: &str, answer: String| vec![Exchange { said: Said::Question(question.into()), answer }];
    let conversations = vec![
        exchange("Where is <Prompt0>?", format!("Place {}.", position % 4)),
        exchange("What is left of <Prompt1>?", "<Prompt0>".into()),
    ];
    Ok(Sample { image, regions, conversations, facts: Vec::new(), choices: Vec::new() })
}

/// Every file of the newest checkpoint.
fn bytes(out: &Path, step: u64) -> Vec<(String, Vec<u8>)> {
    let folder = out.join(format!("step-{step:08}"));
    ["weights.safetensors", "moments.safetensors", "state.json"]
        .map(|name| (name.into(), fs::read(folder.join(name)).unwrap()))
        .into()
}

#[test]
fn the_loss_falls() {
    let out = tempfile::tempdir().unwrap();
    let mut trainer = trainer(config(40));
    let held_out = [sample(1).unwrap()];
    let before = trainer.evaluate(&held_out).unwrap();
    trainer.run(&sample, out.path(), &mut |_, _| Ok(())).unwrap();
    let after = trainer.evaluate(&held_out).unwrap();
    println!("evaluation loss {before} → {after}");
    assert!(after < 0.5 * before, "evaluation loss {before} → {after}");
    assert_eq!(trainer.history().training.len(), 40);
    // What was trained is a checkpoint like any other.
    let exported = out.path().join("model");
    trainer.export(&fixtures().join("tile42"), &exported).unwrap();
    let model = GarModel::open(&exported).unwrap().load().unwrap();
    let scene = model.scene(&held_out[0].image, &held_out[0].regions).unwrap();
    scene.ask("Where is <Prompt0>?").unwrap();
}

#[test]
fn runs_repeat_whatever_the_threads() {
    let run = |threads: usize, at_once: usize| {
        let out = tempfile::tempdir().unwrap();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut trainer = trainer(RunConfig { at_once, ..config(3) });
        pool.install(|| trainer.run(&sample, out.path(), &mut |_, _| Ok(()))).unwrap();
        bytes(out.path(), 3)
    };
    let first = run(1, 2);
    assert!(first == run(3, 2), "threads change nothing");
    assert!(first[..2] == run(2, 1)[..2], "nor does how many samples are computed side by side");
}

#[test]
fn killed_and_resumed_is_undisturbed() {
    let undisturbed = tempfile::tempdir().unwrap();
    trainer(config(6)).run(&sample, undisturbed.path(), &mut |_, _| Ok(())).unwrap();

    let out = tempfile::tempdir().unwrap();
    let mut stop = |trainer: &mut Trainer, _: &StepReport| match trainer.steps_done() {
        5 => Err(Error::NoAnswers),
        _ => Ok(()),
    };
    trainer(config(6)).run(&sample, out.path(), &mut stop).unwrap_err();
    // A checkpoint that was being written when the run was killed.
    fs::create_dir(out.path().join("step.draft")).unwrap();
    let mut resumed = trainer(config(6));
    assert!(resumed.resume(out.path()).unwrap());
    assert_eq!(resumed.steps_done(), 3);
    resumed.run(&sample, out.path(), &mut |_, _| Ok(())).unwrap();
    assert!(bytes(out.path(), 6) == bytes(undisturbed.path(), 6));

    let error = trainer(config(7)).resume(out.path()).unwrap_err().to_string();
    assert!(error.contains("steps: 7") && error.contains("steps: 6"), "{error}");
}

#[test]
fn frozen_parts_stay() {
    let freeze = vec![Part::Tower, Part::Mask, Part::Decoder];
    let mut trainer = trainer(RunConfig { freeze, ..config(2) });
    let names: Vec<String> = trainer.parameters().trained().map(|(name, _)| name.into()).collect();
    assert_eq!(names.len(), 4);
    assert!(names.iter().all(|name| name.contains("multi_modal_projector")));
    trainer.step(&sample).unwrap();
    trainer.step(&sample).unwrap();
    let before = Weights::open(&fixtures().join("tile42")).unwrap();
    for (name, tensor) in trainer.parameters().trained() {
        let old = before.tensor(name, tensor.shape()).unwrap().to_f32_vec().unwrap();
        assert_ne!(tensor.to_f32_vec().unwrap(), old, "{name} moved");
    }
    let all = vec![Part::Tower, Part::Mask, Part::Projector, Part::Decoder];
    let checkpoint = fixtures().join("tile42");
    let model = GarModel::open(&checkpoint).unwrap().load().unwrap();
    let frozen = Trainer::new(model, &Weights::open(&checkpoint).unwrap(), RunConfig { freeze: all, ..config(2) });
    assert!(matches!(frozen.err(), Some(Error::AllFrozen)));
}

#[test]
fn a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_checkpoint() {
    let out = tempfile::tempdir().unwrap();
    // So large a step that the weights overflow what follows.
    let optimizer = OptimizerConfig { lr: 1e30, warmup: 0.5, ..OptimizerConfig::default() };
    let mut trainer = trainer(RunConfig { optimizer, checkpoint_every: 1, ..config(6) });
    let error = trainer.run(&sample, out.path(), &mut |_, _| Ok(())).unwrap_err();
    println!("{error}");
    // The first step's rate is 0, the second's is not, the third meets its weights.
    let Error::NotFinite { step: 3, position: 6, tensor } = &error else { panic!("{error}") };
    assert!(tensor.contains("the output of ") || tensor.contains("gradient of"), "{tensor}");
    assert!(out.path().join("step-00000002").is_dir());
}

#[test]
fn what_cannot_be_trained_on_says_why() {
    let mut trainer = trainer(config(2));
    let with = |conversations: Vec<Vec<Exchange>>| {
        move |position: u64| -> Result<Sample> {
            Ok(Sample { conversations: conversations.clone(), ..sample(position)? })
        }
    };
    let error = trainer.step(&with(vec![vec![]])).unwrap_err();
    assert!(matches!(error, Error::Sample { position: 0, .. }), "{error}");
    let long = Exchange { said: Said::Question("What is <Prompt0>?".into()), answer: "word ".repeat(5000) };
    let error = trainer.step(&with(vec![vec![long]])).unwrap_err();
    let Error::Sample { source, .. } = &error else { panic!("{error}") };
    assert!(matches!(source.as_ref(), Error::TooLong { context: 4096, .. }), "{error}");
    assert_eq!(trainer.steps_done(), 0);
}

#[test]
fn a_checkpoint_that_cannot_be_written_is_an_error_of_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    fs::write(&out, "a file where a folder should be").unwrap();
    let error = trainer(config(1)).save(&out).unwrap_err();
    assert!(matches!(&error, Error::Io { path, .. } if path.starts_with(&out)), "{error}");
}

/// A model and a file of five samples, each a caption of one region that covers the picture.
fn recorded() -> (GarModel, tempfile::TempDir, PathBuf, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("samples.jsonl");
    fs::copy(fixtures().join("images/tiny.png"), folder.path().join("tiny.png")).unwrap();
    let image = Image::open(folder.path().join("tiny.png")).unwrap();
    let (width, height) = (image.width(), image.height());
    let line = |name: &str| {
        format!(
            r#"{{"image": "tiny.png", "mask_rle": {{"size": [{height}, {width}], "counts": [0, {}]}}, "conversations": [
            {{"from": "human", "value": "<image>\nWhat is it?"}}, {{"from": "gpt", "value": "{name}"}}]}}"#,
            width * height
        )
        .replace('\n', " ")
        .replace("<image> ", "<image>\\n")
    };
    let lines: Vec<String> = (0..5).map(|i| line(&format!("thing {i}"))).collect();
    fs::write(&path, lines.join("\n\n")).unwrap();
    let model = GarModel::open(fixtures().join("tile42")).unwrap().load().unwrap();
    (model, folder, path, lines)
}

#[test]
fn a_dataset_is_read_in_an_order_of_its_own() {
    let (model, _folder, path, lines) = recorded();
    let samples = Recorded::open(&path, &model, 7).unwrap();
    assert_eq!(samples.len(), 5);
    let answer = |position: u64| samples.sample(position).unwrap().conversations[0][0].answer.clone();
    let pass = |pass: u64| (0..5).map(|i| answer(5 * pass + i)).collect::<Vec<_>>();
    let (first, second) = (pass(0), pass(1));
    assert_ne!(first, second, "each pass has its order");
    assert_eq!(first, pass(0), "which can be entered anywhere");
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    assert_eq!(sorted(first), sorted(second), "and holds every sample once");

    for (text, named) in [
        (r#"{"image": "tiny.png", "conversations": []}"#.to_owned(), "mask"),
        (lines[0].replace("\"gpt\"", "\"human\""), "in turn"),
        (lines[0].replace("[0, ", "[9, "), "9"),
        ("{".into(), "sample 0"),
    ] {
        fs::write(&path, text).unwrap();
        let read = Recorded::open(&path, &model, 0).and_then(|samples| samples.sample(0));
        let error = read.unwrap_err().to_string();
        assert!(error.contains(named), "{named}: {error}");
    }
    fs::write(&path, "\n").unwrap();
    assert!(matches!(Recorded::open(&path, &model, 0), Err(Error::File { .. })));
}

#[test]
fn captions_are_asked_for_as_the_paper_asks() {
    let (model, _folder, path, _) = recorded();
    let samples = Recorded::open(&path, &model, 7).unwrap();
    let told = |i: u64| {
        let sample = samples.sample(i).unwrap();
        let Said::Verbatim(text) = sample.conversations[0][0].said.clone() else { panic!("not as prepared") };
        (sample.regions.slots(), text)
    };
    let told: Vec<_> = (0..20).map(told).collect();
    for (slots, text) in &told {
        let crop = model.crop_token(slots[0]).unwrap();
        assert_eq!(text.matches(&crop).count(), model.tokens_per_region(), "{text}");
    }
    let different = |texts: Vec<&String>| texts.iter().any(|text| *text != texts[0]);
    assert!(different(told.iter().map(|(_, text)| text).collect()), "slots or instructions vary");
    let mut trainer = trainer(config(2));
    assert!(trainer.step(&samples).unwrap().loss.is_finite());
}

/// The facts of [`sample`]'s regions, in one head: the first region's place; and a question with options about it.
struct Known;

impl Samples for Known {
    fn sample(&self, position: u64) -> Result<Sample> {
        let facts = vec![Fact { slot: 0, head: 0, class: (position % 4) as u32 }, Fact { slot: 1, head: 0, class: 4 }];
        let (mut sample, left) = (sample(position)?, position % 4 < 2);
        let options = ["A. left", "B. right"];
        let question = Said::Question(gar_core::prompt::multiple_choice("Where is <Prompt0>?", &options));
        let answer = if left { "A" } else { "B" }.to_owned();
        sample.conversations.push(vec![Exchange { said: question, answer }]);
        let choice = |(place, text): (usize, &str)| {
            let right = (place == 0) == left;
            let (asked, stated) = ([usize::from(!left), place]).map(place_is).into();
            Choice { about: "place", conversation: 2, place, text: text.into(), right, asked, stated }
        };
        let choices = options.into_iter().enumerate().map(choice).collect();
        Ok(Sample { facts, choices, ..sample })
    }

    fn heads(&self) -> Heads {
        let [facts, claims] = [5, 2].map(|classes| vec![Head { name: "place", classes }]);
        Heads { facts, claims }
    }
}

/// The claim that a region is left, or right.
fn place_is(place: usize) -> Vec<Answer> {
    vec![Answer { head: 0, class: place as u32 }]
}

#[test]
fn probes_learn_beside_the_answers_and_are_not_exported() {
    let out = tempfile::tempdir().unwrap();
    let probes = ProbeConfig { weight: 1.0, alone: 2, ..ProbeConfig::default() };
    let begin = || trainer(RunConfig { probes: probes.clone(), ..config(30) }).with_probes(Known.heads()).unwrap();
    let mut reports = Vec::new();
    let mut trainer = begin();
    let mut note = |_: &mut Trainer, report: &StepReport| {
        reports.push(report.clone());
        Ok(())
    };
    trainer.run(&Known, out.path(), &mut note).unwrap();
    let heads = |report: &StepReport| report.probes.keys().cloned().collect::<Vec<_>>();
    assert_eq!(heads(&reports[1]), ["crops.place"], "alone: the decoder is not run");
    assert_eq!((reports[1].loss, reports[1].tokens), (0.0, 3));
    let all = "asked.place crops.place names.place options.letter options.place slots.slots stated.place";
    assert_eq!(heads(&reports[2]).join(" "), all);
    assert!(reports[2].loss > 0.0);
    let right = |report: &StepReport, head: &str| report.probes[head].right as f64 / report.probes[head].of as f64;
    let last = &reports[29];
    assert!(right(last, "slots.slots") > 0.9 && right(last, "names.place") >= 0.5, "{:?}", last.probes);
    // Two options of each of three samples a step.
    assert!(last.probes["options.letter"].of == 6 && right(last, "options.letter") == 1.0, "{:?}", last.probes);
    // They resume with the run, and no checkpoint holds them.
    let mut resumed = begin();
    assert!(resumed.resume(out.path()).unwrap());
    trainer.export(&fixtures().join("tile42"), &out.path().join("model")).unwrap();
    let exported = Weights::open(&out.path().join("model")).unwrap();
    assert!(exported.tensors().all(|tensor| !tensor.name.starts_with("probe.")));
}

#[test]
fn options_that_are_not_in_their_conversation_are_named() {
    let samples = |text: &'static str, conversation: usize| {
        move |position: u64| {
            let (asked, stated) = (place_is(0), place_is(0));
            let choice =
                Choice { about: "place", conversation, place: 0, text: text.into(), right: true, asked, stated };
            let choices = vec![choice];
            Ok(Sample { choices, ..Known.sample(position)? })
        }
    };
    let probes = ProbeConfig { weight: 1.0, ..ProbeConfig::default() };
    let mut trainer = trainer(RunConfig { probes, ..config(1) }).with_probes(Known.heads()).unwrap();
    for (text, conversation) in [("C. above", 2), ("A. left", 1), ("A. left", 9)] {
        let error = trainer.step(&samples(text, conversation)).unwrap_err().to_string();
        assert!(error.contains(text) && error.contains(&conversation.to_string()), "{error}");
    }
    assert!(trainer.step(&samples("A. left", 2)).is_ok());
}

#[test]
fn probes_read_behind_the_layers_that_are_named() {
    let run = |behind: Layers| {
        let probes = ProbeConfig { weight: 1.0, behind, ..ProbeConfig::default() };
        let mut trainer = trainer_of("tile48", RunConfig { probes, ..config(3) }).with_probes(Known.heads()).unwrap();
        // The heads begin at zero, so the first step is the same whatever they read.
        trainer.step(&Known)?;
        trainer.step(&Known)?;
        Ok::<_, Error>(trainer.parameters().trained().map(|(_, t)| t.to_f32_vec().unwrap()).collect::<Vec<_>>())
    };
    let last = run(Layers::default()).unwrap();
    let layers = 2;
    let named = |n: usize| Layers { slots: Some(n), names: Some(n), asked: Some(n), stated: Some(n), options: Some(n) };
    assert!(run(named(layers)).unwrap() == last, "behind the last layer where none is named");
    for one in [
        Layers { slots: Some(1), ..Layers::default() },
        Layers { names: Some(1), ..Layers::default() },
        Layers { options: Some(1), ..Layers::default() },
        Layers { asked: Some(1), ..Layers::default() },
        Layers { stated: Some(1), ..Layers::default() },
    ] {
        assert!(run(one).unwrap() != last, "{one:?}");
    }
    for layer in [0, layers + 1] {
        let error = run(named(layer)).unwrap_err();
        assert!(error.to_string().contains(&format!("1 to {layers}, found {layer}")), "{error}");
    }
}

#[test]
fn facts_that_are_left_out_change_nothing() {
    /// Facts of a second kind beside the first.
    struct More;
    impl Samples for More {
        fn sample(&self, position: u64) -> Result<Sample> {
            let sample = Known.sample(position)?;
            let more = sample.facts.iter().map(|fact| Fact { head: 1, class: 0, ..*fact }).collect::<Vec<_>>();
            Ok(Sample { facts: sample.facts.into_iter().chain(more).collect(), ..sample })
        }

        fn heads(&self) -> Heads {
            let mut heads = Known.heads();
            heads.facts.push(Head { name: "more", classes: 2 });
            heads
        }
    }
    let begin = |samples: &dyn Samples, without: &[&str]| {
        let without = without.iter().map(|&name| name.to_owned()).collect();
        let probes = ProbeConfig { weight: 1.0, without, ..ProbeConfig::default() };
        trainer(RunConfig { probes, ..config(3) }).with_probes(samples.heads())
    };
    let run = |samples: &dyn Samples, without: &[&str]| {
        let mut trainer = begin(samples, without).unwrap();
        (0..3).for_each(|_| drop(trainer.step(samples).unwrap()));
        trainer.parameters().trained().map(|(name, t)| (name.to_owned(), t.to_f32_vec().unwrap())).collect::<Vec<_>>()
    };
    let plain = run(&Known, &[]);
    assert!(run(&More, &["more"]) == plain, "as if there were none");
    assert!(run(&More, &[]).len() > plain.len());
    let error = begin(&More, &["mroe"]).err().unwrap().to_string();
    assert!(error.contains("[\"place\", \"more\"], found \"mroe\""), "{error}");
}

#[test]
fn without_a_weight_facts_are_passed_over() {
    let mut trainer = trainer(config(1)).with_probes(Known.heads()).unwrap();
    assert!(trainer.step(&Known).unwrap().probes.is_empty());
}
