//! Patch embedding: pictures cut into squares, each projected to a vector, with what is added to it.
use crate::{DType, Error, Result, Tensor};

/// Weights of a patch embedding and what is added to its result.
#[derive(Clone, Copy, Debug)]
pub struct PatchSpec<'a> {
    /// [C, channels, p, p], as a convolution with stride p and without bias.
    pub weight: &'a Tensor,
    /// [T, patches, C], added to the patches: the visual prompt.
    pub prompt: Option<&'a Tensor>,
    /// `[C]`, put in front of the patches of every picture.
    pub class_token: Option<&'a Tensor>,
    /// [tokens, C], added to every picture's tokens, the class token included.
    pub positions: Option<&'a Tensor>,
    /// [channels of the pixels, 256] f32: what each byte of a channel stands for, where pixels are u8 and not their numbers.
    /// Pictures stay bytes until they are read: a quarter of what f32 pixels take on their way to a device.
    pub levels: Option<&'a Tensor>,
}

/// Values of a byte.
const LEVELS: usize = 256;

/// Projects pictures to tokens.
pub trait PatchEmbed: Send + Sync {
    /// `pixels` [T, channels, S, S] → [T, tokens, C], tokens = (S/p)², row-major, plus one if there is a class token.
    ///
    /// Pixels of one channel, [T, 1, S, S], are shown to every channel of the weight, as if they were repeated: a mask
    /// need not be written out. Pixels are activations, or u8, read as their numbers 0 to 255 or as
    /// [`levels`](PatchSpec::levels) says.
    ///
    /// # Errors
    /// Shapes that do not fit, levels of pixels that are not u8, unsupported types or device.
    fn patch_embed(&self, pixels: &Tensor, spec: &PatchSpec<'_>) -> Result<Tensor>;
}

/// Extents, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PatchDims {
    /// Pictures.
    pub batch: usize,
    /// Channels of the weight.
    pub channels: usize,
    /// Channels of a picture: as many, or one that is shown to all. Channel `c` of the weight sees plane `c % planes`.
    pub planes: usize,
    /// Side of a picture in pixels.
    pub side: usize,
    /// Side of a patch in pixels.
    pub patch: usize,
    /// Entries of a token.
    pub width: usize,
    /// Patches along a side.
    pub grid: usize,
    /// Tokens of a picture.
    pub tokens: usize,
}

impl PatchSpec<'_> {
    /// Checks the shapes.
    ///
    /// # Errors
    /// [`Error::Shape`] naming the argument that does not fit, [`Error::DType`] where there are levels and pixels are not u8.
    pub fn check(&self, pixels: &Tensor) -> Result<PatchDims> {
        const OP: &str = "patch_embed";
        let [batch, planes, side, _] = pixels.dims(OP, "pixels")?;
        let [width, channels, patch, _] = self.weight.dims(OP, "weight")?;
        self.weight.expect_shape(OP, "weight", &[width, channels, patch, patch])?;
        let square = patch > 0 && side > 0 && side % patch == 0 && pixels.shape()[3] == side;
        if !square || (planes != channels && planes != 1) {
            let expected = format!("[T, {channels} or 1, S, S] with S a positive multiple of {patch}");
            return Err(Error::shape(OP, "pixels", expected, pixels.shape()));
        }
        let grid = side / patch;
        let tokens = grid * grid + usize::from(self.class_token.is_some());
        if let Some(prompt) = self.prompt {
            prompt.expect_shape(OP, "prompt", &[batch, grid * grid, width])?;
        }
        if let Some(class_token) = self.class_token {
            class_token.expect_shape(OP, "class_token", &[width])?;
        }
        if let Some(positions) = self.positions {
            positions.expect_shape(OP, "positions", &[tokens, width])?;
        }
        if let Some(levels) = self.levels {
            levels.expect_shape(OP, "levels", &[planes, LEVELS])?;
            if pixels.dtype() != DType::U8 {
                return Err(Error::DType {
                    op: OP,
                    what: "pixels",
                    expected: "u8, with levels",
                    found: pixels.dtype(),
                });
            }
        }
        Ok(PatchDims { batch, channels, planes, side, patch, width, grid, tokens })
    }
}
