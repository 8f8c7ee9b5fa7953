//! Scribbles: a line drawn with a round pen.

use crate::mask::{Mask, check_coordinates};
use crate::{Error, Result};

/// The greatest magnitude of a scribble's coordinates and width, in pixels.
const LIMIT: f64 = 1e6;

impl Mask {
    /// The pixels whose centres lie within `pen / 2` of the polyline through `points` (x, y), all in pixels.
    ///
    /// One point is a dot. The distance counts inclusively. Parts beyond the image are clipped. A pen narrower than a
    /// pixel may miss every centre, and then the mask is empty.
    ///
    /// ```
    /// use gar_prompt::Mask;
    ///
    /// let mask = Mask::from_scribble(16, 8, &[(2.0, 4.0), (12.0, 4.0)], 2.0)?;
    /// assert_eq!(mask.bounds().map(|b| (b.y_min, b.y_max)), Some((3, 4)));
    /// # Ok::<(), gar_prompt::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::TooLarge`]; [`Error::NoPoints`]; [`Error::Coordinate`] for a coordinate that is not a number or beyond
    /// ±1,000,000; [`Error::ScribbleWidth`] for a width that is not a number, not positive or above 1,000,000.
    pub fn from_scribble(width: usize, height: usize, points: &[(f64, f64)], pen: f64) -> Result<Self> {
        check_coordinates("scribble", points.iter().flat_map(|&(x, y)| [x, y]), LIMIT)?;
        if !(pen > 0.0 && pen <= LIMIT) {
            return Err(Error::ScribbleWidth { found: pen, limit: LIMIT });
        }
        let mut mask = Mask::empty(width, height)?;
        match *points {
            [] => return Err(Error::NoPoints),
            [dot] => stroke(&mut mask, dot, dot, pen / 2.0),
            _ => points.windows(2).for_each(|ends| stroke(&mut mask, ends[0], ends[1], pen / 2.0)),
        }
        Ok(mask)
    }
}

/// Sets the pixels whose centres lie within `radius` of the segment from `a` to `b`.
fn stroke(mask: &mut Mask, a: (f64, f64), b: (f64, f64), radius: f64) {
    let (width, height) = (mask.width(), mask.height());
    let (dx, dy) = (b.0 - a.0, b.1 - a.1);
    let squared = dx * dx + dy * dy;
    let at = |t: f64| a.0 + t * dx;
    for y in pixels_between(a.1.min(b.1) - radius, a.1.max(b.1) + radius, height) {
        let cy = y as f64 + 0.5;
        // The part of the segment within `radius` of this row bounds the columns worth a look.
        let (t0, t1) = if dy == 0.0 {
            (0.0, 1.0)
        } else {
            let (t0, t1) = ((cy - radius - a.1) / dy, (cy + radius - a.1) / dy);
            (t0.min(t1).clamp(0.0, 1.0), t0.max(t1).clamp(0.0, 1.0))
        };
        let (left, right) = (at(t0).min(at(t1)) - radius, at(t0).max(at(t1)) + radius);
        for x in pixels_between(left, right, width) {
            let cx = x as f64 + 0.5;
            let t = if squared > 0.0 { ((cx - a.0) * dx + (cy - a.1) * dy) / squared } else { 0.0 };
            let t = t.clamp(0.0, 1.0);
            let (ex, ey) = (cx - at(t), cy - (a.1 + t * dy));
            if ex * ex + ey * ey <= radius * radius {
                mask.pixels_mut()[[y, x]] = true;
            }
        }
    }
}

/// The pixels of `0..size` that touch the interval `low..=high`.
fn pixels_between(low: f64, high: f64, size: usize) -> std::ops::Range<usize> {
    let clip = |v: f64| v.clamp(0.0, size as f64) as usize;
    clip(low.floor())..clip(high.floor() + 1.0)
}
