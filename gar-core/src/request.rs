//! What goes in and what comes out.
use std::time::Duration;

use gar_llm::{FinishReason, Sampling};
use gar_prompt::RegionSet;
use gar_vision::Image;

/// An image, its regions and a question.
#[derive(Clone, Debug)]
pub struct RegionRequest {
    /// The picture.
    pub image: Image,
    /// Any number of regions, each in its slot; masks of the picture's size.
    pub regions: RegionSet,
    /// The question; it names regions as `<Prompt0>`, `<Prompt1>`, …
    pub question: String,
    /// How to answer.
    pub options: AnswerOptions,
}

/// How to answer.
#[derive(Clone, Debug)]
pub struct AnswerOptions {
    /// Most tokens of an answer. The default is 1024, as in the paper's evaluation.
    pub max_new_tokens: usize,
    /// How tokens are chosen; greedy by default.
    pub sampling: Sampling,
    /// Strings that end the answer; they are not part of it.
    pub stop: Vec<String>,
    /// Most tiles of the grid; the checkpoint's own bound by default.
    pub max_tiles: Option<usize>,
}

impl Default for AnswerOptions {
    fn default() -> Self {
        Self { max_new_tokens: 1024, sampling: Sampling::default(), stop: Vec::new(), max_tiles: None }
    }
}

/// What the model says.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The text, without special tokens and stop strings.
    pub text: String,
    /// The generated tokens, without the stop token.
    pub tokens: Vec<u32>,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Why the answer ended.
    pub finish: FinishReason,
    /// Where the time went.
    pub timings: Timings,
}

/// Wall-clock time of each stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// Tiling the picture and the masks. Of a scene's answers, all carry the time that the scene took.
    pub preprocess: Duration,
    /// Mask encoder, tower, projector and region encoding.
    pub vision: Duration,
    /// The decoder over the prompt.
    pub prefill: Duration,
    /// The decoder over the answer.
    pub decode: Duration,
}
