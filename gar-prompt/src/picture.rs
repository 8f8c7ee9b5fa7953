//! Masks from pictures.
//!
//! Masks are saved as pictures in many ways: white on black, 0 and 1, a palette, a cut-out. One rule reads them all:
//!
//! 1. **Transparency decides** where the picture has an alpha channel and any pixel of it is not fully opaque: a pixel
//!    is set where alpha is at least half (128 of 255, 32768 of 65535), whatever its colour.
//! 2. Otherwise a pixel is set where its **largest colour channel** is
//!    - not zero, in a format that keeps values exactly (PNG, GIF, BMP, TIFF), so that masks stored as 0 and 1 and
//!      coloured labels work;
//!    - at least half, in a lossy one (JPEG, WebP), whose black is only nearly black.
//!
//! A palette is read by its colours, not by its indices. Of an animation, the first frame counts. An EXIF orientation
//! is applied, as it is to photographs.

use std::io::Cursor;
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use ndarray::Array2;

use crate::mask::{Mask, check_size};
use crate::{Error, Result};

/// The most memory a decoder may ask for: enough for [`MAX_PIXELS`](crate::MAX_PIXELS) of RGBA with 8 bits.
const MAX_DECODER_BYTES: u64 = 4 * crate::MAX_PIXELS as u64;

impl Mask {
    /// Reads a picture file by the rule of [this module](crate::picture).
    ///
    /// # Errors
    /// [`Error::Read`]; [`Error::PictureFile`] with one of [`from_picture`](Self::from_picture)'s errors.
    pub fn open_picture(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
        Self::from_picture(&bytes)
            .map_err(|source| Error::PictureFile { path: path.to_owned(), source: Box::new(source) })
    }

    /// Reads a picture (PNG, JPEG, WebP, GIF, BMP or TIFF, told apart by content) by the rule of
    /// [this module](crate::picture).
    ///
    /// # Errors
    /// [`Error::Picture`] for an unknown format, or malformed or truncated data; [`Error::JpegTruncated`];
    /// [`Error::TooLarge`] for a picture whose header claims too much, judged before memory is taken;
    /// [`Error::PictureSamples`] for floating-point samples.
    ///
    /// A JPEG whose scan ends properly but holds fewer rows than its header claims is not noticed: the decoder fills the
    /// rest.
    pub fn from_picture(bytes: &[u8]) -> Result<Self> {
        let (picture, format) = decode(bytes)?;
        let lossy = matches!(format, ImageFormat::Jpeg | ImageFormat::WebP);
        use DynamicImage as D;
        let pixels = match &picture {
            D::ImageLuma8(p) => read(p.as_raw(), p.dimensions(), 1, false, lossy),
            D::ImageLumaA8(p) => read(p.as_raw(), p.dimensions(), 2, true, lossy),
            D::ImageRgb8(p) => read(p.as_raw(), p.dimensions(), 3, false, lossy),
            D::ImageRgba8(p) => read(p.as_raw(), p.dimensions(), 4, true, lossy),
            D::ImageLuma16(p) => read(p.as_raw(), p.dimensions(), 1, false, lossy),
            D::ImageLumaA16(p) => read(p.as_raw(), p.dimensions(), 2, true, lossy),
            D::ImageRgb16(p) => read(p.as_raw(), p.dimensions(), 3, false, lossy),
            D::ImageRgba16(p) => read(p.as_raw(), p.dimensions(), 4, true, lossy),
            other => return Err(Error::PictureSamples { found: format!("{:?}", other.color()) }),
        };
        Ok(Mask::from_array(pixels))
    }
}

/// A channel's value: 8 or 16 bits.
trait Sample: Copy + Ord {
    const ZERO: Self;
    const HALF: Self;
    const FULL: Self;
}

impl Sample for u8 {
    const ZERO: Self = 0;
    const HALF: Self = 128;
    const FULL: Self = 255;
}

impl Sample for u16 {
    const ZERO: Self = 0;
    const HALF: Self = 32768;
    const FULL: Self = 65535;
}

/// The module's rule on samples [H, W, channels], the last of which is alpha where there is one.
fn read<S: Sample>(
    samples: &[S],
    (width, height): (u32, u32),
    channels: usize,
    alpha: bool,
    lossy: bool,
) -> Array2<bool> {
    let colours = channels - usize::from(alpha);
    let by_alpha = alpha && samples.iter().skip(colours).step_by(channels).any(|&a| a != S::FULL);
    Array2::from_shape_fn((height as usize, width as usize), |(y, x)| {
        let at = (y * width as usize + x) * channels;
        if by_alpha {
            return samples[at + colours] >= S::HALF;
        }
        let brightest = samples[at..at + colours].iter().copied().max().unwrap_or(S::ZERO);
        if lossy { brightest >= S::HALF } else { brightest > S::ZERO }
    })
}

/// Decodes the first frame, upright.
fn decode(bytes: &[u8]) -> Result<(DynamicImage, ImageFormat)> {
    let refused = |source| Error::Picture { source };
    let format = image::guess_format(bytes).map_err(refused)?;
    if format == ImageFormat::Jpeg && !jpeg_is_whole(bytes) {
        return Err(Error::JpegTruncated { bytes: bytes.len() });
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODER_BYTES);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(refused)?;
    let (width, height) = decoder.dimensions();
    check_size(width as usize, height as usize)?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut picture = DynamicImage::from_decoder(decoder).map_err(refused)?;
    picture.apply_orientation(orientation);
    Ok((picture, format))
}

/// Whether an end marker follows the first scan. The decoder fills what is missing from a JPEG with grey, and that would
/// be read as a region. Scan data never hold the marker's bytes, whereas a thumbnail before the scan may.
fn jpeg_is_whole(bytes: &[u8]) -> bool {
    const START_OF_SCAN: u8 = 0xda;
    const END_OF_IMAGE: [u8; 2] = [0xff, 0xd9];

    let mut at = 2;
    while let Some(&[0xff, marker]) = bytes.get(at..at + 2) {
        if marker == 0xff {
            at += 1; // fill byte
        } else if marker == START_OF_SCAN {
            return bytes[at..].windows(2).any(|pair| pair == END_OF_IMAGE);
        } else {
            let Some(&[high, low]) = bytes.get(at + 2..at + 4) else { return false };
            at += 2 + usize::from(u16::from_be_bytes([high, low]));
        }
    }
    false
}
