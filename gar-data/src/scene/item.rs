//! What a layout plans: things with a place, before they are painted.

use super::attributes::{Cell, Look, Nature};
use super::canvas::{Canvas, Frame, Rgb, mix, times};
use super::shape::{TILTS, rectangle};
use super::surface::{Spot, Weave, surface};
use crate::rng::grain;
use ndarray::Array2;

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Something to ask about.
    Thing(Look),
    /// A wooden table that things stand on.
    Table,
    /// An open wooden box that things lie in.
    Box,
}

impl Kind {
    /// The look of a thing; furniture has none to ask about.
    pub fn look(&self) -> Option<&Look> {
        match self {
            Self::Thing(look) => Some(look),
            Self::Table | Self::Box => None,
        }
    }

    /// One word for it: its shape, `table` or `box`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Thing(look) => look.shape.word(),
            Self::Table => "table",
            Self::Box => "box",
        }
    }
}

/// An object with its place. Lengths are in pixels of a picture of 112, whatever its true size.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Item {
    pub(crate) kind: Kind,
    pub(crate) nature: Nature,
    pub(crate) cell: Option<Cell>,
    /// Centre.
    pub(crate) x: f32,
    pub(crate) y: f32,
    /// A thing's radius; furniture's half width.
    pub(crate) radius: f32,
    /// Furniture's half height.
    pub(crate) half_height: f32,
    /// Index into [`TILTS`].
    pub(crate) tilt: usize,
    pub(crate) weave: Weave,
    /// Seen left for right.
    pub(crate) flipped: bool,
    /// The mirror or screen it is seen in.
    pub(crate) window: Option<usize>,
    /// The item whose reflection this is.
    pub(crate) reflects: Option<usize>,
}

/// Thickness of a table's board and a box's walls.
const BOARD: f32 = 4.5;
const WALL: f32 = 3.5;
const WOOD: Rgb = [0.60, 0.42, 0.24];

/// A surface that shows objects which are not there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) nature: Nature,
    /// Whether the room's own wall is seen in it, and things as they look in the room.
    pub(crate) clear: bool,
    /// What lies within its rim.
    pub(crate) pane: Frame,
    pub(crate) rim: f32,
    pub(crate) rim_color: Rgb,
    pub(crate) top_color: Rgb,
    pub(crate) bottom_color: Rgb,
}

impl Window {
    /// Rim and pane, and a screen's foot; no item, but what makes items unreal.
    pub(crate) fn paint(&self, canvas: &mut Canvas) {
        let pane = self.pane;
        let rim = (self.rim * canvas.unit + 0.5) as usize;
        let outer = Frame {
            left: pane.left.saturating_sub(rim),
            top: pane.top.saturating_sub(rim),
            right: (pane.right + rim).min(canvas.size),
            bottom: (pane.bottom + rim).min(canvas.size),
        };
        if self.nature == Nature::Screen {
            let (middle, below) = ((pane.left + pane.right) / 2, (outer.bottom + 2 * rim).min(canvas.size));
            let wide = 3 * rim;
            let neck = Frame { left: middle - rim, right: middle + rim, top: outer.bottom, bottom: below };
            let foot =
                Frame { left: middle - wide, right: middle + wide, top: below.saturating_sub(rim / 2), bottom: below };
            neck.pixels().chain(foot.pixels()).for_each(|at| canvas.blend(at, self.rim_color, 1.0));
        }
        for (x, y) in outer.pixels().filter(|&at| !pane.holds(at)) {
            // A lit upper left edge makes the rim stand out.
            let lit = x < outer.left + rim.div_ceil(3) || y < outer.top + rim.div_ceil(3);
            canvas.blend((x, y), if lit { mix(self.rim_color, [1.0; 3], 0.35) } else { self.rim_color }, 1.0);
        }
        if self.clear {
            return;
        }
        let height = (pane.bottom - pane.top).max(1) as f32;
        for (x, y) in pane.pixels() {
            let down = (y - pane.top) as f32 / height;
            let mut color = mix(self.top_color, self.bottom_color, down);
            if self.nature == Nature::Mirror {
                // Two slanting streaks of light.
                let slant = ((x - pane.left) as f32 + (y - pane.top) as f32) / (height * 1.1);
                let streak = (0.05 - (slant - 0.45).abs()).max(0.03 - (slant - 0.62).abs()).clamp(0.0, 0.02) * 20.0;
                color = mix(color, [1.0; 3], streak);
            }
            canvas.blend((x, y), times(color, self.line(y, canvas.unit)), 1.0);
        }
    }

    /// The brightness of a row: a screen shows faint lines.
    fn line(&self, y: usize, unit: f32) -> f32 {
        let every = (3.0 * unit).max(2.0) as usize;
        if self.nature == Nature::Screen && y.is_multiple_of(every) { 0.86 } else { 1.0 }
    }
}

impl Item {
    /// Paints the item as object `index` and returns all its pixels [S, S], hidden later or not.
    pub(crate) fn paint(&self, index: usize, windows: &[Window], canvas: &mut Canvas) -> Array2<bool> {
        let window = self.window.and_then(|w| windows.get(w));
        // Where the item may be seen, and what changes its colours there.
        let seen = window.map_or(canvas.whole(), |w| w.pane);
        let tint = window.filter(|w| !w.clear);
        if tint.is_none() {
            self.shade_ground(canvas, seen);
        }
        let unit = canvas.unit;
        let (half_w, half_h) = self.reach();
        let whole =
            Frame::around(self.x * unit, self.y * unit, (half_w + 1.0) * unit, (half_h + 1.0) * unit, canvas.size);
        let frame = whole.shared(seen);
        let mut full = Array2::from_elem((canvas.size, canvas.size), false);
        for (x, y) in frame.pixels() {
            let (dx, dy) = ((x as f32 + 0.5) / unit - self.x, (y as f32 + 0.5) / unit - self.y);
            let depth = self.depth(dx, dy);
            // Outlines are softened over one pixel; a pixel belongs to what covers its centre.
            let cover = (0.5 - depth * unit).clamp(0.0, 1.0);
            if cover == 0.0 {
                continue;
            }
            let (color, opacity) = self.color(dx, dy, depth, (x as u32, y as u32));
            let color = match tint {
                // What is seen in a mirror is a little paler, what is on a screen has its lines.
                Some(w) if w.nature == Nature::Mirror => mix(color, w.bottom_color, 0.14),
                Some(w) => times(color, w.line(y, unit)),
                None => color,
            };
            canvas.blend((x, y), color, cover * opacity);
            if depth <= 0.0 {
                canvas.own((x, y), index);
                full[[y, x]] = true;
            }
        }
        full
    }

    /// Half width and half height of what may be covered.
    pub(crate) fn reach(&self) -> (f32, f32) {
        match self.kind {
            Kind::Thing(_) => (self.radius * 1.16, self.radius * 1.16),
            Kind::Table | Kind::Box => (self.radius, self.half_height),
        }
    }

    /// A soft shadow, down and to the right.
    fn shade_ground(&self, canvas: &mut Canvas, seen: Frame) {
        const SHIFT: (f32, f32) = (1.6, 2.4);
        let unit = canvas.unit;
        let (half_w, half_h) = self.reach();
        let (x, y) = ((self.x + SHIFT.0) * unit, (self.y + SHIFT.1) * unit);
        let frame = Frame::around(x, y, (half_w + 2.0) * unit, (half_h + 2.0) * unit, canvas.size);
        for (x, y) in frame.shared(seen).pixels() {
            let (dx, dy) = ((x as f32 + 0.5) / unit - self.x - SHIFT.0, (y as f32 + 0.5) / unit - self.y - SHIFT.1);
            let dark = (1.5 - self.depth(dx, dy)).clamp(0.0, 3.0) * 0.11;
            if dark > 0.0 {
                canvas.scale((x, y), 1.0 - dark);
            }
        }
    }

    /// The point (dx, dy) from the centre in the item's own frame, in radii.
    fn local(&self, dx: f32, dy: f32) -> (f32, f32) {
        let [cos, sin] = TILTS[self.tilt];
        let dx = if self.flipped { -dx } else { dx };
        ((dx * cos + dy * sin) / self.radius, (dy * cos - dx * sin) / self.radius)
    }

    /// Signed distance from the outline, in pixels of 112.
    fn depth(&self, dx: f32, dy: f32) -> f32 {
        match self.kind {
            Kind::Thing(look) => {
                let (x, y) = self.local(dx, dy);
                look.shape.distance(x, y) * self.radius
            }
            Kind::Box => rectangle(dx, dy, self.radius, self.half_height),
            Kind::Table => {
                let board = rectangle(dx, dy + self.half_height - BOARD * 0.5, self.radius, BOARD * 0.5);
                board.min(rectangle(dx.abs() - self.radius + 5.0, dy, 2.0, self.half_height))
            }
        }
    }

    /// Colour and opacity at (dx, dy) from the centre, `depth` from the outline.
    fn color(&self, dx: f32, dy: f32, depth: f32, pixel: (u32, u32)) -> (Rgb, f32) {
        match &self.kind {
            Kind::Thing(look) => {
                let (x, y) = self.local(dx, dy);
                surface(look, &self.weave, &Spot { x, y, radius: self.radius, depth, pixel })
            }
            Kind::Table => {
                let board = dy < BOARD - self.half_height;
                (times(wood(pixel, self.weave.salt), if board { 1.0 } else { 0.62 }), 1.0)
            }
            Kind::Box => {
                let grain = wood(pixel, self.weave.salt);
                let wall = depth > -WALL;
                // The inside lies in the shadow of the upper and left walls.
                let shadow =
                    if dx < WALL + 1.5 - self.radius || dy < WALL + 1.5 - self.half_height { 0.3 } else { 0.42 };
                (times(grain, if wall { 1.05 } else { shadow }), 1.0)
            }
        }
    }
}

/// Wood with a grain of level lines.
fn wood((x, y): (u32, u32), salt: u32) -> Rgb {
    let line = grain(x / 9, y, salt) as u8;
    times(WOOD, 0.9 + f32::from(line) * (0.2 / 255.0))
}
