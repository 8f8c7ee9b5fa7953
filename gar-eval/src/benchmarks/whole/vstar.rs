//! V*: details of large pictures (Wu and Xie).
//!
//! ```text
//! test_questions.jsonl    {"question_id", "image", "text", "category", "label"}, one a line
//! direct_attributes/, relative_position/    the pictures
//! ```
use std::path::Path;

use super::{CHOICE_LETTERS, Question, output};
use crate::Result;
use crate::benchmarks::{Benchmark, Source, in_folder, keyed::distinct, picture_path};
use crate::json::{self, Entry};

/// The categories.
pub const CATEGORIES: [&str; 2] = ["direct_attributes", "relative_position"];

/// Loads `test_questions.jsonl`, or the file of another name that `annotations` is. The text of a question holds its
/// options and how to answer; it is asked as it is.
///
/// # Errors
/// A line that is no object, a field that is missing or of another type, an unknown category, a label that is no letter,
/// two questions of one id.
pub fn load(annotations: &Path, pictures: &Path) -> Result<Benchmark> {
    let path = in_folder(annotations, "test_questions.jsonl");
    let (bytes, source) = Source::read(&path)?;
    let lines = json::object_lines(&path, &bytes)?;
    let item = |(at, fields)| {
        let place = format!("#{at}");
        let entry = Entry { path: &path, name: &place, fields };
        let id: u64 = entry.get("question_id", "a whole number")?;
        let category = entry.text("category")?;
        if !CATEGORIES.contains(&category) {
            return Err(entry.wrong("category", &CATEGORIES.join(" or "), &format!("{category:?}")));
        }
        let label = entry.text("label")?;
        if !CHOICE_LETTERS.contains(&label) {
            return Err(entry.wrong("label", "a letter from A to Z", &format!("{label:?}")));
        }
        let text = entry.text("text")?;
        let question = Question {
            id: id.to_string(),
            picture: picture_path(pictures, entry.text("image")?),
            text: text.into(),
            options: text.lines().map(str::trim).filter(|line| line.starts_with('(')).map(str::to_owned).collect(),
            answer: label.into(),
            category: Some(category.into()),
        };
        Ok(question.into_item())
    };
    let items: Vec<_> = lines.iter().enumerate().map(item).collect::<Result<_>>()?;
    distinct(&path, items.iter().map(|item| item.id.as_str()))?;
    Ok(Benchmark { name: "vstar", sources: vec![source], items, output })
}
