//! The authors' published outputs give the published numbers, to the digit. Needs their files: `GAR_BENCH` names the
//! folder.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::path::PathBuf;

use gar_eval::score::{self, Scored, scores_json};

/// The files, where they are at hand.
fn bench() -> Option<PathBuf> {
    let folder = std::env::var_os("GAR_BENCH").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("skipped: GAR_BENCH is not set");
    }
    folder
}

/// A row's name, its counts and its score with one decimal.
fn check(scored: &Scored, rows: &[(&str, f64, f64, &str)]) {
    let table = scored.table();
    for &(name, correct, total, score) in rows {
        let row = table.row(name).unwrap();
        let found = (row.correct, row.total, format!("{:.1}", row.score));
        assert_eq!(found, (correct, total, score.to_owned()), "{name}");
        let interval = row.interval.unwrap();
        assert!(interval.low < row.score && row.score < interval.high, "{name}: {interval:?}");
    }
    assert_eq!(scored.notes, [""; 0]);
}

#[test]
fn gar_bench_vqa() {
    let Some(bench) = bench() else { return };
    let scored = score::gar_bench::vqa(&bench.join("GAR-Bench/gar_1b_vqa.json")).unwrap();
    check(
        &scored,
        &[
            ("color", 34.0, 69.0, "49.3"),
            ("shape", 32.0, 64.0, "50.0"),
            ("texture", 17.0, 29.0, "58.6"),
            ("material", 14.0, 36.0, "38.9"),
            ("position", 13.0, 64.0, "20.3"),
            ("non-entity", 36.0, 61.0, "59.0"),
            ("relation", 57.0, 101.0, "56.4"),
            ("perception", 97.0, 198.0, "49.0"),
            ("reasoning", 106.0, 226.0, "46.9"),
            ("overall", 203.0, 424.0, "47.9"),
        ],
    );
    let json = scores_json(&scored.table());
    assert_eq!(json["overall"], serde_json::json!({"correct": 203, "total": 424, "score": 20300.0 / 424.0}));
    // Every published answer is a bare letter, so nothing is gained by reading them leniently.
    assert!(scored.table().rows.iter().all(|row| row.measure.lenient == Some(row.measure.score)));
}

#[test]
fn gar_bench_cap() {
    let Some(bench) = bench() else { return };
    let [simple, detailed] =
        ["simple", "detailed"].map(|part| bench.join(format!("GAR-Bench/gar_1b_{part}_eval.json")));
    check(&score::gar_bench::simple(&simple).unwrap(), &[("overall", 54.0, 97.0, "55.7")]);
    check(&score::gar_bench::detailed(&detailed).unwrap(), &[("overall", 71.0, 107.0, "66.4")]);
    let both = score::gar_bench::cap(&[&detailed, &simple]).unwrap();
    check(
        &both,
        &[("simple", 54.0, 97.0, "55.7"), ("detailed", 71.0, 107.0, "66.4"), ("overall", 125.0, 204.0, "61.3")],
    );
}

#[test]
fn dlc_and_ferret_bench() {
    let Some(bench) = bench() else { return };
    for (file, expected) in [("gar_1b_eval", ["48.9", "87.0", "67.9"]), ("gar_1b_eval_gpt", ["65.8", "87.6", "76.7"])] {
        let scored = score::dlc_bench::score(&bench.join(format!("DLC-Bench/{file}.json"))).unwrap();
        let table = scored.table();
        let found = ["positive", "negative", "overall"].map(|name| format!("{:.1}", table.row(name).unwrap().score));
        assert_eq!(found, expected, "{file}");
        assert_eq!(scored.notes, [""; 0], "stored scores are the means of their details");
    }
    let ferret = score::ferret_bench::score(&bench.join("Ferret-Bench/gar_1b/review_refer_desc.jsonl")).unwrap();
    check(&ferret, &[("refer_desc", 159.0, 284.0, "56.0"), ("overall", 159.0, 284.0, "56.0")]);
}

/// Fig. 6.
#[test]
fn statistics_of_the_annotations() {
    let Some(bench) = bench() else { return };
    let stats = gar_eval::stats::read(&bench.join("GAR-Bench/GAR-Bench-VQA.json")).unwrap();
    let prompts = [(1, 274), (2, 43), (3, 54), (4, 33), (5, 10), (6, 6), (7, 2), (9, 2)];
    assert_eq!(stats.prompts, prompts.into());
    assert_eq!((stats.questions, stats.masks), (424, 772));
    assert_eq!(format!("{:.3}", stats.area_per_question.mean), "4.418");
}

/// A loader that takes every published entry, and an output that gives the published file back, byte for byte.
#[test]
fn published_outputs_are_written_as_they_are() {
    use gar_eval::benchmarks::gar_bench::{Task, load};
    use gar_eval::run::{AnswerRecord, Answered};
    let Some(bench) = bench() else { return };
    let folder = bench.join("GAR-Bench");
    for (task, file, items) in
        [(Task::Vqa, Some("gar_1b_vqa.json"), 424), (Task::Simple, None, 97), (Task::Detailed, None, 107)]
    {
        let benchmark = load(task, &folder, &folder).unwrap();
        assert_eq!(benchmark.items.len(), items, "{task:?}");
        let Some(file) = file else { continue };
        let published = std::fs::read_to_string(folder.join(file)).unwrap();
        let said: Vec<serde_json::Value> = serde_json::from_str(&published).unwrap();
        let record = |entry: &serde_json::Value| AnswerRecord {
            id: entry["image"].as_str().unwrap().into(),
            answer: entry["model_output"].as_str().unwrap().into(),
            prompt_tokens: 0,
            new_tokens: 0,
            refused: None,
        };
        let records: Vec<AnswerRecord> = said.iter().map(record).collect();
        let answers: Vec<Answered<'_>> =
            benchmark.items.iter().zip(&records).map(|(item, record)| Answered { item, record }).collect();
        assert!((benchmark.output)(&answers).unwrap() == published, "{file}");
    }
}
