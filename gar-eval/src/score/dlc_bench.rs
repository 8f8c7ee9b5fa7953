//! DLC-Bench: a judge's answers to positive and negative questions about each description.
use std::path::Path;

use serde_json::Value as Json;

use super::gar_bench::listed;
use super::{Layout, Outcome, Overall, Scored, Value, read_output};
use crate::Result;
use crate::json::Entry;

const LAYOUT: Layout = Layout {
    benchmark: "dlc-bench",
    categories: &["positive", "negative"],
    groups: &[],
    groups_are: Overall::Micro,
    overall: Overall::MeanOfCategories,
    scale: 100.0,
};

/// Scores a judge's file: an object for each region with `score_pos`, `score_neg`, or the `details_positives` and
/// `details_negatives` that they are the means of.
///
/// A region counts once in each category, with the mean of its questions; a region without questions of a kind does not
/// count in it, and neither does a question whose answer could not be read (`null`). Where the judge did not recognise the
/// object (`recognition_result`), no question scores above 0. The overall score is the mean of the two categories, as
/// published.
///
/// # Errors
/// Those of [`read_output`]; [`Error::Field`](crate::Error::Field) for a region with neither scores nor details.
pub fn score(path: &Path) -> Result<Scored> {
    let output = read_output(path, "id")?;
    let (mut outcomes, mut apart, mut ungated, mut unread) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for entry in output.iter() {
        if entry.fields.get("recognition_result") == Some(&Json::Null) {
            ungated.push(entry.name.to_owned());
            continue;
        }
        let kinds = [("positive", "score_pos", "details_positives"), ("negative", "score_neg", "details_negatives")];
        let mut scored = false;
        for (category, stored, details) in kinds {
            let counted = mean(&entry, details)?;
            unread.extend(vec![entry.name.to_owned(); unread_questions(&entry, details)]);
            let stored = stored_score(&entry, stored)?;
            scored |= counted.is_some() || stored.is_some();
            // Both were written by the judge's run; a difference beyond rounding means that one was edited.
            if let (Some(a), Some(b)) = (counted, stored)
                && (a - b).abs() > 1e-9
            {
                apart.push(format!("{} ({category})", entry.name));
            }
            if let Some(score) = stored.or(counted) {
                let (id, category) = (entry.name.to_owned(), category.to_owned());
                outcomes.push(Outcome { id, category, value: Value::Score(score), lenient: None });
            }
        }
        if !scored {
            return Err(entry.wrong("score_pos", "a score, or `details_positives` to take it from", "nothing"));
        }
    }
    let mut notes = listed("whose stored score is not the mean of its details; the stored one counts", &apart);
    notes.extend(listed("whose recognition answer could not be read, left out", &ungated));
    notes.extend(listed("questions whose answers could not be read, left out; regions", &unread));
    Ok(Scored { layout: LAYOUT, outcomes, notes })
}

fn stored_score(entry: &Entry<'_>, field: &str) -> Result<Option<f64>> {
    match entry.fields.get(field) {
        None | Some(Json::Null) => Ok(None),
        Some(_) => entry.get(field, "a number").map(Some),
    }
}

/// How many questions have no `eval_result`, because the judge's answer could not be read.
fn unread_questions(entry: &Entry<'_>, field: &str) -> usize {
    let details = entry.fields.get(field).and_then(Json::as_array);
    details.map_or(0, |all| all.iter().filter(|detail| detail.get("eval_result") == Some(&Json::Null)).count())
}

/// The mean of the questions' `eval_result`, those without one left out; none where there are no questions.
fn mean(entry: &Entry<'_>, field: &str) -> Result<Option<f64>> {
    let Some(details) = entry.fields.get(field).filter(|value| !value.is_null()) else { return Ok(None) };
    let read = |detail: &Json| match detail.get("eval_result")? {
        Json::Null => Some(None),
        value => value.as_f64().map(Some),
    };
    let results: Option<Vec<Option<f64>>> = details.as_array().and_then(|all| all.iter().map(read).collect());
    let results =
        results.ok_or_else(|| entry.wrong(field, "a list of objects with a number `eval_result`", "others"))?;
    let results: Vec<f64> = results.into_iter().flatten().collect();
    let recognised = entry.fields.get("recognition_result") != Some(&Json::Bool(false));
    let gated = results.iter().map(|&result| if recognised { result } else { result.min(0.0) });
    Ok((!results.is_empty()).then(|| gated.sum::<f64>() / results.len() as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored(text: &str) -> Result<Scored> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("eval.json");
        std::fs::write(&path, text).unwrap();
        score(&path)
    }

    #[test]
    fn unrecognised_objects_score_nothing() {
        let details = r#""details_positives": [{"eval_result": 1}, {"eval_result": 0.5}, {"eval_result": -1}],
                         "details_negatives": []"#;
        let text = format!(
            r#"{{"1": {{{details}, "recognition_result": true}}, "avg_pos": 9,
                              "2": {{{details}, "recognition_result": false}}}}"#
        );
        let scored = scored(&text).unwrap();
        let values: Vec<Value> = scored.outcomes.iter().map(|o| o.value).collect();
        assert_eq!(values, [Value::Score(0.5 / 3.0), Value::Score(-1.0 / 3.0)], "and no negative questions");
    }

    #[test]
    fn stored_scores_count_and_differences_are_noted() {
        let text = r#"{"7": {"score_pos": 0.5, "details_positives": [{"eval_result": 1}], "score_neg": 1.0},
                       "8": {"score_pos": 1, "score_neg": null}}"#;
        let scored = scored(text).unwrap();
        let table = scored.table();
        assert_eq!(table.row("positive").unwrap().score, 75.0);
        assert_eq!(table.row("negative").unwrap().total, 1.0);
        assert_eq!(table.overall().unwrap().score, 87.5);
        assert!(scored.notes[0].ends_with("counts: 7 (positive)"), "{:?}", scored.notes);
        let empty = super::tests::scored(r#"{"9": {"pred": "a dog"}}"#).unwrap_err().to_string();
        assert!(empty.contains("9: `score_pos`: expected a score"), "{empty}");
    }
}
