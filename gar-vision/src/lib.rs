//! The eye of GAR: from a picture file to the features that its language model reads.
#![forbid(unsafe_code)]

mod error;
mod grid;
mod image;
mod jpeg;
mod processor;
pub mod resize;

pub use crate::error::{Error, Result};
pub use crate::grid::TileGrid;
pub use crate::image::{DecodeLimits, Image};
pub use crate::processor::{ImageProcessor, Normalization, TiledImage};
