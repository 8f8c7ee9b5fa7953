//! Polygons, rasterised as pycocotools does it.
//!
//! pycocotools scales a polygon by 5, truncates its corners to whole numbers, walks each edge in unit steps along its
//! longer axis, and notes at which height the walk crosses the middle of a pixel column. Read column by column, each
//! crossing toggles between outside and inside.
//!
//! Here the crossings of an edge are computed without the walk: along the longer axis a column's middle is met at a
//! known step, and along the other one the walk is monotone, so the step is found by bisection. The numbers are the
//! same, and an edge costs at most one bisection per column of the image, however long it is.

use crate::mask::{Mask, check_coordinates};
use crate::rle::mask_from_columns;
use crate::{Error, Result};

/// The greatest magnitude of a polygon's coordinate, in pixels. Within it the arithmetic of the walk is exact enough that
/// bisection and walk agree, and pycocotools' 32-bit numbers do not overflow.
const LIMIT: f64 = 1e6;

/// pycocotools' factor between pixels and its walk.
const SCALE: i64 = 5;

impl Mask {
    /// The union of polygons, each `x0, y0, x1, y1, …` in pixels, closed by itself (even-odd rule).
    ///
    /// Parts beyond the image are clipped as in pycocotools: left and right of it nothing is set, and crossings above
    /// and below count at the border. A polygon that lies outside altogether sets no pixel. No polygons give an empty
    /// mask.
    ///
    /// ```
    /// use gar_prompt::Mask;
    ///
    /// let square = [1.0, 1.0, 4.0, 1.0, 4.0, 3.0, 1.0, 3.0];
    /// assert_eq!(Mask::from_polygons(8, 8, &[square])?.area(), 6);
    /// # Ok::<(), gar_prompt::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::TooLarge`]; [`Error::PolygonLength`] for an odd number of coordinates or fewer than three points;
    /// [`Error::Coordinate`] for a coordinate that is not a number or beyond ±1,000,000.
    pub fn from_polygons<P: AsRef<[f64]>>(width: usize, height: usize, polygons: &[P]) -> Result<Self> {
        let mut union = Mask::empty(width, height)?;
        for (index, polygon) in polygons.iter().map(AsRef::as_ref).enumerate() {
            if polygon.len() < 6 || polygon.len() % 2 == 1 {
                return Err(Error::PolygonLength { index, found: polygon.len() });
            }
            check_coordinates(&format!("polygon {index}"), polygon.iter().copied(), LIMIT)?;
            let mask = rasterise(width, height, polygon);
            union.pixels_mut().zip_mut_with(&mask.view(), |all, &one| *all |= one);
        }
        Ok(union)
    }
}

/// One polygon of checked coordinates.
fn rasterise(width: usize, height: usize, polygon: &[f64]) -> Mask {
    // Truncation towards zero, as a C cast does.
    let corner = |v: f64| (SCALE as f64 * v + 0.5) as i64;
    let corners: Vec<(i64, i64)> = polygon.chunks_exact(2).map(|p| (corner(p[0]), corner(p[1]))).collect();

    // toggles[i]: whether an odd number of crossings stands at pixel i, column by column. One more for crossings below
    // the last column.
    let mut toggles = vec![false; width * height + 1];
    for (i, &from) in corners.iter().enumerate() {
        let to = corners[(i + 1) % corners.len()];
        crossings(from, to, width, |column, y| {
            toggles[column * height + row_below(y, height)] ^= true;
        });
    }
    let mut inside = false;
    for toggle in &mut toggles {
        inside ^= *toggle;
        *toggle = inside;
    }
    mask_from_columns(width, height, |i| toggles[i])
}

/// The first row whose pixels lie below a crossing at height `y` of the scaled walk, at most `height`.
fn row_below(y: i64, height: usize) -> usize {
    let row = (y as f64 + 0.5) / SCALE as f64 - 0.5;
    row.clamp(0.0, height as f64).ceil() as usize
}

/// Calls `found(column, y)` where the walk along an edge crosses the middle of an image column: the step between
/// `5·column + 2` and `5·column + 3`; `y` is the lesser height of the step's two ends.
fn crossings(from: (i64, i64), to: (i64, i64), width: usize, mut found: impl FnMut(usize, i64)) {
    let (dx, dy) = ((to.0 - from.0).abs(), (to.1 - from.1).abs());
    let flat = dx >= dy;
    let flip = if flat { from.0 > to.0 } else { from.1 > to.1 };
    let ((xs, ys), (xe, ye)) = if flip { (to, from) } else { (from, to) };
    if xs == xe {
        return;
    }
    // Position on the shorter axis after `t` steps on the longer one, truncated as a C cast does.
    let slope = if flat { (ye - ys) as f64 / dx as f64 } else { (xe - xs) as f64 / dy as f64 };
    let side = |start: i64, t: i64| (start as f64 + slope * t as f64 + 0.5) as i64;

    let (left, right) = if flat {
        (xs, xe)
    } else {
        let ends = (side(xs, 0), side(xs, dy));
        (ends.0.min(ends.1), ends.0.max(ends.1))
    };
    // Columns whose step lies within left..=right.
    let first = ((left - 2).max(0) + SCALE - 1) / SCALE;
    let last = (right - 3).div_euclid(SCALE).min(width as i64 - 1);
    for column in first..=last {
        let middle = SCALE * column + 2;
        let y = if flat {
            let t = middle - xs;
            side(ys, t).min(side(ys, t + 1))
        } else {
            let beyond = |t: i64| if slope > 0.0 { side(xs, t) > middle } else { side(xs, t) <= middle };
            ys + first_true(1, dy, beyond) - 1
        };
        found(column as usize, y);
    }
}

/// The least `t` in `low..=high` that satisfies a monotone condition which `high` satisfies.
fn first_true(mut low: i64, mut high: i64, condition: impl Fn(i64) -> bool) -> i64 {
    while low < high {
        let middle = low + (high - low) / 2;
        if condition(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    high
}
