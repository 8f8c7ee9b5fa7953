//! `gar eval`: run benchmarks, score their outputs, look at them.
mod gar_bench;
mod judge;
mod mini;
mod neighbours;
mod run;
mod score;
mod similarity;
mod stats;
mod view;

use clap::Subcommand;

use crate::args::ModelArgs;
use crate::error::Result;
use crate::output::Console;

#[derive(Debug, Subcommand)]
pub(crate) enum EvalCommand {
    /// Ask a model the questions of GAR-Bench; a run that was interrupted goes on where it stood
    GarBench(gar_bench::GarBenchArgs),
    /// Ask a model the questions of another benchmark of the paper
    Run(Box<neighbours::NeighbourArgs>),
    /// Ask a model about drawn scenes that it did not learn from, and score it by the truth: a mini GAR-Bench
    Mini(Box<mini::MiniArgs>),
    /// Ask a language model to judge captions; its answers are kept, none is asked for twice
    Judge(Box<judge::JudgeArgs>),
    /// Measure how near open-class answers come to the classes' names, in meaning and in words
    Similarity(similarity::SimilarityArgs),
    /// Score outputs of a run, of a judge, or of a benchmark's authors; several stand side by side
    Score(score::ScoreArgs),
    /// Show prompts, mask areas and sizes of an annotation file
    Stats(stats::StatsArgs),
    /// Write a page to look at a run: pictures with regions, options, answers
    View(view::ViewArgs),
}

impl EvalCommand {
    /// How a model is loaded, where one is run.
    pub(crate) fn model(&self) -> Option<&ModelArgs> {
        match self {
            Self::GarBench(args) => Some(&args.run.model),
            Self::Run(args) => Some(&args.run.model),
            Self::Mini(args) => Some(&args.model),
            _ => None,
        }
    }
}

pub(crate) fn run(command: &EvalCommand, console: &Console) -> Result<()> {
    match command {
        EvalCommand::GarBench(args) => gar_bench::run(args, console),
        EvalCommand::Run(args) => neighbours::run(args, console),
        EvalCommand::Mini(args) => mini::run(args, console),
        EvalCommand::Judge(args) => judge::run(args, console),
        EvalCommand::Similarity(args) => similarity::run(args, console),
        EvalCommand::Score(args) => score::run(args),
        EvalCommand::Stats(args) => stats::run(args, console),
        EvalCommand::View(args) => view::run(args, console),
    }
}
