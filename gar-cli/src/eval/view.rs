//! `gar eval view`.
use std::path::{Path, PathBuf};

use clap::Args;
use gar_eval::run::Manifest;
use gar_eval::view;

use crate::error::Result;
use crate::output::Console;

#[derive(Debug, Args)]
pub(crate) struct ViewArgs {
    /// A run's directory, or an output file of GAR-Bench
    #[arg(value_name = "RUN")]
    output: PathBuf,
    /// Folder that the pictures are relative to [default: the run's own, or the file's]
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// Folder to write into [default: RUN/view, or beside the file]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(crate) fn run(args: &ViewArgs, console: &Console) -> Result<()> {
    let (images, out) = match args.output.is_dir() {
        true => {
            let manifest = Manifest::read(&args.output.join("manifest.json"))?;
            (PathBuf::from(manifest.images), args.output.join("view"))
        }
        false => {
            let stem = args.output.file_stem().map(PathBuf::from).unwrap_or_default();
            let beside = args.output.parent().unwrap_or(Path::new(""));
            (beside.to_owned(), beside.join(format!("{}_view", stem.display())))
        }
    };
    let (images, out) = (args.images.clone().unwrap_or(images), args.out.clone().unwrap_or(out));
    let page = view::write(&args.output, Some(&images), &out, console.bars().as_ref())?;
    console.note(&format!("page: {}", page.display()));
    Ok(())
}
