//! Drawn scenes as samples for `models/gar-mini`: its tokenizer knows every word, and facts are what the scenes state.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]
use std::path::{Path, PathBuf};

use gar_core::{GarModel, Said};
use gar_data::scene::{SceneConfig, SceneGenerator, Split, vocabulary};
use gar_train::{DrawnScenes, Samples, ScenesConfig, TrainFile};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/gar-mini")
}

fn scenes(config: &ScenesConfig) -> (GarModel, DrawnScenes) {
    let model = GarModel::open(directory()).unwrap().load().unwrap();
    let scenes = DrawnScenes::new(config, &model, 3, Split::Train).unwrap();
    (model, scenes)
}

#[test]
fn the_tokenizer_is_that_of_the_scenes_words() {
    let text = std::fs::read(directory().join("tokenizer.json")).unwrap();
    let found: serde_json::Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(found, vocabulary::tokenizer(5), "write it anew with gar-data's example `word_tokenizer`");
}

#[test]
fn every_word_is_known_and_every_answer_comes_back() {
    let (model, scenes) = scenes(&ScenesConfig::default());
    let tokenizer = model.tokenizer();
    let unknown = tokenizer.id_of(vocabulary::SPECIAL[0]).unwrap();
    for position in 0..200 {
        for exchange in scenes.sample(position).unwrap().conversations.into_iter().flatten() {
            let Said::Verbatim(text) = &exchange.said else { panic!("not as prepared") };
            let ids = tokenizer.encode(&format!("{text}{}", exchange.answer), false).unwrap();
            assert!(!ids.contains(&unknown), "{text} {}", exchange.answer);
            let ids = tokenizer.encode(&exchange.answer, false).unwrap();
            assert_eq!(tokenizer.decode(&ids).unwrap(), exchange.answer);
        }
    }
}

#[test]
fn facts_are_those_of_the_scenes() {
    let (_, scenes) = scenes(&ScenesConfig::default());
    let heads = scenes.heads().facts;
    let [color, front] = ["color", "front"].map(|name| heads.iter().position(|head| head.name == name).unwrap());
    let generator = SceneGenerator::new(SceneConfig::default(), 3, Split::Train).unwrap();
    let (mut colors, mut in_front) = (0, 0);
    for position in 0..150 {
        let (sample, scene) = (scenes.sample(position).unwrap(), generator.scene(position).unwrap());
        assert_eq!(sample.regions.slots(), scene.regions.slots());
        assert!(sample.facts.iter().all(|fact| (fact.class as usize) < heads[fact.head].classes));
        for fact in sample.facts.iter().filter(|fact| fact.head == color) {
            let look = *scene.object(fact.slot).unwrap().kind.look().unwrap();
            assert_eq!(fact.class as usize, look.color.index());
            colors += 1;
        }
        for slot in scene.regions.slots() {
            let found = sample.facts.iter().find(|fact| (fact.head, fact.slot) == (front, slot));
            assert_eq!(found.map(|fact| fact.class == 1), scene.is_in_front(slot));
            in_front += usize::from(found.is_some());
        }
    }
    assert!(colors > 50 && in_front > 10, "{colors}, {in_front}");
}

#[test]
fn options_are_those_of_the_questions() {
    let (_, scenes) = scenes(&ScenesConfig::default());
    let (heads, mut questions) = (scenes.heads().claims, 0);
    for position in 0..50 {
        let sample = scenes.sample(position).unwrap();
        for (at, conversation) in sample.conversations.iter().enumerate() {
            let Said::Verbatim(text) = &conversation[0].said else { panic!("not as prepared") };
            let choices: Vec<_> = sample.choices.iter().filter(|choice| choice.conversation == at).collect();
            assert_eq!(choices.is_empty(), !text.contains("Options:"), "{text}");
            let right: Vec<_> = choices.iter().filter(|choice| choice.right).collect();
            assert!(right.len() == usize::from(!choices.is_empty()));
            for choice in &choices {
                assert!(text.contains(&format!("\n{}\n", choice.text)), "{text}");
                assert!(choice.text.starts_with(char::from(b'A' + choice.place as u8)));
                let mut answers = choice.asked.iter().chain(&choice.stated);
                assert!(answers.all(|answer| (answer.class as usize) < heads[answer.head].classes));
                let holds = choice.stated.iter().all(|answer| choice.asked.contains(answer));
                assert!(holds == choice.right && !choice.stated.is_empty(), "{choice:?}");
            }
            for choice in right {
                assert!(choice.text.starts_with(&format!("{}. ", conversation[0].answer)));
                questions += 1;
            }
        }
    }
    assert!(questions > 100);
}

#[test]
fn configurations_without_sense_are_refused() {
    let model = GarModel::open(directory()).unwrap().load().unwrap();
    let bad = ScenesConfig { regions: Some([0; 5]), ..ScenesConfig::default() };
    let error = DrawnScenes::new(&bad, &model, 1, Split::Train).unwrap_err().to_string();
    assert!(error.contains("regions"), "{error}");
    let bad = ScenesConfig { again: vec!["ordering".into(), "colour".into()], ..ScenesConfig::default() };
    let error = DrawnScenes::new(&bad, &model, 1, Split::Train).unwrap_err().to_string();
    assert!(error.contains("again") && error.contains("colour"), "{error}");
}

#[test]
fn the_recipe_of_gar_mini_is_one_the_trainer_reads() {
    let file = TrainFile::read(&directory().join("train.toml")).unwrap();
    assert!(file.scenes.is_some() && file.fresh.is_some() && file.run.probes.weight > 0.0);
}
