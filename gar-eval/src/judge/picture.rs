//! Pictures for a judge: PNG in a data URL; a region and its mask cut out with some of what is around them.
use std::ops::Range;

use base64::{Engine, prelude::BASE64_STANDARD};
use gar_core::prompt::{Mask, PixelBox};
use gar_core::vision::Image;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use ndarray::{Array2, Array3};

use super::Part;
use crate::{Error, Result};

const PREFIX: &str = "data:image/png;base64,";

/// Boxes narrower or lower than this are widened before their surroundings are added (describe-anything's focal crop).
const LEAST_SIDE: usize = 56;

/// A picture as a data URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PictureUrl(String);

impl PictureUrl {
    /// The bytes of a PNG file.
    pub fn png(bytes: &[u8]) -> Self {
        Self(format!("{PREFIX}{}", BASE64_STANDARD.encode(bytes)))
    }

    /// RGB pixels [H, W, 3].
    ///
    /// # Errors
    /// [`Error::Io`] where the encoder refuses the size.
    pub fn rgb(pixels: &Array3<u8>) -> Result<Self> {
        let (height, width, _) = pixels.dim();
        encode(pixels.iter().copied().collect(), width, height, ExtendedColorType::Rgb8)
    }

    /// A mask [H, W], white where it is set.
    ///
    /// # Errors
    /// As [`rgb`](Self::rgb).
    pub fn mask(pixels: &Array2<bool>) -> Result<Self> {
        let (height, width) = pixels.dim();
        encode(pixels.iter().map(|&set| if set { 255 } else { 0 }).collect(), width, height, ExtendedColorType::L8)
    }

    /// The whole URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The URL for people, its data replaced by their size.
    pub(super) fn shortened(&self) -> Self {
        let data = self.0.strip_prefix(PREFIX).unwrap_or_default();
        let padding = data.bytes().rev().take_while(|&b| b == b'=').count();
        Self(format!("{PREFIX}… ({} bytes)", data.len() / 4 * 3 - padding))
    }
}

/// The region and its mask, cut out with as much again on each side: the two pictures that show a judge what is meant.
///
/// # Errors
/// [`Error::Core`] for a mask without a set pixel; as [`PictureUrl::rgb`].
pub fn focus(image: &Image, mask: &Mask) -> Result<[Part; 2]> {
    let (width, height) = (mask.width(), mask.height());
    let bounds =
        mask.bounds().ok_or(gar_core::prompt::Error::NoBox { width, height }).map_err(gar_core::Error::from)?;
    let [columns, rows] = window(bounds, width, height);
    let (x, y, extent) = (columns.start, rows.start, (rows.len(), columns.len()));
    let pixels =
        Array3::from_shape_fn((extent.0, extent.1, 3), |(row, column, c)| image.pixels()[[y + row, x + column, c]]);
    let set = Array2::from_shape_fn(extent, |(row, column)| mask.view()[[y + row, x + column]]);
    Ok([Part::Picture(PictureUrl::rgb(&pixels)?), Part::Picture(PictureUrl::mask(&set)?)])
}

/// The whole picture.
///
/// # Errors
/// As [`PictureUrl::rgb`].
pub(super) fn whole(image: &Image) -> Result<Part> {
    Ok(Part::Picture(PictureUrl::rgb(&image.pixels().to_owned())?))
}

/// The whole picture with a red frame around a region.
///
/// # Errors
/// As [`focus`].
pub(super) fn framed(image: &Image, mask: &Mask) -> Result<Part> {
    let (width, height) = (mask.width(), mask.height());
    let b = mask.bounds().ok_or(gar_core::prompt::Error::NoBox { width, height }).map_err(gar_core::Error::from)?;
    let mut pixels = image.pixels().to_owned();
    // Thick enough to be seen after the picture was made smaller for the judge.
    let thick = (width.min(height) / 200).max(2);
    let (left, right) = (b.x_min.saturating_sub(thick), (b.x_max + 1 + thick).min(width));
    let (top, bottom) = (b.y_min.saturating_sub(thick), (b.y_max + 1 + thick).min(height));
    for (y, x) in (top..bottom).flat_map(|y| (left..right).map(move |x| (y, x))) {
        let inside = (b.y_min..=b.y_max).contains(&y) && (b.x_min..=b.x_max).contains(&x);
        if !inside {
            [255, 0, 0].into_iter().enumerate().for_each(|(c, value)| pixels[[y, x, c]] = value);
        }
    }
    Ok(Part::Picture(PictureUrl::rgb(&pixels)?))
}

/// Columns and rows of a box and of its like on each side, within a picture of `width` × `height`.
fn window(b: PixelBox, width: usize, height: usize) -> [Range<usize>; 2] {
    let side = |min: usize, max: usize, limit: usize| {
        let own = max + 1 - min;
        let (middle, extent) = ((min + max + 1) as f64 / 2.0, own.max(LEAST_SIDE));
        let start = (middle - extent as f64 / 2.0).trunc() as i64;
        let clip = |at: i64| at.clamp(0, limit as i64) as usize;
        clip(start - extent as i64)..clip(start + 2 * extent as i64)
    };
    [side(b.x_min, b.x_max, width), side(b.y_min, b.y_max, height)]
}

fn encode(bytes: Vec<u8>, width: usize, height: usize, color: ExtendedColorType) -> Result<PictureUrl> {
    let mut file = Vec::new();
    let refused = |error: image::ImageError| Error::io("picture for the judge".as_ref())(std::io::Error::other(error));
    PngEncoder::new(&mut file).write_image(&bytes, width as u32, height as u32, color).map_err(refused)?;
    Ok(PictureUrl::png(&file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_hold_a_box_and_its_surroundings() {
        let b = |x_min, y_min, x_max, y_max| PixelBox { x_min, y_min, x_max, y_max };
        // 100 × 60 pixels in the middle: three times as many each way.
        assert_eq!(window(b(400, 300, 499, 359), 1000, 800), [300..600, 240..420]);
        // A dot is treated as 56 × 56 around it, and clipped.
        assert_eq!(window(b(5, 500, 5, 500), 1000, 800), [0..90, 416..584]);
        assert_eq!(window(b(0, 0, 9, 9), 10, 10), [0..10, 0..10]);
    }

    #[test]
    fn cut_outs_are_pngs_of_the_same_place() {
        let pixels = Array3::from_shape_fn((200, 300, 3), |(y, x, c)| [y as u8, x as u8, 7][c]);
        let image = Image::from_rgb(pixels).unwrap();
        let mask = Mask::from_box(300, 200, [100.0, 50.0, 160.0, 110.0]).unwrap();
        let [Part::Picture(picture), Part::Picture(cut)] = focus(&image, &mask).unwrap() else { panic!() };
        let decode = |url: &PictureUrl| {
            let data = url.as_str().strip_prefix(PREFIX).unwrap();
            image::load_from_memory(&BASE64_STANDARD.decode(data).unwrap()).unwrap()
        };
        // Columns 40..220, rows 0..170 (−10 is clipped).
        let (picture, cut) = (decode(&picture).into_rgb8(), decode(&cut).into_luma8());
        assert_eq!((picture.dimensions(), cut.dimensions()), ((180, 170), (180, 170)));
        assert_eq!(picture.get_pixel(3, 9).0, [9, 43, 7]);
        assert_eq!(
            [cut.get_pixel(60, 50).0[0], cut.get_pixel(59, 50).0[0], cut.get_pixel(119, 109).0[0]],
            [255, 0, 255]
        );

        let Part::Picture(url) = framed(&image, &mask).unwrap() else { panic!() };
        let framed = decode(&url).into_rgb8();
        assert_eq!(framed.get_pixel(99, 60).0, [255, 0, 0]);
        assert_eq!(framed.get_pixel(100, 60).0, [60, 100, 7]);
        assert_eq!(framed.get_pixel(97, 60).0, [60, 97, 7], "two pixels thick");
        let empty = Mask::empty(300, 200).unwrap();
        assert!(focus(&image, &empty).is_err());
    }
}
