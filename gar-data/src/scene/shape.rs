//! Outlines as signed distances.
//!
//! Distances are in radii: negative inside, 0 on the outline, positive outside. Only `+ − × ÷ √`, comparisons and
//! `floor` are used here and wherever scenes are drawn. IEEE 754 fixes their results to the last bit, and Rust neither
//! fuses nor reorders them, so every platform draws the same bytes. Sines and exponentials come from a platform's math
//! library and differ; the angles that are needed stand here as numbers.

use super::attributes::Shape;

/// Cosine and sine of the tilts an object may have: 0°, ±4° and ±8°, so that a tilted square is no diamond.
pub(crate) const TILTS: [[f32; 2]; 5] = [
    [1.0, 0.0],
    [0.997_564_1, 0.069_756_47],
    [0.997_564_1, -0.069_756_47],
    [0.990_268_07, 0.139_173_1],
    [0.990_268_07, -0.139_173_1],
];

const TRIANGLE: [[f32; 2]; 3] = [[0.0, -1.02], [1.0, 0.74], [-1.0, 0.74]];
const DIAMOND: [[f32; 2]; 4] = [[0.0, -1.1], [1.1, 0.0], [0.0, 1.1], [-1.1, 0.0]];

/// Outer points at a radius of 1.15, inner ones at 0.52; angles are multiples of 36°.
const STAR: [[f32; 2]; 10] = {
    const SIN_36: f32 = 0.587_785_25;
    const COS_36: f32 = 0.809_017;
    const SIN_72: f32 = 0.951_056_5;
    const COS_72: f32 = 0.309_017;
    const OUT: f32 = 1.15;
    const IN: f32 = 0.52;
    [
        [0.0, -OUT],
        [IN * SIN_36, -IN * COS_36],
        [OUT * SIN_72, -OUT * COS_72],
        [IN * SIN_72, IN * COS_72],
        [OUT * SIN_36, OUT * COS_36],
        [0.0, IN],
        [-OUT * SIN_36, OUT * COS_36],
        [-IN * SIN_72, IN * COS_72],
        [-OUT * SIN_72, -OUT * COS_72],
        [-IN * SIN_36, -IN * COS_36],
    ]
};

/// Half the side of a heart's square; its two discs have this radius too.
const HEART: f32 = 0.63;

impl Shape {
    /// Signed distance of the point (x, y), in radii from the centre, x to the right and y down.
    pub(crate) fn distance(self, x: f32, y: f32) -> f32 {
        match self {
            Self::Circle => length(x, y) - 0.97,
            Self::Square => rectangle(x, y, 0.86, 0.86),
            Self::Triangle => polygon(&TRIANGLE, x, y),
            Self::Diamond => polygon(&DIAMOND, x, y),
            Self::Star => polygon(&STAR, x, y),
            Self::Cross => rectangle(x, y, 1.04, 0.4).min(rectangle(x, y, 0.4, 1.04)),
            Self::Ring => (length(x, y) - 0.73).abs() - 0.31,
            Self::Heart => heart(x, y + 0.1),
        }
    }

    /// How far the upright outline reaches below the centre, in radii.
    pub(crate) fn foot(self) -> f32 {
        match self {
            Self::Circle => 0.97,
            Self::Square => 0.86,
            Self::Triangle => 0.74,
            Self::Diamond => 1.1,
            Self::Star => 0.93,
            Self::Cross | Self::Ring => 1.04,
            Self::Heart => 0.79,
        }
    }
}

fn length(x: f32, y: f32) -> f32 {
    (x * x + y * y).sqrt()
}

/// An upright rectangle around the origin of half sides `w` and `h`.
pub(crate) fn rectangle(x: f32, y: f32, w: f32, h: f32) -> f32 {
    let (dx, dy) = (x.abs() - w, y.abs() - h);
    length(dx.max(0.0), dy.max(0.0)) + dx.max(dy).min(0.0)
}

/// A square on its corner with a disc on each upper edge; the centre of the square is the origin.
fn heart(x: f32, y: f32) -> f32 {
    const HALF_ROOT: f32 = std::f32::consts::FRAC_1_SQRT_2;
    let (u, v) = ((x - y) * HALF_ROOT, (-x - y) * HALF_ROOT);
    let discs = length(u - HEART, v).min(length(u, v - HEART)) - HEART;
    discs.min(rectangle(u, v, HEART, HEART))
}

/// The nearest edge, and whether a ray to the right crosses an odd number of edges.
fn polygon(points: &[[f32; 2]], x: f32, y: f32) -> f32 {
    let mut nearest = f32::MAX;
    let mut inside = false;
    let mut from = points[points.len() - 1];
    for &to in points {
        let (ex, ey) = (to[0] - from[0], to[1] - from[1]);
        let (px, py) = (x - from[0], y - from[1]);
        let t = ((px * ex + py * ey) / (ex * ex + ey * ey)).clamp(0.0, 1.0);
        let (dx, dy) = (px - ex * t, py - ey * t);
        nearest = nearest.min(dx * dx + dy * dy);
        if (from[1] > y) != (to[1] > y) && px < ex * py / ey {
            inside = !inside;
        }
        from = to;
    }
    if inside { -nearest.sqrt() } else { nearest.sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_distances() {
        for shape in Shape::ALL {
            // A ring and only a ring is open in the middle.
            assert_eq!(shape.distance(0.0, 0.0) > 0.0, shape == Shape::Ring, "{shape}");
            assert!(shape.distance(1.3, 1.3) > 0.2, "{shape}");
            for i in 0..40 {
                for j in 0..40 {
                    let (x, y) = (i as f32 * 0.07 - 1.4, j as f32 * 0.07 - 1.4);
                    let d = shape.distance(x, y);
                    // One step of 0.07 changes a distance by no more than 0.07 (and rounding).
                    assert!((shape.distance(x + 0.07, y) - d).abs() <= 0.0701, "{shape} at {x}, {y}");
                    // Every outline is symmetric left and right.
                    assert!((shape.distance(-x, y) - d).abs() < 1e-5, "{shape} at {x}, {y}");
                }
            }
        }
    }

    #[test]
    fn a_foot_is_the_lowest_point() {
        for shape in Shape::ALL {
            let lowest = (0..2000)
                .flat_map(|i| (0..200).map(move |j| (j as f32 * 0.01 - 1.0, i as f32 * 0.001 - 0.5)))
                .filter(|&(x, y)| shape.distance(x, y) <= 0.0)
                .fold(f32::MIN, |low, (_, y)| low.max(y));
            assert!((lowest - shape.foot()).abs() < 0.011, "{shape}: {lowest}");
        }
    }

    #[test]
    fn tilts_are_rotations() {
        for [cos, sin] in TILTS {
            assert!((cos * cos + sin * sin - 1.0).abs() < 1e-6);
        }
    }
}
