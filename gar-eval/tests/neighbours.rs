//! The benchmarks beside GAR-Bench: what their loaders let through and refuse, and their outputs scored.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};

use base64::{Engine, prelude::BASE64_STANDARD};
use gar_core::kernels::Kernels;
use gar_core::prompt::{Mask, Rle};
use gar_eval::benchmarks::video::VideoBenchmark;
use gar_eval::benchmarks::{Benchmark, RegionShape, Shape, dlc, ferret, mdvp, open_class, videorefer, whole};
use gar_eval::run::{AnswerRecord, Answered};
use gar_eval::score::{SCORERS, Scored};
use gar_eval::sentence::SentenceEncoder;
use gar_eval::{Error, Result, score};
use image::{ImageFormat, RgbImage};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A folder with files of one's own.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn text(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    fn json(&self, name: &str, value: &Value) -> PathBuf {
        self.text(name, &value.to_string())
    }

    fn picture(&self, name: &str, width: u32, height: u32) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        RgbImage::from_pixel(width, height, image::Rgb([9, 8, 7])).save(path).unwrap();
    }
}

fn rle(width: usize, height: usize) -> Value {
    let mask = Mask::from_box(width, height, [1.0, 1.0, 3.0, 3.0]).unwrap();
    serde_json::to_value(Rle::encode(&mask)).unwrap()
}

fn refused<T>(result: Result<T>) -> String {
    result.err().expect("expected an error").to_string()
}

/// The output of a benchmark whose every item was answered by `answer`.
fn output(benchmark: &Benchmark, answer: impl Fn(usize) -> String) -> String {
    let record = |at: usize| AnswerRecord {
        id: benchmark.items[at].id.clone(),
        answer: answer(at),
        prompt_tokens: 1,
        new_tokens: 1,
        refused: None,
    };
    let records: Vec<_> = (0..benchmark.items.len()).map(record).collect();
    let answers: Vec<_> =
        benchmark.items.iter().zip(&records).map(|(item, record)| Answered { item, record }).collect();
    (benchmark.output)(&answers).unwrap()
}

fn scored(name: &str, path: &Path) -> Result<Scored> {
    let scorer = SCORERS.iter().find(|scorer| scorer.name == name).unwrap();
    Ok((scorer.score)(&[path])?.remove(0))
}

#[test]
fn dlc_bench_comes_by_picture() {
    let place = Place::new();
    let annotation = |id: u64, image: u64| json!({"id": id, "image_id": image, "segmentation": rle(8, 6)});
    let coco = |annotations: Value| {
        json!({
            "images": [{"id": 5, "width": 8, "height": 6, "file_name": "b.png"}, {"id": 4, "width": 8, "height": 6, "file_name": "a.png"}],
            "annotations": annotations,
        })
    };
    place.json("annotations.json", &coco(json!([annotation(1, 4), annotation(2, 5), annotation(3, 4)])));
    place.picture("images/a.png", 8, 6);
    place.picture("images/b.png", 9, 6);
    let mut benchmark = dlc::load(place.path(), &place.path().join("images")).unwrap();
    let ids: Vec<&str> = benchmark.items.iter().map(|item| item.id.as_str()).collect();
    assert_eq!(ids, ["2", "1", "3"]);
    assert_eq!(benchmark.items[0].question, "Describe this masked region in detail.");
    assert_eq!(benchmark.items[0].regions[0].slot, 1, "the slot of a region that stands alone");
    assert_eq!(
        output(&benchmark, |at| format!("é{at}")),
        "{\n    \"2\": \"é0\",\n    \"1\": \"é1\",\n    \"3\": \"é2\"\n}"
    );

    let error = benchmark.check_pictures().unwrap_err().to_string();
    assert_eq!(error, "2: region 1: expected a mask of the picture's 9×6 pixels, found 8×6");
    std::fs::remove_file(place.path().join("images/b.png")).unwrap();
    assert!(matches!(benchmark.check_pictures(), Err(Error::MissingPicture { item, .. }) if item == "2"));
    assert_eq!((benchmark.keep_present(), benchmark.items.len()), (1, 2));

    let load =
        |annotations: Value| refused(dlc::load(&place.json("annotations.json", &coco(annotations)), place.path()));
    assert!(load(json!([annotation(1, 4), annotation(1, 5)])).contains("found \"1\" twice"));
    assert!(load(json!([annotation(1, 9)])).contains("1: `image_id`: expected the id of an image, found 9"));
    assert!(load(json!([{"id": 1, "image_id": 4}])).contains("missing field `segmentation`"));
    let other = json!([{"id": 1, "image_id": 4, "segmentation": rle(6, 8)}]);
    assert_eq!(load(other), "1: region 1: expected a mask of the picture's 8×6 pixels, found 6×8");
}

#[test]
fn ferret_bench_takes_boxes_as_polygons() {
    let place = Place::new();
    let entry = |id: u64| {
        json!({"question_id": id, "image": "1.jpg", "category": "description", "text": "What is <region>?",
               "annotation": {"bbox": [1.0, 1.0, 2.0, 2.0], "segmentation": [[1.0, 1.0, 3.0, 1.0, 3.0, 3.0, 1.0, 3.0]]}})
    };
    let path = place.json("box_refer_caption.json", &json!([entry(0), entry(7)]));
    let benchmark = ferret::load(place.path(), place.path()).unwrap();
    assert_eq!(benchmark.items[1].region_set(8, 6).unwrap().iter().next().unwrap().mask().area(), 4);
    let lines = output(&benchmark, |at| format!("a \"{at}\""));
    assert_eq!(
        lines.lines().nth(1).unwrap(),
        r#"{"question_id": 1, "image": "1.jpg", "category": "refer_desc", "text": "a \"1\""}"#
    );
    place.json("box_refer_caption.json", &json!([entry(0), entry(0)]));
    assert!(refused(ferret::load(&path, place.path())).contains("found \"0\" twice"));
    place.json("box_refer_caption.json", &json!([{"question_id": "x"}]));
    assert!(
        refused(ferret::load(&path, place.path())).contains("#0: `question_id`: expected a whole number, found \"x\"")
    );
}

#[test]
fn mdvp_bench_has_six_domains_in_four_groups() {
    let place = Place::new();
    let entry = |domain: &str| json!({"image_path": "p/1.png", "mask_rle": rle(8, 6), "dataset_name": domain, "question": "q", "caption": "c"});
    let path = place.json("mdvp_caption_mask.json", &json!([entry("web_detailed_caption_box")]));
    let benchmark = mdvp::load(&path, place.path()).unwrap();
    assert_eq!(benchmark.items[0].category.as_deref(), Some("web_detailed_caption_box"));
    let written: Value = serde_json::from_str(&output(&benchmark, |_| "said".into())).unwrap();
    assert_eq!(written, json!([{"image_path": "p/1.png", "caption": "said", "gt": "c"}]));
    place.json("mdvp_caption_mask.json", &json!([entry("web")]));
    let error = refused(mdvp::load(&path, place.path()));
    assert!(error.contains("#0: `dataset_name`: expected android_detailed_caption_box, "), "{error}");

    let review = |id: u64, domain: &str, pair: [f64; 2]| {
        json!({"question_id": id, "category": domain, "tuple": pair}).to_string()
    };
    let lines = [
        review(1, "ocr_doc_detailed_caption_box", [5.0, 5.0]),
        review(2, "ocr_doc_detailed_caption_box", [5.0, 10.0]),
        review(3, "ocr_spotting_detailed_caption_box", [8.0, 4.0]),
        review(4, "natural_detailed_caption_box", [4.0, 6.0]),
        review(5, "natural_detailed_caption_box", [-1.0, -1.0]),
    ];
    let table = scored("mdvp-bench", &place.text("review.jsonl", &lines.join("\n"))).unwrap().table();
    let score = |row: &str| table.row(row).unwrap().score;
    assert_eq!([score("ocr_doc_detailed_caption_box"), score("ocr_spotting_detailed_caption_box")], [150.0, 50.0]);
    assert_eq!([score("ocr"), score("natural")], [100.0, 150.0], "a group is the mean of its domains");
    assert!(table.row("screenshot").is_none());
}

#[test]
fn open_classes_are_measured_by_meaning_and_by_words() {
    let place = Place::new();
    let entry = |segmentation: Value, categories: Value| {
        json!([{"file_name": "val/1.jpg", "height": 6, "width": 8, "categories": categories,
                "annotations": [{"segmentation": segmentation}, {"segmentation": [[1.0, 1.0, 3.0, 1.0, 3.0, 3.0]]}]}])
    };
    let path = place.json("lvis.json", &entry(rle(8, 6), json!(["traffic_light", "car"])));
    let benchmark = open_class::load("lvis", &path, place.path()).unwrap();
    assert_eq!(benchmark.items.iter().map(|i| i.id.as_str()).collect::<Vec<_>>(), ["0.0", "0.1"]);
    assert!(matches!(benchmark.items[1].regions[0], RegionShape { slot: 0, shape: Shape::Polygons(_) }));
    let said = ["a red car", "Red car."];
    let written = place.text("output.json", &output(&benchmark, |at| said[at].into()));

    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/bert/tiny");
    let encoder = SentenceEncoder::open(tiny, Kernels::cpu()).unwrap();
    let measured = place.text("eval.json", &score::open_class::measure(&written, &encoder).unwrap());
    let entries: Value = serde_json::from_slice(&std::fs::read(&measured).unwrap()).unwrap();
    assert_eq!((&entries[0]["siou"], &entries[1]["siou"]), (&json!(0.0), &json!(0.5)));
    assert_eq!(entries[1]["sim"].as_f64().unwrap(), encoder.similarity("red car", "car").unwrap());
    let table = scored("lvis", &measured).unwrap().table();
    assert_eq!(table.row("semantic IoU").unwrap().score, 25.0);
    assert!(
        refused(scored("lvis", &written)).contains("0.0: `sim`: expected a number; `gar eval similarity` writes it")
    );

    place.json("lvis.json", &entry(rle(8, 6), json!(["car"])));
    assert!(refused(open_class::load("lvis", &path, place.path())).contains("`categories`: expected 2 names"));
    place.json("lvis.json", &entry(rle(6, 8), json!(["a", "b"])));
    let error = refused(open_class::load("lvis", &path, place.path()));
    assert_eq!(error, "0.0: region 0: expected a mask of the picture's 8×6 pixels, found 6×8");
}

#[test]
fn whole_pictures_are_asked_about_with_a_mask_of_ones() {
    let place = Place::new();
    let line = |id: u64, category: &str, label: &str| {
        json!({"question_id": id, "image": "direct_attributes/sa_1.jpg", "category": category, "label": label,
               "text": "Which?\n(A) red\n(B) blue\nAnswer with the option's letter from the given choices directly."})
        .to_string()
    };
    let both = [line(0, "direct_attributes", "A"), line(1, "relative_position", "B")].join("\n");
    let path = place.text("test_questions.jsonl", &both);
    let benchmark = whole::vstar::load(place.path(), place.path()).unwrap();
    let regions = benchmark.items[0].region_set(5, 4).unwrap();
    assert_eq!((regions.slots(), regions.iter().next().unwrap().mask().area()), (vec![0], 20));
    let written = place.text("vstar.json", &output(&benchmark, |at| ["a", "(B)"][at].into()));
    let table = scored("vstar", &written).unwrap().table();
    let overall = table.overall().unwrap();
    assert_eq!((overall.score, overall.lenient), (50.0, Some(100.0)));
    assert_eq!(table.row("direct_attributes").unwrap().correct, 1.0);
    for (text, says) in [
        (
            line(0, "position", "A"),
            "#0: `category`: expected direct_attributes or relative_position, found \"position\"",
        ),
        (line(0, "direct_attributes", "red"), "#0: `label`: expected a letter from A to Z, found \"red\""),
        ([line(3, "direct_attributes", "A"), line(3, "direct_attributes", "A")].join("\n"), "found \"3\" twice"),
        ("{\"question_id\": 1}".into(), "#0: `category`: expected text, found nothing"),
    ] {
        place.text("test_questions.jsonl", &text);
        let error = refused(whole::vstar::load(&path, place.path()));
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn mmvp_counts_pairs() {
    let place = Place::new();
    let table = |header: &str, rows: &[&str]| {
        place.text("Questions.csv", &format!("{header},Question,Options,Correct Answer\n{}\n", rows.join("\n")))
    };
    let row = |n: usize, answer: &str| format!("{n},\"Open, or closed?\",(a) Open (b) Closed,{answer}");
    let rows: Vec<String> = (1..=4).map(|n| row(n, if n % 2 == 0 { "(a)" } else { "(b)" })).collect();
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    let path = table("lndex", &rows);
    let benchmark = whole::mmvp::load(&path, place.path()).unwrap();
    assert_eq!(
        benchmark.items[0].question,
        "Question: Open, or closed?\nOptions:\n(a) Open\n(b) Closed\nAnswer with the correct option's letter directly."
    );
    assert!(benchmark.items[3].picture.ends_with("4.jpg"));
    let written = place.text("output.json", &output(&benchmark, |at| ["B", "A", "b", "b"][at].into()));
    let scored_pairs = scored("mmvp", &written).unwrap();
    let overall = *scored_pairs.table().overall().unwrap();
    assert_eq!((overall.correct, overall.total), (1.0, 2.0));
    assert!(scored_pairs.notes[0].starts_with("3 of 4 single questions"), "{:?}", scored_pairs.notes);

    for (header, rows, says) in [
        ("Index", &rows[..3], "expected an even number of questions"),
        ("Index", &rows[1..], "row 1, counted from 1: `Index`: expected 1, found \"2\""),
        ("Number", &rows[..], "header: `lndex`: expected a column of this name"),
        ("Index", &["1,q,(a) x,(a)", "2,q,(a) x (b) y,(a)"], "`Options`: expected two options"),
        ("Index", &["1,q,(a) x (b) y,(c)", "2,q,(a) x (b) y,(a)"], "`Correct Answer`: expected \"(a)\" or \"(b)\""),
    ] {
        let error = refused(whole::mmvp::load(&table(header, rows), place.path()));
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn tables_bring_their_pictures() {
    let place = Place::new();
    let mut png = std::io::Cursor::new(Vec::new());
    RgbImage::from_pixel(5, 4, image::Rgb([1, 2, 3])).write_to(&mut png, ImageFormat::Png).unwrap();
    let picture = BASE64_STANDARD.encode(png.into_inner());
    let header = "index\tquestion\tA\tB\tC\tanswer\tcategory\timage";
    let rows = [format!("0\tWhich?\tred\tblue\t\tB\tmath\t{picture}"), "1\tAnd\there?\tno\tyes\tC\tmath\t0".into()];
    let path = place.text("MMStar.tsv", &format!("{header}\n{}\n", rows.join("\n")));
    let images = place.path().join("images");
    let benchmark = whole::mmstar::load(place.path(), &images).unwrap();
    benchmark.check_pictures().unwrap();
    assert!(images.join("0.png").is_file() && images.join("1.png").is_file(), "a row may share another's picture");
    assert!(benchmark.items[0].question.contains("A. red\nB. blue\nAnswer"), "{}", benchmark.items[0].question);
    let written = place.text("output.json", &output(&benchmark, |at| ["B", "c."][at].into()));
    let table = scored("mmstar", &written).unwrap().table();
    assert_eq!((table.row("math").unwrap().score, table.overall().unwrap().lenient), (50.0, Some(100.0)));

    for (row, says) in [
        (format!("0\tq\ta\tb\t\tD\tmath\t{picture}"), "`answer`: expected the letter of an option, found \"D\""),
        (format!("0\tq\ta\tb\t\tA\tsums\t{picture}"), "`category`: expected coarse perception, "),
        (
            "0\tq\ta\tb\t\tA\tmath\t7".into(),
            "`image`: expected a picture in base64, or the index of a row, found \"7\"",
        ),
        (format!("0\tq\ta\tb\t\tA\tmath\t{}", "A".repeat(80)), "found \"bytes of no known format\""),
        (format!("../0\tq\ta\tb\t\tA\tmath\t{picture}"), "an index that can be a file's name"),
        (format!("{}\n{}", rows[0], rows[0]), "found \"0\" twice"),
        ("0\tq".into(), "expected a table with a header"),
    ] {
        place.text("MMStar.tsv", &format!("{header}\n{row}\n"));
        let error = refused(whole::mmstar::load(&path, &images));
        assert!(error.contains(says), "{row}: {error}");
    }

    let free = place.json("annotations.json", &json!([{"image": "0.png", "question": "How many?", "answer": "3"}]));
    let benchmark = whole::realworldqa::load(&free, &images).unwrap();
    let written = place.text("output.json", &output(&benchmark, |_| "3.".into()));
    let overall = *scored("realworldqa", &written).unwrap().table().overall().unwrap();
    assert_eq!((overall.score, overall.lenient), (0.0, Some(100.0)));
}

#[test]
fn videos_are_loaded_and_checked_but_not_run() {
    let place = Place::new();
    let track = |frames: &[usize]| -> Value {
        frames
            .iter()
            .map(|at| (at.to_string(), json!({"segmentation": rle(8, 6)})))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let entry = |change: &dyn Fn(&mut Value)| {
        let mut entry = json!({
            "id": 3, "video": "DAVIS/cat", "Question": "What does <object3><region> do to <object1><region>?",
            "type": "Relationship Questions", "options": ["(A) It eats", "(B) It looks"], "Answer": "(B) It looks",
            "frame_idx": "2", "annotation": [track(&[0, 2]), track(&[2, 19])],
        });
        change(&mut entry);
        place.json("VideoRefer-Bench-Q.json", &json!([entry]));
        videorefer::load_q(place.path(), place.path())
    };
    let benchmark: VideoBenchmark = entry(&|_| ()).unwrap();
    let item = &benchmark.items[0];
    assert!(
        item.question.starts_with("Question: What does <Prompt0> do to <Prompt1>?\nOptions:\n(A) It eats\n"),
        "{}",
        item.question
    );
    assert_eq!((item.tracks.len(), item.frame), (2, 2));
    for at in 0..19 {
        place.picture(&format!("DAVIS/cat/{at:05}.png"), 8, 6);
    }
    assert!(refused(item.frames()).contains("frame 19, counted from 0"), "19 frames are too few");
    place.picture("DAVIS/cat/00019.png", 8, 6);
    place.text("DAVIS/cat/notes.txt", "no frame");
    let frames = item.frames().unwrap();
    assert_eq!(
        frames.iter().map(|(at, _)| *at).collect::<Vec<_>>(),
        [0, 1, 2, 3, 5, 6, 7, 8, 10, 11, 12, 13, 15, 16, 17, 19]
    );
    assert!(frames[15].1.ends_with("00019.png"));
    assert_eq!(
        benchmark.refusal().to_string(),
        "videorefer-bench-q: expected a model that takes frames, found none: `gar-core` answers about single pictures"
    );

    for (change, says) in [
        (&(|e: &mut Value| e["type"] = "Hard".into()) as &dyn Fn(&mut Value), "`type`: expected Basic Questions, "),
        (&|e| e["Answer"] = "(C) Neither".into(), "`Answer`: expected one of `options`"),
        (&|e| e["frame_idx"] = "1".into(), "expected a mask in frame 1 for object 0"),
        (&|e| e["frame_idx"] = "x".into(), "`frame_idx`: expected a frame number"),
        (&|e| e["Question"] = "Why?".into(), "`Question`: expected `<region>` 2 times"),
        (
            &|e| e["annotation"][1]["19"]["segmentation"] = rle(6, 8),
            "expected a mask of the picture's 8×6 pixels, found 6×8",
        ),
        (&|e| drop(e.as_object_mut().unwrap().remove("options")), "`options`: expected a list of options"),
    ] {
        let error = refused(entry(change));
        assert!(error.contains(says), "{error}");
    }

    let said =
        |id: u64, pred: &str| json!({"id": id, "type": "Basic Questions", "Answer": "(B) It looks", "pred": pred});
    let path = place.json("q.json", &json!([said(1, "B"), said(2, "(B)."), said(3, "It looks"), said(4, "A")]));
    let overall = *scored("videorefer-bench-q", &path).unwrap().table().overall().unwrap();
    assert_eq!((overall.correct, overall.total), (2.0, 4.0));

    let d = |id: u64, subject: Value| {
        json!({"id": id, "Subject Correspondence": subject, "Appearance Description": 3, "Temporal Description": 2.5,
               "Hallucination Detection": 4})
    };
    let path = place.json("d.json", &json!([d(1, json!(5)), d(2, json!(4)), {"id": 3, "pred": "x"}]));
    let scored_d = scored("videorefer-bench-d", &path).unwrap();
    assert_eq!(scored_d.table().row("Subject Correspondence").unwrap().score, 4.5);
    assert_eq!(scored_d.table().overall().unwrap().score, 3.5);
    assert_eq!(scored_d.notes, ["1 without a judge's scores, left out: 3"]);
    assert!(refused(scored("videorefer-bench-d", &place.json("d.json", &json!([d(1, json!(6))])))).contains("0 to 5"));
}

/// The benchmarks' own files, where the environment variable `GAR_BENCH` names the folder that holds them.
#[test]
fn the_published_files_load() {
    let Some(bench) = std::env::var_os("GAR_BENCH").map(PathBuf::from) else { return };
    let nowhere = Path::new("pictures");
    let loaded = |name: &str| bench.join(name);
    let dlc = dlc::load(&loaded("DLC-Bench"), nowhere).unwrap();
    let published = std::fs::read_to_string(loaded("DLC-Bench/gar_1b.json")).unwrap();
    let texts: Value = serde_json::from_str(&published).unwrap();
    assert_eq!(output(&dlc, |at| texts[&dlc.items[at].id].as_str().unwrap().into()), published, "to the byte");

    let ferret = ferret::load(&loaded("Ferret-Bench"), nowhere).unwrap();
    let published = std::fs::read_to_string(loaded("Ferret-Bench/gar_1b/refer_desc/ferret_answer.jsonl")).unwrap();
    let lines: Vec<Value> = published.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(output(&ferret, |at| lines[at]["text"].as_str().unwrap().into()), published, "to the byte");

    let mdvp = mdvp::load(&loaded("MDVP-Bench"), nowhere).unwrap();
    let published = std::fs::read_to_string(loaded("MDVP-Bench/gar_1b.json")).unwrap();
    let entries: Vec<Value> = serde_json::from_str(&published).unwrap();
    let ours = output(&mdvp, |at| entries[at]["caption"].as_str().unwrap().into());
    assert_eq!(
        ours.replace("\"image_path\": \"", "\"image_path\": \"evaluation/MDVP-Bench/data/"),
        published,
        "to the byte"
    );
    for item in dlc.items.iter().chain(&mdvp.items) {
        let Shape::Rle(rle) = &item.regions[0].shape else { panic!("{}", item.id) };
        item.region_set(rle.size[1], rle.size[0]).unwrap();
    }
}
