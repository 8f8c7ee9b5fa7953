//! VideoRefer-Bench-D: four scores of a judge, each from 0 to 5 (VideoRefer, §4).
use std::path::Path;

use super::gar_bench::listed;
use super::{Layout, Outcome, Overall, Scored, Value, read_output};
use crate::Result;

/// What D's descriptions are scored in, from 0 to 5, under the names that judged files have.
pub const VIDEOREFER_D_ASPECTS: [&str; 4] =
    ["Subject Correspondence", "Appearance Description", "Temporal Description", "Hallucination Detection"];

/// The types of Q's questions.
pub const VIDEOREFER_Q_TYPES: [&str; 5] =
    ["Basic Questions", "Sequential Questions", "Relationship Questions", "Reasoning Questions", "Future Predictions"];

/// Scores a judged file: entries with the four scores under their names. An entry without them was not judged, or what
/// the judge said could not be read; it is left out and listed. The overall score is the mean of the four.
///
/// # Errors
/// Those of [`read_output`]; [`Error::Field`](crate::Error::Field) for a score that is no number of 0 to 5, or an entry
/// that has some of the four.
pub fn score(path: &Path) -> Result<Scored> {
    let output = read_output(path, "id")?;
    let (mut outcomes, mut unread) = (Vec::new(), Vec::new());
    for entry in output.iter() {
        if VIDEOREFER_D_ASPECTS.iter().all(|aspect| !entry.fields.contains_key(*aspect)) {
            unread.push(entry.name.to_owned());
            continue;
        }
        for aspect in VIDEOREFER_D_ASPECTS {
            const EXPECTED: &str = "a score from 0 to 5";
            let score: f64 = entry.get(aspect, EXPECTED)?;
            if !(0.0..=5.0).contains(&score) {
                return Err(entry.wrong(aspect, EXPECTED, &score.to_string()));
            }
            let (id, category) = (entry.name.to_owned(), aspect.to_owned());
            outcomes.push(Outcome { id, category, value: Value::Score(score), lenient: None });
        }
    }
    let layout = Layout {
        benchmark: "videorefer-bench-d",
        categories: &VIDEOREFER_D_ASPECTS,
        groups: &[],
        groups_are: Overall::Micro,
        overall: Overall::MeanOfCategories,
        scale: 1.0,
    };
    Ok(Scored { layout, outcomes, notes: listed("without a judge's scores, left out", &unread) })
}
