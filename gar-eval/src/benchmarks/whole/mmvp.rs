//! MMVP: pairs of pictures that CLIP takes for alike; a pair counts where both of its questions are answered right (Tong et
//! al.).
//!
//! ```text
//! Questions.csv     Index, Question, Options, Correct Answer: 1, "…?", "(a) Open (b) Closed", "(a)"
//! MMVP Images/      1.jpg, 2.jpg, …: questions 1 and 2 are a pair, 3 and 4, …
//! ```
use std::path::Path;

use gar_core::prompt::multiple_choice;

use super::{Question, output};
use crate::benchmarks::{Benchmark, Source, in_folder, keyed::distinct, picture_path};
use crate::csv::Table;
use crate::{Error, Result};

/// Loads `Questions.csv`, or the file of another name that `annotations` is.
///
/// # Errors
/// A table without these columns (the published one writes `lndex`, which is read, too), options or an answer of another
/// form, an odd number of questions, or questions not numbered from 1.
pub fn load(annotations: &Path, pictures: &Path) -> Result<Benchmark> {
    let path = in_folder(annotations, "Questions.csv");
    let (bytes, source) = Source::read(&path)?;
    let table = Table::parse(&path, &bytes, b',')?;
    let number = table.column("Index").or_else(|_| table.column("lndex"))?;
    let [text, options, answer] =
        [table.column("Question")?, table.column("Options")?, table.column("Correct Answer")?];
    let mut items = Vec::new();
    for (at, row) in table.rows().enumerate() {
        if row.get(number).trim() != (at + 1).to_string() {
            return Err(row.wrong(number, &(at + 1).to_string(), row.get(number)));
        }
        let shown = split(row.get(options))
            .ok_or_else(|| row.wrong(options, "two options, \"(a) … (b) …\"", row.get(options)))?;
        let letter = match row.get(answer).trim() {
            "(a)" => "a",
            "(b)" => "b",
            other => return Err(row.wrong(answer, "\"(a)\" or \"(b)\"", other)),
        };
        let question = Question {
            id: (at + 1).to_string(),
            picture: picture_path(pictures, &format!("{}.jpg", at + 1)),
            text: multiple_choice(row.get(text).trim(), &shown),
            options: shown.to_vec(),
            answer: letter.into(),
            category: None,
        };
        items.push(question.into_item());
    }
    if items.is_empty() || items.len() % 2 == 1 {
        return Err(Error::Json {
            path,
            expected: "an even number of questions, two for each pair".into(),
            found: items.len().to_string(),
        });
    }
    distinct(&path, items.iter().map(|item| item.id.as_str()))?;
    Ok(Benchmark { name: "mmvp", sources: vec![source], items, output })
}

/// `(a) Open (b) Closed` as two options.
fn split(options: &str) -> Option<[String; 2]> {
    let (first, second) = options.trim().strip_prefix("(a)")?.split_once("(b)")?;
    let option = |letter: char, text: &str| format!("({letter}) {}", text.trim());
    let whole = !first.trim().is_empty() && !second.trim().is_empty();
    whole.then(|| [option('a', first), option('b', second)])
}

#[cfg(test)]
mod tests {
    #[test]
    fn options_are_split_at_their_letters() {
        let split = |text| super::split(text).map(|[a, b]| [a, b].join("|"));
        assert_eq!(split("(a) Open (b) Closed").as_deref(), Some("(a) Open|(b) Closed"));
        assert_eq!(split("(a)Yes(b) No ").as_deref(), Some("(a) Yes|(b) No"));
        for text in ["", "(a) Open", "(b) Closed (a) Open", "(a) (b) Closed"] {
            assert_eq!(split(text), None, "{text}");
        }
    }
}
