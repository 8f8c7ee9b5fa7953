//! Laws of the decoder: batches, forks, truncation, chunks, and the decoding loop around them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::ops::ControlFlow;

use common::fixture;
use gar_kernels::{Kernels, NoProgress};
use gar_llm::{
    Decoder, Error, FinishReason, GenerateOptions, Generation, Job, LanguageModel, Sampling, Sequence, StopRules,
    generate_batch,
};
use proptest::prelude::*;

fn model(name: &str) -> LanguageModel {
    LanguageModel::open(fixture(name), Kernels::cpu(), &NoProgress).unwrap()
}

/// A new sequence that holds `ids`, and the logits after them.
fn read(model: &LanguageModel, ids: &[u32], capacity: usize) -> (Box<dyn Sequence>, Vec<f32>) {
    let mut sequence = model.llama().sequence(model.kernels(), capacity).unwrap();
    let logits = append(model, sequence.as_mut(), ids).unwrap();
    (sequence, logits)
}

fn append(model: &LanguageModel, sequence: &mut dyn Sequence, ids: &[u32]) -> Result<Vec<f32>, Error> {
    let embeds = model.llama().embed(model.kernels(), ids)?;
    Ok(model.llama().prefill(model.kernels(), sequence, &embeds)?.to_f32_vec()?)
}

fn step(model: &LanguageModel, sequences: &mut [&mut dyn Sequence], tokens: &[u32]) -> Vec<Vec<f32>> {
    let logits = model.llama().step(model.kernels(), sequences, tokens).unwrap();
    assert_eq!(logits.shape(), [tokens.len(), model.llama().vocabulary()]);
    (0..tokens.len()).map(|row| logits.rows(row..row + 1).unwrap().to_f32_vec().unwrap()).collect()
}

fn close(a: &[f32], b: &[f32]) {
    let scale = b.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
    let error = a.iter().zip(b).fold(0.0_f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(a.len() == b.len() && error <= 1e-5 * scale, "{error} of {scale}");
}

fn ids(len: usize, seed: u32) -> Vec<u32> {
    (0..len as u32).map(|i| (i * 37 + seed * 101 + 11) % 300).collect()
}

#[test]
fn a_batch_steps_as_its_members_alone() {
    for name in ["tied", "untied", "plain"] {
        let model = model(name);
        // Lengths around the block of the cache and beyond.
        let lengths = [1, 7, 127, 128, 129];
        let mut together: Vec<_> = lengths.iter().map(|&len| read(&model, &ids(len, 1), 200).0).collect();
        let mut alone: Vec<_> = together.iter().map(|sequence| sequence.fork().unwrap()).collect();
        for round in 0..4 {
            let tokens: Vec<u32> = (0..5).map(|i| (i * 61 + round * 17) % 300).collect();
            let mut sequences: Vec<&mut dyn Sequence> = Vec::new();
            for sequence in &mut together {
                sequences.push(sequence.as_mut());
            }
            let rows = step(&model, &mut sequences, &tokens);
            for ((sequence, &token), row) in alone.iter_mut().zip(&tokens).zip(&rows) {
                assert_eq!(&step(&model, &mut [sequence.as_mut()], &[token])[0], row, "{name}: to the bit");
            }
        }
    }
}

/// A prompt's last layer computes its last row alone.
#[test]
fn a_prompt_ends_as_if_every_row_had_been_wanted() {
    for name in ["tied", "untied", "plain"] {
        let model = model(name);
        let (llama, kernels) = (model.llama(), model.kernels());
        for len in [1, 2, 128, 201] {
            let prompt = ids(len, 5);
            let (mut read, logits) = read(&model, &prompt, 210);
            let mut extended = llama.sequence(kernels, 210).unwrap();
            let embeds = llama.embed(kernels, &prompt).unwrap().reshape(&[1, len, llama.width()]).unwrap();
            let hidden = llama.extend(kernels, &mut [extended.as_mut()], &embeds).unwrap();
            let last = hidden.reshape(&[len, llama.width()]).unwrap().rows(len - 1..len).unwrap();
            assert_eq!(
                llama.logits(kernels, &last).unwrap().to_f32_vec().unwrap(),
                logits,
                "{name}, {len}: to the bit"
            );
            let next = [read.as_mut(), extended.as_mut()].map(|sequence| step(&model, &mut [sequence], &[7]));
            assert_eq!(next[0], next[1], "{name}, {len}: to the bit");
        }
    }
}

#[test]
fn long_prompts_do_not_depend_on_how_they_are_cut() {
    let dir = common::copy_of("tied");
    let config = std::fs::read_to_string(dir.path().join("config.json")).unwrap();
    let longer = config.replace("\"max_position_embeddings\": 256", "\"max_position_embeddings\": 2000");
    assert_ne!(config, longer);
    std::fs::write(dir.path().join("config.json"), longer).unwrap();
    let model = LanguageModel::open(dir.path(), Kernels::cpu(), &NoProgress).unwrap();
    for len in [511, 512, 513, 1025] {
        let prompt = ids(len, 3);
        let (_, whole) = read(&model, &prompt, 1100);
        let (mut sequence, _) = read(&model, &prompt[..len - 40], 1100);
        close(&append(&model, sequence.as_mut(), &prompt[len - 40..]).unwrap(), &whole);
        assert_eq!(sequence.len(), len);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn forks_and_truncation_equal_recomputing(shared in 1_usize..140, cut in 0_usize..150, tail in 1_usize..40, seed in 0_u32..50) {
        let model = model("tied");
        let prefix = ids(shared, seed);
        let (mut first, _) = read(&model, &prefix, 250);
        let mut second = first.fork().unwrap();
        // Each fork goes its own way; neither sees the other.
        let (one, two) = (ids(tail, seed + 1), ids(tail, seed + 2));
        let after_one = append(&model, first.as_mut(), &one).unwrap();
        let after_two = append(&model, second.as_mut(), &two).unwrap();
        close(&after_one, &read(&model, &[prefix.clone(), one.clone()].concat(), 250).1);
        close(&after_two, &read(&model, &[prefix.clone(), two.clone()].concat(), 250).1);
        // Going back and on again is as if the forgotten part had never been.
        let mut all = [prefix, one].concat();
        first.truncate(cut);
        all.truncate(cut);
        prop_assert_eq!(first.len(), all.len());
        all.extend(&two);
        close(&append(&model, first.as_mut(), &two).unwrap(), &read(&model, &all, 250).1);
    }
}

#[test]
fn refuses_what_does_not_fit_and_leaves_the_sequence_alone() {
    let (model, other) = (model("tied"), model("plain"));
    let (llama, kernels) = (model.llama(), model.kernels());
    assert!(matches!(llama.sequence(kernels, 257), Err(Error::Capacity { capacity: 256, needed: 257, .. })));
    let (mut sequence, _) = read(&model, &ids(5, 0), 8);
    let full = append(&model, sequence.as_mut(), &ids(4, 0));
    assert!(matches!(full, Err(Error::Capacity { capacity: 8, needed: 9, .. })), "{full:?}");
    assert!(matches!(append(&model, sequence.as_mut(), &[]), Err(Error::EmptyPrompt)));
    assert!(matches!(append(&model, sequence.as_mut(), &[300]), Err(Error::UnknownId { id: 300, vocabulary: 300 })));
    assert!(matches!(llama.step(kernels, &mut [sequence.as_mut()], &[1, 2]), Err(Error::Mismatch { .. })));
    assert!(matches!(llama.step(kernels, &mut [], &[]), Err(Error::Mismatch { .. })));
    assert!(matches!(other.llama().step(kernels, &mut [sequence.as_mut()], &[1]), Err(Error::Mismatch { .. })));
    let narrow = other.llama().embed(kernels, &[1]).unwrap();
    assert!(matches!(llama.prefill(kernels, sequence.as_mut(), &narrow), Err(Error::Kernels(_))));
    assert_eq!(sequence.len(), 5);

    // One full sequence in a step stops the step before anything is written.
    let (mut full, _) = read(&model, &ids(8, 0), 8);
    assert!(matches!(
        llama.step(kernels, &mut [sequence.as_mut(), full.as_mut()], &[1, 2]),
        Err(Error::Capacity { capacity: 8, needed: 9, .. })
    ));
    assert_eq!((sequence.len(), full.len()), (5, 8));
    let long = model.generate(&ids(257, 0), &model.greedy(4), &mut |_| ControlFlow::Continue(()));
    assert!(matches!(long, Err(Error::Capacity { what: "prompt", capacity: 256, needed: 257 })), "{long:?}");
}

/// Answers decoded together.
fn together(
    model: &LanguageModel,
    prompts: &[Vec<u32>],
    options: &[GenerateOptions],
) -> Vec<Result<Generation, Error>> {
    let embeds: Vec<_> = prompts.iter().map(|p| model.llama().embed(model.kernels(), p).unwrap()).collect();
    let mut sequences: Vec<_> = prompts.iter().map(|_| model.llama().sequence(model.kernels(), 200).unwrap()).collect();
    let mut sinks: Vec<_> = prompts.iter().map(|_| |_: &str| ControlFlow::Continue(())).collect();
    let mut jobs = Vec::new();
    for ((((sequence, embeds), seen), options), on_text) in
        sequences.iter_mut().zip(&embeds).zip(prompts).zip(options).zip(&mut sinks)
    {
        jobs.push(Job { sequence: sequence.as_mut(), embeds, seen, options, on_text });
    }
    generate_batch(model.llama(), model.kernels(), model.tokenizer(), jobs)
}

#[test]
fn answers_decoded_together_equal_answers_alone() {
    let model = model("tied");
    let prompts: Vec<_> = [3, 60, 12, 1, 0, 30].iter().zip(0..).map(|(&len, seed)| ids(len, seed)).collect();
    let sampled = Sampling { temperature: 1.5, top_p: 0.95, repetition_penalty: 1.3, seed: 9, ..Sampling::default() };
    let broken = Sampling { temperature: f32::NAN, ..Sampling::default() };
    let options: Vec<_> = [Sampling::default(), sampled.clone(), Sampling { seed: 10, ..sampled }]
        .into_iter()
        .chain([Sampling::default(), Sampling::default(), broken])
        .zip([20, 15, 30, 0, 5, 5])
        .map(|(sampling, max_new_tokens)| GenerateOptions { max_new_tokens, sampling, stop: StopRules::default() })
        .collect();
    let answers = together(&model, &prompts, &options);
    assert!(matches!(answers[4], Err(Error::EmptyPrompt)));
    assert!(matches!(answers[5], Err(Error::Setting { field: "temperature", .. })));
    for (i, answer) in answers.iter().take(4).enumerate() {
        let answer = answer.as_ref().unwrap();
        let alone = together(&model, &prompts[i..=i], &options[i..=i]).remove(0).unwrap();
        assert_eq!((&answer.tokens, &answer.text, answer.finish), (&alone.tokens, &alone.text, alone.finish));
        assert_eq!((answer.tokens.len(), answer.finish), (options[i].max_new_tokens, FinishReason::Length));
        assert_eq!(answer.timings.new_tokens, answer.tokens.len());
        assert_eq!(answer.timings.prompt_tokens, prompts[i].len());
    }
}

#[test]
fn answers_end_for_every_reason() {
    let model = model("tied");
    let prompt = ids(9, 4);
    let run = |options: &GenerateOptions| {
        let mut streamed = String::new();
        let answer = model.generate(&prompt, options, &mut |piece| {
            assert!(!piece.is_empty());
            streamed.push_str(piece);
            ControlFlow::Continue(())
        });
        let answer = answer.unwrap();
        assert_eq!(answer.text, streamed);
        answer
    };
    let whole = run(&GenerateOptions { max_new_tokens: 30, ..GenerateOptions::default() });
    assert_eq!((whole.tokens.len(), whole.finish), (30, FinishReason::Length));
    assert_eq!(model.tokenizer().decode(&whole.tokens).unwrap(), whole.text);

    let last = *whole.tokens.last().unwrap();
    let first = whole.tokens.iter().position(|&t| t == last).unwrap();
    let stop = StopRules { tokens: vec![last], strings: vec![] };
    let stopped = run(&GenerateOptions { max_new_tokens: 30, stop, ..GenerateOptions::default() });
    assert_eq!((&stopped.tokens[..], stopped.finish), (&whole.tokens[..first], FinishReason::StopToken));

    // Three characters out of the middle straddle tokens somewhere.
    let chars: Vec<char> = whole.text.chars().collect();
    for at in 0..chars.len() - 3 {
        let string: String = chars[at..at + 3].iter().collect();
        let before = &whole.text[..whole.text.find(&string).unwrap()];
        let stop = StopRules { tokens: vec![], strings: vec![string, "never said".into()] };
        let stopped = run(&GenerateOptions { max_new_tokens: 30, stop, ..GenerateOptions::default() });
        assert_eq!((stopped.text.as_str(), stopped.finish), (before, FinishReason::StopString));
    }

    let cancelled = model.generate(&prompt, &model.greedy(30), &mut |_| ControlFlow::Break(())).unwrap();
    assert_eq!(cancelled.finish, FinishReason::Cancelled);
    assert!(cancelled.tokens.len() < 30 && whole.text.starts_with(&cancelled.text));

    // The context of 256 positions ends an answer that wants more.
    let full = model.generate(&ids(250, 0), &GenerateOptions::default(), &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!((full.tokens.len(), full.finish), (7, FinishReason::Length));
}

#[test]
fn hidden_states_give_the_logits_of_every_position() {
    let model = model("tied");
    let (llama, k) = (model.llama(), model.kernels());
    // Two sequences behind prefixes of different lengths, five more positions each in one pass.
    let (mut first, mut second) = (read(&model, &ids(3, 1), 40).0, read(&model, &ids(9, 2), 40).0);
    let (mut alone, mut other) = (first.fork().unwrap(), second.fork().unwrap());
    let new = [ids(5, 3), ids(5, 4)];
    let embeds = llama.embed(k, &new.concat()).unwrap().reshape(&[2, 5, llama.width()]).unwrap();
    let mut seen = Vec::new();
    let (one, two) = (&mut first.fork().unwrap(), &mut second.fork().unwrap());
    let shown = llama.extend_seen(k, &mut [one.as_mut(), two.as_mut()], &embeds, &mut |layer, states| {
        seen.push((layer, states.to_f32_vec().unwrap()));
    });
    let hidden = llama.extend(k, &mut [first.as_mut(), second.as_mut()], &embeds).unwrap();
    assert!(seen.iter().map(|(layer, _)| *layer).eq(1..=llama.config().layers));
    assert!(seen.windows(2).all(|pair| pair[0].1 != pair[1].1), "each layer adds something");
    assert_eq!(seen.last().unwrap().1, hidden.to_f32_vec().unwrap());
    assert_eq!(shown.unwrap().to_f32_vec().unwrap(), hidden.to_f32_vec().unwrap());
    let logits = llama.logits(k, &hidden.reshape(&[10, llama.width()]).unwrap()).unwrap();
    assert_eq!((first.len(), second.len(), logits.shape()), (8, 14, [10, llama.vocabulary()].as_slice()));
    for (s, (sequence, new)) in [&mut alone, &mut other].into_iter().zip(&new).enumerate() {
        for (i, &token) in new.iter().enumerate() {
            let expected = append(&model, sequence.as_mut(), &[token]).unwrap();
            close(&logits.rows(5 * s + i..5 * s + i + 1).unwrap().to_f32_vec().unwrap(), &expected);
        }
    }
    let full = llama.extend(k, &mut [read(&model, &ids(3, 1), 7).0.as_mut()], &embeds.rows(0..1).unwrap());
    assert!(matches!(full, Err(Error::Capacity { .. })), "five positions where four are left");
    assert!(llama.extend(k, &mut [first.as_mut()], &embeds).is_err(), "two rows of embeddings for one sequence");
}
