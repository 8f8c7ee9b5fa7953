//! `gar init`: a checkpoint of random weights in the released layout and at full size.
//!
//! Everything a checkpoint directory holds is written, so that whatever loads a published checkpoint loads this one: the
//! weights stand for nothing, sizes and memory are those of the published model.
mod config;
mod preset;
mod random;
mod tokenizer;
mod weights;

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use self::preset::Preset;
use crate::error::{Error, Result};
use crate::output::Console;

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The size of the model
    #[arg(long, value_enum)]
    pub(crate) preset: Preset,
    /// Start of the random generator; the same seed gives the same files
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Directory to write into; created where it is missing, refused where it is not empty
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
}

/// The template of the released checkpoints.
const CHAT_TEMPLATE: &str = include_str!("chat_template.jinja");

pub(crate) fn run(args: &InitArgs, console: &Console) -> Result<()> {
    let directory = &args.directory;
    claim(directory)?;
    let model = args.preset.architecture();
    for (name, value) in config::files(&model) {
        write_json(&directory.join(name), &value)?;
    }
    write_json(&directory.join("tokenizer.json"), &tokenizer::tokenizer(&model.text))?;
    let template = directory.join("chat_template.jinja");
    fs::write(&template, CHAT_TEMPLATE).map_err(Error::io(&template))?;
    weights::write(directory, &model, args.seed, console.bars().as_ref())?;
    console.note(&format!("random weights, seed {}: {}", args.seed, directory.display()));
    Ok(())
}

/// Creates the directory, or takes it where it is empty.
fn claim(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).map_err(Error::io(directory))?;
    match fs::read_dir(directory).map_err(Error::io(directory))?.next() {
        None => Ok(()),
        Some(_) => Err(Error::NotEmpty { path: directory.to_owned() }),
    }
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    fs::write(path, format!("{value:#}\n")).map_err(Error::io(path))
}
