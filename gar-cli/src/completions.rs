//! `gar completions`: a completion script for a shell.
use clap::CommandFactory;

use crate::args::CompletionsArgs;
use crate::cli::Cli;
use crate::error::Result;
use crate::output;

pub(crate) fn run(args: &CompletionsArgs) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "gar", &mut script);
    output::text(&String::from_utf8_lossy(&script))
}
