//! What a vision tower is.

use gar_kernels::{Kernels, Tensor};
use ndarray::{Array2, Array4};

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

/// Tiles on a device, as a tower is shown them.
///
/// Pictures stay bytes until a patch embedding reads them ([`PatchSpec`](gar_kernels::ops::PatchSpec) takes both fields as
/// they are), so that a quarter of the floats' memory goes to the device. A tower that reads them otherwise asks for
/// [`normalized`](Self::normalized) values.
#[derive(Debug, Clone)]
pub struct Tiles {
    /// [T, 3, S, S]: bytes where there are levels, else normalised values.
    pub pixels: Tensor,
    /// [3, 256] f32, the normalised value of each byte of a channel.
    pub levels: Option<Tensor>,
}

impl Tiles {
    /// Uploads bytes [T, 3, S, S] and what they stand for, [3, 256].
    ///
    /// # Errors
    /// [`Error::Kernels`](crate::Error::Kernels) where the device refuses.
    pub fn upload(k: &Kernels, pixels: Array4<u8>, levels: &Array2<f32>) -> Result<Self> {
        let shape = pixels.shape().to_vec();
        let in_order = if pixels.is_standard_layout() { pixels } else { pixels.as_standard_layout().into_owned() };
        // What a larger array was cut to still holds all of it.
        let len = in_order.len();
        let (mut bytes, first) = in_order.into_raw_vec_and_offset();
        bytes.drain(..first.unwrap_or_default());
        bytes.truncate(len);
        let levels = Tensor::from_vec(levels.iter().copied().collect(), levels.shape())?;
        let pixels = k.device.upload(&Tensor::from_vec(bytes, &shape)?)?;
        Ok(Self { pixels, levels: Some(k.device.upload(&levels)?) })
    }

    /// T, how many there are.
    pub fn count(&self) -> usize {
        self.pixels.shape().first().copied().unwrap_or_default()
    }

    /// Those of a range.
    ///
    /// # Errors
    /// [`Error::Kernels`](crate::Error::Kernels) for a range that is not there.
    pub fn range(&self, tiles: std::ops::Range<usize>) -> Result<Self> {
        Ok(Self { pixels: self.pixels.rows(tiles)?, levels: self.levels.clone() })
    }

    /// The normalised values [T, 3, S, S] f32, on the device. They are looked up on the host: a patch embedding that takes
    /// bytes is faster.
    ///
    /// # Errors
    /// [`Error::Kernels`](crate::Error::Kernels) where the device refuses.
    pub fn normalized(&self, k: &Kernels) -> Result<Tensor> {
        let Some(levels) = &self.levels else { return Ok(self.pixels.clone()) };
        let shape: [usize; 4] = self.pixels.dims("tiles", "pixels")?;
        levels.expect_shape("tiles", "levels", &[shape[1], 256])?;
        let (levels, pixels) = (k.device.download(levels)?, k.device.download(&self.pixels)?);
        let plane = shape[2] * shape[3];
        let mut values = Vec::with_capacity(pixels.len());
        for (i, plane) in pixels.host()?.chunks_exact(plane.max(1)).enumerate() {
            let levels = &levels.host::<f32>()?[i % shape[1] * 256..][..256];
            values.extend(plane.iter().map(|&byte: &u8| levels[usize::from(byte)]));
        }
        Ok(k.device.upload(&Tensor::from_vec(values, &shape)?)?)
    }
}

impl From<Tensor> for Tiles {
    /// Values [T, 3, S, S] that are normalised already.
    fn from(pixels: Tensor) -> Self {
        Self { pixels, levels: None }
    }
}

/// A vision backbone: tiles in, one feature for each patch out.
///
/// Every tile is encoded alone: the features of one do not depend on the others. A model shows it equal tiles once.
pub trait VisionTower: Send + Sync {
    /// Sizes of its input and output.
    fn spec(&self) -> TowerSpec;

    /// `tiles` [T, 3, S, S], bytes with their levels or [normalised](Tiles::normalized) → [T, patches, C], patches row by row.
    ///
    /// `prompt` [T, patches, C] is added to the patch embeddings before anything else: it is how a region is shown to
    /// the tower (Grasp Any Region, §3.2).
    ///
    /// # Errors
    /// [`Error::Kernels`](crate::Error::Kernels) where shapes do not fit or an operation refuses.
    fn encode(&self, k: &Kernels, tiles: &Tiles, prompt: Option<&Tensor>) -> Result<Tensor>;
}
