//! The eye of GAR: from a picture file to the features that its language model reads.
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
pub use crate::processor::{ImageProcessor, Normalization, TiledImage};
pub use crate::projector::Projector;
pub use crate::tower::{TowerSpec, VisionTower};
