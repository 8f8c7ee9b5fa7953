//! Benchmarks of region-level understanding: run any [`RegionModel`](gar_core::RegionModel) on them, score what it said.
//!
//! ```text
//! annotations ──benchmarks──▶ Benchmark { items } ──run──▶ RUN/answers.jsonl ──▶ RUN/output.json
//!                                                                                   │ the published form
//!                                      table, JSON, Markdown, CSV ◀──score──────────┘
//! ```
//!
//! A benchmark is one module of [`benchmarks`]: its loader, its questions and the form of its output. [`score`] reads
//! outputs, whether a run of this crate or its authors wrote them, and never sees a model.
#![forbid(unsafe_code)]

pub mod as_published;
pub mod benchmarks;
mod csv;
mod error;
mod files;
pub mod json;
pub mod judge;
pub mod mini;
pub mod overlay;
pub mod run;
pub mod score;
pub mod sentence;
pub mod stats;
pub mod view;

pub use as_published::AsPublished;
pub use error::{Error, Result};
