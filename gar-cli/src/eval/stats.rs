//! `gar eval stats`.
use std::path::PathBuf;

use clap::Args;
use gar_eval::stats;

use crate::error::{Error, Result};
use crate::output::{self, Console};

#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    /// An annotation file, or an output that keeps the annotations
    file: PathBuf,
    /// Write one JSON document in place of tables
    #[arg(long)]
    json: bool,
    /// Draw the histograms
    #[arg(long, value_name = "OUT.svg|png")]
    plot: Option<PathBuf>,
}

pub(crate) fn run(args: &StatsArgs, console: &Console) -> Result<()> {
    let found = stats::read(&args.file)?;
    if let Some(path) = &args.plot {
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("svg") => std::fs::write(path, stats::svg(&found)).map_err(Error::io(path))?,
            Some("png") => stats::png(&found).save(path).map_err(|e| Error::io(path)(std::io::Error::other(e)))?,
            _ => return Err(Error::Usage(format!("--plot {}: expected a name in .svg or .png", path.display()))),
        }
        console.note(&format!("plot: {}", path.display()));
    }
    match args.json {
        true => output::json(&found, true),
        false => output::text(&stats::table(&found)),
    }
}
