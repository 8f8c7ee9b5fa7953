//! Region prompts for GAR: how a user says *which* part of a picture a question is about.
//!
//! A region is a [`Mask`] that stands in a prompt slot: slot `i` is called `<Prompt{i}>` in the text. Everything else in
//! this crate turns something into a mask, or turns masks into what the model reads:
//!
//! ```text
//! RLE, polygon, box, scribble, picture ──▶ Mask ──▶ RegionSet ─┬─▶ label map [H,W] ──tiling──▶ MaskEncoder ──▶ [T,patches,C]
//!                                                             ├─▶ normalised boxes (feature replay)
//!                                      question ──────────────┴─▶ user_text ──tokens──▶ TokenLayout
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`mask`] | [`Mask`], [`PixelBox`], [`NormBox`] |
//! | [`rle`], [`polygon`], [`bbox`], [`scribble`], [`picture`] | the ways to write a mask down |
//! | [`region`] | [`Region`], [`RegionSet`], the label map |
//! | [`text`] | the user's turn and the questions of the GAR benchmarks |
//! | [`layout`] | where image and regions stand among the tokens |
//! | [`encoder`] | the mask embedding that is added to the vision tower's patches |
//!
//! Pixel coordinates are those of COCO: x runs right, y runs down, and the pixel in column `x` and row `y` covers
//! `[x, x+1) × [y, y+1)`, so that its centre is `(x + 0.5, y + 0.5)`.
//!
//! ```
//! use gar_prompt::{DESCRIBE, Mask, RegionSet, crop_token_name, user_text};
//!
//! let mask = Mask::from_box(64, 48, [8.0, 8.0, 24.0, 40.0])?;
//! let regions = RegionSet::single(mask)?;
//! assert_eq!(regions.label_map(5)?[[10, 10]], 1);
//! let text = user_text(&regions.slots(), DESCRIBE, 1, crop_token_name)?;
//! assert_eq!(
//!     text,
//!     "There are some objects I am curious about: <Prompt1>;\n\
//!      <Prompt1>: <|reserved_special_token_3|>Describe this masked region in detail."
//! );
//! # Ok::<(), gar_prompt::Error>(())
//! ```
#![forbid(unsafe_code)]

pub mod bbox;
pub mod encoder;
mod error;
pub mod layout;
pub mod mask;
pub mod picture;
pub mod polygon;
pub mod region;
pub mod rle;
pub mod scribble;
pub mod text;

/// The README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use encoder::{MaskEncoder, tokens_on};
pub use error::{Error, Result};
pub use layout::TokenLayout;
pub use mask::{MAX_PIXELS, Mask, NormBox, PixelBox};
pub use region::{Region, RegionSet};
pub use rle::{Counts, Rle};
pub use text::{DESCRIBE, crop_token_name, multiple_choice, prompt_name, relation_caption, user_text};
