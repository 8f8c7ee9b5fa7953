//! `gar quantize`: a checkpoint with its matrices in 8 bits.
use std::path::PathBuf;

use clap::Args;

use crate::error::Result;
use crate::output::Console;

#[derive(Debug, Args)]
pub(crate) struct QuantizeArgs {
    /// Checkpoint directory in the released layout
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// Directory to write into; created where it is missing, refused where it is not empty
    #[arg(value_name = "OUT")]
    output: PathBuf,
}

pub(crate) fn run(args: &QuantizeArgs, console: &Console) -> Result<()> {
    gar_core::quantize(&args.input, &args.output, console.bars().as_ref())?;
    console.note(&format!("8-bit weights: {}", args.output.display()));
    Ok(())
}
