//! Ferret-Bench: a judge gives the reference answer and the model's a score each; what counts is their ratio.
use std::path::Path;

use super::gar_bench::listed;
use super::{Layout, Outcome, Overall, Scored, Value, read_output};
use crate::Result;

const LAYOUT: Layout = Layout {
    benchmark: "ferret-bench",
    categories: &["refer_desc", "refer_reason", "ground_conv"],
    groups: &[],
    groups_are: Overall::Micro,
    overall: Overall::Micro,
    scale: 100.0,
};

/// Scores a judge's review: entries with `category` and `tuple`, the scores of the reference's answer and of the model's.
///
/// A score is 100 · mean of the model's / mean of the reference's. Reviews that could not be read (a pair of −1, as the
/// published review writes them, or none) are left out and listed.
///
/// # Errors
/// Those of [`read_output`]; [`Error::Field`](crate::Error::Field) for a `tuple` that is no pair of numbers.
pub fn score(path: &Path) -> Result<Scored> {
    let output = read_output(path, "question_id")?;
    let (mut outcomes, mut unread) = (Vec::new(), Vec::new());
    for entry in output.iter() {
        let pair: Option<[f64; 2]> = entry.get("tuple", "two scores, the reference's and the model's")?;
        match pair {
            Some([reference, score]) if reference >= 0.0 && score >= 0.0 => outcomes.push(Outcome {
                id: entry.name.to_owned(),
                category: entry.text("category")?.to_owned(),
                value: Value::Against { score, reference },
                lenient: None,
            }),
            _ => unread.push(entry.name.to_owned()),
        }
    }
    Ok(Scored { layout: LAYOUT, outcomes, notes: listed("whose review could not be read, left out", &unread) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_score_is_a_ratio_of_means() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("review.jsonl");
        let lines = [
            r#"{"question_id": 0, "category": "refer_desc", "tuple": [8.0, 4.0]}"#,
            r#"{"question_id": 1, "category": "refer_desc", "tuple": [8, 8]}"#,
            r#"{"question_id": 2, "category": "refer_desc", "tuple": [-1, -1]}"#,
        ];
        std::fs::write(&path, lines.join("\n")).unwrap();
        let scored = score(&path).unwrap();
        assert_eq!(scored.table().overall().unwrap().score, 75.0);
        assert_eq!(scored.notes, ["1 whose review could not be read, left out: 2"]);
        std::fs::write(&path, r#"[{"question_id": 0, "category": "refer_desc", "tuple": [8]}]"#).unwrap();
        assert!(score(&path).unwrap_err().to_string().contains("0: `tuple`: expected two scores"));
    }
}
