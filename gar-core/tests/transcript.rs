//! Transcripts hold what inference reads and says, token for token; other kernels and weights go into a loaded model.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::Path;

use gar_core::{
    Error, Exchange, GarModel, Said,
    kernels::{Kernels, Tensor, Weights},
    trace::Case,
    vision::Image,
};

fn fixtures() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures")
}

fn scene(model: &GarModel) -> (gar_core::Scene, Case) {
    let case = Case::read(&fixtures().join("tile56/cases/relation.json")).unwrap();
    let image = Image::open(fixtures().join(&case.image)).unwrap();
    (model.scene(&image, &case.regions).unwrap(), case)
}

fn model() -> GarModel {
    GarModel::open(fixtures().join("tile56")).unwrap().load().unwrap()
}

fn asks(question: &str, answer: &str) -> Exchange {
    Exchange { said: Said::Question(question.into()), answer: answer.into() }
}

#[test]
fn answers_stand_behind_the_prompt_that_inference_reads() {
    let (scene, case) = scene(&model());
    let answer = scene.ask(&case.question).unwrap();
    let turns = [asks(&case.question, "A dog."), asks("Why <Prompt0>?", "So.")];
    let transcript = scene.transcript(&turns).unwrap();
    assert_eq!(transcript.answers.len(), 2);
    assert_eq!(transcript.answers[0].start, answer.prompt_tokens, "the first answer follows the prompt");
    assert_eq!(transcript.answers[1].end, transcript.ids.len(), "the stop token is the last");
    let alone = scene.transcript(&turns[..1]).unwrap();
    assert_eq!(alone.ids, transcript.ids[..alone.ids.len()], "turns only add");
    let rows = |range: std::ops::Range<usize>| scene.embeddings(&transcript, range).unwrap().to_f32_vec().unwrap();
    let (whole, cut) = (rows(0..transcript.ids.len()), transcript.ids.len() / 2);
    assert_eq!(whole, [rows(0..cut), rows(cut..transcript.ids.len())].concat(), "whichever way it is cut");
    assert!(scene.embeddings(&transcript, 0..transcript.ids.len() + 1).is_err());
}

#[test]
fn what_no_model_can_read_is_refused() {
    let (scene, _) = scene(&model());
    let long = asks("What is <Prompt0>?", &"word ".repeat(5000));
    assert!(matches!(scene.transcript(&[long]), Err(Error::ContextFull { .. })));
    assert!(scene.transcript(&[asks("What is <Prompt1>?", "")]).is_err(), "a region that is not there");
    assert!(matches!(scene.transcript(&[asks("<|eot_id|>", "")]), Err(Error::ReservedToken { .. })));
    let bare = Exchange { said: Said::Verbatim("No region.".into()), answer: "None.".into() };
    assert!(scene.transcript(&[bare]).is_ok(), "a text that shows no region");
}

#[test]
fn weights_and_kernels_are_exchanged() {
    let (model, question) = (model(), "What is <Prompt0>?");
    let path = fixtures().join("tile56");
    let stored = Weights::open(&path).unwrap();
    let copies = |factor: f32| {
        let each = stored.tensors().map(|info| {
            let values = stored.tensor(&info.name, &info.shape).unwrap().to_f32_vec().unwrap();
            let values = values.into_iter().map(|v| v * factor).collect();
            (info.name, Tensor::from_vec(values, &info.shape).unwrap())
        });
        Weights::from_tensors(each.collect::<Vec<_>>(), &path)
    };
    let ask = |model: &GarModel| scene(model).0.ask(question).unwrap().tokens;
    let before = ask(&model);
    assert_eq!(ask(&model.with_weights(&copies(1.0)).unwrap().with_kernels(Kernels::cpu())), before);
    assert_ne!(ask(&model.with_weights(&copies(-0.5)).unwrap()), before);
    let error = model.with_weights(&copies(f32::NAN)).err().unwrap().to_string();
    assert!(error.contains("mask_patch_embedding.weight") && error.contains("finite"), "{error}");
}
