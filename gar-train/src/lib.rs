//! Training for GAR: the code that infers is the code that trains.
//!
//! * [`Tape`] wraps any table of operations and records it; [`Tape::backward`] gives the gradients.
//! * [`Trainer`] steps AdamW over a stream of [`Samples`]: cross-entropy on what the assistant says, gradients summed in
//!   the order of the samples, so that neither threads nor an interruption change a bit.
//! * [`Trainer::save`] and [`Trainer::resume`] keep a run on disk, [`Trainer::export`] writes the released layout.
//! * [`fresh`] draws weights to begin with where there is no checkpoint.
//! * [`JsonLines`] reads samples in the released schema.
//!
//! ```no_run
//! use gar_core::{GarModel, kernels::Weights};
//! use gar_train::{JsonLines, RunConfig, Trainer};
//!
//! let (checkpoint, out) = ("GAR-1B".as_ref(), "run".as_ref());
//! let samples = JsonLines::open("samples.jsonl", 1)?;
//! let model = GarModel::open(checkpoint)?.load()?;
//! let mut trainer = Trainer::new(model, &Weights::open(checkpoint)?, RunConfig::new(1000))?;
//! trainer.resume(out)?;
//! trainer.run(&samples, out, &mut |_, report| Ok(println!("{} {:.3}", report.step, report.loss)))?;
//! trainer.export(checkpoint, "tuned".as_ref())?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod backward;
mod checkpoint;
mod config;
mod curve;
mod error;
pub mod fresh;
mod json_lines;
mod objective;
mod optimizer;
mod parameters;
mod sample;
mod tape;
mod trainer;

pub use config::{EvaluationConfig, RunConfig, TrainFile};
pub use error::{Error, Result};
pub use json_lines::JsonLines;
pub use objective::{Loss, loss};
pub use optimizer::{Moments, OptimizerConfig, adamw, norm};
pub use parameters::{Parameters, Part};
pub use sample::{Sample, Samples};
pub use tape::{Gradients, Tape};
pub use trainer::{History, Point, StepReport, Trainer};
