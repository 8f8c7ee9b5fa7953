//! What a vision tower is.

use gar_kernels::{Kernels, Tensor};

use crate::Result;

/// What a tower takes and gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TowerSpec {
    /// Side S of a tile in pixels.
    pub tile_size: usize,
    /// Side p of a patch in pixels; S is a multiple of it.
    pub patch_size: usize,
    /// Entries C of a patch's feature.
    pub width: usize,
}

impl TowerSpec {
    /// Patches along a side of a tile, S/p.
    pub fn grid(&self) -> usize {
        self.tile_size / self.patch_size
    }

    /// Patches of a tile, (S/p)².
    pub fn patches(&self) -> usize {
        self.grid() * self.grid()
    }
}

/// A vision backbone: tiles in, one feature for each patch out.
///
/// Every tile is encoded alone: the features of one do not depend on the others.
pub trait VisionTower: Send + Sync {
    /// Sizes of its input and output.
    fn spec(&self) -> TowerSpec;

    /// `tiles` [T, 3, S, S], normalised → [T, patches, C], patches row by row.
    ///
    /// `prompt` [T, patches, C] is added to the patch embeddings before anything else: it is how a region is shown to
    /// the tower (Grasp Any Region, §3.2).
    ///
    /// # Errors
    /// [`Error::Kernels`](crate::Error::Kernels) where shapes do not fit or an operation refuses.
    fn encode(&self, k: &Kernels, tiles: &Tensor, prompt: Option<&Tensor>) -> Result<Tensor>;
}
