//! How long an answer takes, stage by stage, in a process that is warm: one JSON object with the median of several answers.
//!
//! `cargo run --release -p gar-core --features cuda --example time_answer -- MODEL IMAGE MASK [cpu | cuda:N] [NEW_TOKENS] [MAX_TILES]`
#![allow(clippy::print_stdout)]
use std::{error::Error, num::NonZeroUsize, time::Duration};

use gar_core::{
    AnswerOptions, GarModel, RegionModel, RegionRequest,
    kernels::Kernels,
    prompt::{DESCRIBE, Mask, RegionSet},
    vision::Image,
};

/// Answers that count, after two that compile, load and record.
const RUNS: usize = 5;

fn kernels(device: &str) -> Result<Kernels, Box<dyn Error>> {
    #[cfg(feature = "cuda")]
    if let Some(ordinal) = device.strip_prefix("cuda:") {
        return Ok(Kernels::cuda(ordinal.parse()?)?);
    }
    if device == "cpu" { Ok(Kernels::cpu()) } else { Err(format!("no such device in this build: {device}").into()) }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, image, mask, rest @ ..] = arguments.as_slice() else {
        return Err("usage: time_answer MODEL IMAGE MASK [DEVICE] [NEW_TOKENS] [MAX_TILES]".into());
    };
    let device = rest.first().map_or("cpu", String::as_str);
    let max_new_tokens = rest.get(1).map_or(Ok(128), |n| n.parse())?;
    let max_tiles = rest.get(2).map(|n| n.parse::<NonZeroUsize>()).transpose()?;

    let model = GarModel::open(model)?.with_kernels(kernels(device)?).load()?;
    let request = RegionRequest {
        image: Image::open(image)?,
        regions: RegionSet::single(Mask::open_picture(mask)?)?,
        question: DESCRIBE.into(),
        options: AnswerOptions { max_new_tokens, max_tiles: max_tiles.map(Into::into), ..AnswerOptions::default() },
    };
    let mut stages: [Vec<Duration>; 4] = Default::default();
    let mut shape = (0, 0);
    for run in 0..RUNS + 2 {
        let answer = model.answer(&request)?;
        shape = (answer.prompt_tokens, answer.tokens.len());
        if run >= 2 {
            let t = answer.timings;
            let times = [t.preprocess, t.vision, t.prefill, t.decode];
            stages.iter_mut().zip(times).for_each(|(stage, time)| stage.push(time));
        }
    }
    let [preprocess, vision, prefill, decode] = stages.map(|mut times| {
        times.sort();
        times[RUNS / 2].as_secs_f64()
    });
    println!(
        "{{\"device\": {device:?}, \"prompt_tokens\": {}, \"new_tokens\": {}, \"preprocess\": {preprocess}, \
         \"vision\": {vision}, \"prefill\": {prefill}, \"decode\": {decode}}}",
        shape.0, shape.1
    );
    Ok(())
}
