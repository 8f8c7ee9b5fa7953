//! A scene asked many times, batches, conversations, threads: the ways to one answer must not change it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{ops::ControlFlow, path::Path};

use gar_core::{
    Answer, AnswerOptions, GarModel, RegionModel, RegionRequest,
    llm::{FinishReason, Sampling},
    prompt::{DESCRIBE, RegionSet},
    trace::{Case, trace},
    vision::Image,
};

const QUESTIONS: [&str; 3] = ["What is <Prompt0> doing?", "Which is larger, <Prompt0> or <Prompt2>?", "Where is it?"];

fn fixtures() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures")
}

fn model() -> GarModel {
    GarModel::open(fixtures().join("tile56")).unwrap().load().unwrap()
}

fn case(name: &str) -> (Image, Case) {
    let case = Case::read(&fixtures().join("tile56/cases").join(name)).unwrap();
    (Image::open(fixtures().join(&case.image)).unwrap(), case)
}

/// The picture of the case `relation`, with regions in slots 0 and 2.
fn two_regions() -> (Image, RegionSet) {
    let (image, case) = case("relation.json");
    let mut regions = RegionSet::new();
    for (slot, region) in [0, 2].into_iter().zip(case.regions.iter()) {
        regions.push(slot, region.mask().clone()).unwrap();
    }
    (image, regions)
}

fn short() -> AnswerOptions {
    AnswerOptions { max_new_tokens: 12, ..AnswerOptions::default() }
}

fn request(question: &str) -> RegionRequest {
    let (image, regions) = two_regions();
    RegionRequest { image, regions, question: question.into(), options: short() }
}

fn same(a: &Answer, b: &Answer) {
    assert_eq!((&a.text, &a.tokens, a.finish, a.prompt_tokens), (&b.text, &b.tokens, b.finish, b.prompt_tokens));
}

#[test]
fn a_scene_answers_as_a_fresh_model_does_in_any_order() {
    let model = model();
    let (image, regions) = two_regions();
    let scene = model.scene(&image, &regions).unwrap();
    for question in QUESTIONS.iter().chain(QUESTIONS.iter().rev()) {
        let asked = scene.ask_with(question, &short(), &mut |_| ControlFlow::Continue(())).unwrap();
        same(&asked, &model.answer(&request(question)).unwrap());
        assert!(!asked.tokens.is_empty());
    }
}

#[test]
fn questions_asked_together_are_answered_as_alone() {
    let model = model();
    let (image, regions) = two_regions();
    let scene = model.scene(&image, &regions).unwrap();
    let mut questions = QUESTIONS.to_vec();
    questions.insert(1, "Who is <Prompt1>?");
    let together = scene.ask_all(&questions, &short());
    for (question, answer) in questions.iter().zip(together) {
        match answer {
            Ok(answer) => same(&answer, &model.answer(&request(question)).unwrap()),
            Err(error) => assert!(*question == questions[1] && error.to_string().contains("Prompt1"), "{error}"),
        }
    }
}

#[test]
fn a_batch_equals_one_by_one_and_failures_stay_alone() {
    let model = model();
    let mut requests: Vec<RegionRequest> = QUESTIONS.iter().map(|q| request(q)).collect();
    requests[1].options.max_new_tokens = 3;
    requests[2].options.sampling = Sampling { temperature: 0.8, seed: 7, ..Sampling::default() };
    requests.insert(1, request("<Prompt1>?"));
    let batch = model.answer_batch(&requests);
    assert_eq!(batch.len(), 4);
    for (i, answer) in batch.iter().enumerate() {
        match answer {
            Ok(answer) => same(answer, &model.answer(&requests[i]).unwrap()),
            Err(error) => assert!(i == 1, "{i}: {error}"),
        }
    }
    assert!(batch[1].is_err());
}

#[test]
fn later_turns_know_the_earlier_ones() {
    let model = model();
    let (image, regions) = two_regions();
    let ask = |disturb: bool| {
        let scene = model.scene(&image, &regions).unwrap();
        let mut chat = scene.chat();
        let mut turns = Vec::new();
        for question in QUESTIONS {
            turns.push(chat.ask_with(question, &short(), &mut |_| ControlFlow::Continue(())).unwrap());
            if disturb {
                scene.ask_with("Something else?", &short(), &mut |_| ControlFlow::Continue(())).unwrap();
            }
            assert!(chat.ask("<Prompt4>?").is_err(), "a failed turn leaves no trace");
        }
        turns
    };
    let (quiet, disturbed) = (ask(false), ask(true));
    quiet.iter().zip(&disturbed).for_each(|(a, b)| same(a, b));
    assert!(quiet[2].prompt_tokens > quiet[1].prompt_tokens && quiet[1].prompt_tokens > quiet[0].prompt_tokens);
}

#[test]
fn streams_what_it_answers_and_stops_when_told() {
    let model: Box<dyn RegionModel> = Box::new(model());
    let mut streamed = String::new();
    let answer = model.stream(&request(QUESTIONS[0]), &mut |piece| {
        streamed.push_str(piece);
        ControlFlow::Continue(())
    });
    assert_eq!(answer.unwrap().text, streamed);
    let cut = model.stream(&request(QUESTIONS[0]), &mut |_| ControlFlow::Break(())).unwrap();
    assert_eq!(cut.finish, FinishReason::Cancelled);
    assert!(streamed.starts_with(&cut.text) && cut.text.len() < streamed.len());
}

#[test]
fn a_picture_without_regions_can_be_asked_about() {
    let (image, _) = two_regions();
    let scene = model().scene(&image, &RegionSet::new()).unwrap();
    assert!(!scene.ask_with("What is this?", &short(), &mut |_| ControlFlow::Continue(())).unwrap().tokens.is_empty());
}

#[test]
fn threads_change_no_bit() {
    let model = model();
    let (_, case) = case("relation.json");
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| trace(&model, &case, &fixtures(), 8).unwrap())
    };
    let (one, three) = (run(1), run(3));
    for name in ["pixels", "vision", "features", "embeds", "logits", "last_logits"] {
        let (a, b) = (one.f32(name).unwrap(), three.f32(name).unwrap());
        assert!(!a.is_empty() && a.iter().zip(&b).all(|(a, b)| a.to_bits() == b.to_bits()), "{name}");
    }
    assert_eq!(one.i32("greedy"), three.i32("greedy"));
}

#[test]
fn the_description_of_one_region_uses_its_own_form() {
    let (image, case) = case("describe.json");
    let model = model();
    assert_eq!(case.question, DESCRIBE);
    let scene = model.scene(&image, &case.regions).unwrap();
    let described = scene.ask_with(DESCRIBE, &short(), &mut |_| ControlFlow::Continue(())).unwrap();
    let asked = scene.ask_with("Describe it.", &short(), &mut |_| ControlFlow::Continue(())).unwrap();
    assert_ne!(described.prompt_tokens, asked.prompt_tokens);
}
