//! The command line: every command and what is global.
use std::num::NonZeroUsize;

use clap::{Parser, Subcommand};

use crate::args::{AskArgs, CompletionsArgs, DescribeArgs, InspectArgs, TraceArgs};
use crate::eval::EvalCommand;
use crate::init::InitArgs;
use crate::quantize::QuantizeArgs;
use crate::scene::SceneArgs;
use crate::train::TrainArgs;

/// Shown at the end of every help text.
const EXIT_CODES: &str = "Exit codes: 0 success, 1 failure at run time, 2 wrong usage.";

/// Describe regions of a picture, and ask about them (Grasp Any Region)
#[derive(Debug, Parser)]
#[command(name = "gar", version, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// No progress and no messages but errors
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Describe one region of a picture in detail
    #[command(after_help = EXIT_CODES)]
    Describe(DescribeArgs),
    /// Ask a question about regions of a picture, or several in a conversation
    ///
    /// Without a question, lines are read from standard input; each is a turn of one conversation about the picture.
    /// `/reset` begins a new conversation, `/quit` or the end of input ends the program.
    #[command(after_help = EXIT_CODES)]
    Ask(AskArgs),
    /// Show a checkpoint's architecture, parameters and memory
    #[command(after_help = EXIT_CODES)]
    Inspect(InspectArgs),
    /// Write a checkpoint of random weights in the released layout, for benchmarks and tests
    #[command(after_help = EXIT_CODES)]
    Init(InitArgs),
    /// Write a checkpoint with its matrices in 8 bits
    #[command(after_help = EXIT_CODES)]
    Quantize(QuantizeArgs),
    /// Write every intermediate of one case as whole tensors, to debug a port or a kernel
    #[command(after_help = EXIT_CODES)]
    Trace(TraceArgs),
    /// Draw a scene with masks, truth and questions
    #[command(after_help = EXIT_CODES)]
    Scene(SceneArgs),
    /// Run benchmarks, score outputs, look at them
    #[command(subcommand)]
    Eval(EvalCommand),
    /// Fine-tune a checkpoint on samples in the released schema, as a TOML file says; an interrupted run goes on
    #[command(after_help = EXIT_CODES)]
    Train(TrainArgs),
    /// Print a completion script for a shell
    #[command(after_help = EXIT_CODES)]
    Completions(CompletionsArgs),
}

impl Command {
    /// Threads to compute with, where it is said how many.
    pub(crate) fn threads(&self) -> Option<NonZeroUsize> {
        let model = match self {
            Self::Describe(args) => &args.session.model,
            Self::Ask(args) => &args.session.model,
            Self::Trace(args) => &args.model,
            Self::Eval(command) => command.model()?,
            _ => return None,
        };
        model.threads
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
