//! Grasp Any Region: an image, any number of binary masks and a question go in; text comes out.
//!
//! The whole picture is encoded once, with the masks added to its patch embeddings; each region's features are gathered
//! from the global map by RoI-Align and replayed to a Llama decoder, so that the model sees details without losing
//! context and relates several regions (Grasp Any Region, §3.2).
//!
//! ```no_run
//! use gar_core::{GarModel, prompt::{Mask, RegionSet}, vision::Image};
//!
//! let model = GarModel::open("GAR-1B")?.load()?;
//! let image = Image::open("photo.jpg")?;
//! let regions = RegionSet::numbered([Mask::open_picture("dog.png")?, Mask::open_picture("ball.png")?])?;
//! let scene = model.scene(&image, &regions)?;
//! println!("{}", scene.ask("What is <Prompt0> doing to <Prompt1>?")?.text);
//! # Ok::<(), gar_core::Error>(())
//! ```
//!
//! [`GarModel`] loads a checkpoint, [`Scene`] is a picture with regions that was encoded once and is asked many times,
//! [`RegionModel`] is the object-safe face for services. The crates below are re-exported: [`kernels`], [`prompt`],
//! [`vision`], [`llm`].
#![forbid(unsafe_code)]

mod case;
mod config;
mod encoding;
mod error;
mod eyes;
mod looked;
mod model;
mod parts;
mod prompt_form;
mod prompting;
mod quantize;
mod region_model;
mod request;
mod scene;
pub mod trace;
mod transcript;

pub use gar_kernels as kernels;
pub use gar_llm as llm;
pub use gar_prompt as prompt;
pub use gar_vision as vision;

pub use config::GarConfig;
pub use encoding::{
    AttentionHeads, CrossAttention, EncodingKind, Eye, FeatureReplay, ImageFeatures, LocalCrops, RegionEncoding,
    ReplayBoxes, View,
};
pub use error::{Error, Result};
pub use model::{GarBuilder, GarModel};
pub use prompt_form::{PlainForm, PromptForm};
pub use quantize::quantize;
pub use region_model::RegionModel;
pub use request::{Answer, AnswerOptions, RegionRequest, Timings};
pub use scene::{Chat, Scene};
pub use transcript::{Exchange, Said, Transcript};
