//! How a region is shown to the decoder: the four architectures of Grasp Any Region, Table 8.
//!
//! | row | type | the decoder reads | the tower reads, at 16 tiles |
//! |---|---|---|---|
//! | ① | [`LocalCrops`] | crops | 256 features |
//! | ② | [`CrossAttention`] | crops that have attended to the picture | 4,608 |
//! | ③ | [`LocalCrops`] with the picture | picture, crops | 4,608 |
//! | ④ | [`FeatureReplay`] | picture, replayed features | 4,352 |
//!
//! Features are counted for one region; the picture is 17 tiles of 256.
mod crops;
mod cross_attention;
mod replay;

use std::sync::Arc;

use gar_kernels::{Kernels, Tensor, Weights};
use gar_prompt::RegionSet;
use gar_vision::{Image, TileGrid};

use crate::{GarConfig, Result};

pub use crops::LocalCrops;
pub use cross_attention::{AttentionHeads, CrossAttention};
pub use replay::{FeatureReplay, ReplayBoxes};

/// A picture after the tower and the projector.
#[derive(Clone, Debug)]
pub struct ImageFeatures {
    /// [T, n, D]: the thumbnail, then the tiles of the grid row by row, n features each. Without AnyRes the one tile is
    /// both.
    pub tokens: Tensor,
    /// The tile grid.
    pub grid: TileGrid,
    /// Features along a side of a tile; n is its square.
    pub side: usize,
}

/// Turns regions into rows that stand in the prompt for their crop tokens.
pub trait RegionEncoding: Send + Sync {
    /// Rows that each region takes in the prompt.
    fn tokens(&self, features_per_side: usize) -> usize;

    /// Whether the decoder reads the features of the whole picture in front of the regions. Without them a prompt holds no
    /// image token, and a picture without regions cannot be asked about.
    fn shows_picture(&self) -> bool {
        true
    }

    /// One tensor [tokens, D] for each region, in the set's order. It is not called without regions.
    ///
    /// # Errors
    /// An empty mask, or what the operations refuse.
    fn encode(&self, view: &View<'_>) -> Result<Vec<Tensor>>;

    /// The same encoding with other weights, named as in a checkpoint; `None` where it has no weights, which is the default.
    ///
    /// # Errors
    /// A tensor that is missing, misshapen or not finite.
    fn with_weights(&self, k: &Kernels, weights: &Weights) -> Result<Option<Arc<dyn RegionEncoding>>> {
        let _ = (k, weights);
        Ok(None)
    }
}

/// What a [`RegionEncoding`] sees. One of other regions is made by struct update: `View { regions: &some, ..*view }`.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// The operations to compute with.
    pub kernels: &'a Kernels,
    /// The picture.
    pub image: &'a Image,
    /// The regions to encode, with masks of the picture's size.
    pub regions: &'a RegionSet,
    /// The way to features.
    pub eye: &'a dyn Eye,
}

/// From pixels to features: the preprocessing, the tower and the projector of a model that looks at a picture.
pub trait Eye {
    /// The features of the whole picture with the masks of all its regions, computed when they are first asked for.
    ///
    /// # Errors
    /// What preprocessing or an operation refuses.
    fn picture(&self) -> Result<&ImageFeatures>;

    /// The features [N, n, D] of N other pictures with masks of their own, each stretched to one tile.
    ///
    /// # Errors
    /// As [`picture`](Self::picture); masks of another size than their picture.
    fn tiles(&self, pictures: &[(Image, RegionSet)]) -> Result<Tensor>;
}

/// [N, n, D] as N tensors [n, D].
fn split(features: &Tensor) -> Result<Vec<Tensor>> {
    let [regions, n, d] = features.dims("region_encoding", "features")?;
    let rows = features.reshape(&[regions * n, d])?;
    (0..regions).map(|i| Ok(rows.rows(i * n..(i + 1) * n)?)).collect()
}

/// `"region_encoding"` of a `config.json`: which of the encodings a checkpoint was trained with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EncodingKind {
    /// `"replay"`, row ④: [`FeatureReplay`].
    #[default]
    Replay,
    /// `"local"`, row ①: [`LocalCrops`] alone.
    Local,
    /// `"local_cross_attention"`, row ②: [`CrossAttention`].
    LocalCrossAttention,
    /// `"global_local"`, row ③: [`LocalCrops`] beside the picture.
    GlobalLocal,
}

impl EncodingKind {
    /// All of them, in the order of Table 8.
    pub const ALL: [Self; 4] = [Self::Local, Self::LocalCrossAttention, Self::GlobalLocal, Self::Replay];

    /// As it stands in a `config.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Local => "local",
            Self::LocalCrossAttention => "local_cross_attention",
            Self::GlobalLocal => "global_local",
        }
    }

    /// The encoding of a checkpoint.
    ///
    /// # Errors
    /// A tensor that is missing, misshapen or not finite.
    pub(crate) fn load(config: &GarConfig, k: &Kernels, weights: &Weights) -> Result<Arc<dyn RegionEncoding>> {
        Ok(match config.region_encoding {
            Self::Replay => Arc::new(FeatureReplay { boxes: config.replay_boxes, stride: config.stride() }),
            Self::Local => Arc::new(LocalCrops { with_picture: false }),
            Self::LocalCrossAttention => {
                let text = config.llama()?;
                let heads = AttentionHeads { width: config.decoder_width, heads: text.heads, head_dim: text.head_dim };
                Arc::new(CrossAttention::load(k, weights, heads)?)
            }
            Self::GlobalLocal => Arc::new(LocalCrops { with_picture: true }),
        })
    }
}

impl RegionEncoding for Arc<dyn RegionEncoding> {
    fn tokens(&self, features_per_side: usize) -> usize {
        self.as_ref().tokens(features_per_side)
    }

    fn shows_picture(&self) -> bool {
        self.as_ref().shows_picture()
    }

    fn encode(&self, view: &View<'_>) -> Result<Vec<Tensor>> {
        self.as_ref().encode(view)
    }

    fn with_weights(&self, k: &Kernels, weights: &Weights) -> Result<Option<Arc<dyn RegionEncoding>>> {
        self.as_ref().with_weights(k, weights)
    }
}
