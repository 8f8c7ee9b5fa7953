//! What was said to a question.
use serde::{Deserialize, Serialize};

use super::item::Item;

/// One line of a run's `answers.jsonl`. Nothing in it depends on the clock, so that an interrupted run ends with the bytes
/// of an undisturbed one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerRecord {
    /// The item's id.
    pub id: String,
    /// What the model said; empty where the item was refused.
    pub answer: String,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens of the answer.
    pub new_tokens: usize,
    /// Why the model could not be asked, where it could not: counts as an answer that is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// An item and what was said to it.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    /// The question.
    pub item: &'a Item,
    /// The answer.
    pub record: &'a AnswerRecord,
}
