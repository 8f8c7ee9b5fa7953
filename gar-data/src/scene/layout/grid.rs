//! Rows and columns of like things. The grid is not centred, so a place in it is not a place in the picture.

use super::{Plan, SIDE, look, thing};
use crate::rng::Rng;
use crate::scene::attributes::{Cell, Look, Size};
use crate::scene::item::Item;
use crate::scene::surface::Weave;

pub(super) fn plan(wanted: usize, rng: &mut Rng) -> Plan {
    // Never more regions than cells: one row has four at most, two rows of two as well.
    let rows = rng.between(if wanted > 4 { 2 } else { 1 }, 4) as usize;
    let columns = rng.between(if rows * 2 < wanted.max(3) { 3 } else { 2 }, 4) as usize;
    let columns = columns.max(if rows == 1 { wanted } else { 0 });
    let most = rows.max(columns) as f32;
    // Four in a row leave 27 pixels each: a radius of 11 and no more.
    let pitch = rng.range(25.8, ((SIDE - 4.0) / most).min(34.0));
    let radius = (pitch * 0.428).min(12.5);
    let start = |count: usize, rng: &mut Rng| {
        let free = SIDE - 2.0 - pitch * count as f32;
        1.0 + pitch * 0.5 + rng.range(0.0, free)
    };
    let (left, top) = (start(columns, rng), start(rows, rng));
    let like = Look { size: Size::Small, ..look(rng) };
    let first = thing(like, rng);
    let varied = rng.percent(50);
    let mut items = Vec::with_capacity(rows * columns);
    for row in 0..rows {
        for column in 0..columns {
            let mut item = if varied {
                thing(Look { shape: like.shape, size: like.size, ..look(rng) }, rng)
            } else {
                // Alike but for their grain.
                Item { weave: Weave { salt: rng.bits(), ..first.weave }, ..first }
            };
            item.radius = radius;
            item.x = left + pitch * column as f32;
            item.y = top + pitch * row as f32;
            item.cell = Some(Cell { row, column, rows, columns });
            items.push(item);
        }
    }
    Plan { horizon: SIDE, windows: Vec::new(), items }
}
