//! The decoding loop: one sequence or several, token by token, text as it comes.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use gar_kernels::{Kernels, Tensor, ops::Draw};

use crate::files::read_json_if_there;
use crate::llama::Fields;
use crate::stop::StopStrings;
use crate::{Decoder, Error, Result, Sampler, Sampling, Sequence, StopRules, TextStream, Tokenizer};

/// How an answer is made.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateOptions {
    /// The most tokens of an answer; a full sequence may end it earlier. 1024 by default.
    pub max_new_tokens: usize,
    /// How each token is chosen. Greedy by default.
    pub sampling: Sampling,
    /// What ends the answer. Nothing by default; see [`stop_tokens`].
    pub stop: StopRules,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self { max_new_tokens: 1024, sampling: Sampling::default(), stop: StopRules::default() }
    }
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FinishReason {
    /// A stop token was chosen.
    StopToken,
    /// A stop string occurred.
    StopString,
    /// The wanted number of tokens was reached, or the sequence was full.
    Length,
    /// The callback broke off.
    Cancelled,
}

/// How long the parts took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timings {
    /// Reading the prompt, up to the first logits.
    pub prefill: Duration,
    /// From there to the end of the answer; steps are shared with the other sequences of a batch.
    pub decode: Duration,
    /// Positions of the prompt.
    pub prompt_tokens: usize,
    /// Tokens of the answer.
    pub new_tokens: usize,
}

/// A finished answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// The text, without special tokens; what the callback got, joined.
    pub text: String,
    /// The chosen tokens, without the stop token.
    pub tokens: Vec<u32>,
    /// Why it ended.
    pub finish: FinishReason,
    /// How long it took.
    pub timings: Timings,
}

/// Receives text as it becomes certain; [`ControlFlow::Break`] ends the answer.
pub type OnText<'a> = dyn FnMut(&str) -> ControlFlow<()> + 'a;

/// One answer to be made: a sequence, the prompt that is appended to it, and what to do with the text.
pub struct Job<'a> {
    /// Holds what the prompt continues (often nothing). Afterwards it holds the prompt as well, and the answer's tokens
    /// except possibly the last, which no step has read.
    pub sequence: &'a mut dyn Sequence,
    /// [L, D], appended to the sequence.
    pub embeds: &'a Tensor,
    /// The tokens that a repetition penalty sees beside the answer's own.
    pub seen: &'a [u32],
    /// How the answer is made.
    pub options: &'a GenerateOptions,
    /// Gets the text.
    pub on_text: &'a mut OnText<'a>,
}

/// Makes one answer.
///
/// # Errors
/// Settings out of range, a prompt that does not fit, logits that are not numbers, a failing operation.
pub fn generate(decoder: &dyn Decoder, kernels: &Kernels, tokenizer: &Tokenizer, job: Job<'_>) -> Result<Generation> {
    let mut answers = generate_batch(decoder, kernels, tokenizer, vec![job]);
    answers.pop().unwrap_or(Err(Error::EmptyPrompt))
}

/// Makes several answers, decoded together: each step reads the weights once for all that are unfinished.
///
/// The answers stand in the order of the jobs, and each is what [`generate`] gives for its job alone.
///
/// # Errors
/// As [`generate`], for each job on its own; a failing step fails all that took part.
pub fn generate_batch(
    decoder: &dyn Decoder,
    kernels: &Kernels,
    tokenizer: &Tokenizer,
    jobs: Vec<Job<'_>>,
) -> Vec<Result<Generation>> {
    let mut runs: Vec<Run<'_, '_>> = jobs.into_iter().map(|job| Run::new(decoder, kernels, tokenizer, job)).collect();
    loop {
        let mut active: Vec<&mut Run<'_, '_>> = runs.iter_mut().filter(|run| run.outcome.is_none()).collect();
        if active.is_empty() {
            return runs.into_iter().map(Run::finish).collect();
        }
        let tokens: Vec<u32> = active.iter().map(|run| run.next).collect();
        let mut sequences: Vec<&mut dyn Sequence> = Vec::with_capacity(active.len());
        for run in &mut active {
            sequences.push(&mut *run.sequence);
        }
        match decoder.step(kernels, &mut sequences, &tokens) {
            Ok(logits) => choose(kernels, &logits, &mut active),
            Err(error) => {
                let reason = error.to_string();
                active.iter_mut().for_each(|run| run.outcome = Some(Err(Error::Batch { reason: reason.clone() })));
                active[0].outcome = Some(Err(error));
            }
        }
    }
}

/// The stop tokens of a checkpoint directory: `eos_token_id` of `generation_config.json`, a token or a list. Without
/// that file, `fallback`: those of `config.json`.
pub fn stop_tokens(dir: impl AsRef<Path>, fallback: &[u32]) -> Result<Vec<u32>> {
    let path = dir.as_ref().join("generation_config.json");
    let place = path.display().to_string();
    match read_json_if_there(&path)? {
        None => Ok(fallback.to_vec()),
        Some(serde_json::Value::Object(object)) => Fields { object: &object, place: &place }.token_ids("eos_token_id"),
        Some(other) => Err(Error::Json { path, reason: format!("expected an object, found {other}") }),
    }
}

/// Gives each run the token chosen from its row of logits [B, V], where the logits are. One row that is refused does not
/// touch the others.
fn choose(kernels: &Kernels, logits: &Tensor, runs: &mut [&mut Run<'_, '_>]) {
    let draws: Vec<Draw<'_>> = runs.iter_mut().filter_map(|run| Some(run.sampler.as_mut()?.draw(&run.seen))).collect();
    let tokens: Vec<Result<u32>> = match kernels.sample.sample(logits, &draws) {
        Ok(tokens) => tokens.into_iter().map(Ok).collect(),
        Err(_) => draws.iter().enumerate().map(|(row, draw)| choose_one(kernels, logits, row, draw)).collect(),
    };
    runs.iter_mut().zip(tokens).for_each(|(run, token)| run.take(token));
}

fn choose_one(kernels: &Kernels, logits: &Tensor, row: usize, draw: &Draw<'_>) -> Result<u32> {
    let tokens = kernels.sample.sample(&logits.rows(row..row + 1)?, std::slice::from_ref(draw))?;
    tokens.first().copied().ok_or_else(|| Error::Logits { found: "no row".into() })
}

/// One answer on its way.
struct Run<'a, 't> {
    sequence: &'a mut dyn Sequence,
    on_text: &'a mut OnText<'a>,
    sampler: Option<Sampler>,
    text_stream: TextStream<'t>,
    stop_strings: StopStrings,
    stop_tokens: &'a [u32],
    /// What a repetition penalty sees: the prompt's tokens, then the answer's.
    seen: Vec<u32>,
    prompt_ids: usize,
    /// The last token chosen, which no step has read.
    next: u32,
    /// The most tokens of the answer.
    limit: usize,
    text: String,
    timings: Timings,
    decoding_since: Instant,
    outcome: Option<Result<FinishReason>>,
}

impl<'a, 't> Run<'a, 't> {
    /// Reads the prompt and chooses the first token.
    fn new(decoder: &dyn Decoder, kernels: &Kernels, tokenizer: &'t Tokenizer, job: Job<'a>) -> Self {
        let Job { sequence, embeds, seen, options, on_text } = job;
        let mut run = Self {
            sequence,
            on_text,
            sampler: None,
            text_stream: tokenizer.stream(),
            stop_strings: StopStrings::new(&options.stop.strings),
            stop_tokens: &options.stop.tokens,
            seen: seen.to_vec(),
            prompt_ids: seen.len(),
            next: 0,
            limit: 0,
            text: String::new(),
            timings: Timings::default(),
            decoding_since: Instant::now(),
            outcome: None,
        };
        if let Err(error) = run.start(decoder, kernels, embeds, options) {
            run.outcome = Some(Err(error));
        }
        run
    }

    fn start(
        &mut self,
        decoder: &dyn Decoder,
        kernels: &Kernels,
        embeds: &Tensor,
        options: &GenerateOptions,
    ) -> Result<()> {
        options.stop.validate()?;
        self.sampler = Some(options.sampling.sampler()?);
        let before = Instant::now();
        let logits = decoder.prefill(kernels, self.sequence, embeds)?;
        kernels.device.synchronize()?;
        self.timings.prefill = before.elapsed();
        self.timings.prompt_tokens = embeds.as_rows().0;
        self.decoding_since = Instant::now();
        // The last token needs no position, because no step reads it.
        let room = self.sequence.capacity() - self.sequence.len() + 1;
        self.limit = options.max_new_tokens.min(room);
        if self.limit == 0 {
            self.outcome = Some(Ok(FinishReason::Length));
        } else {
            choose(kernels, &logits, &mut [self]);
        }
        Ok(())
    }

    /// Takes a token and hands out what text it makes certain.
    fn take(&mut self, token: Result<u32>) {
        let end = self.try_take(token);
        self.outcome = end.transpose();
        if self.outcome.is_some() {
            self.timings.decode = self.decoding_since.elapsed();
        }
    }

    fn try_take(&mut self, token: Result<u32>) -> Result<Option<FinishReason>> {
        self.next = token?;
        if self.stop_tokens.contains(&self.next) {
            return self.close(FinishReason::StopToken).map(Some);
        }
        self.seen.push(self.next);
        let piece = self.text_stream.push(self.next)?;
        let released = self.stop_strings.push(&piece);
        let cancelled = self.show(&released.text).is_break();
        if released.stopped {
            return Ok(Some(FinishReason::StopString));
        }
        if cancelled {
            return Ok(Some(FinishReason::Cancelled));
        }
        if self.seen.len() - self.prompt_ids == self.limit {
            return self.close(FinishReason::Length).map(Some);
        }
        Ok(None)
    }

    /// Hands out the text that was held back.
    fn close(&mut self, reason: FinishReason) -> Result<FinishReason> {
        let piece = self.text_stream.finish()?;
        let released = self.stop_strings.push(&piece);
        let mut rest = released.text;
        if !released.stopped {
            rest.push_str(&self.stop_strings.finish());
        }
        // The answer is over either way, so a break changes nothing.
        let _ = self.show(&rest);
        Ok(if released.stopped { FinishReason::StopString } else { reason })
    }

    fn show(&mut self, piece: &str) -> ControlFlow<()> {
        if piece.is_empty() {
            return ControlFlow::Continue(());
        }
        self.text.push_str(piece);
        (self.on_text)(piece)
    }

    fn finish(mut self) -> Result<Generation> {
        let finish = self.outcome.take().unwrap_or(Ok(FinishReason::Length))?;
        let tokens = self.seen.split_off(self.prompt_ids);
        let timings = Timings { new_tokens: tokens.len(), ..self.timings };
        Ok(Generation { text: self.text, tokens, finish, timings })
    }
}
