//! GAR-Bench (Grasp Any Region, §3.4): letters of multiple choice, and a judge's verdicts on captions.
use std::path::Path;

use serde_json::Value as Json;

use super::letter::{exact, lenient};
use super::{Layout, Outcome, Output, Overall, Scored, Value, read_output};
use crate::Result;
use crate::json::Entry;

/// The categories of GAR-Bench-VQA: the `type` of an entry and the paper's name for it, in the paper's order.
pub const VQA_TYPES: [(&str, &str); 7] = [
    ("color", "color"),
    ("shape", "shape"),
    ("texture/pattern", "texture"),
    ("material", "material"),
    ("ordering", "position"),
    ("mirror", "non-entity"),
    ("relation", "relation"),
];

const VQA: Layout = Layout {
    benchmark: "gar-bench-vqa",
    categories: &["color", "shape", "texture", "material", "position", "non-entity", "relation"],
    groups: &[
        ("perception", &["color", "shape", "texture", "material"]),
        ("reasoning", &["position", "non-entity", "relation"]),
    ],
    groups_are: Overall::Micro,
    overall: Overall::Micro,
    scale: 100.0,
};

/// The two parts of GAR-Bench-Cap; alone or together.
const fn captions(benchmark: &'static str) -> Layout {
    Layout {
        benchmark,
        categories: &["simple", "detailed"],
        groups: &[],
        groups_are: Overall::Micro,
        overall: Overall::Micro,
        scale: 100.0,
    }
}

/// The field that names an entry of every part of GAR-Bench.
pub const ID: &str = "image";

/// Scores a GAR-Bench-VQA output: entries with `type`, `choices`, `answer` and `model_output`.
///
/// An answer that is missing or null is wrong, and noted.
///
/// # Errors
/// Those of [`read_output`]; [`Error::Field`](crate::Error::Field) for an unknown type, an answer that is none of the options, fields that
/// are missing or of another type.
pub fn vqa(path: &Path) -> Result<Scored> {
    let output = read_output(path, ID)?;
    let mut missing = Vec::new();
    let outcomes = output.iter().map(|entry| {
        let category = vqa_category(&entry)?;
        // Outputs from elsewhere may leave the options out; then only the exact match is known.
        let options = entry.fields.contains_key("choices").then(|| vqa_options(&entry)).transpose()?;
        let answer = match &options {
            Some(options) => vqa_answer(&entry, options)?,
            None => entry.text("answer")?,
        };
        let said = text_or_nothing(&entry, "model_output")?;
        if said.is_none() {
            missing.push(entry.name.to_owned());
        }
        let said = said.unwrap_or_default();
        Ok(Outcome {
            id: entry.name.to_owned(),
            category: category.to_owned(),
            value: Value::Right(exact(said, answer)),
            lenient: options.map(|options| {
                lenient(said, &options).is_some_and(|letter| exact(answer, letter.encode_utf8(&mut [0; 4])))
            }),
        })
    });
    let outcomes = outcomes.collect::<Result<_>>()?;
    Ok(Scored { layout: VQA, outcomes, notes: listed("without an answer, counted as wrong", &missing) })
}

/// The paper's name of an entry's category.
///
/// # Errors
/// [`Error::Field`](crate::Error::Field) where its `type` is none of [`VQA_TYPES`].
pub fn vqa_category(entry: &Entry<'_>) -> Result<&'static str> {
    let found = entry.text("type")?;
    let known = VQA_TYPES.iter().find(|(name, alias)| *name == found || *alias == found);
    known.map(|(_, name)| *name).ok_or_else(|| {
        let names: Vec<&str> = VQA_TYPES.iter().map(|(name, _)| *name).collect();
        entry.wrong("type", &format!("one of {}", names.join(", ")), &format!("{found:?}"))
    })
}

/// The options as they are shown, `A. red`; annotations have them as a list, or as an object of texts by letter.
///
/// # Errors
/// [`Error::Field`](crate::Error::Field) where `choices` is missing or something else.
pub fn vqa_options(entry: &Entry<'_>) -> Result<Vec<String>> {
    const EXPECTED: &str = "a list of options";
    match entry.fields.get("choices") {
        Some(Json::Object(_)) => {
            let by_letter: serde_json::Map<String, Json> = entry.get("choices", EXPECTED)?;
            let option = |(letter, text): (&String, &Json)| Some(format!("{letter}. {}", text.as_str()?));
            let options: Option<Vec<String>> = by_letter.iter().map(option).collect();
            options.ok_or_else(|| entry.wrong("choices", EXPECTED, "an object with other values than text"))
        }
        _ => entry.get("choices", EXPECTED),
    }
}

/// The letter of the right option.
///
/// # Errors
/// [`Error::Field`](crate::Error::Field) where no option begins with it.
pub fn vqa_answer<'a>(entry: &Entry<'a>, options: &[String]) -> Result<&'a str> {
    let answer = entry.text("answer")?;
    let letters: Vec<String> =
        options.iter().map(|o| o.chars().take_while(char::is_ascii_alphabetic).collect()).collect();
    match letters.iter().any(|letter| letter.len() == 1 && exact(letter, answer)) {
        true => Ok(answer),
        false => Err(entry.wrong("answer", &format!("one of {}", letters.join(", ")), &format!("{answer:?}"))),
    }
}

/// Scores the judge's file on GAR-Bench-Cap simple: entries with `model_output` and `eval_result`.
///
/// # Errors
/// Those of [`read_output`]; [`Error::Field`](crate::Error::Field) where no entry was judged.
pub fn simple(path: &Path) -> Result<Scored> {
    judged(&[path], captions("gar-bench-simple"), |_| "simple")
}

/// As [`simple`], for GAR-Bench-Cap detailed.
///
/// # Errors
/// As [`simple`].
pub fn detailed(path: &Path) -> Result<Scored> {
    judged(&[path], captions("gar-bench-detailed"), |_| "detailed")
}

/// GAR-Bench-Cap as a whole: both parts' files, in any order. Entries of the detailed part are those with a
/// `predicate_name`.
///
/// # Errors
/// As [`simple`].
pub fn cap(paths: &[&Path]) -> Result<Scored> {
    judged(paths, captions("gar-bench-cap"), |entry| match entry.fields.contains_key("predicate_name") {
        true => "detailed",
        false => "simple",
    })
}

/// A judge's verdicts: true and false, as text or as JSON has them. Anything else is wrong, and listed: nothing is
/// guessed.
fn judged(paths: &[&Path], layout: Layout, category: impl Fn(&Entry<'_>) -> &'static str) -> Result<Scored> {
    let (mut outcomes, mut unread, mut unjudged) = (Vec::new(), Vec::new(), Vec::new());
    for path in paths {
        let output = read_output(path, ID)?;
        check_judged(&output)?;
        for entry in output.iter() {
            let verdict = match entry.fields.get("eval_result") {
                None | Some(Json::Null) => {
                    unjudged.push(entry.name.to_owned());
                    None
                }
                Some(value) => {
                    let verdict = verdict(value);
                    if verdict.is_none() {
                        unread.push(entry.name.to_owned());
                    }
                    verdict
                }
            };
            outcomes.push(Outcome {
                id: entry.name.to_owned(),
                category: category(&entry).to_owned(),
                value: Value::Right(verdict.unwrap_or(false)),
                lenient: None,
            });
        }
    }
    let mut notes = listed("not judged, counted as wrong", &unjudged);
    notes.extend(listed("with a verdict that is neither true nor false, counted as wrong", &unread));
    Ok(Scored { layout, outcomes, notes })
}

/// Refuses an output that no judge has seen.
fn check_judged(output: &Output) -> Result<()> {
    let judged = |entry: &Entry<'_>| entry.fields.contains_key("eval_result");
    match (output.iter().next(), output.iter().any(|entry| judged(&entry))) {
        (Some(first), false) => Err(first.wrong("eval_result", "a judge's verdict (`gar eval judge`)", "nothing")),
        _ => Ok(()),
    }
}

fn verdict(value: &Json) -> Option<bool> {
    match value {
        Json::Bool(verdict) => Some(*verdict),
        Json::String(text) => match text.trim().trim_end_matches('.').to_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// A field's text; none where it is missing or null.
fn text_or_nothing<'a>(entry: &Entry<'a>, field: &str) -> Result<Option<&'a str>> {
    match entry.fields.get(field) {
        None | Some(Json::Null) => Ok(None),
        Some(_) => entry.text(field).map(Some),
    }
}

/// A note that counts entries and names the first of them.
pub(super) fn listed(what: &str, ids: &[String]) -> Vec<String> {
    /// Enough to begin looking.
    const SHOWN: usize = 5;
    if ids.is_empty() {
        return Vec::new();
    }
    let more = if ids.len() > SHOWN { ", …" } else { "" };
    let shown: Vec<&str> = ids.iter().take(SHOWN).map(String::as_str).collect();
    vec![format!("{} {what}: {}{more}", ids.len(), shown.join(", "))]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored(text: &str, score: fn(&Path) -> Result<Scored>) -> Result<Scored> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("output.json");
        std::fs::write(&path, text).unwrap();
        score(&path)
    }

    fn entry(id: &str, kind: &str, answer: &str, said: &str) -> String {
        format!(
            r#"{{"image": "{id}", "type": "{kind}", "choices": ["A. red", "B. blue"], "answer": "{answer}" {said}}}"#
        )
    }

    #[test]
    fn exact_and_lenient_matches_stay_apart() {
        let text = [
            entry("a", "color", "A", r#", "model_output": "a""#),
            entry("b", "color", "B", r#", "model_output": "B. blue", "more": 1"#),
            entry("c", "mirror", "B", r#", "model_output": null"#),
            entry("d", "mirror", "B", ""),
            r#"{"image": "e", "type": "relation", "choices": {"A": "red", "B": "blue"}, "answer": "b",
                "model_output": "B"}"#
                .into(),
        ];
        let scored = scored(&format!("[{}]", text.join(",")), vqa).unwrap();
        let table = scored.table();
        let color = table.row("color").unwrap();
        assert_eq!((color.correct, color.total, color.lenient), (1.0, 2.0, Some(100.0)));
        assert_eq!(table.row("non-entity").unwrap().correct, 0.0);
        assert_eq!(table.row("reasoning").unwrap().total, 3.0);
        assert_eq!(table.overall().unwrap().score, 40.0);
        assert_eq!(scored.notes, ["2 without an answer, counted as wrong: c, d"]);
    }

    #[test]
    fn bad_entries_are_named() {
        for (text, says) in [
            (entry("a", "colour", "A", ""), "a: `type`: expected one of color, "),
            (entry("a", "color", "C", ""), "a: `answer`: expected one of A, B, found \"C\""),
            (entry("a", "color", "A", r#", "model_output": 3"#), "a: `model_output`: expected text, found 3"),
            (
                r#"{"image": "a", "type": "color", "answer": "A", "choices": "A"}"#.into(),
                "a: `choices`: expected a list of options, found \"A\"",
            ),
        ] {
            let error = scored(&format!("[{text}]"), vqa).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        let unjudged = scored(r#"[{"image": "a", "model_output": "x"}]"#, simple).unwrap_err().to_string();
        assert!(unjudged.contains("a: `eval_result`: expected a judge's verdict"), "{unjudged}");
    }

    #[test]
    fn verdicts_are_read_and_never_guessed() {
        let text = r#"[{"image": "a", "eval_result": "True"}, {"image": "b", "eval_result": false},
            {"image": "c", "eval_result": "true."}, {"image": "d", "eval_result": "Maybe True"}, {"image": "e"}]"#;
        let scored = scored(text, detailed).unwrap();
        let overall = *scored.table().overall().unwrap();
        assert_eq!((overall.correct, overall.total), (2.0, 5.0));
        assert_eq!(scored.table().row("detailed").unwrap().total, 5.0);
        assert_eq!(scored.notes.len(), 2);
        assert!(
            scored.notes[1].starts_with("1 with a verdict that is neither true nor false")
                && scored.notes[1].ends_with(": d")
        );
    }
}
