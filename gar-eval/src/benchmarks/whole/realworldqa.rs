//! RealWorldQA: photographs, many from vehicles; options or a short free answer (xAI).
//!
//! ```text
//! RealWorldQA.tsv    VLMEvalKit's table, pictures within; or
//! annotations.json   [{"image": "0.webp", "question": "…", "answer": "A"}], as xAI published it
//! *.webp             its pictures
//! ```
use std::path::Path;

use serde_json::{Map, Value};

use super::{Question, output, table};
use crate::Result;
use crate::benchmarks::{Benchmark, Source, in_folder, picture_path};
use crate::json::{self, Entry};

/// Loads one of the two forms. Of a folder, `annotations.json` is taken. With a table, pictures are unpacked into the
/// folder `pictures`.
///
/// # Errors
/// A list or a table of another form, a field that is missing or of another type.
pub fn load(annotations: &Path, pictures: &Path) -> Result<Benchmark> {
    let path = in_folder(annotations, "annotations.json");
    if path.extension().is_some_and(|extension| extension == "tsv") {
        return table::load("realworldqa", &path, pictures, None);
    }
    let (bytes, source) = Source::read(&path)?;
    let item = |(at, fields): (usize, Map<String, Value>)| {
        let place = format!("#{at}");
        let entry = Entry { path: &path, name: &place, fields: &fields };
        let question = Question {
            id: at.to_string(),
            picture: picture_path(pictures, entry.text("image")?),
            // The published text holds the options and how to answer.
            text: entry.text("question")?.into(),
            options: Vec::new(),
            answer: entry.text("answer")?.into(),
            category: None,
        };
        Ok(question.into_item())
    };
    let items = json::objects(&path, &bytes)?.into_iter().enumerate().map(item).collect::<Result<_>>()?;
    Ok(Benchmark { name: "realworldqa", sources: vec![source], items, output })
}
