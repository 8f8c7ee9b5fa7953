//! Walls, floors and the clutter on them: muted, so that no backdrop passes for an object.

use super::canvas::{Canvas, Frame, Rgb, mix, times};
use super::shape::rectangle;
use crate::rng::{Rng, grain};

/// Greyish pigments of walls and floors.
const MUTED: [Rgb; 8] = [
    [0.78, 0.75, 0.70],
    [0.60, 0.64, 0.68],
    [0.50, 0.54, 0.52],
    [0.84, 0.83, 0.80],
    [0.40, 0.42, 0.47],
    [0.68, 0.61, 0.56],
    [0.55, 0.50, 0.46],
    [0.70, 0.72, 0.66],
];

/// Side of a square of even noise, in pixels of 112.
const LATTICE: f32 = 13.0;

/// Paints wall, floor and clutter. `horizon` is where the floor begins, in pixels of 112; 112 or more for a wall alone.
pub(crate) fn paint(canvas: &mut Canvas, horizon: f32, rng: &mut Rng) {
    let (wall, floor) = (times(rng.one(MUTED), rng.range(0.8, 1.12)), times(rng.one(MUTED), rng.range(0.62, 0.92)));
    let (salt, strength) = (rng.bits(), rng.range(0.06, 0.2));
    let unit = canvas.unit;
    for (x, y) in canvas.whole().pixels() {
        let (px, py) = ((x as f32 + 0.5) / unit, (y as f32 + 0.5) / unit);
        let ground =
            if py < horizon { times(wall, 1.04 - 0.0012 * py) } else { times(floor, 0.84 + 0.003 * (py - horizon)) };
        let fine = f32::from(grain(x as u32, y as u32, salt) as u8) * (0.05 / 255.0);
        canvas.blend((x, y), times(ground, 1.0 - strength * cloud(px, py, salt) + fine), 1.0);
    }
    for _ in 0..rng.between(3, 6) {
        patch(canvas, rng);
    }
    for _ in 0..rng.between(10, 22) {
        speck(canvas, rng);
    }
}

/// Smooth noise in [0, 1] at a point, in pixels of 112.
fn cloud(x: f32, y: f32, salt: u32) -> f32 {
    let ease = |t: f32| t * t * (3.0 - 2.0 * t);
    let (gx, gy) = (x / LATTICE, y / LATTICE);
    let (ix, iy) = (gx as u32, gy as u32);
    let (tx, ty) = (ease(gx - ix as f32), ease(gy - iy as f32));
    let corner = |dx, dy| f32::from((grain(ix + dx, iy + dy, salt ^ 0x5EED) >> 8) as u8) * (1.0 / 255.0);
    let top = corner(0, 0) + (corner(1, 0) - corner(0, 0)) * tx;
    let bottom = corner(0, 1) + (corner(1, 1) - corner(0, 1)) * tx;
    top + (bottom - top) * ty
}

/// A large faint rectangle: a poster, a rug.
fn patch(canvas: &mut Canvas, rng: &mut Rng) {
    let (color, opacity) = (rng.one(MUTED), rng.range(0.12, 0.4));
    let (x, y) = (rng.range(0.0, 112.0), rng.range(0.0, 112.0));
    let (w, h) = (rng.range(8.0, 26.0), rng.range(6.0, 22.0));
    let unit = canvas.unit;
    for at in Frame::around(x * unit, y * unit, w * unit, h * unit, canvas.size).pixels() {
        let depth = rectangle((at.0 as f32 + 0.5) / unit - x, (at.1 as f32 + 0.5) / unit - y, w, h);
        // A thin darker edge.
        let edge = if depth > -1.0 { 0.75 } else { 1.0 };
        canvas.blend(at, times(color, edge), opacity * (0.5 - depth * unit).clamp(0.0, 1.0));
    }
}

/// A crumb or a scratch, a pixel or two wide.
fn speck(canvas: &mut Canvas, rng: &mut Rng) {
    let color = mix(rng.one(MUTED), [0.15; 3], rng.range(0.0, 0.8));
    let (x, y) = (rng.range(0.0, 112.0), rng.range(0.0, 112.0));
    let (long, wide) = (rng.range(0.8, 5.0), rng.range(0.5, 1.2));
    let (w, h) = if rng.percent(50) { (long, wide) } else { (wide, long) };
    let (opacity, unit) = (rng.range(0.3, 0.75), canvas.unit);
    for at in Frame::around(x * unit, y * unit, (w + 1.0) * unit, (h + 1.0) * unit, canvas.size).pixels() {
        let depth = rectangle((at.0 as f32 + 0.5) / unit - x, (at.1 as f32 + 0.5) / unit - y, w, h);
        canvas.blend(at, color, opacity * (0.5 - depth * unit).clamp(0.0, 1.0));
    }
}
