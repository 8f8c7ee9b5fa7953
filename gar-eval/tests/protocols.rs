//! What judges are asked, and what their answers become.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};

use gar_core::prompt::{Mask, Rle};
use gar_eval::judge::protocols::{Captions, Dlc, Ferret, GarBench, Mdvp, VideoReferD};
use gar_eval::judge::{Part, Protocol, Role};
use gar_eval::score::{dlc_bench, gar_bench};
use image::RgbImage;
use serde_json::{Value, json};
use tempfile::TempDir;

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(TempDir::new().unwrap());
        std::fs::create_dir(place.path().join("images")).unwrap();
        RgbImage::from_fn(80, 60, |x, y| image::Rgb([x as u8, y as u8, 0]))
            .save(place.path().join("images/1.png"))
            .unwrap();
        place
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn json(&self, name: &str, value: &Value) -> PathBuf {
        self.text(name, &value.to_string())
    }

    fn text(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }
}

fn rle() -> Value {
    let mask = Mask::from_box(80, 60, [10.0, 10.0, 30.0, 20.0]).unwrap();
    serde_json::to_value(Rle::encode(&mask)).unwrap()
}

/// The texts of a question and the number of its pictures.
fn shown(protocol: &dyn Protocol, at: usize) -> (String, usize) {
    let request = protocol.question(at).unwrap().request;
    let parts =
        || request.messages.iter().filter(|message| message.role == Role::User).flat_map(|message| &message.parts);
    let texts: Vec<&str> =
        parts().filter_map(|part| if let Part::Text(text) = part { Some(&**text) } else { None }).collect();
    (texts.join("\n"), parts().filter(|part| matches!(part, Part::Picture(_))).count())
}

fn assembled(protocol: &dyn Protocol, answers: &[&str]) -> (Value, Vec<String>) {
    let answers: Vec<String> = answers.iter().map(|answer| (*answer).to_owned()).collect();
    let judged = protocol.assemble(&answers).unwrap();
    let unread = judged.unparsed.into_iter().map(|u| format!("{}: {}", u.question, u.answer)).collect();
    (serde_json::from_str(&judged.text).unwrap(), unread)
}

#[test]
fn captions_are_judged_with_picture_cut_outs_and_masks() {
    let place = Place::new();
    let entry = json!({"image": "images/1.png", "mask_rles": [rle(), rle()], "question": "Where?", "answer": "On it.",
                       "model_output": "Above it.", "kept": 1});
    let output = place.json("out.json", &json!([entry, entry, entry]));
    let protocol = GarBench::read(&output, Captions::Simple, place.path()).unwrap();
    let (text, pictures) = shown(&protocol, 0);
    assert_eq!(pictures, 5, "the picture, and two of each region");
    for part in ["<Prompt1>, cut out", "Question: Where?", "Reference answer: On it.", "Answer to check: Above it."] {
        assert!(text.contains(part), "{text}");
    }
    let (file, unread) = assembled(&protocol, &["True", "false.", "Partly"]);
    let verdicts: Vec<&Value> = file.as_array().unwrap().iter().map(|entry| &entry["eval_result"]).collect();
    assert_eq!(verdicts, ["True", "False", "Partly"]);
    assert_eq!((&file[0]["kept"], unread), (&json!(1), vec!["#2: Partly".to_owned()]));
    for entry in file.as_array().unwrap().iter().enumerate() {
        let (at, mut entry) = (entry.0, entry.1.clone());
        entry["image"] = format!("{at}").into();
        place.json(&format!("eval_{at}.json"), &json!([entry]));
    }
    let scored = gar_bench::simple(&place.path().join("eval_2.json")).unwrap();
    assert!(scored.notes.iter().any(|note| note.contains("neither true nor false")), "{:?}", scored.notes);

    let mut detailed = entry.clone();
    for (field, value) in [("subject_name", "cat"), ("object_name", "mat"), ("predicate_name", "on")] {
        detailed[field] = value.into();
    }
    let protocol =
        GarBench::read(&place.json("out.json", &json!([detailed])), Captions::Detailed, place.path()).unwrap();
    let (text, _) = shown(&protocol, 0);
    assert!(text.contains("the subject: cat") && text.contains("Their relation: on"), "{text}");

    for (field, value, says) in [
        ("model_output", json!(3), "#0: `model_output`: expected text, found 3"),
        ("mask_rles", json!([]), "#0: `mask_rles`: expected at least one mask, found none"),
        ("predicate_name", Value::Null, "#0: `predicate_name`: expected text, found null"),
    ] {
        let mut wrong = detailed.clone();
        wrong[field] = value;
        let output = place.json("out.json", &json!([wrong]));
        let error = GarBench::read(&output, Captions::Detailed, place.path()).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let mut missing = entry.clone();
    missing["image"] = "images/2.png".into();
    let protocol = GarBench::read(&place.json("out.json", &json!([missing])), Captions::Simple, place.path()).unwrap();
    assert!(protocol.question(0).unwrap_err().to_string().contains("#0: expected a picture at"));
}

fn dlc(place: &Place) -> PathBuf {
    let question = |kind: &str| json!({"question": "Which?", "type": kind, "choices": [["The wing is red.", 1], ["It is not.", -1], ["Neither.", 0.5]]});
    place.json(
        "qa.json",
        &json!({"7": [question("positive"), question("positive"), question("negative")], "8": [question("positive")]}),
    );
    place.json("class_names.json", &json!({"7": "bird", "8": "potato"}));
    place.json("annotations.json", &json!({
        "images": [{"id": 1, "width": 80, "height": 60, "file_name": "1.png"}],
        "annotations": [{"id": 7, "image_id": 1, "segmentation": rle()}, {"id": 8, "image_id": 1, "segmentation": rle()}],
    }));
    place.json("said.json", &json!({"8": "A stone.", "7": "A bird with a red wing."}))
}

#[test]
fn the_recognition_gate_caps_scores_and_unread_answers_are_left_out() {
    let place = Place::new();
    let said = dlc(&place);
    let protocol = Dlc::read(&said, place.path(), None).unwrap();
    assert_eq!(protocol.len(), 6);
    assert_eq!(shown(&protocol, 0).1, 0, "the judge reads the caption alone");
    assert!(
        shown(&protocol, 0).0.contains("of the kind \"bird\"")
            && shown(&protocol, 1).0.contains("A bird with a red wing.")
    );
    assert!(shown(&protocol, 3).0.ends_with("Which?\nA. The wing is red.\nB. It is not.\nC. Neither.\n"));
    assert_eq!(shown(&Dlc::read(&said, place.path(), Some(&place.path().join("images"))).unwrap(), 2).1, 2);

    let (file, unread) = assembled(&protocol, &["A. Yes", "A", "Hm", "C. Neither.", "B", "A"]);
    let bird = &file["7"];
    assert_eq!([&bird["score_pos"], &bird["score_neg"], &bird["score"]], [&json!(1.0), &json!(0.5), &json!(0.75)]);
    assert_eq!(
        (&bird["recognition_result"], &bird["details_positives"][1]["eval_result"]),
        (&json!(true), &Value::Null)
    );
    assert_eq!(bird["details_negatives"][0]["question_index"], 2);
    let potato = &file["8"];
    assert_eq!(
        (&potato["score_pos"], &potato["score_neg"]),
        (&json!(0.0), &Value::Null),
        "capped; no negative question"
    );
    assert_eq!((&file["avg_pos"], &file["avg_neg"]), (&json!(0.5), &json!(0.5)));
    assert_eq!(unread, ["7: question 1: Hm"]);
    let scored = dlc_bench::score(&place.json("eval.json", &file)).unwrap();
    assert_eq!(scored.table().row("positive").unwrap().score, 50.0);
    assert!(
        scored.notes.iter().any(|note| note.starts_with("1 questions whose answers could not be read")),
        "{:?}",
        scored.notes
    );

    // Without recognition the gate is unknown: no score, rather than one that is guessed.
    let (file, unread) = assembled(&protocol, &["Perhaps", "A", "A", "A", "Yes", "A"]);
    assert_eq!((&file["7"]["score"], &file["7"]["recognition_result"]), (&Value::Null, &Value::Null));
    assert_eq!(file["avg_pos"], 1.0);
    assert_eq!(unread, ["7: recognition: Perhaps"]);
    let scored = dlc_bench::score(&place.json("eval.json", &file)).unwrap();
    assert_eq!(scored.table().row("positive").unwrap().total, 1.0);
    assert!(
        scored.notes.iter().any(|note| note.contains("recognition answer could not be read")),
        "{:?}",
        scored.notes
    );
}

#[test]
fn dlc_files_must_fit_each_other() {
    let place = Place::new();
    let said = dlc(&place);
    let error = |place: &Place| Dlc::read(&said, place.path(), None).unwrap_err().to_string();
    place.json("said.json", &json!({"7": "x"}));
    assert!(error(&place).ends_with("said.json: 8: `caption`: expected an entry of this id, found nothing"));
    place.json("said.json", &json!({"7": "x", "8": "y", "9": "z"}));
    assert!(error(&place).ends_with("qa.json: 9: `questions`: expected an entry of this id, found nothing"));
    place.text("said.json", r#"{"7": "x", "8": "y", "7": "z"}"#);
    assert!(error(&place).contains("found \"7\" twice"));
    dlc(&place);
    place.json("qa.json", &json!({"7": [{"question": "q", "type": "neutral", "choices": [["a", 1], ["b", 0]]}]}));
    assert!(error(&place).contains("7, question 0: `type`: expected \"positive\" or \"negative\", found \"neutral\""));
    place.json("qa.json", &json!({"7": [{"question": "q", "type": "positive", "choices": [["a", 2], ["b", 0]]}]}));
    assert!(error(&place).contains("7, question 0: `choices`: expected two to 26 pairs"));
}

#[test]
fn reviews_give_two_scores_or_none() {
    let place = Place::new();
    place.json("rule.json", &json!({"refer_desc": {"role": "Assistant", "prompt": "Rate both."}, "box": {"role": "Helper", "prompt": "Rate the two."}}));
    let lines = |texts: [&str; 2]| {
        let line = |(id, text): (usize, &&str)| json!({"question_id": id, "image": "1.jpg", "text": text}).to_string();
        texts.iter().enumerate().map(line).collect::<Vec<_>>().join("\n")
    };
    place.text("refer_desc/question.jsonl", &lines(["Q0", "Q1"]));
    place.text("refer_desc/answer.jsonl", &lines(["R0", "R1"]));
    place.text("refer_desc/context.jsonl", &lines(["C0", "C1"]));
    let said = place.text("said.jsonl", &lines(["S0", "S1"]));
    let protocol = Ferret::read(&said, place.path()).unwrap();
    let (text, pictures) = shown(&protocol, 1);
    assert_eq!(pictures, 0);
    for part in ["C1", "Q1", "[Assistant 1]\nR1", "[Assistant 2]\nS1", "Rate both."] {
        assert!(text.contains(part), "{text}");
    }
    let judged = protocol.assemble(&["7 4\nbecause".into(), "Both are good.".into()]).unwrap();
    let reviews: Vec<Value> = judged.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&reviews[0]["tuple"], &reviews[1]["tuple"]), (&json!([7.0, 4.0]), &json!([-1.0, -1.0])));
    assert_eq!(judged.unparsed.len(), 1);
    place.text("refer_desc/context.jsonl", "{\"question_id\": 0, \"image\": \"1.jpg\", \"text\": \"C0\"}");
    let error = Ferret::read(&said, place.path()).unwrap_err().to_string();
    assert!(error.contains("context.jsonl: expected 2 lines, one for each question, found: 1"), "{error}");
    place.text("refer_desc/context.jsonl", &lines(["C0", "C1"]).replace("1.jpg", "2.jpg"));
    let error = Ferret::read(&said, place.path()).unwrap_err().to_string();
    assert!(error.contains("context.jsonl: #0: `image`: expected \"1.jpg\", the picture of the question"), "{error}");

    place.json(
        "mdvp_caption_mask.json",
        &json!([{"image_path": "images/1.png", "mask_rle": rle(), "caption": "R",
        "dataset_name": "web_detailed_caption_box", "question": "Q"}]),
    );
    let said = place.json("said.json", &json!([{"image_path": "elsewhere", "caption": "S", "gt": "R"}]));
    let protocol = Mdvp::read(&said, place.path(), place.path()).unwrap();
    let (text, pictures) = shown(&protocol, 0);
    assert_eq!(pictures, 1);
    assert!(text.contains("web page") && text.contains("[Helper 2]\nS"), "{text}");
    let review: Value = serde_json::from_str(&protocol.assemble(&["4 6".into()]).unwrap().text).unwrap();
    assert_eq!((&review["category"], &review["question_id"]), (&json!("web_detailed_caption_box"), &json!(1)));
    place.json("said.json", &json!([{"caption": "S", "gt": "other"}]));
    assert!(Mdvp::read(&said, place.path(), place.path()).unwrap_err().to_string().contains("#0: `gt`"));
    place.json("said.json", &json!([]));
    assert!(Mdvp::read(&said, place.path(), place.path()).unwrap_err().to_string().contains("expected 1 captions"));
}

#[test]
fn descriptions_of_videos_get_four_scores() {
    let place = Place::new();
    let line = |id: u64| json!({"id": id, "Answer": "A dog runs.", "pred": "A cat sleeps."}).to_string();
    let path = place.text("out.json", &[line(1), line(2)].join("\n"));
    let protocol = VideoReferD::read(&path).unwrap();
    assert!(shown(&protocol, 0).0.contains("True description: A dog runs."));
    let four =
        "Subject Correspondence: 1\nAppearance Description: 0\nTemporal Description: 0.5\nHallucination Detection: 2";
    let (file, unread) = assembled(&protocol, &[four, "all 3"]);
    assert_eq!((&file[0]["Temporal Description"], &file[1]["gpt"]), (&json!(0.5), &json!("all 3")));
    assert_eq!(unread, ["#1: all 3"]);
}

/// The published judges' answers, given once more, make the published files; `GAR_BENCH` names the folder that holds them.
#[test]
fn published_answers_make_the_published_files() {
    let Some(bench) = std::env::var_os("GAR_BENCH").map(PathBuf::from) else { return };
    let read = |name: &str| -> Value { serde_json::from_slice(&std::fs::read(bench.join(name)).unwrap()).unwrap() };
    let texts = |list: &Value, field: &str| -> Vec<String> {
        list.as_array().unwrap().iter().map(|entry| entry[field].as_str().unwrap().to_owned()).collect()
    };
    for (name, task) in [("simple", Captions::Simple), ("detailed", Captions::Detailed)] {
        let path = bench.join(format!("GAR-Bench/gar_1b_{name}_eval.json"));
        let protocol = GarBench::read(&path, task, &bench.join("GAR-Bench")).unwrap();
        let published = read(&format!("GAR-Bench/gar_1b_{name}_eval.json"));
        let judged = protocol.assemble(&texts(&published, "eval_result")).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&judged.text).unwrap(), published);
        assert_eq!(judged.unparsed, []);
    }

    for (file, scores) in [("gar_1b_eval.json", [0.489, 0.870]), ("gar_1b_eval_gpt.json", [0.658, 0.876])] {
        let published = read(&format!("DLC-Bench/{file}"));
        let protocol = Dlc::read(&bench.join("DLC-Bench/gar_1b.json"), &bench.join("DLC-Bench"), None).unwrap();
        let mut answers = Vec::new();
        let ids: Vec<&String> = published.as_object().unwrap().keys().filter(|key| !key.starts_with("avg")).collect();
        for at in 0..protocol.len() {
            let name = protocol.question(at).unwrap().name;
            let (id, what) = name.split_once(": ").unwrap();
            let place = what.strip_prefix("question ").map_or(0, |n| n.parse::<usize>().unwrap() + 1);
            answers.push(published[id]["response"][place].as_str().unwrap().to_owned());
        }
        let judged = protocol.assemble(&answers).unwrap();
        println!("{file}: {} of {} answers not readable: {:?}", judged.unparsed.len(), answers.len(), judged.unparsed);
        let ours: Value = serde_json::from_str(&judged.text).unwrap();
        if judged.unparsed.is_empty() {
            for id in ids {
                for field in ["score", "score_pos", "score_neg", "recognition_result"] {
                    assert_eq!(ours[id][field], published[id][field], "{file}: {id}: {field}");
                }
            }
            for (field, score) in ["avg_pos", "avg_neg"].iter().zip(scores) {
                assert!((ours[field].as_f64().unwrap() - score).abs() < 5e-4, "{file}: {field}: {}", ours[field]);
            }
        }
        assert!(judged.unparsed.len() <= 2, "{file}");
    }

    let data = bench.join("Ferret-Bench/ferret_gpt4_data");
    let protocol = Ferret::read(&bench.join("Ferret-Bench/gar_1b/refer_desc/ferret_answer.jsonl"), &data).unwrap();
    let published = std::fs::read_to_string(bench.join("Ferret-Bench/gar_1b/review_refer_desc.jsonl")).unwrap();
    let lines: Vec<Value> = published.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let judged = protocol.assemble(&texts(&lines.into(), "content")).unwrap();
    assert_eq!(judged.text, published, "to the byte");
}
