//! Pixels to draw on.
use gar_core::vision::Image;
use image::RgbImage;

/// Red, green and blue.
pub type Rgb = [u8; 3];

/// A copy of a picture; drawing beyond its border draws nothing.
pub(super) struct Canvas {
    picture: RgbImage,
}

impl Canvas {
    pub(super) fn new(image: &Image) -> Self {
        let mut picture = RgbImage::new(image.width() as u32, image.height() as u32);
        for (sample, &value) in picture.iter_mut().zip(image.pixels()) {
            *sample = value;
        }
        Self { picture }
    }

    pub(super) fn into_picture(self) -> RgbImage {
        self.picture
    }

    pub(super) fn width(&self) -> usize {
        self.picture.width() as usize
    }

    pub(super) fn height(&self) -> usize {
        self.picture.height() as usize
    }

    /// Mixes `colour` into a pixel; `share` is taken into 0…1.
    pub(super) fn blend(&mut self, x: usize, y: usize, colour: Rgb, share: f32) {
        let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else { return };
        let share = share.clamp(0.0, 1.0);
        if let Some(pixel) = self.picture.get_pixel_mut_checked(x, y) {
            for (sample, colour) in pixel.0.iter_mut().zip(colour) {
                *sample = (f32::from(*sample) * (1.0 - share) + f32::from(colour) * share).round() as u8;
            }
        }
    }

    /// Fills a rectangle, clipped to the picture.
    pub(super) fn fill(&mut self, rect: Rect, colour: Rgb, share: f32) {
        for y in rect.y..(rect.y + rect.height).min(self.height()) {
            for x in rect.x..(rect.x + rect.width).min(self.width()) {
                self.blend(x, y, colour, share);
            }
        }
    }
}

/// A rectangle in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rect {
    pub(super) x: usize,
    pub(super) y: usize,
    pub(super) width: usize,
    pub(super) height: usize,
}

impl Rect {
    /// How many pixels two rectangles share.
    pub(super) fn overlap(&self, other: &Self) -> usize {
        let shared =
            |a: usize, a_len: usize, b: usize, b_len: usize| (a + a_len).min(b + b_len).saturating_sub(a.max(b));
        shared(self.x, self.width, other.x, other.width) * shared(self.y, self.height, other.y, other.height)
    }
}
