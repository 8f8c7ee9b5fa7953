//! What the tower makes of tiles, of which equal ones are looked at once.
//!
//! A picture whose grid is one tile is that tile twice, as the thumbnail and as the grid, and plain margins repeat a tile.
//! A [tower](gar_vision::VisionTower) encodes every tile alone, so equal tiles have equal features: a picture of one tile
//! takes half the time.
use gar_kernels::{Kernels, Tensor};
use ndarray::{Array3, Array4, Axis};

use crate::Result;

/// The tower's and the projector's results for the tiles that differ.
pub(crate) struct Looked {
    pub(crate) tiles: DistinctTiles,
    /// [U, patches, C], U the number of tiles that differ.
    pub(crate) vision: Tensor,
    /// [U, n, D].
    pub(crate) tokens: Tensor,
}

impl Looked {
    /// The tower's output [T, patches, C].
    pub(crate) fn vision(&self, k: &Kernels) -> Result<Tensor> {
        self.tiles.spread(k, &self.vision)
    }

    /// The projected features [T, n, D].
    pub(crate) fn tokens(&self, k: &Kernels) -> Result<Tensor> {
        self.tiles.spread(k, &self.tokens)
    }
}

/// Which of T tiles differ.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DistinctTiles {
    /// The first of each, in the tiles' order.
    firsts: Vec<usize>,
    /// For every tile, which of `firsts` is its equal.
    places: Vec<usize>,
}

impl DistinctTiles {
    /// Tiles [T, 3, S, S] are equal where their labels [T, S, S] are too.
    pub(crate) fn of(pixels: &Array4<u8>, labels: &Array3<u8>) -> Self {
        let (mut firsts, mut places) = (Vec::new(), Vec::new());
        for (t, (tile, labelled)) in pixels.outer_iter().zip(labels.outer_iter()).enumerate() {
            let known = firsts.iter().position(|&first| {
                tile == pixels.index_axis(Axis(0), first) && labelled == labels.index_axis(Axis(0), first)
            });
            places.push(known.unwrap_or(firsts.len()));
            if known.is_none() {
                firsts.push(t);
            }
        }
        Self { firsts, places }
    }

    /// U, how many differ.
    pub(crate) fn count(&self) -> usize {
        self.firsts.len()
    }

    /// What is there for each of T tiles → for those that differ.
    pub(crate) fn select<D: ndarray::RemoveAxis>(&self, of: ndarray::Array<u8, D>) -> ndarray::Array<u8, D> {
        if self.all() { of } else { of.select(Axis(0), &self.firsts) }
    }

    /// Features [U, n, D] → [T, n, D].
    fn spread(&self, k: &Kernels, features: &Tensor) -> Result<Tensor> {
        if self.all() {
            return Ok(features.clone());
        }
        let [tiles, n, d] = features.dims("equal_tiles", "features")?;
        let rows: Vec<u32> = self.places.iter().flat_map(|&at| (at * n..(at + 1) * n).map(|row| row as u32)).collect();
        Ok(k.rows.gather(&features.reshape(&[tiles * n, d])?, &rows)?.reshape(&[self.places.len(), n, d])?)
    }

    fn all(&self) -> bool {
        self.firsts.len() == self.places.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tiles of one pixel with these bytes, and labels.
    fn tiles(of: &[(u8, u8)]) -> (Array4<u8>, Array3<u8>) {
        let pixels = Array4::from_shape_fn((of.len(), 3, 1, 1), |(t, ..)| of[t].0);
        (pixels, Array3::from_shape_fn((of.len(), 1, 1), |(t, ..)| of[t].1))
    }

    #[test]
    fn equal_tiles_share_their_features() {
        let (pixels, labels) = tiles(&[(7, 0), (7, 1), (7, 0), (8, 0), (7, 1)]);
        let distinct = DistinctTiles::of(&pixels, &labels);
        assert_eq!(distinct, DistinctTiles { firsts: vec![0, 1, 3], places: vec![0, 1, 0, 2, 1] });
        assert_eq!(distinct.select(pixels).into_raw_vec_and_offset().0, [7, 7, 7, 7, 7, 7, 8, 8, 8]);
        assert_eq!(distinct.select(labels).into_raw_vec_and_offset().0, [0, 1, 0]);
        let features = Tensor::from_vec((0..12).map(|v| v as f32).collect(), &[3, 2, 2]).unwrap();
        let spread = distinct.spread(&Kernels::cpu(), &features).unwrap();
        assert_eq!(spread.shape(), [5, 2, 2]);
        let firsts: Vec<f32> = spread.host::<f32>().unwrap().chunks(4).map(|tile| tile[0]).collect();
        assert_eq!(firsts, [0.0, 4.0, 0.0, 8.0, 4.0]);
    }

    #[test]
    fn tiles_that_differ_stay_as_they_are() {
        let (pixels, labels) = tiles(&[(1, 0), (2, 0), (2, 1)]);
        let distinct = DistinctTiles::of(&pixels, &labels);
        assert_eq!((distinct.count(), distinct.select(labels.clone())), (3, labels));
        let features = Tensor::from_vec(vec![0.0_f32; 3], &[3, 1, 1]).unwrap();
        let spread = distinct.spread(&Kernels::cpu(), &features).unwrap();
        assert!(std::ptr::eq(spread.host::<f32>().unwrap(), features.host::<f32>().unwrap()));
    }
}
