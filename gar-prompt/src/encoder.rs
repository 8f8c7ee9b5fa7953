//! The mask embedding: where the tower is told to look.
//!
//! A tile of the label map becomes 1 where a region is and 0 elsewhere, is shown to three channels alike, and goes through a
//! convolution of its own whose kernel and stride are the tower's patch; the result is added to the tower's patch
//! embeddings (Grasp Any Region, §3.2).

use gar_kernels::ops::PatchSpec;
use gar_kernels::{Kernels, Tensor, Weights};
use ndarray::{Array3, ArrayView3};

use crate::{Error, Result};

/// Name of the convolution's weight in the released checkpoints, [C, 3, p, p].
const WEIGHT: &str = "mask_patch_embedding.weight";

/// Channels the mask is shown to: those of a picture, as the convolution mirrors the tower's own.
const CHANNELS: usize = 3;

/// The convolution of masks to patch embeddings.
#[derive(Debug, Clone)]
pub struct MaskEncoder {
    weight: Tensor,
    patch: usize,
}

impl MaskEncoder {
    /// Loads `mask_patch_embedding.weight` [`width`, 3, `patch`, `patch`] of a checkpoint onto the device of `kernels`.
    ///
    /// # Errors
    /// [`Error::Kernel`] where the tensor is missing, misshapen or not finite.
    pub fn load(weights: &Weights, kernels: &Kernels, width: usize, patch: usize) -> Result<Self> {
        let weight = weights.tensor(WEIGHT, &[width, CHANNELS, patch, patch])?;
        Self::from_weight(kernels.matmul.prepare(&kernels.device.upload(&weight)?)?)
    }

    /// An encoder with the weight [C, 3, p, p].
    ///
    /// # Errors
    /// [`Error::Kernel`] where the shape is another.
    pub fn from_weight(weight: Tensor) -> Result<Self> {
        let [width, _, patch, _] = weight.dims("mask encoder", "weight")?;
        weight.expect_shape("mask encoder", "weight", &[width, CHANNELS, patch, patch])?;
        Ok(Self { weight, patch })
    }

    /// Side of a patch in pixels.
    pub fn patch(&self) -> usize {
        self.patch
    }

    /// The mask embedding [T, (S/p)², C] of `label_tiles` [T, S, S], patches row-major. Every label but `prompt_slots`
    /// (`<NO_Prompt>`) is inside.
    ///
    /// # Errors
    /// [`Error::Tiles`] unless the tiles are square with a side that the patch divides; [`Error::Kernel`].
    pub fn encode(&self, kernels: &Kernels, label_tiles: ArrayView3<'_, u8>, prompt_slots: u8) -> Result<Tensor> {
        let (tiles, side) = check_tiles(label_tiles, self.patch)?;
        let inside = label_tiles.as_standard_layout().mapv(|label| u8::from(label != prompt_slots));
        let pixels = Tensor::from_vec(inside.into_raw_vec_and_offset().0, &[tiles, 1, side, side])?;
        let pixels = kernels.device.upload(&pixels)?;
        let spec = PatchSpec { weight: &self.weight, prompt: None, class_token: None, positions: None, levels: None };
        Ok(kernels.patch_embed.patch_embed(&pixels, &spec)?)
    }
}

/// Set pixels of each patch, [T, S/p, S/p], for `label_tiles` [T, S, S]: how much of a patch the regions cover. Counts
/// above 255 stand as 255.
///
/// ```
/// use gar_prompt::encoder::tokens_on;
/// use ndarray::{Array3, array};
///
/// let mut labels = Array3::from_elem((1, 4, 4), 5);
/// labels[[0, 1, 1]] = 0;
/// labels[[0, 1, 2]] = 1;
/// assert_eq!(tokens_on(labels.view(), 5, 2)?, array![[[1, 1], [0, 0]]]);
/// # Ok::<(), gar_prompt::Error>(())
/// ```
///
/// # Errors
/// [`Error::Tiles`] unless the tiles are square with a side that `patch` divides.
pub fn tokens_on(label_tiles: ArrayView3<'_, u8>, prompt_slots: u8, patch: usize) -> Result<Array3<u8>> {
    let (tiles, side) = check_tiles(label_tiles, patch)?;
    let mut counts = Array3::<u8>::zeros((tiles, side / patch, side / patch));
    for ((t, y, x), &label) in label_tiles.indexed_iter() {
        if label != prompt_slots {
            let count = &mut counts[[t, y / patch, x / patch]];
            *count = count.saturating_add(1);
        }
    }
    Ok(counts)
}

/// Number of tiles and their side.
fn check_tiles(label_tiles: ArrayView3<'_, u8>, patch: usize) -> Result<(usize, usize)> {
    let (tiles, height, width) = label_tiles.dim();
    if height != width || patch == 0 || height % patch != 0 {
        return Err(Error::Tiles { patch, found: (tiles, height, width) });
    }
    Ok((tiles, height))
}
