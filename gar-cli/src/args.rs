//! Arguments that commands share, and those of the small ones.
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use clap_complete::Shell;
use gar_core::ReplayBoxes;

use crate::precision::PrecisionArgs;
use crate::regions::RegionArgs;

#[derive(Debug, Args)]
pub(crate) struct DescribeArgs {
    /// The picture: PNG, JPEG, WebP, BMP, GIF or TIFF
    pub(crate) image: PathBuf,
    #[command(flatten)]
    pub(crate) session: SessionArgs,
}

#[derive(Debug, Args)]
pub(crate) struct AskArgs {
    /// The picture: PNG, JPEG, WebP, BMP, GIF or TIFF
    pub(crate) image: PathBuf,
    /// The question; it names regions as `<Prompt0>`, `<Prompt1>`, …
    pub(crate) question: Option<String>,
    #[command(flatten)]
    pub(crate) session: SessionArgs,
}

/// What `describe` and `ask` share.
#[derive(Debug, Args)]
pub(crate) struct SessionArgs {
    #[command(flatten)]
    pub(crate) regions: RegionArgs,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) answer: AnswerArgs,
    /// Write one JSON document (in a conversation: one a line) in place of plain text
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,
    /// Write the picture with its regions tinted, outlined and named
    #[arg(long, value_name = "OUT.png", help_heading = "Output")]
    pub(crate) overlay: Option<PathBuf>,
}

/// How a model is loaded.
#[derive(Debug, Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct ModelArgs {
    /// Checkpoint directory in the released layout [default: `$GAR_MODEL`, else `models/gar-mini` in the working
    /// directory, beside the program or above either, else `gar/gar-mini` among the user's data]
    #[arg(long = "model", value_name = "DIR")]
    pub(crate) given: Option<PathBuf>,
    /// Boxes that feature replay samples [default: what the checkpoint says]
    #[arg(long, value_enum)]
    pub(crate) replay: Option<Replay>,
    /// Where to compute: `cpu`, with all cores or `--threads` of them, or `cuda:N`, the N-th NVIDIA card (`cuda`: the first)
    #[arg(long, default_value = "cpu", value_parser = device)]
    pub(crate) device: Device,
    /// Threads to compute with [default: one for each core]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<NonZeroUsize>,
    #[command(flatten)]
    pub(crate) precision: PrecisionArgs,
}

/// How an answer is made.
#[derive(Debug, Args)]
#[command(next_help_heading = "Answer")]
pub(crate) struct AnswerArgs {
    /// Most tiles of the grid [default: what the checkpoint says]
    #[arg(long, value_name = "N")]
    pub(crate) max_tiles: Option<NonZeroUsize>,
    /// Most tokens of an answer
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub(crate) max_new_tokens: usize,
    /// Divides the logits; 0 always takes the most probable token
    #[arg(long, value_name = "T", default_value_t = 0.0)]
    pub(crate) temperature: f32,
    /// Draw from the K most probable tokens; 0 keeps all
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub(crate) top_k: usize,
    /// Draw from the most probable tokens whose probability reaches P
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    pub(crate) top_p: f32,
    /// Draw from tokens at least P times as probable as the most probable one
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    pub(crate) min_p: f32,
    /// Makes tokens that occurred already less likely; 1 changes nothing
    #[arg(long, value_name = "R", default_value_t = 1.0)]
    pub(crate) repetition_penalty: f32,
    /// Start of the random generator
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// End the answer before this text; may be given several times
    #[arg(long, value_name = "STRING")]
    pub(crate) stop: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// Checkpoint directory in the released layout
    #[arg(value_name = "MODEL")]
    pub(crate) directory: PathBuf,
    /// Write one JSON document in place of tables
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TraceArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// The case: a JSON object with `image`, `prompts`, `masks` (COCO RLE) and `user_text`
    #[arg(long, value_name = "CASE.json")]
    pub(crate) case: PathBuf,
    /// Folder that the case's `image` is relative to
    #[arg(long, value_name = "DIR")]
    pub(crate) images: PathBuf,
    /// Most greedy tokens
    #[arg(long, value_name = "N", default_value_t = 24)]
    pub(crate) steps: usize,
    /// The safetensors file to write
    #[arg(long, value_name = "T.safetensors")]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

/// [`ReplayBoxes`] on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Replay {
    /// As the released weights were trained: boxes are scaled twice
    Released,
    /// As the paper describes: boxes are scaled once
    Paper,
}

impl From<Replay> for ReplayBoxes {
    fn from(replay: Replay) -> Self {
        match replay {
            Replay::Released => Self::Released,
            Replay::Paper => Self::Paper,
        }
    }
}

/// Where to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Device {
    /// All cores.
    Cpu,
    /// A CUDA device, by its ordinal.
    Cuda(usize),
}

fn device(name: &str) -> Result<Device, String> {
    const EXPECTED: &str = "expected `cpu`, `cuda` or `cuda:N`";
    let device = match name.split_once(':') {
        None if name == "cpu" => Device::Cpu,
        None if name == "cuda" => Device::Cuda(0),
        Some(("cuda", ordinal)) => Device::Cuda(ordinal.parse().map_err(|_| EXPECTED)?),
        _ => return Err(EXPECTED.into()),
    };
    match device {
        Device::Cuda(_) if !cfg!(feature = "cuda") => Err(
            "this build computes on the CPU alone; `cargo install --path gar-cli --features cuda` builds one for CUDA"
                .into(),
        ),
        device => Ok(device),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named() {
        assert_eq!(device("cpu"), Ok(Device::Cpu));
        for bad in ["", "gpu", "cpu:0", "cuda:", "cuda:x", "cuda:-1", "cuda:0:1", "CUDA"] {
            assert!(device(bad).unwrap_err().contains("expected"), "{bad}");
        }
        if cfg!(feature = "cuda") {
            assert_eq!((device("cuda"), device("cuda:3")), (Ok(Device::Cuda(0)), Ok(Device::Cuda(3))));
        } else {
            assert!(device("cuda:0").unwrap_err().contains("--features cuda"));
        }
    }
}
