//! Products of rows of x with a weight in panels, on all threads.
//!
//! Many rows: a task takes some rows and walks the weight in blocks that stay in cache. Few rows (decoding): a task takes
//! some panels, so that the weight is read once. Both give the same bits; see [`dot`](super::dot).
//!
//! The products of a tower block of GAR-1B (2,050 rows, bf16, with what follows each product), two threads of a Zen 5 that does
//! 1,018 GFLOP/s of `vdpbf16ps`, operations timed one by one:
//!
//! | version | GFLOP/s |
//! |---|---:|
//! | rows of x packed group by group, results in fresh memory, AVX2 around the tile loop | 650–780 |
//! | memory of results used again, x in runs, AVX-512 throughout | 820 |
//! | 256 groups of a panel at a time, where it was 256 entries | 850 |
//!
//! What is left: the tile loop alone reaches some 92 %; results wait for the memory that they are written to.
use std::ops::Range;

use bytemuck::Zeroable;
use rayon::prelude::*;

use super::{
    dot::{Dot, RUN, Tile},
    panels::{Matrix, Rows, panel_len},
};

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

/// Up to this many rows, tasks share out the weight, not the rows.
const FEW_ROWS: usize = 32;
/// Tiles of rows that a task takes: they and their sums stay in the level-2 cache while panels go by.
const TILES: usize = 8;
/// Panels whose sums are finished together.
const PANELS: usize = 8;
/// Groups along k that a panel is walked over at a time: that part of a panel, 32 KiB of AVX-512, and a tile of rows then
/// fit a level-1 cache of 48 KiB. Half of it is 2 % slower there: sums are read and written once more.
const DEPTH: usize = 256;
const _: () = assert!(DEPTH.is_multiple_of(RUN), "a part of a tile begins with a whole run");
/// Heights of tiles that exist, up to [`Dot::ROWS`] of each product.
const HEIGHTS: [usize; 5] = [1, 2, 4, 6, 12];

/// A weight [n, k] in panels.
pub(super) struct Weight<'a, D: Dot> {
    pub(super) panels: &'a [D::Weight],
    pub(super) n: usize,
    pub(super) k: usize,
}

impl<D: Dot> Clone for Weight<'_, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: Dot> Copy for Weight<'_, D> {}

/// Sums of one row of x with some rows of the weight, and where the results belong.
pub(super) struct Finished<'a, D: Dot> {
    pub(super) row: usize,
    /// Rows of the weight, columns of the result.
    pub(super) columns: Range<usize>,
    pub(super) sums: &'a mut [D::Sum],
    /// What the sums must be multiplied with.
    pub(super) scale: f32,
    pub(super) out: &'a mut [f32],
}

/// `x` [m, k] times a weight [n, k] → `out` [m, n]; `finish` turns sums into results.
pub(super) fn multiply<D: Dot>(
    dot: D,
    x: Matrix<'_>,
    w: Weight<'_, D>,
    out: &mut [f32],
    finish: impl Fn(Finished<'_, D>) + Sync,
) {
    if out.is_empty() {
        return;
    }
    if x.rows <= FEW_ROWS {
        few_rows(dot, x, w, out, finish);
    } else {
        many_rows(dot, x, w, out, finish);
    }
}

fn many_rows<D: Dot>(
    dot: D,
    x: Matrix<'_>,
    w: Weight<'_, D>,
    out: &mut [f32],
    finish: impl Fn(Finished<'_, D>) + Sync,
) {
    let (Weight { n, k, .. }, m) = (w, x.rows);
    let (panels, groups, height) = (n.div_ceil(D::PANEL), k.div_ceil(D::GROUP), D::ROWS);
    let tiles = m.div_ceil(height);
    let tasks = tiles.div_ceil(TILES).next_multiple_of(rayon::current_num_threads());
    let rows_of_task = tiles.div_ceil(tasks) * height;
    let room = || {
        (Rows::zeroed(rows_of_task, k, height), vec![D::Sum::zeroed(); rows_of_task * PANELS.min(panels) * D::PANEL])
    };
    out.par_chunks_mut(rows_of_task * n).enumerate().for_each_init(room, |(packed, sums), (task, out)| {
        let (first, rows) = (task * rows_of_task, out.len() / n);
        packed.refill(dot, x, first..first + rows);
        let x = &*packed;
        let tiles = rows.div_ceil(height);
        for begin in (0..panels).step_by(PANELS) {
            let end = (begin + PANELS).min(panels);
            let row_stride = (end - begin) * D::PANEL;
            // At least once: without an entry along k the sums are zero.
            for at in (0..groups.max(1)).step_by(DEPTH) {
                let depth = at..(at + DEPTH).min(groups);
                for panel in begin..end {
                    for tile in 0..tiles {
                        let x = x.part(tile, &depth);
                        let sums = &mut sums[tile * height * row_stride + (panel - begin) * D::PANEL..];
                        strip(dot, height, x, w.part(panel..panel + 1, &depth), depth.len(), sums, row_stride, at > 0);
                    }
                }
            }
            let columns = begin * D::PANEL..(end * D::PANEL).min(n);
            for (r, out) in out.chunks_exact_mut(n).enumerate() {
                finish(Finished {
                    row: first + r,
                    columns: columns.clone(),
                    sums: &mut sums[r * row_stride..][..columns.len()],
                    scale: x.scales[r],
                    out: &mut out[columns.clone()],
                });
            }
        }
    });
}

fn few_rows<D: Dot>(dot: D, x: Matrix<'_>, w: Weight<'_, D>, out: &mut [f32], finish: impl Fn(Finished<'_, D>) + Sync) {
    let (Weight { n, k, .. }, m) = (w, x.rows);
    let (panels, groups, height) = (n.div_ceil(D::PANEL), k.div_ceil(D::GROUP), height::<D>(m));
    let tiles = m.div_ceil(height);
    let x = Rows::pack(dot, x, 0..m, height);
    let starts: Vec<usize> = (0..panels).step_by(PANELS).collect();
    let block = |begin: usize| {
        let end = (begin + PANELS).min(panels);
        let row_stride = (end - begin) * D::PANEL;
        let mut sums = vec![D::Sum::zeroed(); tiles * height * row_stride];
        // Panels that a tile takes together.
        for some in (begin..end).step_by(4) {
            let some = some..(some + 4).min(end);
            for tile in 0..tiles {
                let x = x.part(tile, &(0..groups));
                let sums = &mut sums[tile * height * row_stride + (some.start - begin) * D::PANEL..];
                strip(dot, height, x, w.part(some.clone(), &(0..groups)), groups, sums, row_stride, false);
            }
        }
        let columns = begin * D::PANEL..(end * D::PANEL).min(n);
        let mut out = vec![0_f32; m * columns.len()];
        for (row, out) in out.chunks_exact_mut(columns.len()).enumerate() {
            let sums = &mut sums[row * row_stride..][..columns.len()];
            finish(Finished { row, columns: columns.clone(), sums, scale: x.scales[row], out });
        }
        out
    };
    let blocks: Vec<Vec<f32>> = starts.into_par_iter().map(block).collect();
    for (row, out) in out.chunks_exact_mut(n).enumerate() {
        for (block, out) in blocks.iter().zip(out.chunks_mut(PANELS * D::PANEL)) {
            out.copy_from_slice(&block[row * out.len()..(row + 1) * out.len()]);
        }
    }
}

impl<'a, D: Dot> Weight<'a, D> {
    /// Panels `panels` from group `groups.start` on; panels stay [`panel_len`] apart.
    fn part(self, panels: Range<usize>, groups: &Range<usize>) -> Panels<'a, D> {
        let len = panel_len::<D>(self.k);
        let from = panels.start * len + groups.start * D::PANEL * D::GROUP;
        Panels { entries: &self.panels[from..panels.end * len], stride: len, count: panels.len() }
    }
}

/// Height of the tiles that `rows` rows are cut into: as few tiles as can be, and of equal height.
pub(super) fn height<D: Dot>(rows: usize) -> usize {
    let tiles = rows.div_ceil(D::ROWS).max(1);
    let needed = rows.div_ceil(tiles);
    HEIGHTS.into_iter().find(|&h| h >= needed).map_or(D::ROWS, |h| h.min(D::ROWS))
}

/// One tile of rows times some panels: `x` of a tile as [`Rows`] has it, `sums` with `row_stride` between rows.
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
) {
    let strip = Strip { dot, x, w, groups, sums, row_stride, accumulate };
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
}

impl<D: Dot> Strip<'_, D> {
    fn run<const R: usize, const P: usize>(self) {
        // Taller tiles than the registers hold are never asked for; this spares compiling them.
        if const { R > D::ROWS } {
            return;
        }
        let Self { dot, x, w, groups, sums, row_stride, accumulate } = self;
        let mut panel = 0;
        while panel < w.count {
            let tile = Tile {
                x,
                w: &w.entries[panel * w.stride..],
                panel_stride: w.stride,
                groups,
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
