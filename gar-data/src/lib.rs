//! Data for GAR: what a region model is trained on and judged by.
//!
//! ```text
//! .jsonl, .arrow ─ Dataset ─ Sample ─ Recipe ─ Prepared (image, regions, turns)
//! seed, split, index ─ SceneGenerator ─ Scene (image, regions, truth, questions) ─┬─ Sample
//!                                                                                └─ MiniBench
//! ```
//!
//! * [`Dataset`]: streams [`Sample`]s in the released schema from JSON Lines and, with the feature `arrow`, from the
//!   shards that Hugging Face `datasets` writes.
//! * [`Recipe`]: the paper's training text: slots drawn at random, varied [`instruction`]s, empty slots;
//!   [`answer_mask`] says which tokens are learnt.
//! * [`scene`]: drawn scenes with exact masks and true answers.
//! * [`mini_bench`]: held-out questions in GAR-Bench's own format.
//!
//! The crate knows masks and pictures (`gar-prompt`, `gar-vision`) and no model.
#![forbid(unsafe_code)]

pub mod bench;
#[cfg(feature = "arrow")]
mod columns;
mod dataset;
mod error;
mod instruction;
mod json_lines;
mod recipe;
pub mod rng;
mod sample;
pub mod scene;
#[cfg(feature = "arrow")]
mod shard;

pub use bench::{MiniBench, MiniConfig, mini_bench};
pub use dataset::{Dataset, Samples};
pub use error::{Error, Result};
pub use instruction::instruction;
pub use json_lines::JsonLines;
pub use recipe::{Prepared, Recipe, answer_mask};
pub use sample::{Picture, Sample, Speaker, Turn, png};
#[cfg(feature = "arrow")]
pub use shard::ArrowShard;

/// The README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
