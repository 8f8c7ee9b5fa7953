//! Running without a model of weights: what is kept, resumed and refused.
#![allow(clippy::unwrap_used)]

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use gar_core::kernels::NoProgress;
use gar_core::llm::FinishReason;
use gar_core::{Answer, AnswerOptions, RegionModel, RegionRequest, Timings};
use gar_eval::benchmarks::Benchmark;
use gar_eval::benchmarks::gar_bench::{Task, load};
use gar_eval::run::{Manifest, RunDirectory, Summary, run};
use gar_eval::{Error, Result, score};
use serde_json::{Value, json};

/// Says how many regions it was asked about; has two slots; fails for good after so many answers.
struct Counting {
    left: AtomicUsize,
}

impl RegionModel for Counting {
    fn stream(&self, request: &RegionRequest, _: &mut dyn FnMut(&str) -> ControlFlow<()>) -> gar_core::Result<Answer> {
        if self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_err() {
            let source = std::io::Error::other("the lights went out");
            return Err(gar_core::Error::Io { path: "model".into(), source });
        }
        request.regions.check_slots(2)?;
        let text = format!(" {}\n", ["", "A", "B"][request.regions.len()]);
        let (finish, timings) = (FinishReason::StopToken, Timings::default());
        Ok(Answer { text, tokens: vec![7], prompt_tokens: 3, finish, timings })
    }
}

/// A folder with five questions, the last of which has three regions.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(place.0.path().join("images")).unwrap();
        let entries: Vec<Value> = (0..5)
            .map(|i| {
                let picture = format!("images/{i}.png");
                image::RgbImage::new(6, 4).save(place.0.path().join(&picture)).unwrap();
                let regions = [1, 2, 1, 2, 3][i];
                let masks: Vec<Value> =
                    (0..regions).map(|r| json!({"size": [4, 6], "counts": [r, 3, 21 - r]})).collect();
                json!({
                    "mask_rles": masks, "question": "What is <Prompt0>? ü", "choices": ["A. one", "B. two"],
                    "answer": if i == 3 { "A" } else { "B" }, "type": (["color", "relation"][i % 2]), "image": picture,
                    "more": [1.5, null],
                })
            })
            .collect();
        place.write(&entries);
        place
    }

    fn write(&self, entries: &[Value]) {
        std::fs::write(self.0.path().join(Task::Vqa.file()), json!(entries).to_string()).unwrap();
    }

    fn entries(&self) -> Vec<Value> {
        serde_json::from_slice(&std::fs::read(self.0.path().join(Task::Vqa.file())).unwrap()).unwrap()
    }

    fn load(&self) -> Result<Benchmark> {
        load(Task::Vqa, self.0.path(), self.0.path())
    }

    fn out(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, out: &Path, answers: usize, batch: usize) -> Result<Summary> {
        let benchmark = self.load()?;
        let manifest = Manifest::new(&benchmark, json!("counting"), json!({}), self.0.path());
        let mut directory = RunDirectory::open(out, &manifest, &benchmark.items)?;
        let model = Counting { left: AtomicUsize::new(answers) };
        run(&model, &benchmark, &mut directory, &AnswerOptions::default(), batch, &NoProgress)
    }
}

#[test]
fn an_interrupted_run_ends_as_an_undisturbed_one() {
    let place = Place::new();
    let (whole, parts) = (place.out("whole"), place.out("parts"));
    let summary = place.run(&whole, 5, 2).unwrap();
    assert_eq!((summary.resumed, summary.asked, summary.refused.len()), (0, 5, 1));
    assert_eq!(summary.refused[0].0, "images/4.png");

    for _ in 0..4 {
        let failed = place.run(&parts, 1, 1).unwrap_err().to_string();
        assert!(failed.contains("images/") && failed.contains("the lights went out"), "{failed}");
        assert!(!parts.join("output.json").exists());
    }
    let summary = place.run(&parts, 1, 1).unwrap();
    assert_eq!((summary.resumed, summary.asked), (4, 1));
    for file in ["output.json", "answers.jsonl"] {
        assert!(std::fs::read(whole.join(file)).unwrap() == std::fs::read(parts.join(file)).unwrap(), "{file}");
    }
    // A run that is over is not begun again.
    assert_eq!(place.run(&parts, 0, 1).unwrap().asked, 0);
}

#[test]
fn the_output_has_the_published_form() {
    let place = Place::new();
    let out = place.out("run");
    place.run(&out, 5, 1).unwrap();
    let mut expected = place.entries();
    for (entry, said) in expected.iter_mut().zip(["A", "B", "A", "B", ""]) {
        entry["model_output"] = json!(said);
    }
    let text = std::fs::read_to_string(out.join("output.json")).unwrap();
    assert!(
        text.starts_with("[\n    {\n        \"mask_rles\": [\n            {\n                \"size\": ["),
        "{text}"
    );
    assert!(text.ends_with(
        "\"more\": [\n            1.5,\n            null\n        ],\n        \"model_output\": \"\"\n    }\n]"
    ));
    assert!(text.contains("ü") && serde_json::from_str::<Value>(&text).unwrap() == json!(expected));
    let table = score::gar_bench::vqa(&out).unwrap().table();
    assert_eq!((table.overall().unwrap().correct, table.overall().unwrap().total), (1.0, 5.0));
}

#[test]
fn directories_of_other_runs_are_refused() {
    let place = Place::new();
    let out = place.out("run");
    place.run(&out, 5, 1).unwrap();
    let mut entries = place.entries();
    entries[0]["answer"] = json!("A");
    place.write(&entries);
    let other = place.run(&out, 5, 1).unwrap_err();
    assert!(matches!(&other, Error::OtherRun { field: "sources", .. }), "{other}");
    assert_eq!(other.to_string().matches("sha256").count(), 2, "{other}");

    let folder = place.out("photos");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("a.txt"), "mine").unwrap();
    assert!(matches!(place.run(&folder, 5, 1), Err(Error::NoRun { .. })));
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "nothing is left behind");
}

#[test]
fn logs_with_other_or_double_answers_are_refused() {
    let place = Place::new();
    let out = place.out("run");
    place.run(&out, 5, 1).unwrap();
    let log = std::fs::read_to_string(out.join("answers.jsonl")).unwrap();
    let first = log.lines().next().unwrap();
    for (added, says) in
        [(first.to_owned(), "line 6: expected one answer an item"), (first.replace("0.png", "9.png"), "images/9.png")]
    {
        std::fs::write(out.join("answers.jsonl"), format!("{log}{added}\n")).unwrap();
        let error = place.run(&out, 5, 1).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn one_process_writes_at_a_time() {
    let place = Place::new();
    let benchmark = place.load().unwrap();
    let manifest = Manifest::new(&benchmark, json!("counting"), json!({}), place.0.path());
    let out = place.out("run");
    let first = RunDirectory::open(&out, &manifest, &benchmark.items).unwrap();
    assert!(matches!(RunDirectory::open(&out, &manifest, &benchmark.items), Err(Error::InUse { .. })));
    drop(first);
    RunDirectory::open(&out, &manifest, &benchmark.items).unwrap();
}

#[test]
fn bad_annotations_are_refused_by_name() {
    let place = Place::new();
    let good = place.entries();
    let change = |edit: fn(&mut Vec<Value>)| {
        let mut entries = good.clone();
        edit(&mut entries);
        place.write(&entries);
        place.load().and_then(|b| b.check_pictures()).unwrap_err().to_string()
    };
    for (edit, says) in [
        (
            (|e| drop(e[1].as_object_mut().unwrap().remove("mask_rles"))) as fn(&mut Vec<Value>),
            "images/1.png: `mask_rles`",
        ),
        (|e| drop(e[1].as_object_mut().unwrap().remove("image")), "#1: `image`: expected text, found nothing"),
        (|e| drop(e[1].as_object_mut().unwrap().remove("question")), "images/1.png: `question`"),
        (|e| e[2]["type"] = json!("colour"), "images/2.png: `type`: expected one of color, "),
        (|e| e[2]["answer"] = json!("E"), "images/2.png: `answer`: expected one of A, B, found \"E\""),
        (|e| e[2]["mask_rles"] = json!([]), "at least one mask"),
        (|e| e[2]["question"] = json!("What is <Prompt1>?"), "<Prompt1> included, found 1 masks"),
        (|e| e[0]["mask_rles"][0]["counts"] = json!([1, 2]), "images/0.png: region 0: "),
        (|e| e[0]["mask_rles"][0]["counts"] = json!([24]), "images/0.png: region 0: "),
        (|e| e[1]["mask_rles"][1] = json!({"size": [6, 4], "counts": [0, 24]}), "region 1: expected a mask of"),
        (
            |e| e[0]["mask_rles"] = json!([{"size": [8, 3], "counts": [0, 24]}]),
            "images/0.png: region 0: expected a mask of the picture's 6×4 pixels, found 3×8",
        ),
        (|e| e[3]["image"] = json!("images/1.png"), "\"images/1.png\" twice (entries 1 and 3"),
        (|e| e[3]["image"] = json!("images/none.png"), "images/none.png: expected a picture at "),
        (|e| e[3]["image"] = json!("../../etc/passwd"), "a path inside the folder of pictures"),
        (|e| e[3] = json!(7), "expected a list of objects"),
    ] {
        let found = change(edit);
        assert!(found.contains(says), "{says:?} in {found}");
    }
    // What is missing can be left out on request.
    let mut entries = good.clone();
    entries[3]["image"] = json!("images/none.png");
    place.write(&entries);
    let mut benchmark = place.load().unwrap();
    assert_eq!((benchmark.keep_present(), benchmark.items.len()), (1, 4));
    benchmark.check_pictures().unwrap();
}
