//! Where things stand: one file for each kind of scene.
//!
//! Layouts plan in a square of 112 by 112, whatever the picture's size.

mod grid;
mod reflection;
mod room;

use super::SceneConfig;
use super::attributes::{Color, Look, Material, Nature, Shape, Size, Texture};
use super::item::{Item, Kind, Window};
use super::shape::TILTS;
use super::surface::{Course, Weave};
use crate::rng::Rng;

/// The kinds of scenes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SceneKind {
    /// Scattered things, some on a table, in a box, or in front of others.
    Room,
    /// Rows and columns of like things.
    Grid,
    /// Things before a mirror or a screen, and what these show.
    Reflection,
}

impl SceneKind {
    /// All of them, in the order of [`SceneConfig::kinds`](super::SceneConfig::kinds).
    pub const ALL: [Self; 3] = [Self::Room, Self::Grid, Self::Reflection];
}

/// The side of the square that layouts plan in.
pub(crate) const SIDE: f32 = 112.0;

/// Pixels between things that do not touch.
const GAP: f32 = 3.0;

/// Things in painter's order, and what lies behind them all.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) horizon: f32,
    pub(crate) windows: Vec<Window>,
    pub(crate) items: Vec<Item>,
}

/// Plans a scene with room for `wanted` regions.
pub(crate) fn plan(kind: SceneKind, wanted: usize, config: &SceneConfig, rng: &mut Rng) -> Plan {
    match kind {
        SceneKind::Room => room::plan(wanted, config, rng),
        SceneKind::Grid => grid::plan(wanted, rng),
        SceneKind::Reflection => reflection::plan(wanted, config, rng),
    }
}

/// Rectangles that are taken: left, top, right, bottom.
#[derive(Debug, Default)]
struct Claims(Vec<[f32; 4]>);

impl Claims {
    /// Takes the rectangle around an item unless it leaves the picture or comes closer than [`GAP`] to another.
    fn claim(&mut self, item: &Item) -> bool {
        let (w, h) = item.reach();
        self.claim_rectangle([item.x - w, item.y - h, item.x + w, item.y + h])
    }

    fn claim_rectangle(&mut self, r: [f32; 4]) -> bool {
        let free = inside(r) && self.0.iter().all(|&other| apart(r, other));
        if free {
            self.0.push(r);
        }
        free
    }
}

fn inside([left, top, right, bottom]: [f32; 4]) -> bool {
    left >= 1.0 && top >= 1.0 && right <= SIDE - 1.0 && bottom <= SIDE - 1.0
}

fn apart(a: [f32; 4], b: [f32; 4]) -> bool {
    a[2] + GAP <= b[0] || b[2] + GAP <= a[0] || a[3] + GAP <= b[1] || b[3] + GAP <= a[1]
}

fn look(rng: &mut Rng) -> Look {
    Look {
        color: rng.one(Color::ALL),
        shape: rng.one(Shape::ALL),
        texture: rng.one(Texture::ALL),
        material: rng.one(Material::ALL),
        size: rng.one(Size::ALL),
    }
}

/// A radius that a size stands for. The words keep a gap of 2.5 between them.
fn radius(size: Size, rng: &mut Rng) -> f32 {
    match size {
        Size::Small => rng.range(11.0, 12.5),
        Size::Large => rng.range(15.0, 17.0),
    }
}

/// A real thing of the given look at the origin.
fn thing(look: Look, rng: &mut Rng) -> Item {
    Item {
        kind: Kind::Thing(look),
        nature: Nature::Real,
        cell: None,
        x: 0.0,
        y: 0.0,
        radius: radius(look.size, rng),
        half_height: 0.0,
        tilt: rng.below(TILTS.len() as u32) as usize,
        weave: weave(rng),
        flipped: false,
        window: None,
        reflects: None,
    }
}

fn furniture(kind: Kind, half_width: f32, half_height: f32, rng: &mut Rng) -> Item {
    let nature = Nature::Real;
    let (x, y) =
        (rng.range(half_width + 1.0, SIDE - 1.0 - half_width), rng.range(half_height + 1.0, SIDE - 1.0 - half_height));
    let (cell, window, reflects) = (None, None, None);
    let weave = weave(rng);
    Item { kind, nature, cell, x, y, radius: half_width, half_height, tilt: 0, weave, flipped: false, window, reflects }
}

fn weave(rng: &mut Rng) -> Weave {
    let course = rng.one([Course::Upright, Course::Level, Course::Rising, Course::Falling]);
    Weave { period: rng.range(7.5, 9.5), course, salt: rng.bits() }
}

/// Scatters a thing where there is room; false where no room was found.
fn scatter(item: &mut Item, claims: &mut Claims, rng: &mut Rng) -> bool {
    let (w, h) = item.reach();
    (0..40).any(|_| {
        item.x = rng.range(w + 1.0, SIDE - 1.0 - w);
        item.y = rng.range(h + 1.0, SIDE - 1.0 - h);
        claims.claim(item)
    })
}
