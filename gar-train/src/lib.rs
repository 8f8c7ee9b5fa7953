//! Training for GAR: the code that infers is the code that trains.
//!
//! * [`Tape`] wraps any table of operations and records it; [`Tape::backward`] gives the gradients.
//! * [`Trainer`] steps AdamW over a stream of [`Samples`]: cross-entropy on what the assistant says, gradients summed in
//!   the order of the samples, so that neither threads nor an interruption change a bit.
//! * [`Trainer::save`] and [`Trainer::resume`] keep a run on disk, [`Trainer::export`] writes the released layout.
//! * [`fresh`] draws weights to begin with where there is no checkpoint.
//! * [`Recorded`] reads datasets in the released schema, [`DrawnScenes`] draws its samples; any function of a position
//!   is a stream of samples too.
//! * Linear probes ([`ProbeConfig`]) help a model that begins from nothing.
//!
//! ```no_run
//! use gar_core::{GarModel, kernels::Weights};
//! use gar_train::{Recorded, RunConfig, Trainer};
//!
//! let (checkpoint, out) = ("GAR-1B".as_ref(), "run".as_ref());
//! let model = GarModel::open(checkpoint)?.load()?;
//! let samples = Recorded::open("samples.jsonl", &model, 1)?;
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
mod objective;
mod optimizer;
mod parameters;
mod probe;
mod recorded;
mod sample;
mod scenes;
mod tape;
mod trainer;

pub use config::{EvaluationConfig, RunConfig, TrainFile};
pub use error::{Error, Result};
pub use objective::{Loss, Weigh, loss};
pub use optimizer::{Moments, OptimizerConfig, adamw, norm};
pub use parameters::{Parameters, Part};
pub use probe::{Answer, Choice, Fact, Head, Heads, Layers, ProbeConfig, Tallies, Tally};
pub use recorded::Recorded;
pub use sample::{Sample, Samples};
pub use scenes::{DrawnScenes, ScenesConfig};
pub use tape::{Gradients, Tape};
pub use trainer::{History, Point, StepReport, Trainer};
