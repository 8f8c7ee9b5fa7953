//! Conversations with the answers they should get, as training and scoring read them.
use std::ops::Range;

use gar_kernels::Tensor;
use gar_llm::{Message, Part};
use gar_prompt::TokenLayout;

use crate::{Error, Result, Scene};

/// What the user says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// A question. At the head of a conversation the scene's regions are shown in front of it, as
    /// [`Scene::ask`] shows them.
    Question(String),
    /// A text that shows regions itself, each as a run of its crop tokens, or none.
    Verbatim(String),
}

/// A question and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// What the user says.
    pub said: Said,
    /// What the assistant should say.
    pub answer: String,
}

/// A conversation as token ids, and which of them the assistant says.
#[derive(Clone, Debug)]
pub struct Transcript {
    /// The whole conversation.
    pub ids: Vec<u32>,
    /// Positions of each answer in `ids`, the stop token that ends it included (SPEC §10: the loss is taken there).
    pub answers: Vec<Range<usize>>,
    layout: TokenLayout,
}

impl Transcript {
    /// Slot and positions of each region's crop tokens.
    pub fn regions(&self) -> &[(usize, Range<usize>)] {
        &self.layout.regions
    }
}

impl Scene {
    /// The tokens of a conversation about this scene, at least one exchange.
    ///
    /// Each answer is encoded apart from the prompt before it, as it is generated.
    ///
    /// # Errors
    /// Questions that [`Scene::ask`] refuses, regions that are shown twice or with another number of crop tokens,
    /// [`Error::Turns`], [`Error::ContextFull`] where the decoder's context is too short.
    pub fn transcript(&self, exchanges: &[Exchange]) -> Result<Transcript> {
        let parts = &self.model.parts;
        let (prompting, counts) = (&parts.prompting, self.counts());
        let (mut messages, mut text, mut ids, mut answers) = (Vec::new(), String::new(), Vec::new(), Vec::new());
        for (turn, exchange) in exchanges.iter().enumerate() {
            let user = match &exchange.said {
                Said::Verbatim(text) => text.clone(),
                Said::Question(question) if turn == 0 => {
                    prompting.opening_text(&self.slots, question, counts.region)?
                }
                Said::Question(question) => question.clone(),
            };
            let user = Part::Text(user);
            messages.push(match turn {
                0 => Message::parts("user", [Part::Image, user]),
                _ => Message::parts("user", [user]),
            });
            let mut grow = |ids: &mut Vec<u32>, messages: &[Message], opens_answer| -> Result<()> {
                let whole = prompting.render(messages, opens_answer, counts)?;
                let new = whole.strip_prefix(text.as_str()).ok_or(Error::Turns { turn })?;
                ids.extend(prompting.tokenizer.encode(new, false)?);
                text = whole;
                Ok(())
            };
            grow(&mut ids, &messages, true)?;
            let start = ids.len();
            messages.push(Message::parts("assistant", [Part::Text(exchange.answer.clone())]));
            grow(&mut ids, &messages, false)?;
            // A template may write a line end behind the stop token; no model is asked to say it.
            let last = ids[start..].iter().rposition(|id| parts.stop_tokens.contains(id));
            answers.push(start..last.map_or(ids.len(), |at| start + at + 1));
        }
        if ids.len() > parts.decoder.context() {
            return Err(Error::ContextFull { context: parts.decoder.context(), tokens: ids.len() });
        }
        let layout = prompting.layout(&ids, &prompting.shown(&ids, &self.slots), counts)?;
        Ok(Transcript { ids, answers, layout })
    }

    /// Embeddings [n, D] of positions `range` of a transcript of this scene, features in their places.
    ///
    /// # Errors
    /// What an operation refuses, a range beyond the transcript.
    pub fn embeddings(&self, transcript: &Transcript, range: Range<usize>) -> Result<Tensor> {
        if range.start > range.end || range.end > transcript.ids.len() {
            let context = transcript.ids.len();
            return Err(Error::ContextFull { context, tokens: range.end });
        }
        self.embeds(&transcript.ids, &transcript.layout, range)
    }
}
