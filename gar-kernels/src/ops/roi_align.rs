//! RoI-Align (He et al., Mask R-CNN, 2017): bilinear samples of a feature map, averaged into a fixed grid for each box.
use crate::{Error, Result, Tensor};

/// A box on a map: corners x1, y1, x2, y2. Multiplied by [`RoiAlignSpec::spatial_scale`] it is in feature cells.
pub type RoiBox = [f32; 4];

/// Parameters of RoI-Align; the semantics are torchvision's `roi_align`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RoiAlignSpec {
    /// Rows and columns of the output grid.
    pub output: [usize; 2],
    /// Multiplied into every box coordinate.
    pub spatial_scale: f32,
    /// Samples along each side of a bin; 0 takes `⌈box side / output side⌉`.
    pub sampling_ratio: usize,
    /// Shift boxes by half a cell, so that cell centres lie at integer + ½. Without it boxes are at least one cell wide.
    pub aligned: bool,
}

/// Most samples along a bin's side that a sampling ratio of 0 may ask for: far beyond any map, short of forever.
const MAX_SAMPLES: f32 = 4096.0;

/// Samples boxes from one map.
pub trait RoiAlign: Send + Sync {
    /// `map` [H, W, D], channels last; `boxes` N → [N, oh, ow, D].
    ///
    /// A sample above −1 and below the extent is clamped to the map; one beyond gives 0.
    ///
    /// # Errors
    /// Shapes that do not fit, boxes that are not finite, element types or a device that are not supported.
    fn roi_align(&self, map: &Tensor, boxes: &[RoiBox], spec: &RoiAlignSpec) -> Result<Tensor>;
}

/// Extents, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoiAlignDims {
    /// Rows of the map.
    pub height: usize,
    /// Columns of the map.
    pub width: usize,
    /// Entries of a cell.
    pub channels: usize,
}

impl RoiAlignSpec {
    /// Checks shapes and values.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Value`] naming the argument that does not fit.
    pub fn check(&self, map: &Tensor, boxes: &[RoiBox]) -> Result<RoiAlignDims> {
        const OP: &str = "roi_align";
        let [height, width, channels] = map.dims(OP, "map")?;
        if height == 0 || width == 0 {
            return Err(Error::shape(OP, "map", "[H, W, D] with at least one cell", map.shape()));
        }
        if !self.spatial_scale.is_finite() {
            return Err(Error::value(OP, "spatial_scale", "a finite number", self.spatial_scale));
        }
        if self.sampling_ratio == 0
            && let Some(b) = boxes.iter().find(|b| self.adaptive_samples(b) > MAX_SAMPLES)
        {
            let expected = format!("a sampling ratio, or boxes of at most {MAX_SAMPLES} samples a bin side");
            return Err(Error::value(OP, "boxes", expected, format!("{b:?}")));
        }
        match boxes.iter().find(|b| !b.iter().all(|c| (c * self.spatial_scale).is_finite())) {
            Some(b) => Err(Error::value(OP, "boxes", "finite coordinates", format!("{b:?}"))),
            None => Ok(RoiAlignDims { height, width, channels }),
        }
    }

    /// Samples along the longer side of a bin that a sampling ratio of 0 asks for.
    fn adaptive_samples(&self, b: &RoiBox) -> f32 {
        let [rows, columns] = self.output;
        let side = |from: f32, to: f32, bins: usize| ((to - from) * self.spatial_scale / bins.max(1) as f32).ceil();
        side(b[0], b[2], columns).max(side(b[1], b[3], rows))
    }
}
