//! The mini GAR-Bench judges as its truth says: an oracle is always right, a guesser by chance, a liar never.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use gar_data::{MiniBench, mini_bench};
use gar_eval::mini::{MiniKind, MiniScores, score};

/// The right answers by picture.
fn truth(bench: &MiniBench) -> HashMap<String, String> {
    let detailed = bench.detailed.iter().map(|item| {
        let scene = bench.scene(&item.image).unwrap().unwrap();
        let look = scene.object(0).unwrap().kind.look().unwrap().phrase();
        (item.image.clone(), format!("A {look}. It is {} <Prompt1>, a {}.", item.predicate_name, item.object_name))
    });
    let simple = bench.simple.iter().map(|item| (item.image.clone(), item.answer.clone()));
    bench.vqa.iter().map(|item| (item.image.clone(), item.answer.clone())).chain(simple).chain(detailed).collect()
}

fn scored(bench: &MiniBench, said: &HashMap<String, String>) -> MiniScores {
    score(bench, |image| said.get(image).map(String::as_str)).unwrap()
}

#[test]
fn an_oracle_is_right_everywhere_and_silence_nowhere() {
    let bench = mini_bench(2, 180).unwrap();
    let scores = scored(&bench, &truth(&bench));
    for row in &scores.rows {
        let all = row.shares.all();
        assert!(all.correct == all.total && all.total >= 20, "{}: {all:?}", row.name);
    }
    let overall = scores.row("overall").unwrap();
    assert_eq!((overall.all().total, overall.several().total + overall.over(1).total), (180, 180));
    assert_eq!((scores.row("color").unwrap().over(4).total, scores.row("relation").unwrap().over(1).total), (4, 0));
    assert_eq!(scores.part("material").unwrap().over(2).total, 20);
    assert!(scored(&bench, &HashMap::new()).rows.iter().all(|row| row.shares.all().correct == 0));
}

#[test]
fn a_fixed_letter_is_right_by_chance() {
    let bench = mini_bench(3, 900).unwrap();
    let said = bench.pictures.keys().map(|image| (image.clone(), "A".to_owned())).collect();
    let scores = scored(&bench, &said);
    for row in scores.rows.iter().filter(|row| row.kind == MiniKind::Category) {
        let (share, is_caption) = (row.shares.all(), row.name.contains("caption"));
        let score = share.score().unwrap();
        // Chance is 25 %; of questions about reflections, half of which have two or three options, about 30 %. Four
        // standard errors of a hundred questions are 17.
        let expected = if is_caption { 0.0..=0.0 } else { 8.0..=47.0 };
        assert!(expected.contains(&score), "{}: {score}", row.name);
    }
    let all = scores.row("multiple choice").unwrap().all();
    let interval = all.interval().unwrap();
    assert!(interval.low < 27.0 && interval.high > 24.0 && interval.high - interval.low < 8.0, "{interval:?}");
}

#[test]
fn what_is_false_or_not_said_is_wrong() {
    let bench = mini_bench(4, 180).unwrap();
    let mut said = truth(&bench);
    // Every relation is false with its ends exchanged.
    for item in &bench.simple {
        let names: Vec<&str> = item.answer.split(' ').filter(|word| word.starts_with("<Prompt")).collect();
        let [subject, object] = [names[0], names[1].trim_end_matches('.')];
        let swapped = item.answer.replace(subject, "X").replace(object, subject).replace('X', object);
        said.insert(item.image.clone(), swapped);
    }
    for item in &bench.detailed {
        let scene = bench.scene(&item.image).unwrap().unwrap();
        let wrong = scene.relations(0, 1).unwrap().falsehoods()[0].words();
        let (first, _) = said[&item.image].split_once(". ").unwrap();
        let first = first.to_owned();
        said.insert(item.image.clone(), format!("{first}. It is {wrong} <Prompt1>."));
    }
    let scores = scored(&bench, &said);
    assert_eq!(scores.row("multiple choice").unwrap().all().score(), Some(100.0));
    for name in ["simple caption", "detailed caption"] {
        assert_eq!(scores.row(name).unwrap().all().correct, 0, "{name}");
    }
    assert_eq!(scores.part("relation").unwrap().all().correct, 0);
    for part in ["shape", "color", "texture", "material", "size"] {
        assert_eq!(scores.part(part).unwrap().all().score(), Some(100.0), "{part}");
    }
    // A true statement in the other direction is an answer; more than was asked for must be true as well.
    let item = &bench.simple[0];
    let judge = |caption: &str| bench.judge_simple(item, caption).unwrap().unwrap();
    assert!(judge(item.answer.trim_end_matches('.')));
    for wrong in ["", ".", "<Prompt0>", "It is left of it.", &format!("{} <Prompt0> is happy.", item.answer)] {
        assert!(!judge(wrong), "{wrong}");
    }
}

#[test]
fn the_table_fits_and_json_has_counts() {
    let bench = mini_bench(2, 90).unwrap();
    let scores = scored(&bench, &truth(&bench));
    let table = scores.table();
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
    let line =
        |name: &str| table.lines().find(|line| line.starts_with(name)).unwrap().split_whitespace().collect::<Vec<_>>();
    assert_eq!(line("color")[1..8], ["100.0", "100.0", "100.0", "100.0", "100.0", "100.0", "67.6–100.0"]);
    assert_eq!(line("color")[8..], ["100.0", "72.2–100.0", "10/10"]);
    assert_eq!(line("detailed caption")[2..4], ["–", "100.0"]);
    assert_eq!(line("questions").len(), 8);
    let json = scores.json();
    let relation = &json["categories"]["relation"];
    assert_eq!((&relation["correct"], &relation["score"]), (&10.into(), &100.0.into()));
    assert!(relation["regions"].get("1").is_none() && relation["regions"]["5"]["total"] == 2, "{relation}");
    assert_eq!(json["caption_parts"]["texture"]["several"]["total"], 10);
    assert_eq!((&json["groups"]["multiple choice"]["total"], &json["overall"]["total"]), (&70.into(), &90.into()));
}
