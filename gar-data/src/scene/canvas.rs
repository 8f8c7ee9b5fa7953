//! The sheet that a scene is painted on, back to front, and who owns each of its pixels.

use ndarray::{Array2, Array3};

/// A colour, red, green and blue in [0, 1].
pub(crate) type Rgb = [f32; 3];

/// A rectangle in pixels: left, top, and the first column and row beyond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) left: usize,
    pub(crate) top: usize,
    pub(crate) right: usize,
    pub(crate) bottom: usize,
}

impl Frame {
    /// The pixels within `half` sides of (x, y), cut at a sheet of `size`.
    pub(crate) fn around(x: f32, y: f32, half_w: f32, half_h: f32, size: usize) -> Self {
        let cut = |v: f32| (v.max(0.0) as usize).min(size);
        Self {
            left: cut((x - half_w).floor()),
            top: cut((y - half_h).floor()),
            right: cut((x + half_w).floor() + 1.0),
            bottom: cut((y + half_h).floor() + 1.0),
        }
    }

    pub(crate) fn shared(self, other: Self) -> Self {
        Self {
            left: self.left.max(other.left),
            top: self.top.max(other.top),
            right: self.right.min(other.right),
            bottom: self.bottom.min(other.bottom),
        }
    }

    /// Whether a pixel is in it.
    pub(crate) fn holds(self, (x, y): (usize, usize)) -> bool {
        (self.left..self.right).contains(&x) && (self.top..self.bottom).contains(&y)
    }

    /// Row by row.
    pub(crate) fn pixels(self) -> impl Iterator<Item = (usize, usize)> {
        (self.top..self.bottom).flat_map(move |y| (self.left..self.right).map(move |x| (x, y)))
    }
}

/// A square sheet.
pub(crate) struct Canvas {
    pub(crate) size: usize,
    /// Pixels a 112th of the side: scenes are planned in a square of 112.
    pub(crate) unit: f32,
    rgb: Vec<Rgb>,
    owner: Vec<u8>,
}

/// No object owns the pixel.
const NOBODY: u8 = u8::MAX;

impl Canvas {
    pub(crate) fn new(size: usize) -> Self {
        Self { size, unit: size as f32 / 112.0, rgb: vec![[0.0; 3]; size * size], owner: vec![NOBODY; size * size] }
    }

    /// All of it.
    pub(crate) fn whole(&self) -> Frame {
        Frame { left: 0, top: 0, right: self.size, bottom: self.size }
    }

    /// Lays `color` over a pixel.
    pub(crate) fn blend(&mut self, (x, y): (usize, usize), color: Rgb, opacity: f32) {
        let under = &mut self.rgb[y * self.size + x];
        for (u, c) in under.iter_mut().zip(color) {
            *u += (c - *u) * opacity;
        }
    }

    /// Darkens a pixel.
    pub(crate) fn scale(&mut self, (x, y): (usize, usize), by: f32) {
        for channel in &mut self.rgb[y * self.size + x] {
            *channel *= by;
        }
    }

    /// Gives a pixel to object `index`.
    pub(crate) fn own(&mut self, (x, y): (usize, usize), index: usize) {
        self.owner[y * self.size + x] = index as u8;
    }

    /// The pixels that object `index` still owns, [S, S].
    pub(crate) fn visible(&self, index: usize) -> Array2<bool> {
        Array2::from_shape_fn((self.size, self.size), |(y, x)| self.owner[y * self.size + x] == index as u8)
    }

    /// The picture [S, S, 3], rounded to bytes.
    pub(crate) fn picture(&self) -> Array3<u8> {
        Array3::from_shape_fn((self.size, self.size, 3), |(y, x, c)| {
            (self.rgb[y * self.size + x][c].clamp(0.0, 1.0) * 255.0 + 0.5) as u8
        })
    }
}

/// From `a` to `b` as `t` goes from 0 to 1.
pub(crate) fn mix(a: Rgb, b: Rgb, t: f32) -> Rgb {
    std::array::from_fn(|i| a[i] + (b[i] - a[i]) * t)
}

/// All channels times `by`.
pub(crate) fn times(a: Rgb, by: f32) -> Rgb {
    a.map(|channel| channel * by)
}

/// White.
pub(crate) const WHITE: Rgb = [1.0; 3];
