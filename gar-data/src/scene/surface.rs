//! How a look becomes colour: pigments, patterns and shading.

use super::attributes::{Color, Look, Material, Texture};
use super::canvas::{Rgb, WHITE, mix, times};
use crate::rng::grain;

/// What a pattern depends on beside its kind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Weave {
    /// Pixels from one mark to the next, in a picture of 112.
    pub(crate) period: f32,
    /// Which way stripes run.
    pub(crate) course: Course,
    /// Makes the grain of each object its own.
    pub(crate) salt: u32,
}

/// Which way stripes run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Course {
    Upright,
    Level,
    Rising,
    Falling,
}

/// A point of an object. Radii from its centre before tilting, and pixels of a picture of 112.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spot {
    /// Radii to the right of the centre.
    pub(crate) x: f32,
    /// Radii below the centre.
    pub(crate) y: f32,
    /// The radius.
    pub(crate) radius: f32,
    /// Signed distance from the outline, negative inside.
    pub(crate) depth: f32,
    /// Column and row in the picture.
    pub(crate) pixel: (u32, u32),
}

impl Color {
    /// The pigment, before shading.
    pub(crate) fn pigment(self) -> Rgb {
        match self {
            Self::Red => [0.86, 0.11, 0.12],
            Self::Orange => [0.97, 0.52, 0.06],
            Self::Yellow => [0.97, 0.87, 0.14],
            Self::Green => [0.16, 0.65, 0.24],
            Self::Cyan => [0.12, 0.80, 0.84],
            Self::Blue => [0.13, 0.31, 0.86],
            Self::Purple => [0.49, 0.17, 0.78],
            Self::Pink => [0.99, 0.48, 0.74],
        }
    }

    /// The pigment of marks: of the same hue, dark on bright pigments and pale on dark ones.
    fn mark(self) -> Rgb {
        match self {
            Self::Blue | Self::Purple => mix(self.pigment(), WHITE, 0.68),
            _ => times(self.pigment(), 0.36),
        }
    }
}

/// Colour and opacity of `look` at a point.
pub(crate) fn surface(look: &Look, weave: &Weave, spot: &Spot) -> (Rgb, f32) {
    let marked = pattern(look.texture, weave, spot.x * spot.radius, spot.y * spot.radius);
    let pigment = mix(look.color.pigment(), look.color.mark(), marked);
    let rim = (spot.depth + 1.8).clamp(0.0, 1.0);
    match look.material {
        Material::Paper => (pigment, 1.0),
        Material::Plastic => {
            let light = 0.96 - 0.34 * (0.5 * spot.x + 0.8 * spot.y);
            let (hx, hy) = (spot.x + 0.28, spot.y + 0.38);
            let highlight = (1.5 - (hx * hx + hy * hy) * 28.0).clamp(0.0, 0.95);
            (mix(times(pigment, light), WHITE, highlight), 1.0)
        }
        Material::Metal => {
            let height = spot.y + 0.22 * spot.x;
            let light = if height < 0.0 { 0.9 - 0.62 * height } else { 0.36 + 0.62 * height };
            (mix(times(pigment, light.min(1.0)), WHITE, (light - 1.0).clamp(0.0, 0.5) * 1.5), 1.0)
        }
        Material::Glass => {
            let slant = spot.x + spot.y;
            let glint = ((0.17 - (slant + 0.46).abs()) * spot.radius).clamp(0.0, 1.0) * 0.75;
            let opacity = 0.66_f32.max(0.85 * marked).max(0.95 * rim).max(glint);
            (mix(mix(pigment, WHITE, 0.5 * rim), WHITE, glint), opacity)
        }
        Material::Stone => {
            let (x, y) = spot.pixel;
            let speck = grain(x, y, weave.salt) as u8;
            let light = 0.62 + f32::from(speck) * (0.62 / 255.0);
            (times(pigment, light * (1.0 - 0.45 * rim)), 1.0)
        }
    }
}

/// How much of a mark covers the point (x, y), in pixels from the centre: 0 none, 1 all, softened over one pixel.
fn pattern(texture: Texture, weave: &Weave, x: f32, y: f32) -> f32 {
    const HALF_ROOT: f32 = std::f32::consts::FRAC_1_SQRT_2;
    let period = weave.period;
    // Pixels from the middle of the nearest mark; there is one in the centre.
    let from_mark = |v: f32| {
        let turns = v / period + 0.5;
        ((turns - turns.floor()) - 0.5).abs() * period
    };
    // A mark is half a period wide.
    let band = |v: f32| (0.5 - (from_mark(v) - period * 0.25)).clamp(0.0, 1.0);
    match texture {
        Texture::Plain => 0.0,
        Texture::Striped => match weave.course {
            Course::Upright => band(x),
            Course::Level => band(y),
            Course::Rising => band((x + y) * HALF_ROOT),
            Course::Falling => band((x - y) * HALF_ROOT),
        },
        Texture::Dotted => {
            let (dx, dy) = (from_mark(x), from_mark(y));
            (0.5 - ((dx * dx + dy * dy).sqrt() - period * 0.31)).clamp(0.0, 1.0)
        }
        Texture::Checkered => {
            let (a, b) = (band(x), band(y));
            a + b - 2.0 * a * b
        }
        Texture::Ringed => band((x * x + y * y).sqrt()),
    }
}
