//! `gar eval gar-bench`.
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use gar_eval::benchmarks::gar_bench::{Task, load};

use super::run::{RunArgs, run_benchmark};
use crate::error::Result;
use crate::output::Console;

#[derive(Debug, Args)]
pub(crate) struct GarBenchArgs {
    /// Folder with the released annotation files, or one such file
    #[arg(long, value_name = "DIR")]
    annotations: PathBuf,
    /// Folder that the annotations' pictures are relative to [default: the annotations' folder]
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// The part of the benchmark
    #[arg(long, value_enum, default_value = "vqa")]
    task: Part,
    #[command(flatten)]
    pub(super) run: RunArgs,
}

/// [`Task`] on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Part {
    /// Multiple choice, 424 questions
    Vqa,
    /// Short captions of relations, 97 questions
    Simple,
    /// Detailed captions, 107 questions
    Detailed,
}

pub(crate) fn run(args: &GarBenchArgs, console: &Console) -> Result<()> {
    let task = match args.task {
        Part::Vqa => Task::Vqa,
        Part::Simple => Task::Simple,
        Part::Detailed => Task::Detailed,
    };
    let beside = match args.annotations.is_dir() {
        true => args.annotations.clone(),
        false => args.annotations.parent().map(PathBuf::from).unwrap_or_default(),
    };
    let images = args.images.clone().unwrap_or(beside);
    let benchmark = load(task, &args.annotations, &images)?;
    run_benchmark(benchmark, &images, &args.run, console)
}
