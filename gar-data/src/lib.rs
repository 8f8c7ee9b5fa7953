//! Data for GAR.
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

pub use bench::{MiniBench, mini_bench};
pub use dataset::{Dataset, Samples};
pub use error::{Error, Result};
pub use instruction::instruction;
pub use json_lines::JsonLines;
pub use recipe::{Prepared, Recipe, answer_mask};
pub use sample::{Picture, Sample, Speaker, Turn, png};
#[cfg(feature = "arrow")]
pub use shard::ArrowShard;
