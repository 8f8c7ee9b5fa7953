//! The eye of GAR: from a picture file to the features that its language model reads.
//!
//! ```text
//! file ─ Image ─ ImageProcessor ─ tiles [T,3,S,S] ─ VisionTower ─ [T,patches,C] ─ Projector ─ [T,tokens,D]
//! ```
//!
//! * [`Image`]: any picture file, upright and in RGB, within [`DecodeLimits`]; JPEG equals libjpeg's decoding bit for bit.
//! * [`ImageProcessor`]: cuts a picture into a thumbnail and a [`TileGrid`] of tiles (AnyRes), which stay bytes until
//!   the tower reads them ([`Tiles`]), and a label map alike;
//!   [`resize`] is the exact bicubic resize under it.
//! * [`VisionTower`]: what a backbone is; [`PerceptionEncoder`] is the one of GAR-1B and GAR-8B, built from a
//!   [`PerceptionConfig`].
//! * [`Projector`]: takes the tower's features to the decoder's width and pools them.
//!
//! Sizes come from the checkpoint's configuration; nothing assumes 448-pixel tiles or 14-pixel patches. Arithmetic on
//! tensors goes through a [`gar_kernels::Kernels`] table.
#![forbid(unsafe_code)]

mod error;
mod grid;
mod image;
mod jpeg;
mod perception_config;
mod perception_encoder;
mod processor;
mod projector;
pub mod resize;
mod tower;

pub use crate::error::{Error, Result};
pub use crate::grid::TileGrid;
pub use crate::image::{DecodeLimits, Image};
pub use crate::perception_config::{PerceptionConfig, RotaryConfig};
pub use crate::perception_encoder::PerceptionEncoder;
pub use crate::processor::{ImageProcessor, Normalization, TiledImage, VisionInput};
pub use crate::projector::Projector;
pub use crate::tower::{Tiles, TowerSpec, VisionTower};
