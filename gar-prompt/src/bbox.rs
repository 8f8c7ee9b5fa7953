//! Boxes.

use ndarray::{Axis, Slice};

use crate::mask::{Mask, check_coordinates};
use crate::{Error, Result};

impl Mask {
    /// The pixels whose centres lie in the half-open box `[x1, x2) × [y1, y2)`, given as x1, y1, x2, y2 in pixels.
    ///
    /// With whole numbers these are the columns `x1..x2` and the rows `y1..y2`: `[0, 0, W, H]` is the whole image.
    /// Parts beyond the image are clipped; a box wholly outside sets no pixel.
    ///
    /// ```
    /// use gar_prompt::{Mask, PixelBox};
    ///
    /// let mask = Mask::from_box(10, 10, [2.0, 3.0, 5.0, 99.0])?;
    /// assert_eq!(mask.bounds(), Some(PixelBox { x_min: 2, y_min: 3, x_max: 4, y_max: 9 }));
    /// # Ok::<(), gar_prompt::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::TooLarge`]; [`Error::Coordinate`] for NaN and infinities; [`Error::BoxOrder`] unless `x1 < x2` and
    /// `y1 < y2`.
    pub fn from_box(width: usize, height: usize, corners: [f64; 4]) -> Result<Self> {
        check_coordinates("box", corners, f64::MAX)?;
        let [x1, y1, x2, y2] = corners;
        if x1 >= x2 || y1 >= y2 {
            return Err(Error::BoxOrder { found: corners });
        }
        let mut mask = Mask::empty(width, height)?;
        // The first pixel whose centre is not before an edge.
        let first = |edge: f64, size: usize| (edge - 0.5).ceil().clamp(0.0, size as f64) as usize;
        let columns = first(x1, width)..first(x2, width);
        let rows = first(y1, height)..first(y2, height);
        let mut band = mask.pixels_mut().slice_axis_mut(Axis(0), Slice::from(rows));
        band.slice_axis_mut(Axis(1), Slice::from(columns)).fill(true);
        Ok(mask)
    }
}
