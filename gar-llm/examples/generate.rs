//! Continues a prompt with any Llama in a Hugging Face directory, greedily, streaming to standard output.
//!
//! ```text
//! cargo run --release -p gar-llm --example generate -- DIR "prompt" --max-new-tokens 64
//! ```
#![allow(clippy::print_stdout)]

use std::io::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::Parser;
use gar_kernels::{Kernels, NoProgress};
use gar_llm::LanguageModel;

/// Continues a prompt with a Llama.
#[derive(Parser)]
struct Arguments {
    /// Directory with config.json, tokenizer.json and safetensors.
    dir: PathBuf,
    /// What to continue, or what the user says where the directory has a chat template.
    prompt: String,
    /// The most tokens to make.
    #[arg(long, default_value_t = 64)]
    max_new_tokens: usize,
    /// Continue the bare prompt, whether there is a chat template or not.
    #[arg(long)]
    raw: bool,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let model = LanguageModel::open(&arguments.dir, Kernels::cpu(), &NoProgress)?;
    let prompt = match arguments.raw {
        true => model.tokenizer().encode(&arguments.prompt, true)?,
        false => model.prompt(&arguments.prompt)?,
    };
    let mut out = std::io::stdout().lock();
    model.generate(&prompt, &model.greedy(arguments.max_new_tokens), &mut |piece| match write!(out, "{piece}")
        .and_then(|()| out.flush())
    {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    })?;
    writeln!(out)?;
    Ok(())
}
