//! Open-class recognition: how near an answer comes to the class's name, by meaning and by words (Osprey, §4.1).
use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, Value as Json};

use super::{Layout, Outcome, Overall, Scored, Value, read_output};
use crate::sentence::SentenceEncoder;
use crate::{Result, json};

/// What an entry of a measured file holds: the cosine of the sentence embeddings, and the semantic IoU.
const FIELDS: [(&str, &str); 2] = [("semantic similarity", "sim"), ("semantic IoU", "siou")];

/// Text as it is compared: lower case, `_ : , . ( )` as spaces.
pub fn plain(text: &str) -> String {
    text.replace(['_', ':', ',', '.', '(', ')'], " ").trim().to_lowercase()
}

/// |words of both| / |words of either|, of lower-cased words between white space; 0 where there are none at all.
///
/// ```
/// use gar_eval::score::open_class::semantic_iou;
/// assert_eq!(semantic_iou("a polar bear", "Bear"), 1.0 / 3.0);
/// assert_eq!(semantic_iou("traffic light", "light traffic light"), 1.0);
/// assert_eq!(semantic_iou("", ""), 0.0);
/// ```
pub fn semantic_iou(a: &str, b: &str) -> f64 {
    let [a, b] = [a, b].map(str::to_lowercase);
    let [a, b]: [BTreeSet<&str>; 2] = [a.split_whitespace().collect(), b.split_whitespace().collect()];
    match a.union(&b).count() {
        0 => 0.0,
        either => a.intersection(&b).count() as f64 / either as f64,
    }
}

/// Adds to each entry of an output (`Answer`: the class, `pred`: what was said) the fields `sim` and `siou`.
///
/// # Errors
/// Those of [`read_output`]; a field that is missing or no text; what the encoder refuses.
pub fn measure(path: &Path, encoder: &SentenceEncoder) -> Result<String> {
    let output = read_output(path, "id")?;
    let mut entries: Vec<Map<String, Json>> = Vec::with_capacity(output.entries.len());
    for entry in output.iter() {
        let [said, class] = [plain(entry.text("pred")?), plain(entry.text("Answer")?)];
        let mut fields = entry.fields.clone();
        fields.insert("sim".into(), encoder.similarity(&said, &class)?.into());
        fields.insert("siou".into(), semantic_iou(&said, &class).into());
        entries.push(fields);
    }
    json::pretty(&entries, 4)
}

/// Scores a measured file: entries with `sim` and `siou`, in per cent. The two are reported each for itself; the last row,
/// their mean, has no meaning of its own.
///
/// # Errors
/// Those of [`read_output`]; [`Error::Field`](crate::Error::Field) where an entry was not measured.
pub fn score(benchmark: &'static str, path: &Path) -> Result<Scored> {
    let output = read_output(path, "id")?;
    let mut outcomes = Vec::new();
    for entry in output.iter() {
        for (category, field) in FIELDS {
            let value = Value::Score(entry.get(field, "a number; `gar eval similarity` writes it")?);
            outcomes.push(Outcome { id: entry.name.to_owned(), category: category.into(), value, lenient: None });
        }
    }
    let layout = Layout {
        benchmark,
        categories: &["semantic similarity", "semantic IoU"],
        groups: &[],
        groups_are: Overall::Micro,
        overall: Overall::MeanOfCategories,
        scale: 100.0,
    };
    Ok(Scored { layout, outcomes, notes: Vec::new() })
}
