//! An answer as a JSON document.
use std::time::Duration;

use gar_core::llm::FinishReason;
use gar_core::prompt::{Region, RegionSet};
use gar_core::vision::TileGrid;
use gar_core::{Answer, Timings};
use serde::Serialize;

/// The document that `--json` prints.
#[derive(Debug, Serialize)]
pub(crate) struct AnswerReport {
    /// The text.
    answer: String,
    /// Why it ended.
    finish: &'static str,
    /// The generated tokens.
    tokens: Vec<u32>,
    /// Tokens of the prompt.
    prompt_tokens: usize,
    regions: Vec<RegionReport>,
    /// Columns and rows of the tile grid.
    grid: [usize; 2],
    timings: TimingsReport,
}

#[derive(Debug, Serialize)]
struct RegionReport {
    slot: usize,
    /// Left, top, right and bottom of the set pixels, the last two inclusive.
    r#box: Option<[usize; 4]>,
    /// Set pixels.
    area: usize,
}

/// Seconds of each stage.
#[derive(Debug, Serialize)]
struct TimingsReport {
    load: f64,
    preprocess: f64,
    vision: f64,
    prefill: f64,
    decode: f64,
    total: f64,
}

impl AnswerReport {
    pub(crate) fn new(answer: &Answer, regions: &RegionSet, grid: TileGrid, load: Duration) -> Self {
        Self {
            answer: answer.text.clone(),
            finish: finish(answer.finish),
            tokens: answer.tokens.clone(),
            prompt_tokens: answer.prompt_tokens,
            regions: regions.iter().map(region).collect(),
            grid: [grid.columns, grid.rows],
            timings: timings(load, answer.timings),
        }
    }
}

fn finish(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::StopToken => "stop_token",
        FinishReason::StopString => "stop_string",
        FinishReason::Length => "length",
        FinishReason::Cancelled => "cancelled",
        _ => "other",
    }
}

fn region(region: &Region) -> RegionReport {
    let mask = region.mask();
    let bounds = mask.bounds().map(|b| [b.x_min, b.y_min, b.x_max, b.y_max]);
    RegionReport { slot: region.slot(), r#box: bounds, area: mask.area() }
}

fn timings(load: Duration, Timings { preprocess, vision, prefill, decode }: Timings) -> TimingsReport {
    TimingsReport {
        load: load.as_secs_f64(),
        preprocess: preprocess.as_secs_f64(),
        vision: vision.as_secs_f64(),
        prefill: prefill.as_secs_f64(),
        decode: decode.as_secs_f64(),
        total: (load + preprocess + vision + prefill + decode).as_secs_f64(),
    }
}
