//! Multiple choice and short answers about whole pictures: V*, RealWorldQA, MMStar; MMVP by pairs.
use std::path::Path;

use super::gar_bench::listed;
use super::{Layout, Outcome, Overall, Scored, Value, exact, lenient, read_output};
use crate::Result;
use crate::benchmarks::whole::CHOICE_LETTERS;
use crate::json::Entry;

/// A benchmark of right and wrong answers.
const fn layout(benchmark: &'static str, categories: &'static [&'static str]) -> Layout {
    Layout { benchmark, categories, groups: &[], groups_are: Overall::Micro, overall: Overall::Micro, scale: 100.0 }
}

/// Scores a V* output: entries with `category`, `options`, `answer` and `prediction`.
///
/// # Errors
/// Those of [`read_output`]; [`Error::Field`](crate::Error::Field) for a field that is missing or of another type.
pub fn vstar(path: &Path) -> Result<Scored> {
    score(path, layout("vstar", &crate::benchmarks::whole::vstar::CATEGORIES))
}

/// Scores an MMStar output, as [`vstar`].
///
/// # Errors
/// As [`vstar`].
pub fn mmstar(path: &Path) -> Result<Scored> {
    score(path, layout("mmstar", &crate::benchmarks::whole::mmstar::CATEGORIES))
}

/// Scores a RealWorldQA output, as [`vstar`]; its questions have no categories, and some of its answers are words.
///
/// # Errors
/// As [`vstar`].
pub fn realworldqa(path: &Path) -> Result<Scored> {
    score(path, layout("realworldqa", &["all"]))
}

fn score(path: &Path, layout: Layout) -> Result<Scored> {
    let output = read_output(path, "id")?;
    let outcome = |entry: Entry<'_>| {
        let category: Option<String> = entry.get("category", "a category, or null")?;
        Ok(Outcome { category: category.unwrap_or_else(|| "all".into()), ..answered(&entry)? })
    };
    let outcomes = output.iter().map(outcome).collect::<Result<_>>()?;
    Ok(Scored { layout, outcomes, notes: Vec::new() })
}

/// Whether an answer is right; without a category.
fn answered(entry: &Entry<'_>) -> Result<Outcome> {
    let options: Vec<String> = entry.get("options", "a list of options")?;
    let (answer, said) = (entry.text("answer")?, entry.text("prediction")?);
    Ok(Outcome {
        id: entry.name.to_owned(),
        category: String::new(),
        value: Value::Right(exact(said, answer)),
        lenient: Some(is_meant(said, answer, &options)),
    })
}

/// Whether an answer is right when it is read leniently: by its letter, or, where there are no options, but for a full
/// stop.
pub(super) fn is_meant(said: &str, answer: &str, options: &[String]) -> bool {
    match options.is_empty() && !CHOICE_LETTERS.contains(&answer) {
        true => exact(said.trim().trim_end_matches('.'), answer.trim().trim_end_matches('.')),
        // Where the text of the question holds the options, only their letters are known.
        false if options.is_empty() => lenient(said, &CHOICE_LETTERS).is_some_and(|l| exact(&l.to_string(), answer)),
        false => lenient(said, options).is_some_and(|l| exact(&l.to_string(), answer)),
    }
}

/// Scores an MMVP output: entries 1 and 2 are a pair, 3 and 4, …; a pair is right where both are.
///
/// # Errors
/// As [`vstar`]; an odd number of entries, or ids that are not 1, 2, 3, ….
pub fn mmvp(path: &Path) -> Result<Scored> {
    let output = read_output(path, "id")?;
    let mut singles = Vec::new();
    for (at, entry) in output.iter().enumerate() {
        if entry.name != (at + 1).to_string() {
            return Err(entry.wrong("id", &format!("\"{}\"", at + 1), &format!("{:?}", entry.name)));
        }
        singles.push(answered(&entry)?);
    }
    if let Some(last) = output.iter().last().filter(|_| singles.len() % 2 == 1) {
        return Err(last.wrong("id", "a pair for each question", "none for this one"));
    }
    let right = |outcome: &Outcome| outcome.value == Value::Right(true);
    let pair = |pair: &[Outcome]| Outcome {
        id: format!("{}+{}", pair[0].id, pair[1].id),
        category: "pairs".into(),
        value: Value::Right(pair.iter().all(right)),
        lenient: Some(pair.iter().all(|outcome| outcome.lenient == Some(true))),
    };
    let outcomes = singles.chunks_exact(2).map(pair).collect();
    let correct = singles.iter().filter(|outcome| right(outcome)).count();
    let notes =
        vec![format!("{correct} of {} single questions are right; a pair counts where both are", singles.len())];
    Ok(Scored { layout: layout("mmvp", &["pairs"]), outcomes, notes })
}

/// Scores a VideoRefer-Bench-Q output: entries with `type`, `Answer` (`(A) …`) and `pred`.
///
/// # Errors
/// As [`vstar`]; an unknown type, an answer without a letter.
pub fn videorefer_q(path: &Path) -> Result<Scored> {
    let output = read_output(path, "id")?;
    let types = &super::VIDEOREFER_Q_TYPES;
    let mut empty = Vec::new();
    let outcome = |entry: Entry<'_>| {
        let category = entry.text("type")?;
        if !types.contains(&category) {
            return Err(entry.wrong("type", &types.join(", "), &format!("{category:?}")));
        }
        let (whole, said) = (entry.text("Answer")?, entry.text("pred")?);
        let answer = whole.strip_prefix('(').and_then(|rest| rest.split_once(')')).map(|(letter, _)| letter);
        let answer = answer.filter(|letter| CHOICE_LETTERS.contains(letter));
        let answer = answer.ok_or_else(|| entry.wrong("Answer", "\"(A) …\"", &format!("{whole:?}")))?;
        if said.trim().is_empty() {
            empty.push(entry.name.to_owned());
        }
        let options = match entry.fields.contains_key("options") {
            true => entry.get("options", "a list of options")?,
            false => Vec::new(),
        };
        Ok(Outcome {
            id: entry.name.to_owned(),
            category: category.to_owned(),
            value: Value::Right(exact(said.trim().trim_start_matches('(').trim_end_matches([')', '.']), answer)),
            lenient: Some(is_meant(said, answer, &options)),
        })
    };
    let outcomes = output.iter().map(outcome).collect::<Result<_>>()?;
    let notes = listed("without an answer, counted as wrong", &empty);
    Ok(Scored { layout: layout("videorefer-bench-q", types), outcomes, notes })
}
