//! Pictures: decoded once, kept as RGB bytes.

use std::io::Cursor;
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};
use ndarray::{Array3, ArrayView3};

use crate::{Error, Result, jpeg};

/// What a picture file may ask for before it is refused. The check is made on the header, before pixels are allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Most bytes of an encoded file. Default: 512 MiB.
    pub max_bytes: u64,
    /// Most pixels, width × height. Default: 2²⁸, more than any camera makes (three times as many bytes once decoded).
    pub max_pixels: u64,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self { max_bytes: 512 << 20, max_pixels: 1 << 28 }
    }
}

/// An RGB picture, [H, W, 3] u8, of at least one pixel.
///
/// Decoding turns the picture upright (EXIF orientation) and any colour mode into RGB: grey is repeated, palettes are
/// looked up, 16-bit samples keep their high byte, and **alpha is dropped without blending**: the colour stored
/// under a transparent pixel is what the model sees, as with Pillow's `convert("RGB")`.
///
/// ```
/// # fn main() -> gar_vision::Result<()> {
/// use gar_vision::Image;
/// use ndarray::Array3;
///
/// let grey = Image::from_rgb(Array3::from_elem((2, 3, 3), 128))?;
/// assert_eq!((grey.width(), grey.height()), (3, 2));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    pixels: Array3<u8>,
}

impl Image {
    /// Reads and decodes a picture file with the default [`DecodeLimits`]. The format is told by content, not by name.
    ///
    /// # Errors
    /// [`Error::InFile`] with the path and the cause: [`Error::Io`], or any error of [`Image::decode`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, &DecodeLimits::default())
    }

    /// [`Image::open`] with limits of one's own.
    ///
    /// # Errors
    /// As [`Image::open`].
    pub fn open_with(path: impl AsRef<Path>, limits: &DecodeLimits) -> Result<Self> {
        let path = path.as_ref();
        let read = || {
            let bytes = std::fs::metadata(path)?.len();
            if bytes > limits.max_bytes {
                return Err(Error::FileTooLarge { bytes, limit: limits.max_bytes });
            }
            Self::decode(&std::fs::read(path)?, limits)
        };
        read().map_err(|source| Error::InFile { path: path.into(), source: Box::new(source) })
    }

    /// Decodes an encoded picture: PNG, JPEG, WebP, BMP, GIF (first frame) or TIFF.
    ///
    /// # Errors
    /// - [`Error::FileTooLarge`], [`Error::TooManyPixels`]: beyond `limits`;
    /// - [`Error::EmptyImage`]: no pixels;
    /// - [`Error::Decode`]: unknown, damaged, truncated, or a header that promises more than the file holds.
    pub fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<Self> {
        if bytes.len() as u64 > limits.max_bytes {
            return Err(Error::FileTooLarge { bytes: bytes.len() as u64, limit: limits.max_bytes });
        }
        let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?;
        let is_jpeg = reader.format() == Some(ImageFormat::Jpeg);
        // A decoder's own scratch space: the widest sample is 16 bytes (RGBA f32), and some keep a second copy.
        let mut scratch = Limits::default();
        scratch.max_alloc = Some(limits.max_pixels.saturating_mul(32));
        reader.limits(scratch);
        let mut decoder = reader.into_decoder()?;
        let (width, height) = decoder.dimensions();
        if width == 0 || height == 0 {
            return Err(Error::EmptyImage { width: width as usize, height: height as usize });
        }
        let pixels = u64::from(width) * u64::from(height);
        if pixels > limits.max_pixels {
            return Err(Error::TooManyPixels { width, height, limit: limits.max_pixels });
        }
        // Pictures whose orientation tag cannot be read are shown as they are stored, as every viewer does.
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let jpeg = if is_jpeg { jpeg::decode(bytes)? } else { None };
        let mut picture = match jpeg.and_then(|(w, h, rgb)| RgbImage::from_raw(w as u32, h as u32, rgb)) {
            Some(decoded) => DynamicImage::ImageRgb8(decoded),
            None => {
                if is_jpeg {
                    jpeg::check_complete(bytes)?;
                }
                DynamicImage::from_decoder(decoder)?
            }
        };
        picture.apply_orientation(orientation);
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        Self::from_raw(width, height, to_rgb(picture))
    }

    /// Wraps RGB pixels [H, W, 3].
    ///
    /// # Errors
    /// [`Error::PixelBuffer`] where the last axis is not 3, [`Error::EmptyImage`] where there is no pixel.
    pub fn from_rgb(pixels: Array3<u8>) -> Result<Self> {
        let (height, width, channels) = pixels.dim();
        if channels != 3 {
            return Err(Error::PixelBuffer { expected: [height, width, 3], found: pixels.shape().to_vec() });
        }
        if width == 0 || height == 0 {
            return Err(Error::EmptyImage { width, height });
        }
        let pixels = if pixels.is_standard_layout() { pixels } else { pixels.as_standard_layout().into_owned() };
        Ok(Self { pixels })
    }

    fn from_raw(width: usize, height: usize, rgb: Vec<u8>) -> Result<Self> {
        let found = vec![rgb.len()];
        let pixels = Array3::from_shape_vec((height, width, 3), rgb)
            .map_err(|_| Error::PixelBuffer { expected: [height, width, 3], found })?;
        Self::from_rgb(pixels)
    }

    /// Width in pixels, at least 1.
    pub fn width(&self) -> usize {
        self.pixels.dim().1
    }

    /// Height in pixels, at least 1.
    pub fn height(&self) -> usize {
        self.pixels.dim().0
    }

    /// The pixels, [H, W, 3], contiguous.
    pub fn pixels(&self) -> ArrayView3<'_, u8> {
        self.pixels.view()
    }

    /// The pixels, [H, W, 3], contiguous.
    pub fn into_pixels(self) -> Array3<u8> {
        self.pixels
    }
}

/// RGB bytes of any colour mode; see [`Image`] for the rules.
fn to_rgb(picture: DynamicImage) -> Vec<u8> {
    let high = |v: u16| (v >> 8) as u8;
    match picture {
        DynamicImage::ImageLuma16(p) => p.pixels().flat_map(|p| [high(p.0[0]); 3]).collect(),
        DynamicImage::ImageLumaA16(p) => p.pixels().flat_map(|p| [high(p.0[0]); 3]).collect(),
        DynamicImage::ImageRgb16(p) => p.pixels().flat_map(|p| p.0.map(high)).collect(),
        DynamicImage::ImageRgba16(p) => p.pixels().flat_map(|p| [high(p.0[0]), high(p.0[1]), high(p.0[2])]).collect(),
        // Eight-bit modes copy samples and drop alpha; floats are taken as 0…1.
        other => other.into_rgb8().into_raw(),
    }
}
