//! RoI-aligned feature replay (Grasp Any Region, §3.2; Table 8, row ④).
use gar_kernels::{
    Kernels, Tensor,
    ops::{RoiAlignSpec, RoiBox},
};
use gar_prompt::NormBox;

use super::{ImageFeatures, RegionEncoding, View, split};
use crate::Result;

/// Which boxes the replay samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplayBoxes {
    /// As the released weights were trained: coordinates in feature cells are scaled once more by
    /// 1/(patch size × pooling), so that the replay samples the map's top-left corner.
    #[default]
    Released,
    /// As the paper describes: one scaling, from fractions of the picture to feature cells.
    Paper,
}

/// RoI-Align over the tiles of the grid put back into one map; the thumbnail takes no part.
#[derive(Clone, Copy, Debug)]
pub struct FeatureReplay {
    /// Which boxes are sampled.
    pub boxes: ReplayBoxes,
    /// Pixels along a feature: patch size × pooling.
    pub stride: usize,
}

impl RegionEncoding for FeatureReplay {
    fn tokens(&self, features_per_side: usize) -> usize {
        features_per_side * features_per_side
    }

    fn encode(&self, view: &View<'_>) -> Result<Vec<Tensor>> {
        let (k, features) = (view.kernels, view.eye.picture()?);
        let map = feature_map(k, features)?;
        let (width, height) = (features.grid.columns * features.side, features.grid.rows * features.side);
        let boxes = view
            .regions
            .iter()
            .map(|region| Ok(in_cells(region.mask().normalized_box()?, width, height)))
            .collect::<Result<Vec<_>>>()?;
        let spec = RoiAlignSpec {
            output: [features.side; 2],
            spatial_scale: match self.boxes {
                ReplayBoxes::Released => 1.0 / self.stride as f32,
                ReplayBoxes::Paper => 1.0,
            },
            sampling_ratio: 2,
            aligned: true,
        };
        let (n, d) = (self.tokens(features.side), features.tokens.as_rows().1);
        let replay = k.roi_align.roi_align(&map, &boxes, &spec)?.reshape(&[boxes.len(), n, d])?;
        split(&replay)
    }
}

/// Fractions of the picture → feature cells of a map `width` × `height`.
fn in_cells(b: NormBox, width: usize, height: usize) -> RoiBox {
    let (w, h) = (width as f64, height as f64);
    [b.x_min * w, b.y_min * h, b.x_max * w, b.y_max * h].map(|c| c as f32)
}

/// The tiles of the grid as one map [rows·side, columns·side, D].
fn feature_map(k: &Kernels, features: &ImageFeatures) -> Result<Tensor> {
    let ImageFeatures { tokens, grid, side } = features;
    let (rows, d) = tokens.as_rows();
    let flat = tokens.reshape(&[rows, d])?;
    let (height, width) = (grid.rows * side, grid.columns * side);
    // A thumbnail stands before them, if there is one.
    let [tiles, _, _] = tokens.dims("feature_map", "tokens")?;
    let first = tiles.saturating_sub(grid.tiles());
    let cell = |y: usize, x: usize| {
        let tile = first + y / side * grid.columns + x / side;
        ((tile * side + y % side) * side + x % side) as u32
    };
    let index: Vec<u32> = (0..height).flat_map(|y| (0..width).map(move |x| cell(y, x))).collect();
    Ok(k.rows.gather(&flat, &index)?.reshape(&[height, width, d])?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gar_vision::TileGrid;

    /// Each feature holds its own place, so the map shows where each tile went.
    #[test]
    fn tiles_form_one_map_without_the_thumbnail() {
        let (grid, side) = (TileGrid { columns: 3, rows: 2 }, 2);
        let mut tokens = vec![-1.0_f32; side * side * 2];
        for tile in 0..6 {
            for cell in 0..4 {
                tokens.extend([(tile / 3 * 2 + cell / 2) as f32, (tile % 3 * 2 + cell % 2) as f32]);
            }
        }
        let tokens = Tensor::from_vec(tokens, &[7, 4, 2]).unwrap();
        let map = feature_map(&Kernels::cpu(), &ImageFeatures { tokens, grid, side }).unwrap();
        assert_eq!(map.shape(), [4, 6, 2]);
        for (i, cell) in map.host::<f32>().unwrap().chunks(2).enumerate() {
            assert_eq!(cell, [(i / 6) as f32, (i % 6) as f32]);
        }
    }
}
