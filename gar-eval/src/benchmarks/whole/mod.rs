//! Questions about a picture as a whole, asked with one region that covers all of it: V*, MMVP, RealWorldQA, MMStar
//! (Grasp Any Region, Table 10).
pub mod mmstar;
pub mod mmvp;
pub mod realworldqa;
mod table;
pub mod vstar;

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::{Answered, Item, RegionShape, Shape};
use crate::{Result, json};

/// Letters that an option may have.
pub const CHOICE_LETTERS: [&str; 26] = [
    "A", "B", "C", "D", "E", "F", "G", "H", "I", "J", "K", "L", "M", "N", "O", "P", "Q", "R", "S", "T", "U", "V", "W",
    "X", "Y", "Z",
];

/// What such a question consists of.
struct Question {
    id: String,
    picture: PathBuf,
    /// The whole text.
    text: String,
    /// The options as they are shown; none where the answer is free.
    options: Vec<String>,
    /// The letter, or the text, of the right answer.
    answer: String,
    category: Option<String>,
}

impl Question {
    fn into_item(self) -> Item {
        let Self { id, picture, text, options, answer, category } = self;
        let entry = json!({"id": id, "category": category, "options": options, "answer": answer});
        Item {
            id,
            picture,
            regions: vec![RegionShape { slot: 0, shape: Shape::Whole }],
            question: text,
            category,
            entry: entry.as_object().cloned().unwrap_or_default(),
        }
    }
}

/// A list of what was asked and answered: `id`, `category`, `options`, `answer`, `prediction`.
fn output(answers: &[Answered<'_>]) -> Result<String> {
    let entry = |a: &Answered<'_>| {
        let mut fields: Map<String, Value> = a.item.entry.clone();
        fields.insert("prediction".into(), a.record.answer.as_str().into());
        fields
    };
    json::pretty(&answers.iter().map(entry).collect::<Vec<_>>(), 4)
}
