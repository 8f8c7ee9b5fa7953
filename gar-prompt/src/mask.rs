//! A binary mask over an image, and the boxes around its set pixels.

use std::fmt;

use ndarray::{Array2, ArrayView2};

use crate::{Error, Result};

/// The most pixels a mask read from a file or built from shapes may have: 16,384 × 16,384. A few bytes of run lengths
/// can claim any size, so the claim is judged before memory is taken.
pub const MAX_PIXELS: usize = 1 << 28;

/// A binary mask [H, W], row-major; `true` is inside the region.
///
/// A mask may be empty or have no pixels at all, as the formats that carry masks allow both; a
/// [`Region`](crate::Region) may not.
///
/// ```
/// use gar_prompt::{Mask, NormBox, PixelBox};
/// use ndarray::array;
///
/// let mask = Mask::from_array(array![[false, true, true, false], [false, true, false, false]]);
/// assert_eq!((mask.width(), mask.height(), mask.area()), (4, 2, 3));
/// assert_eq!(mask.bounds(), Some(PixelBox { x_min: 1, y_min: 0, x_max: 2, y_max: 1 }));
/// assert_eq!(mask.normalized_box()?, NormBox { x_min: 0.25, y_min: 0.0, x_max: 0.5, y_max: 0.5 });
/// # Ok::<(), gar_prompt::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Mask {
    pixels: Array2<bool>,
}

/// Columns and rows of a mask's outermost set pixels; both ends **inclusive**.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PixelBox {
    /// Leftmost column.
    pub x_min: usize,
    /// Topmost row.
    pub y_min: usize,
    /// Rightmost column.
    pub x_max: usize,
    /// Bottom row.
    pub y_max: usize,
}

/// A [`PixelBox`] divided by the mask's width and height, in `[0, 1)`. The maxima stay inclusive, as in the released
/// code: the box of a full mask ends at `(W − 1) / W`, and that of one pixel has no extent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NormBox {
    /// Left, `x_min / W`.
    pub x_min: f64,
    /// Top, `y_min / H`.
    pub y_min: f64,
    /// Right, `x_max / W`.
    pub x_max: f64,
    /// Bottom, `y_max / H`.
    pub y_max: f64,
}

impl Mask {
    /// A mask from its pixels [H, W], of any memory layout.
    pub fn from_array(pixels: Array2<bool>) -> Self {
        let pixels = if pixels.is_standard_layout() { pixels } else { pixels.as_standard_layout().into_owned() };
        Self { pixels }
    }

    /// A mask without a set pixel.
    ///
    /// # Errors
    /// [`Error::TooLarge`] above [`MAX_PIXELS`].
    pub fn empty(width: usize, height: usize) -> Result<Self> {
        check_size(width, height)?;
        Ok(Self { pixels: Array2::default((height, width)) })
    }

    /// Columns.
    pub fn width(&self) -> usize {
        self.pixels.ncols()
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.pixels.nrows()
    }

    /// Number of set pixels.
    pub fn area(&self) -> usize {
        self.pixels.iter().filter(|&&set| set).count()
    }

    /// Whether no pixel is set.
    pub fn is_empty(&self) -> bool {
        !self.pixels.iter().any(|&set| set)
    }

    /// The pixels [H, W].
    pub fn view(&self) -> ArrayView2<'_, bool> {
        self.pixels.view()
    }

    /// The pixels [H, W], given away.
    pub fn into_array(self) -> Array2<bool> {
        self.pixels
    }

    /// The box around the set pixels; `None` where there are none.
    pub fn bounds(&self) -> Option<PixelBox> {
        let mut bounds: Option<PixelBox> = None;
        for (y, row) in self.pixels.rows().into_iter().enumerate() {
            // Most rows of most masks are empty, which a sum without an early end finds out fastest.
            if !row.iter().fold(false, |any, &set| any | set) {
                continue;
            }
            let Some(first) = row.iter().position(|&set| set) else { continue };
            let last = row.iter().rposition(|&set| set).unwrap_or(first);
            let b = bounds.get_or_insert(PixelBox { x_min: first, y_min: y, x_max: last, y_max: y });
            b.x_min = b.x_min.min(first);
            b.x_max = b.x_max.max(last);
            b.y_max = y;
        }
        bounds
    }

    /// The box that feature replay samples (Grasp Any Region, §3.2), as fractions of the image.
    ///
    /// # Errors
    /// [`Error::NoBox`] where no pixel is set.
    pub fn normalized_box(&self) -> Result<NormBox> {
        let (w, h) = (self.width(), self.height());
        let b = self.bounds().ok_or(Error::NoBox { width: w, height: h })?;
        let part = |at: usize, of: usize| at as f64 / of as f64;
        Ok(NormBox {
            x_min: part(b.x_min, w),
            y_min: part(b.y_min, h),
            x_max: part(b.x_max, w),
            y_max: part(b.y_max, h),
        })
    }

    /// For the codecs, which build masks in place.
    pub(crate) fn pixels_mut(&mut self) -> &mut Array2<bool> {
        &mut self.pixels
    }
}

/// Size and area; a mask's pixels are too many to print.
impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mask")
            .field("width", &self.width())
            .field("height", &self.height())
            .field("area", &self.area())
            .finish()
    }
}

/// Refuses a size of more than [`MAX_PIXELS`].
pub(crate) fn check_size(width: usize, height: usize) -> Result<()> {
    // A side counts as well: a mask of no rows could otherwise claim any number of columns.
    let pixels = width.max(1).checked_mul(height.max(1));
    if pixels.is_none_or(|n| n > MAX_PIXELS) {
        return Err(Error::TooLarge { width, height, limit: MAX_PIXELS });
    }
    Ok(())
}

/// Refuses a coordinate that is not finite or beyond ±`limit`.
pub(crate) fn check_coordinates(what: &str, xy: impl IntoIterator<Item = f64>, limit: f64) -> Result<()> {
    for (at, found) in xy.into_iter().enumerate() {
        if found.is_nan() || found.abs() > limit {
            return Err(Error::Coordinate { what: what.to_owned(), at, found, limit });
        }
    }
    Ok(())
}
