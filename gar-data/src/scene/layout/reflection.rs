//! Things before a mirror or a screen. A mirror shows some of the things in the room, left for right; a screen shows
//! things that need not be there. What is shown looks like what is there: to tell them apart is to see the pane around, or
//! with clear panes the frame around that.

use super::{Claims, Plan, SIDE, look, scatter, thing};
use crate::rng::Rng;
use crate::scene::SceneConfig;
use crate::scene::attributes::{Look, Nature, Size};
use crate::scene::canvas::{Frame, Rgb};
use crate::scene::item::{Item, Kind, Window};

const RIM: f32 = 3.0;
const RIMS: [Rgb; 4] = [[0.45, 0.30, 0.14], [0.72, 0.58, 0.28], [0.16, 0.16, 0.18], [0.88, 0.88, 0.86]];

pub(super) fn plan(wanted: usize, config: &SceneConfig, rng: &mut Rng) -> Plan {
    let horizon = if rng.percent(25) { SIDE } else { rng.range(70.0, 95.0) };
    let nature = if rng.percent(50) { Nature::Mirror } else { Nature::Screen };
    let two = rng.percent(50);
    let pane = pane(nature, two, rng);
    let mut claims = Claims::default();
    // A screen's foot reaches 6 pixels below its rim.
    let foot = if nature == Nature::Screen { 7.0 } else { 0.0 };
    claims.0.push([pane[0] - RIM, pane[1] - RIM, pane[2] + RIM, pane[3] + RIM + foot]);

    let mut real = Vec::new();
    for i in 0..rng.between(2, 4).max(wanted as u32) {
        let mut look = look(rng);
        if two && i < 2 {
            look.size = Size::Small;
        }
        let mut item = thing(look, rng);
        if scatter(&mut item, &mut claims, rng) {
            real.push(item);
        }
    }
    let mut items = shown(nature, two, pane, &real, rng);
    let before = items.len();
    for item in &mut items {
        item.reflects = item.reflects.map(|i| i + before);
    }
    if rng.percent(35) {
        real.extend(across_the_rim(pane, &items, &claims, rng));
    }
    items.extend(real);
    Plan { horizon, windows: vec![window(nature, pane, config, rng)], items }
}

/// Left, top, right and bottom of a pane that holds one thing of any size, or two small ones.
fn pane(nature: Nature, two: bool, rng: &mut Rng) -> [f32; 4] {
    let long = if two { rng.range(60.0, 64.0) } else { rng.range(44.0, 54.0) };
    let short = if two { rng.range(32.0, 38.0) } else { rng.range(42.0, 46.0) };
    let (w, h) = if nature == Nature::Mirror { (short, long) } else { (long, short) };
    let below = if nature == Nature::Screen { 12.0 } else { 5.0 };
    let left = rng.range(5.0, SIDE - 5.0 - w);
    let top = rng.range(5.0, SIDE - below - h);
    [left, top, left + w, top + h]
}

/// One or two things in the pane.
fn shown(nature: Nature, two: bool, pane: [f32; 4], real: &[Item], rng: &mut Rng) -> Vec<Item> {
    let mut sources: Vec<usize> = (0..real.len()).collect();
    rng.shuffle(&mut sources);
    if two {
        // Two things leave no room for a large one.
        sources.retain(|&i| matches!(real[i].kind, Kind::Thing(Look { size: Size::Small, .. })));
    }
    let (middle_x, middle_y) = ((pane[0] + pane[2]) * 0.5, (pane[1] + pane[3]) * 0.5);
    let (w, h) = (pane[2] - pane[0], pane[3] - pane[1]);
    let halves: &[f32] = if two { &[-0.25, 0.25] } else { &[0.0] };
    let mut items = Vec::new();
    for (n, part) in halves.iter().enumerate() {
        let source = sources.get(n).copied().filter(|_| nature == Nature::Mirror);
        let mut item = match source {
            Some(i) => Item { flipped: true, reflects: Some(i), ..real[i] },
            None if nature == Nature::Mirror => continue,
            None if two => thing(Look { size: Size::Small, ..look(rng) }, rng),
            None => thing(look(rng), rng),
        };
        let reach = item.reach().0 + 0.8;
        let (room_x, room_y) = if nature == Nature::Mirror {
            item.y = middle_y + part * h;
            item.x = middle_x;
            (w * 0.5 - reach, h * (if two { 0.25 } else { 0.5 }) - reach)
        } else {
            item.y = middle_y;
            item.x = middle_x + part * w;
            (w * (if two { 0.25 } else { 0.5 }) - reach, h * 0.5 - reach)
        };
        item.x += rng.range(-1.0, 1.0) * room_x.max(0.0);
        item.y += rng.range(-1.0, 1.0) * room_y.max(0.0);
        item.nature = nature;
        item.window = Some(0);
        items.push(item);
    }
    items
}

/// A real thing in front of the pane: it covers a part of the rim, as nothing that is shown can.
fn across_the_rim(pane: [f32; 4], shown: &[Item], claims: &Claims, rng: &mut Rng) -> Option<Item> {
    let mut item = thing(look(rng), rng);
    let reach = item.reach().0;
    for _ in 0..60 {
        let (along_x, along_y) = (rng.range(pane[0], pane[2]), rng.range(pane[1], pane[3]));
        // From mostly within to barely over the rim.
        let out = rng.range(-4.0, reach - 1.0);
        (item.x, item.y) = rng.one([
            (pane[0] - out, along_y),
            (pane[2] + out, along_y),
            (along_x, pane[1] - out),
            (along_x, pane[3] + out),
        ]);
        let mine = [item.x - reach, item.y - reach, item.x + reach, item.y + reach];
        let clear_of_shown = shown.iter().all(|other| {
            // Half the usual gap: what is shown comes close to the rim.
            let r = other.reach().0 - 1.5;
            super::apart(mine, [other.x - r, other.y - r, other.x + r, other.y + r])
        });
        // The first claim is the window's own.
        if clear_of_shown && super::inside(mine) && claims.0[1..].iter().all(|&other| super::apart(mine, other)) {
            return Some(item);
        }
    }
    None
}

/// The window around a pane; panes are aligned to pixels.
fn window(nature: Nature, pane: [f32; 4], config: &SceneConfig, rng: &mut Rng) -> Window {
    let size = config.size;
    let unit = size as f32 / SIDE;
    let pixel = |v: f32| ((v * unit).max(0.0) as usize).min(size);
    let pane = Frame { left: pixel(pane[0]), top: pixel(pane[1]), right: pixel(pane[2]), bottom: pixel(pane[3]) };
    let (rim_color, top_color, bottom_color) = if nature == Nature::Mirror {
        (rng.one(RIMS), [0.70, 0.79, 0.83], [0.82, 0.88, 0.89])
    } else {
        let glow = rng.range(0.0, 0.12);
        ([0.10, 0.10, 0.12], [0.13 + glow, 0.16 + glow, 0.24 + glow], [0.22 + glow, 0.28 + glow, 0.36 + glow])
    };
    // Scenes whose panes are all clear, or all tinted, are alike in everything else.
    let clear = rng.chance(config.clear_percent);
    Window { nature, clear, pane, rim: RIM, rim_color, top_color, bottom_color }
}
