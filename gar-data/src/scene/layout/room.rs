//! Scattered things, some of them on a table, in a box, or in front of others.

use super::{Claims, Plan, SIDE, furniture, look, scatter, thing};
use crate::rng::Rng;
use crate::scene::SceneConfig;
use crate::scene::attributes::{Look, Size};
use crate::scene::item::{Item, Kind};

pub(super) fn plan(wanted: usize, config: &SceneConfig, rng: &mut Rng) -> Plan {
    let horizon = if rng.percent(25) { SIDE } else { rng.range(58.0, 86.0) };
    let mut claims = Claims::default();
    let mut items = Vec::new();
    let pairs = rng.chance(config.pairs_percent);
    if pairs {
        (0..3).for_each(|_| pair(&mut items, &mut claims, rng));
    } else {
        if rng.percent(45) {
            table(&mut items, &mut claims, rng);
        }
        if rng.percent(45) {
            filled_box(&mut items, &mut claims, rng);
        }
        if rng.percent(60) {
            pair(&mut items, &mut claims, rng);
        }
    }
    let missing = (wanted as u32).saturating_sub(items.len() as u32);
    let alone = if pairs { missing } else { rng.between(2, 4).max(missing + 1) };
    for _ in 0..alone {
        let mut item = thing(look(rng), rng);
        if scatter(&mut item, &mut claims, rng) {
            items.push(item);
        }
    }
    Plan { horizon, windows: Vec::new(), items }
}

/// A table with one or two things on it.
fn table(items: &mut Vec<Item>, claims: &mut Claims, rng: &mut Rng) {
    let (half_width, half_height) = (rng.range(20.0, 28.0), rng.range(9.0, 12.0));
    let mut table = furniture(Kind::Table, half_width, half_height, rng);
    table.y = rng.range(48.0, SIDE - 2.0 - half_height);
    if !claims.claim(&table) {
        return;
    }
    let top = table.y - half_height;
    items.push(table);
    let two = rng.percent(45);
    let sides: &[f32] = if two { &[-0.5, 0.5] } else { &[0.0] };
    for side in sides {
        let size = if two || rng.percent(60) { Size::Small } else { Size::Large };
        let look = Look { size, ..look(rng) };
        let mut item = thing(look, rng);
        item.tilt = 0;
        item.x = table.x + side * 1.16 * half_width + rng.range(-2.0, 2.0);
        item.y = top - look.shape.foot() * item.radius;
        // What stands on the table comes closer to it than other things may; only the rest must keep clear of it.
        let (w, h) = item.reach();
        let rectangle = [item.x - w, item.y - h, item.x + w, top];
        let others: Vec<_> = claims.0.iter().copied().filter(|&c| c[1] != top).collect();
        if super::inside(rectangle) && others.iter().all(|&other| super::apart(rectangle, other)) {
            claims.0.push(rectangle);
            items.push(item);
        }
    }
}

/// A box with a thing in it.
fn filled_box(items: &mut Vec<Item>, claims: &mut Claims, rng: &mut Rng) {
    let (half_width, half_height) = (rng.range(17.0, 20.0), rng.range(17.0, 19.0));
    let mut case = furniture(Kind::Box, half_width, half_height, rng);
    if !scatter(&mut case, claims, rng) {
        return;
    }
    let mut item = thing(Look { size: Size::Small, ..look(rng) }, rng);
    item.radius = 11.0;
    item.x = case.x + rng.range(-1.0, 1.0) * (half_width - 16.6);
    item.y = case.y + rng.range(-1.0, 1.0) * (half_height - 16.6);
    items.extend([case, item]);
}

/// Two things, the second in front of the first.
fn pair(items: &mut Vec<Item>, claims: &mut Claims, rng: &mut Rng) {
    let (mut back, mut front) = (thing(look(rng), rng), thing(look(rng), rng));
    for _ in 0..40 {
        let (dx, dy) = (rng.range(-1.0, 1.0), rng.range(-1.0, 1.0));
        let length = (dx * dx + dy * dy).sqrt();
        if length < 0.2 {
            continue;
        }
        let away = (back.radius + front.radius) * rng.range(0.6, 0.8) / length;
        (back.x, back.y) = (rng.range(12.0, SIDE - 12.0), rng.range(12.0, SIDE - 12.0));
        (front.x, front.y) = (back.x + dx * away, back.y + dy * away);
        let (b, f) = (back.reach().0, front.reach().0);
        let both = [
            (back.x - b).min(front.x - f),
            (back.y - b).min(front.y - f),
            (back.x + b).max(front.x + f),
            (back.y + b).max(front.y + f),
        ];
        if claims.claim_rectangle(both) {
            items.extend([back, front]);
            return;
        }
    }
}
