//! Scoring: reads a run's or a published output and gives a table. Knows nothing of models.
//!
//! A benchmark's scorer turns a file into [`Scored`]: one [`Outcome`] for each question. Everything after that
//! (the table, its intervals, the comparison of runs, the printing) is the same for all.
use std::path::Path;

use crate::Result;

pub mod choices;
mod compare;
pub mod dlc_bench;
pub mod ferret_bench;
pub mod gar_bench;
mod interval;
mod letter;
pub mod mdvp;
pub mod open_class;
mod outputs;
mod render;
mod table;
pub mod videorefer;

pub use compare::{Comparison, compare};
pub use interval::Interval;
pub(crate) use interval::wilson;
pub use letter::{exact, lenient};
pub use outputs::{OUTPUT_FILE, Output, read_output};
pub use render::{Format, render, scores_json};
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
    /// What a group's row is.
    pub groups_are: Overall,
    /// What the last row is.
    pub overall: Overall,
    /// The score of a value of 1: 100 for per cent, 1 where scores stay as they are (a judge's 0 to 5).
    pub scale: f64,
}

/// What a row over several categories is.
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

/// A way to score files, by the name on the command line.
#[derive(Clone, Copy)]
pub struct Scorer {
    /// The name: `gar-bench-vqa`.
    pub name: &'static str,
    /// What files it takes, for help texts.
    pub files: &'static str,
    /// Scores files; each becomes a column of its own, unless the benchmark needs several for one.
    pub score: fn(&[&Path]) -> Result<Vec<Scored>>,
}

/// Every scorer.
pub const SCORERS: &[Scorer] = &[
    Scorer {
        name: "gar-bench-vqa",
        files: "a run's directory, or an output with `model_output`",
        score: |paths| paths.iter().map(|path| gar_bench::vqa(path)).collect(),
    },
    Scorer {
        name: "gar-bench-simple",
        files: "a judge's file, an output with `eval_result`",
        score: |paths| paths.iter().map(|path| gar_bench::simple(path)).collect(),
    },
    Scorer {
        name: "gar-bench-detailed",
        files: "a judge's file, an output with `eval_result`",
        score: |paths| paths.iter().map(|path| gar_bench::detailed(path)).collect(),
    },
    Scorer {
        name: "gar-bench-cap",
        files: "the judge's files of both parts of one run, scored together",
        score: |paths| Ok(vec![gar_bench::cap(paths)?]),
    },
    Scorer {
        name: "dlc-bench",
        files: "a judge's file",
        score: |paths| paths.iter().map(|path| dlc_bench::score(path)).collect(),
    },
    Scorer {
        name: "ferret-bench",
        files: "a judge's review",
        score: |paths| paths.iter().map(|path| ferret_bench::score(path)).collect(),
    },
    Scorer {
        name: "mdvp-bench",
        files: "a judge's review",
        score: |paths| paths.iter().map(|path| mdvp::score(path)).collect(),
    },
    Scorer {
        name: "lvis",
        files: "an output with `sim` and `siou`, as `gar eval similarity` writes it",
        score: |paths| paths.iter().map(|path| open_class::score("lvis", path)).collect(),
    },
    Scorer {
        name: "paco",
        files: "an output with `sim` and `siou`, as `gar eval similarity` writes it",
        score: |paths| paths.iter().map(|path| open_class::score("paco", path)).collect(),
    },
    Scorer {
        name: "videorefer-bench-d",
        files: "a judge's file",
        score: |paths| paths.iter().map(|path| videorefer::score(path)).collect(),
    },
    Scorer {
        name: "videorefer-bench-q",
        files: "an output with `pred`",
        score: |paths| paths.iter().map(|path| choices::videorefer_q(path)).collect(),
    },
    Scorer {
        name: "vstar",
        files: "a run's directory, or its output",
        score: |paths| paths.iter().map(|path| choices::vstar(path)).collect(),
    },
    Scorer {
        name: "mmvp",
        files: "a run's directory, or its output",
        score: |paths| paths.iter().map(|path| choices::mmvp(path)).collect(),
    },
    Scorer {
        name: "realworldqa",
        files: "a run's directory, or its output",
        score: |paths| paths.iter().map(|path| choices::realworldqa(path)).collect(),
    },
    Scorer {
        name: "mmstar",
        files: "a run's directory, or its output",
        score: |paths| paths.iter().map(|path| choices::mmstar(path)).collect(),
    },
];
