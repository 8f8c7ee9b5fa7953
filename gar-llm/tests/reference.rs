//! The fixtures of `tests/fixtures/make.py`: tokens, logits and text equal transformers'.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::ops::ControlFlow;
use std::path::PathBuf;

use gar_kernels::{Kernels, NoProgress};
use gar_llm::{Decoder, FinishReason, LanguageModel};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    prompt: String,
    raw: bool,
    ids: Vec<u32>,
    tokens: Vec<u32>,
    text: String,
    min_margin: f32,
    logits: Vec<f32>,
}

/// Both sides sum in f32 in their own order: about 1e-6 for these sizes. The fixtures' margins are far above it.
const RELATIVE_L2: f64 = 1e-5;

fn relative_l2(out: &[f32], reference: &[f32]) -> f64 {
    assert_eq!(out.len(), reference.len());
    let square = |x: f64| x * x;
    let error: f64 = out.iter().zip(reference).map(|(a, b)| square(f64::from(a - b))).sum();
    let size: f64 = reference.iter().map(|b| square(f64::from(*b))).sum();
    (error / size).sqrt()
}

/// Directories to check: the fixtures, or those named in `GAR_LLM_FIXTURES` (separated by `:`).
fn directories() -> Vec<PathBuf> {
    match std::env::var("GAR_LLM_FIXTURES") {
        Ok(list) => list.split(':').map(PathBuf::from).collect(),
        Err(_) => {
            let fixtures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
            ["tied", "untied", "plain"].map(|name| fixtures.join(name)).into()
        }
    }
}

#[test]
fn equals_transformers() {
    let mut checked = 0;
    for dir in directories() {
        let model = LanguageModel::open(&dir, Kernels::cpu(), &NoProgress).unwrap();
        let cases: Vec<Case> = serde_json::from_slice(&std::fs::read(dir.join("reference.json")).unwrap()).unwrap();
        for case in cases {
            let place = format!("{} {:?} raw {}", dir.display(), case.prompt, case.raw);
            let ids = match case.raw {
                true => model.tokenizer().encode(&case.prompt, true).unwrap(),
                false => model.prompt(&case.prompt).unwrap(),
            };
            assert_eq!(ids, case.ids, "{place}");

            let mut sequence = model.llama().sequence(model.kernels(), ids.len()).unwrap();
            let embeds = model.llama().embed(model.kernels(), &ids).unwrap();
            let logits = model.llama().prefill(model.kernels(), sequence.as_mut(), &embeds).unwrap();
            let error = relative_l2(&logits.to_f32_vec().unwrap(), &case.logits);
            assert!(error < RELATIVE_L2, "{place}: relative L2 {error:e}");

            assert!(case.min_margin > 1e-4, "{place}: the fixture is ambiguous");
            let mut streamed = String::new();
            let answer = model
                .generate(&ids, &model.greedy(24), &mut |piece| {
                    streamed.push_str(piece);
                    ControlFlow::Continue(())
                })
                .unwrap();
            // transformers keeps the token that ended the text.
            let stopped = answer.finish == FinishReason::StopToken;
            let expected = &case.tokens[..case.tokens.len() - usize::from(stopped)];
            assert_eq!(stopped, model.greedy(1).stop.tokens.contains(case.tokens.last().unwrap()), "{place}");
            assert_eq!(answer.tokens, expected, "{place}");
            assert_eq!(answer.text, case.text, "{place}");
            assert_eq!(streamed, case.text, "{place}");
            checked += 1;
        }
    }
    assert!(checked > 0);
}
