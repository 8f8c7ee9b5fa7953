//! A picture with regions, encoded once and asked many times.
use std::{
    ops::{ControlFlow, Range},
    sync::{Arc, Mutex, PoisonError},
};

use gar_kernels::Tensor;
use gar_llm::{GenerateOptions, Generation, Job, Message, OnText, Sequence, StopRules, generate, generate_batch};
use gar_prompt::TokenLayout;
use gar_vision::TileGrid;

use crate::{
    Answer, AnswerOptions, Error, GarModel, RegionModel, RegionRequest, Result, Timings,
    parts::Parts,
    prompting::{FeatureCounts, PromptTokens},
};

/// A picture with regions, encoded once and asked many times.
///
/// Every question after the first reuses the keys and values of what its prompt shares with the last one: the system
/// text, the picture and the regions.
pub struct Scene {
    pub(crate) model: GarModel,
    pub(crate) slots: Vec<usize>,
    grid: TileGrid,
    /// [T, n, D], where the decoder reads the whole picture.
    picture: Option<Tensor>,
    /// [tokens, D] for each slot.
    shown: Vec<Tensor>,
    /// What encoding took.
    pub(crate) timings: Timings,
    read: Mutex<Option<Read>>,
}

/// What the decoder has read last.
struct Read {
    ids: Vec<u32>,
    sequence: Box<dyn Sequence>,
}

/// A prompt that is about to be read.
struct Prepared {
    ids: Vec<u32>,
    /// Holds the first part of `ids`.
    sequence: Box<dyn Sequence>,
    /// [L, D]: the rest of `ids`, features spliced in.
    embeds: Tensor,
    timings: Timings,
}

fn nobody(_: &str) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

impl Scene {
    pub(crate) fn new(
        model: GarModel,
        slots: Vec<usize>,
        grid: TileGrid,
        picture: Option<Tensor>,
        shown: Vec<Tensor>,
    ) -> Self {
        Self { model, slots, grid, picture, shown, timings: Timings::default(), read: Mutex::new(None) }
    }

    /// The tile grid of the picture; one tile where the region encoding did not look at the whole picture.
    pub fn grid(&self) -> TileGrid {
        self.grid
    }

    /// The slots of the regions, in prompt order.
    pub fn slots(&self) -> &[usize] {
        &self.slots
    }

    /// Answers a question, greedily. Earlier questions have no influence.
    ///
    /// # Errors
    /// A question that names a region that is not there or holds special tokens, a prompt beyond the context.
    pub fn ask(&self, question: &str) -> Result<Answer> {
        self.ask_with(question, &AnswerOptions::default(), &mut nobody)
    }

    /// As [`ask`](Self::ask), with options and the text as it is made. `options.max_tiles` has no say any more.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub fn ask_with(&self, question: &str, options: &AnswerOptions, on: &mut OnText<'_>) -> Result<Answer> {
        self.answer(&[self.opening(question)?], options, on)
    }

    /// Answers several questions together, each as [`ask`](Self::ask) would; one that fails does not touch the others.
    pub fn ask_all(&self, questions: &[&str], options: &AnswerOptions) -> Vec<Result<Answer>> {
        let prepare = |question: &&str| self.prepare(&[self.opening(question)?]);
        let prepared: Vec<Result<Prepared>> = questions.iter().map(prepare).collect();
        let options: Vec<&AnswerOptions> = questions.iter().map(|_| options).collect();
        decode_together(&self.model.parts, prepared, &options)
    }

    /// Begins a conversation, in which each turn knows the turns before.
    pub fn chat(&self) -> Chat<'_> {
        Chat { scene: self, messages: Vec::new() }
    }

    fn opening(&self, question: &str) -> Result<Message> {
        self.model.parts.prompting.opening(&self.slots, question, self.counts())
    }

    /// The prompt of a conversation, and which of it the decoder has yet to read.
    fn prepare(&self, messages: &[Message]) -> Result<Prepared> {
        let parts = &self.model.parts;
        let (decoder, kernels) = (&parts.decoder, &parts.kernels);
        let PromptTokens { ids, layout } = self.tokens(messages)?;
        if ids.len() >= decoder.context() {
            return Err(Error::ContextFull { context: decoder.context(), tokens: ids.len() });
        }
        let mut shared = 0;
        let mut sequence = match &*self.read.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(read) => {
                // At least one position must be read again: its logits choose the first token.
                let limit = (ids.len() - 1).min(read.sequence.len());
                shared = ids.iter().zip(&read.ids).take(limit).take_while(|(a, b)| a == b).count();
                read.sequence.fork()?
            }
            None => decoder.sequence(kernels, decoder.context())?,
        };
        sequence.truncate(shared);
        let embeds = self.embeds(&ids, &layout, shared..ids.len())?;
        Ok(Prepared { ids, sequence, embeds, timings: self.timings })
    }

    pub(crate) fn tokens(&self, messages: &[Message]) -> Result<PromptTokens> {
        self.model.parts.prompting.tokens(messages, &self.slots, self.counts())
    }

    /// How many tokens stand for what.
    pub(crate) fn counts(&self) -> FeatureCounts {
        self.model.parts.counts(self.picture.as_ref())
    }

    /// Embeddings of `ids[range]` with the features of the picture and of the regions in their places: [range, D].
    pub(crate) fn embeds(&self, ids: &[u32], layout: &TokenLayout, range: Range<usize>) -> Result<Tensor> {
        let parts = &self.model.parts;
        let k = &parts.kernels;
        let mut embeds = parts.decoder.embed(k, &ids[range.clone()])?;
        let flat = |features: &Tensor| {
            let (rows, width) = features.as_rows();
            features.reshape(&[rows, width])
        };
        let picture = self.picture.as_ref().map(flat).transpose()?;
        // A slot without a place has a form of its own in the text; see `PromptForm::crop_token`.
        let place = |slot| layout.regions.iter().find(|(known, _)| *known == slot).map(|(_, place)| place);
        let regions = self.crops().filter_map(|(slot, rows)| Some((place(slot)?, rows)));
        let pieces = picture.iter().map(|features| (&layout.image, features)).chain(regions);
        for (place, features) in pieces {
            let (start, end) = (place.start.max(range.start), place.end.min(range.end));
            if start < end {
                let index: Vec<u32> = (start..end).map(|row| (row - range.start) as u32).collect();
                let rows = features.rows(start - place.start..end - place.start)?;
                embeds = k.rows.scatter(&embeds, &index, &rows)?;
            }
        }
        Ok(embeds)
    }

    /// The prompt's tokens and embeddings for one question, for a trace.
    pub(crate) fn inside(&self, question: &str) -> Result<(Vec<u32>, Tensor)> {
        let PromptTokens { ids, layout } = self.tokens(&[self.opening(question)?])?;
        let embeds = self.embeds(&ids, &layout, 0..ids.len())?;
        Ok((ids, embeds))
    }

    /// Slot and features [tokens, D] of each region, as they stand in the prompt for its crop tokens.
    pub fn crops(&self) -> impl Iterator<Item = (usize, &Tensor)> {
        self.slots.iter().copied().zip(&self.shown)
    }

    fn answer(&self, messages: &[Message], options: &AnswerOptions, on: &mut OnText<'_>) -> Result<Answer> {
        let parts = &self.model.parts;
        let mut prepared = self.prepare(messages)?;
        let rules = parts.generate_options(options);
        let generation =
            generate(parts.decoder.as_ref(), &parts.kernels, &parts.prompting.tokenizer, prepared.job(&rules, on))?;
        let Prepared { mut ids, sequence, timings, .. } = prepared;
        let answer = to_answer(generation, ids.len(), timings);
        ids.extend_from_slice(&answer.tokens);
        ids.truncate(sequence.len());
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) = Some(Read { ids, sequence });
        Ok(answer)
    }
}

impl Prepared {
    fn job<'a>(&'a mut self, options: &'a GenerateOptions, on_text: &'a mut OnText<'a>) -> Job<'a> {
        Job { sequence: self.sequence.as_mut(), embeds: &self.embeds, seen: &self.ids, options, on_text }
    }
}

impl Parts {
    fn generate_options(&self, options: &AnswerOptions) -> GenerateOptions {
        GenerateOptions {
            max_new_tokens: options.max_new_tokens,
            sampling: options.sampling.clone(),
            stop: StopRules { tokens: self.stop_tokens.clone(), strings: options.stop.clone() },
        }
    }
}

fn to_answer(generation: Generation, prompt_tokens: usize, timings: Timings) -> Answer {
    let Generation { text, tokens, finish, timings: own } = generation;
    Answer {
        text,
        tokens,
        prompt_tokens,
        finish,
        timings: Timings { prefill: own.prefill, decode: own.decode, ..timings },
    }
}

/// Decodes prompts together; those that failed before stay failed.
fn decode_together(parts: &Parts, prepared: Vec<Result<Prepared>>, options: &[&AnswerOptions]) -> Vec<Result<Answer>> {
    /// More rows than this are no longer computed one by one, so that answers would depend on their neighbours.
    const AT_ONCE: usize = 32;
    let rules: Vec<GenerateOptions> = options.iter().map(|o| parts.generate_options(o)).collect();
    let mut answers = Vec::with_capacity(prepared.len());
    let mut prepared = prepared.into_iter();
    for rules in rules.chunks(AT_ONCE) {
        let mut group: Vec<Result<Prepared>> = prepared.by_ref().take(rules.len()).collect();
        let mut listeners: Vec<_> = group.iter().map(|_| nobody).collect();
        let jobs: Vec<Job<'_>> = group
            .iter_mut()
            .zip(rules)
            .zip(&mut listeners)
            .filter_map(|((prepared, rules), on)| Some(prepared.as_mut().ok()?.job(rules, on)))
            .collect();
        let mut generations =
            generate_batch(parts.decoder.as_ref(), &parts.kernels, &parts.prompting.tokenizer, jobs).into_iter();
        answers.extend(group.into_iter().map(|prepared| {
            let Prepared { ids, timings, .. } = prepared?;
            let generation = generations.next().unwrap_or(Err(gar_llm::Error::EmptyPrompt))?;
            Ok(to_answer(generation, ids.len(), timings))
        }));
    }
    answers
}

/// A conversation about a scene: each turn knows the turns before and reuses their keys and values.
pub struct Chat<'s> {
    scene: &'s Scene,
    messages: Vec<Message>,
}

impl Chat<'_> {
    /// The next turn, greedily.
    ///
    /// # Errors
    /// As [`Scene::ask`]; the conversation is then as it was before the turn.
    pub fn ask(&mut self, question: &str) -> Result<Answer> {
        self.ask_with(question, &AnswerOptions::default(), &mut nobody)
    }

    /// The next turn, with options and the text as it is made.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub fn ask_with(&mut self, question: &str, options: &AnswerOptions, on: &mut OnText<'_>) -> Result<Answer> {
        let scene = self.scene;
        let message = match self.messages.is_empty() {
            true => scene.opening(question)?,
            false => scene.model.parts.prompting.follow_up(&scene.slots, question)?,
        };
        self.messages.push(message);
        let answer = scene.answer(&self.messages, options, on);
        match &answer {
            Ok(answer) => {
                let said = gar_llm::Part::Text(answer.text.clone());
                self.messages.push(Message::parts("assistant", [said]));
            }
            Err(_) => {
                self.messages.pop();
            }
        }
        answer
    }
}

impl RegionModel for GarModel {
    fn stream(&self, request: &RegionRequest, on: &mut OnText<'_>) -> Result<Answer> {
        let scene = self.scene_with(&request.image, &request.regions, request.options.max_tiles)?;
        scene.ask_with(&request.question, &request.options, on)
    }

    fn answer_batch(&self, requests: &[RegionRequest]) -> Vec<Result<Answer>> {
        let prepare = |request: &RegionRequest| {
            let scene = self.scene_with(&request.image, &request.regions, request.options.max_tiles)?;
            scene.prepare(&[scene.opening(&request.question)?])
        };
        let prepared = requests.iter().map(prepare).collect();
        let options: Vec<&AnswerOptions> = requests.iter().map(|r| &r.options).collect();
        decode_together(&self.parts, prepared, &options)
    }
}

impl From<GarModel> for Arc<dyn RegionModel> {
    fn from(model: GarModel) -> Self {
        Arc::new(model)
    }
}
