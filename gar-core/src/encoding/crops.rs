//! Regions cut out of the picture (Grasp Any Region, Table 8, rows ① and ③).
use gar_kernels::Tensor;
use gar_prompt::{Mask, Region, RegionSet};
use gar_vision::Image;
use ndarray::{Axis, Slice};

use super::{RegionEncoding, View, split};
use crate::Result;

/// Each region's bounding box, cut out of the picture and of the region's own mask, is stretched to one tile and goes
/// through the tower and the projector; the tile's features stand for the region.
///
/// There is no margin: what surrounds the box is what row ① lacks. Other regions' masks are not painted into a crop.
#[derive(Clone, Copy, Debug)]
pub struct LocalCrops {
    /// Whether the decoder reads the whole picture too: row ③; row ① without.
    pub with_picture: bool,
}

impl RegionEncoding for LocalCrops {
    fn tokens(&self, features_per_side: usize) -> usize {
        features_per_side * features_per_side
    }

    fn shows_picture(&self) -> bool {
        self.with_picture
    }

    fn encode(&self, view: &View<'_>) -> Result<Vec<Tensor>> {
        split(&features(view)?)
    }
}

/// The features [N, n, D] of each region's crop.
pub(super) fn features(view: &View<'_>) -> Result<Tensor> {
    view.regions.check_image(view.image.width(), view.image.height())?;
    let crops = view.regions.iter().map(|region| crop(view.image, region)).collect::<Result<Vec<_>>>()?;
    view.eye.tiles(&crops)
}

/// The region's box of the picture, and its mask there in its slot.
fn crop(image: &Image, region: &Region) -> Result<(Image, RegionSet)> {
    let (slot, mask) = (region.slot(), region.mask());
    let (width, height) = (mask.width(), mask.height());
    let b = mask.bounds().ok_or(gar_prompt::Error::EmptyMask { slot, width, height })?;
    let (mut pixels, mut set) = (image.pixels(), mask.view());
    for (axis, span) in [b.y_min..=b.y_max, b.x_min..=b.x_max].into_iter().map(Slice::from).enumerate() {
        pixels.slice_axis_inplace(Axis(axis), span);
        set.slice_axis_inplace(Axis(axis), span);
    }
    let mut own = RegionSet::new();
    own.push(slot, Mask::from_array(set.to_owned()))?;
    Ok((Image::from_rgb(pixels.to_owned())?, own))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, Array3};

    /// Each pixel holds its own place, so the crop shows where it was cut.
    #[test]
    fn a_crop_is_the_mask_s_box_up_to_the_border() {
        let image = Image::from_rgb(Array3::from_shape_fn((5, 7, 3), |(y, x, c)| [y, x, 0][c] as u8)).unwrap();
        for (set, corner, size) in [
            (vec![(1, 2), (3, 4)], [1, 2], [3, 3]),
            (vec![(4, 6)], [4, 6], [1, 1]),
            (vec![(0, 0), (4, 6)], [0, 0], [5, 7]),
        ] {
            let mut pixels = Array2::from_elem((5, 7), false);
            set.iter().for_each(|&at| pixels[at] = true);
            let region = Region::new(3, Mask::from_array(pixels)).unwrap();
            let (cut, own) = crop(&image, &region).unwrap();
            assert_eq!([cut.height(), cut.width()], size);
            assert_eq!(own.slots(), [3]);
            let own = own.iter().next().unwrap().mask();
            assert_eq!(own.area(), set.len());
            for ((y, x), &on) in own.view().indexed_iter() {
                assert_eq!(on, set.contains(&(y + corner[0], x + corner[1])));
                let place = [cut.pixels()[[y, x, 0]], cut.pixels()[[y, x, 1]]];
                assert_eq!(place.map(usize::from), [y + corner[0], x + corner[1]]);
            }
        }
    }
}
