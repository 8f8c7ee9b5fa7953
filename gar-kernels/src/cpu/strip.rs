//! One tile of rows times some panels of a weight, whatever the tile's height.
use super::dot::{Dot, Factors, Tile};

/// Heights of tiles that exist, up to [`Dot::ROWS`] of each product.
const HEIGHTS: [usize; 5] = [1, 2, 4, 6, 12];

/// Some panels of a weight.
pub(super) struct Panels<'a, D: Dot> {
    pub(super) entries: &'a [D::Weight],
    /// Entries from one panel to the next.
    pub(super) stride: usize,
    pub(super) count: usize,
}

impl<D: Dot> Clone for Panels<'_, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: Dot> Copy for Panels<'_, D> {}

/// Height of the tiles that `rows` rows are cut into: as few tiles as can be, and of equal height.
pub(super) fn height<D: Dot>(rows: usize) -> usize {
    let tiles = rows.div_ceil(D::ROWS).max(1);
    let needed = rows.div_ceil(tiles);
    HEIGHTS.into_iter().find(|&h| h >= needed).map_or(D::ROWS, |h| h.min(D::ROWS))
}

/// One tile of rows times some panels: `x` of a tile as [`Rows`](super::panels::Rows) has it, `sums` with `row_stride`
/// between rows. `next` is what will be read soon after; it is asked for meanwhile.
#[allow(clippy::too_many_arguments)]
pub(super) fn strip<D: Dot>(
    dot: D,
    height: usize,
    x: &[D::X],
    w: Panels<'_, D>,
    groups: usize,
    sums: &mut [D::Sum],
    row_stride: usize,
    accumulate: bool,
    next: &[D::Weight],
) {
    let strip = Strip { dot, x, w, groups, sums, row_stride, accumulate, next };
    // With few rows several panels at a time keep enough sums under way to hide the latency of an addition.
    match height {
        1 => strip.run::<1, 4>(),
        2 => strip.run::<2, 2>(),
        4 => strip.run::<4, 1>(),
        6 => strip.run::<6, 1>(),
        _ => strip.run::<12, 1>(),
    }
}

struct Strip<'a, D: Dot> {
    dot: D,
    x: &'a [D::X],
    w: Panels<'a, D>,
    groups: usize,
    sums: &'a mut [D::Sum],
    row_stride: usize,
    accumulate: bool,
    next: &'a [D::Weight],
}

impl<D: Dot> Strip<'_, D> {
    fn run<const R: usize, const P: usize>(self) {
        // Taller tiles than the registers hold are never asked for; this spares compiling them.
        if const { R > D::ROWS } {
            return;
        }
        let Self { dot, x, w, groups, sums, row_stride, accumulate, next } = self;
        let mut panel = 0;
        while panel < w.count {
            let tile = Tile {
                factors: Factors { x, w: &w.entries[panel * w.stride..], panel_stride: w.stride, groups, next },
                sums: &mut sums[panel * D::PANEL..],
                row_stride,
                accumulate,
            };
            if w.count - panel >= P {
                dot.tile::<R, P>(tile);
                panel += P;
            } else {
                dot.tile::<R, 1>(tile);
                panel += 1;
            }
        }
    }
}
