//! `gar eval run`: benchmarks beside GAR-Bench.
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use gar_eval::benchmarks::{dlc, ferret, mdvp, open_class, videorefer, whole};

use super::run::{RunArgs, run_benchmark};
use crate::error::Result;
use crate::output::Console;

#[derive(Debug, Args)]
pub(crate) struct NeighbourArgs {
    /// The benchmark
    #[arg(value_enum, value_name = "BENCHMARK")]
    benchmark: Neighbour,
    /// Its file of questions, or the folder that holds it under its published name
    #[arg(long, value_name = "PATH")]
    annotations: PathBuf,
    /// Folder that its pictures are relative to, or are unpacked into
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
    #[command(flatten)]
    pub(super) run: RunArgs,
}

/// Benchmarks beside GAR-Bench.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Neighbour {
    /// Detailed localised captions: `annotations.json`
    DlcBench,
    /// Referring description: `box_refer_caption.json`
    FerretBench,
    /// Box captions in six domains: `mdvp_caption_mask.json`
    MdvpBench,
    /// Open-class recognition of objects: `lvis_val_1k_category.json`
    Lvis,
    /// Open-class recognition of objects and parts: `paco_val_1k_category.json`
    Paco,
    /// V*: `test_questions.jsonl`
    Vstar,
    /// MMVP, paired: `Questions.csv`
    Mmvp,
    /// RealWorldQA: `annotations.json` or `RealWorldQA.tsv`
    Realworldqa,
    /// MMStar: `MMStar.tsv`
    Mmstar,
    /// Descriptions of objects in videos; checked, not run: there is no model yet that takes frames
    VideoreferBenchD,
    /// Questions about objects in videos; checked, not run: there is no model yet that takes frames
    VideoreferBenchQ,
}

pub(crate) fn run(args: &NeighbourArgs, console: &Console) -> Result<()> {
    let NeighbourArgs { benchmark, annotations, images, run } = args;
    let benchmark = match benchmark {
        Neighbour::DlcBench => dlc::load(annotations, images),
        Neighbour::FerretBench => ferret::load(annotations, images),
        Neighbour::MdvpBench => mdvp::load(annotations, images),
        Neighbour::Lvis => open_class::load("lvis", annotations, images),
        Neighbour::Paco => open_class::load("paco", annotations, images),
        Neighbour::Vstar => whole::vstar::load(annotations, images),
        Neighbour::Mmvp => whole::mmvp::load(annotations, images),
        Neighbour::Realworldqa => whole::realworldqa::load(annotations, images),
        Neighbour::Mmstar => whole::mmstar::load(annotations, images),
        Neighbour::VideoreferBenchD => return Err(videorefer::load_d(annotations, images)?.refusal().into()),
        Neighbour::VideoreferBenchQ => return Err(videorefer::load_q(annotations, images)?.refusal().into()),
    }?;
    run_benchmark(benchmark, images, run, console)
}
