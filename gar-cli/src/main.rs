//! The program `gar`: describe regions of a picture and ask about them; inspect, initialise and trace GAR checkpoints.
//!
//! Standard output carries the answer, as it comes, or one JSON document; standard error carries progress and messages.
//! Each command is one file here; what computes lives in `gar-core`.
#![forbid(unsafe_code)]

mod args;
mod ask;
mod cli;
mod completions;
mod describe;
mod domain;
mod error;
mod eval;
mod find;
mod init;
mod inspect;
mod output;
mod precision;
mod quantize;
mod regions;
mod report;
mod scene;
mod session;
mod trace;
mod train;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::error::Result;
use crate::output::Console;

fn main() -> ExitCode {
    let Cli { command, quiet } = Cli::parse();
    let console = Console::new(quiet);
    match run(&command, &console) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console.error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(command: &Command, console: &Console) -> Result<()> {
    // Before anything is computed: decoding a picture already takes threads.
    if let Some(threads) = command.threads() {
        rayon::ThreadPoolBuilder::new().num_threads(threads.get()).build_global()?;
    }
    match command {
        Command::Describe(args) => describe::run(args, console),
        Command::Ask(args) => ask::run(args, console),
        Command::Inspect(args) => inspect::run(args),
        Command::Init(args) => init::run(args, console),
        Command::Quantize(args) => quantize::run(args, console),
        Command::Trace(args) => trace::run(args, console),
        Command::Scene(args) => scene::run(args, console),
        Command::Eval(command) => eval::run(command, console),
        Command::Train(args) => train::run(args, console),
        Command::Completions(args) => completions::run(args),
    }
}
