//! `gar eval similarity`.
use std::path::PathBuf;

use clap::Args;
use gar_core::kernels::Kernels;
use gar_eval::score::{OUTPUT_FILE, open_class};
use gar_eval::sentence::SentenceEncoder;

use crate::error::{Error, Result};
use crate::output::Console;

#[derive(Debug, Args)]
pub(crate) struct SimilarityArgs {
    /// An output for LVIS or PACO (entries with `Answer` and `pred`), or a run's directory
    #[arg(value_name = "RUN_OR_FILE")]
    output: PathBuf,
    /// Directory of all-MiniLM-L6-v2
    #[arg(long, value_name = "DIR")]
    encoder: PathBuf,
    /// File to write [default: beside the output, with `_eval` in its name]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(crate) fn run(args: &SimilarityArgs, console: &Console) -> Result<()> {
    let output = if args.output.is_dir() { args.output.join(OUTPUT_FILE) } else { args.output.clone() };
    let out = args.out.clone().unwrap_or_else(|| {
        let stem = output.file_stem().unwrap_or_default().to_string_lossy();
        output.with_file_name(format!("{stem}_eval.json"))
    });
    let encoder = SentenceEncoder::open(&args.encoder, Kernels::cpu())?;
    let measured = open_class::measure(&output, &encoder)?;
    std::fs::write(&out, measured).map_err(Error::io(&out))?;
    console.note(&format!("measured: {}", out.display()));
    Ok(())
}
