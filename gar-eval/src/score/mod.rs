//! Scoring: reads a run's or a published output and gives a table. Knows nothing of models.
//!
//! A benchmark's scorer turns a file into [`Scored`]: one [`Outcome`] for each question. Everything after that
//! (the table, its intervals, the comparison of runs, the printing) is the same for all.
mod choices;
mod interval;
mod table;
mod videorefer;

pub use choices::CHOICE_LETTERS;
pub use interval::Interval;
pub use table::{Measure, Row, RowKind, ScoreTable};
pub use videorefer::{VIDEOREFER_D_ASPECTS, VIDEOREFER_Q_TYPES};

/// What became of one question.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The question; runs are compared over the ids that they share.
    pub id: String,
    /// Its category, one of the [`Layout`]'s.
    pub category: String,
    /// How well it was answered.
    pub value: Value,
    /// As `value`, with the answer extracted leniently, where that differs in principle. Reported beside, never mixed in.
    pub lenient: Option<bool>,
}

/// How well a question was answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// Right or wrong: a category's score is the share that is right, with Wilson's interval.
    Right(bool),
    /// A score: a category's score is the mean, with a bootstrap interval.
    Score(f64),
    /// A score beside that of a reference answer: a category's score is the ratio of the means, with a bootstrap
    /// interval.
    Against {
        /// Of the model's answer.
        score: f64,
        /// Of the reference's.
        reference: f64,
    },
}

/// How a benchmark's table is arranged.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// The benchmark's name.
    pub benchmark: &'static str,
    /// Categories in the table's order. Those without a question are left out.
    pub categories: &'static [&'static str],
    /// Groups of categories that get a row of their own, such as "perception".
    pub groups: &'static [(&'static str, &'static [&'static str])],
    /// What the last row is.
    pub overall: Overall,
    /// The score of a value of 1: 100 for per cent, 1 where scores stay as they are (a judge's 0 to 5).
    pub scale: f64,
}

/// What a table's last row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overall {
    /// Over all questions alike.
    Micro,
    /// The mean of the categories' scores.
    MeanOfCategories,
}

/// A scored file: its outcomes and the way to arrange them.
#[derive(Clone, Debug)]
pub struct Scored {
    /// How the table is arranged.
    pub layout: Layout,
    /// One for each question.
    pub outcomes: Vec<Outcome>,
    /// What a reader should know, such as answers that a judge could not read.
    pub notes: Vec<String>,
}

impl Scored {
    /// The table.
    pub fn table(&self) -> ScoreTable {
        ScoreTable::new(&self.layout, &self.outcomes)
    }
}
