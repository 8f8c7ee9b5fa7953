//! One tile of rows times some panels of a weight, whatever the tile's height.
use super::{
    dot::{Dot, Factors, Tile, VectorDot},
    prefetch::Lines,
};

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

impl<D: Dot> Default for Panels<'_, D> {
    fn default() -> Self {
        Self { entries: &[], stride: 0, count: 0 }
    }
}

/// What will be read or written soon: it is asked for while there is no other use of memory.
pub(super) struct Ahead<'a, D: Dot> {
    /// Parts of panels, one with each panel of the strip.
    pub(super) panels: Panels<'a, D>,
    /// Groups of each panel.
    pub(super) groups: usize,
    /// With the first panel of the strip.
    pub(super) rows: [Lines; 2],
}

impl<D: Dot> Default for Ahead<'_, D> {
    fn default() -> Self {
        Self { panels: Panels::default(), groups: 0, rows: [Lines::NONE; 2] }
    }
}

impl<'a, D: Dot> Ahead<'a, D> {
    /// The part of one panel, if it has one.
    pub(super) fn of(&self, panel: usize) -> &'a [D::Weight] {
        if panel >= self.panels.count {
            return &[];
        }
        &self.panels.entries[panel * self.panels.stride..][..self.groups * D::PANEL * D::GROUP]
    }
}

/// Height of the tiles that `rows` rows are cut into: as few tiles as can be, and of equal height.
pub(super) fn height<D: Dot>(rows: usize) -> usize {
    let tiles = rows.div_ceil(D::ROWS).max(1);
    let needed = rows.div_ceil(tiles);
    HEIGHTS.into_iter().find(|&h| h >= needed).map_or(D::ROWS, |h| h.min(D::ROWS))
}

/// What [`Dot::strip`] multiplies: a tile of rows with some panels of a weight.
pub(super) struct Strip<'a, D: Dot> {
    /// Rows of the tile, of which [`height`] chooses.
    pub(super) height: usize,
    /// As [`Rows`](super::panels::Rows) has a tile: [runs, height, RUN].
    pub(super) x: &'a [D::X],
    pub(super) w: Panels<'a, D>,
    /// Groups along k.
    pub(super) groups: usize,
    /// [height, panels · PANEL].
    pub(super) sums: &'a mut [D::Sum],
    /// Sums from one row to the next.
    pub(super) row_stride: usize,
    /// Whether to add to `sums` or to begin at zero.
    pub(super) accumulate: bool,
    pub(super) ahead: Ahead<'a, D>,
}

impl<D: Dot> Strip<'_, D> {
    /// Makes sure that all of it lies inside its slices.
    pub(super) fn check(&self) {
        let Self { height, x, w, groups, ref sums, row_stride, .. } = *self;
        assert!(
            height > 0
                && groups.next_multiple_of(D::RUN) * height <= x.len()
                && w.count > 0
                && (w.count - 1) * w.stride + groups * D::PANEL * D::GROUP <= w.entries.len()
                && (height - 1) * row_stride + w.count * D::PANEL <= sums.len(),
            "{height} rows, {} panels and {groups} groups do not fit their slices",
            w.count
        );
    }
}

impl<D: VectorDot> Strip<'_, D> {
    /// Computes it in tiles of a height that is known when it is compiled.
    pub(super) fn in_tiles(self, dot: D) {
        const { assert!(D::ROWS <= HEIGHTS[HEIGHTS.len() - 1], "there are no taller tiles") };
        // With few rows several panels at a time keep enough sums under way to hide the latency of an addition.
        match self.height {
            1 => self.run::<1, 4>(dot),
            2 => self.run::<2, 2>(dot),
            4 => self.run::<4, 1>(dot),
            6 => self.run::<6, 1>(dot),
            _ => self.run::<12, 1>(dot),
        }
    }

    fn run<const R: usize, const P: usize>(mut self, dot: D) {
        // Taller tiles than the registers hold are never asked for; this spares compiling them.
        if const { R > D::ROWS } {
            return;
        }
        let mut panel = 0;
        while panel < self.w.count {
            if self.w.count - panel >= P {
                dot.tile::<R, P>(self.tile(panel));
                panel += P;
            } else {
                dot.tile::<R, 1>(self.tile(panel));
                panel += 1;
            }
        }
    }

    /// The tile from panel `panel` on.
    pub(super) fn tile(&mut self, panel: usize) -> Tile<'_, D> {
        let Self { x, w, groups, row_stride, accumulate, ref ahead, .. } = *self;
        let (entries, next) = (&w.entries[panel * w.stride..], ahead.of(panel));
        let rows = if panel == 0 { ahead.rows } else { [Lines::NONE; 2] };
        Tile {
            factors: Factors { x, w: entries, panel_stride: w.stride, groups, next, rows },
            sums: &mut self.sums[panel * D::PANEL..],
            row_stride,
            accumulate,
        }
    }
}
