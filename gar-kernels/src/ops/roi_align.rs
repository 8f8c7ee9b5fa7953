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

const OP: &str = "roi_align";
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

    /// The same with channels first: `map` [D, H, W] → [N, D, oh, ow].
    ///
    /// # Errors
    /// As [`roi_align`](RoiAlign::roi_align); always, where an implementation has the other layout only, which is the
    /// default.
    fn roi_align_planar(&self, map: &Tensor, boxes: &[RoiBox], spec: &RoiAlignSpec) -> Result<Tensor> {
        spec.check_planar(map, boxes)?;
        Err(Error::value(OP, "layout", "channels last", "channels first"))
    }
}

/// One side of a box, in feature cells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RoiSide {
    /// Where the first bin starts.
    pub start: f32,
    /// Length of a bin.
    pub bin: f32,
    /// Samples along a bin.
    pub samples: usize,
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
        let [height, width, channels] = map.dims(OP, "map")?;
        self.check_extents(map, boxes, RoiAlignDims { height, width, channels })
    }

    /// As [`check`](Self::check), for `map` [D, H, W].
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn check_planar(&self, map: &Tensor, boxes: &[RoiBox]) -> Result<RoiAlignDims> {
        let [channels, height, width] = map.dims(OP, "map")?;
        self.check_extents(map, boxes, RoiAlignDims { height, width, channels })
    }

    fn check_extents(&self, map: &Tensor, boxes: &[RoiBox], dims: RoiAlignDims) -> Result<RoiAlignDims> {
        if dims.height == 0 || dims.width == 0 {
            return Err(Error::shape(OP, "map", "at least one cell", map.shape()));
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
            None => Ok(dims),
        }
    }

    /// The horizontal and the vertical side of a box, in torchvision's order of f32 operations: every implementation that
    /// starts from them takes the same samples.
    pub fn sides(&self, b: &RoiBox) -> [RoiSide; 2] {
        let shift = if self.aligned { 0.5 } else { 0.0 };
        let side = |from: f32, to: f32, bins: usize| {
            let start = from * self.spatial_scale - shift;
            let length = to * self.spatial_scale - shift - start;
            let length = if self.aligned { length } else { length.max(1.0) };
            let samples = match self.sampling_ratio {
                0 => (length / bins as f32).ceil().max(0.0) as usize,
                n => n,
            };
            RoiSide { start, bin: length / bins as f32, samples }
        };
        let [rows, columns] = self.output;
        [side(b[0], b[2], columns), side(b[1], b[3], rows)]
    }

    /// Samples along the longer side of a bin that a sampling ratio of 0 asks for.
    fn adaptive_samples(&self, b: &RoiBox) -> f32 {
        let [rows, columns] = self.output;
        let side = |from: f32, to: f32, bins: usize| ((to - from) * self.spatial_scale / bins.max(1) as f32).ceil();
        side(b[0], b[2], columns).max(side(b[1], b[3], rows))
    }
}
