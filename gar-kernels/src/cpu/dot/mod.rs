//! How products are summed: one small trait, an implementation for each instruction set and element type, and the one
//! tile loop that all of them run which sum in vector registers ([`VectorDot`]). AMX, whose registers are tiles themselves, has
//! a loop of its own over the same panels and rows.
//!
//! A weight [N, K] lies in *panels* of [`PANEL`](Dot::PANEL) rows. Inside a panel the K axis is cut into groups of
//! [`GROUP`](Dot::GROUP) entries, and a group holds its entries of every row: [groups, PANEL, GROUP]. So a vector register
//! takes one group of as many rows as it has 32-bit lanes, whatever the element type. What is multiplied with it,
//! rows of x, lies in tiles: [runs, rows, [`RUN`](Dot::RUN)] of [`X`](Dot::X), one group each. A run is what is
//! converted and written at a time, and rows of a run lie so close together that one address and offsets known to the
//! compiler reach them all.
//!
//! Every sum runs over k in the same order with one rounding a product, in every tile, however many rows and threads
//! there are. So results depend neither on the number of threads nor on what is computed beside them, and where products
//! are exact, which those of two bf16 are, every instruction set that sums in vectors gives the same bits. AMX adds up a run
//! before it is added to what was summed so far, and gives the bits of its [model](tiles).
#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod float;
mod instructions;
#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
mod neon;
pub(super) mod operand;
mod portable;
mod tiles;

use std::any::TypeId;

use bytemuck::Pod;
use half::bf16;

use super::{
    convert::Floats,
    epilogue::Then,
    panels::Rows,
    prefetch::{LINE, Lines, prefetch_line_l2},
    softmax::{Running, Scores, shares_rounded},
    strip::Strip,
    vectorize,
};

pub use instructions::InstructionSet;
pub(super) use instructions::{FloatProduct, FloatWork, IntProduct, IntWork, Products};
pub(super) use operand::Entry;

/// Vectors side by side in a panel.
const VECTORS: usize = 2;

/// Groups of a run where they are converted: a cache line of 32-bit groups.
pub(super) const RUN: usize = 16;

/// A way to multiply rows of x with a weight and to add the products up.
///
/// A value of the type is the proof that this CPU has the instructions.
pub(super) trait Dot: Copy + Send + Sync + 'static {
    /// Most rows of a tile: what the registers hold.
    const ROWS: usize;
    /// Rows of the weight in a panel.
    const PANEL: usize;
    /// Entries along k that lie, and are read, together.
    const GROUP: usize;
    /// Groups of a row of x that lie side by side: [`RUN`], or 1 where x is taken as it is, so that its transpose is as
    /// easily had.
    const RUN: usize;
    /// Tiles of rows that a task takes: they and their sums stay in the level-2 cache while panels go by.
    const TILES: usize = 8;
    /// Groups along k that a panel is walked over at a time. What is read next is asked for meanwhile, so that this part of a
    /// panel, 128 KiB of AVX-512, need not fit the level-1 cache: with 256 groups, which do, sums are read and written oftener and
    /// a tower takes 2 % longer.
    const DEPTH: usize = 1024;
    /// Panels that a tile of rows is multiplied with before the next tile is.
    const ABREAST: usize = 1;
    /// An entry of the weight.
    type Weight: Pod + Send + Sync;
    /// A group of a row of x.
    type X: Pod + Send + Sync;
    /// A sum in memory.
    type Sum: Pod + Send + Sync;

    /// Writes rows `x` [.., k] to a tile of `height` rows, and the factor that the sums of each must be multiplied with; what
    /// lacks in the last group is zero, rows and groups that lack are not written.
    fn pack(self, x: &[f32], k: usize, tile: &mut [Self::X], height: usize, scales: &mut [f32]);

    /// As [`pack`](Self::pack), of entries in bf16.
    fn pack_rounded(self, x: &[bf16], k: usize, tile: &mut [Self::X], height: usize, scales: &mut [f32]) {
        let mut wide = Vec::new();
        self.pack(Floats::BF16(x).widen(0..x.len(), &mut wide), k, tile, height, scales);
    }

    /// Rounds numbers to bf16, ties to even.
    fn narrow(self, from: &[f32], to: &mut [bf16]) {
        vectorize(
            #[inline(always)]
            || to.iter_mut().zip(from).for_each(|(to, &from)| *to = operand::to_bf16(from)),
        );
    }

    /// Computes a strip.
    fn strip(self, strip: Strip<'_, Self>);

    /// How a strip of [`ROWS`](Self::ROWS) rows is computed, and what follows, without its sums being written: where there
    /// are registers for it.
    fn finisher(self) -> Option<Finisher<Self>> {
        None
    }
}

/// Computes a strip, and results in the place of its sums.
pub(super) type Finisher<D> = fn(D, Strip<'_, D>, Then<'_>);

/// A [`Dot`] whose sums stand in vector registers while [`Tile::compute`] runs, compiled for its instructions.
pub(super) trait VectorDot: Dot {
    /// Sums in a vector.
    const LANES: usize;
    /// Instructions that a group takes; each multiplies a part of it.
    const STEPS: usize;
    /// A vector of sums.
    type Sums: Copy;
    /// A vector of groups of x, all the same.
    type Xs: Copy;
    /// A vector of groups of the weight.
    type Weights: Copy;

    /// A vector of zeros.
    fn zero(self) -> Self::Sums;
    /// Reads [`LANES`](Self::LANES) sums.
    ///
    /// # Safety
    /// `at` is valid for reading them.
    unsafe fn load(self, at: *const Self::Sum) -> Self::Sums;
    /// Writes [`LANES`](Self::LANES) sums.
    ///
    /// # Safety
    /// `at` is valid for writing them.
    unsafe fn store(self, sums: Self::Sums, at: *mut Self::Sum);
    /// What step `step` needs of one group of x.
    ///
    /// # Safety
    /// `at` is valid for reading one group.
    unsafe fn x(self, at: *const Self::X, step: usize) -> Self::Xs;
    /// What step `step` needs of [`LANES`](Self::LANES) groups of the weight.
    ///
    /// # Safety
    /// `at` is valid for reading them.
    unsafe fn weights(self, at: *const Self::Weight, step: usize) -> Self::Weights;
    /// `sums + x · w` in every lane.
    fn add(self, sums: Self::Sums, x: Self::Xs, w: Self::Weights) -> Self::Sums;

    /// Runs [`Tile::compute`] compiled for these instructions.
    fn tile<const R: usize, const P: usize>(self, tile: Tile<'_, Self>);
}

/// A [`Dot`] of floating-point weights.
pub(super) trait FloatDot: Dot<Sum = f32, Weight: Entry> {
    /// Whether x is rounded to bf16.
    fn rounds(self) -> bool;

    /// Writes the shares of a tile to the only tile of `to` straight from the products of rows with `panels` panels of keys, in
    /// the registers that they were summed in; row r sees `seen(r)` of the keys, and no fewer than the row before it. `false` where that cannot be:
    /// without registers for it, before a row has a base, and where scores rise so far that a base must move. Then `running` is
    /// as it was, and what `to` holds is of no use.
    #[allow(unused_variables, reason = "names are for those who implement it")]
    fn shares_of_products(
        self,
        factors: Factors<'_, Self>,
        panels: usize,
        seen: impl Fn(usize) -> usize,
        running: &mut [Running],
        to: &mut Rows<Self>,
    ) -> bool {
        false
    }

    /// Writes the shares of some rows, no more than a tile has, to the only tile of `to`, with a row's
    /// [`stride`](Scores::stride) of entries along k.
    fn shares(self, scores: Scores<'_>, to: &mut Rows<Self>) {
        // A tile of f32 takes the numbers as they come, without being packed.
        if self.rounds() && Self::RUN == RUN && TypeId::of::<Self::X>() == TypeId::of::<[f32; 2]>() {
            let height = to.height();
            return shares_rounded(scores, bytemuck::cast_slice_mut(to.groups_mut()), height);
        }
        let Scores { scores, stride, span, running, values, width } = scores;
        let rows = running.len();
        Scores { scores: &mut *scores, stride, span, running, values, width }.share();
        to.fill(self, &scores[..rows * stride]);
    }
}

/// A [`Dot`] of 8-bit weights, exact.
pub(super) trait IntDot: Dot<Sum = i32, Weight = i8> {
    /// Added to every entry of x, because the instruction takes x without sign; this times the sum of a weight's row
    /// is subtracted from each of its sums.
    const OFFSET: i32;
}

/// What one tile multiplies: R rows of x with P panels of the weight, behind which there may be more.
pub(super) struct Factors<'a, D: Dot> {
    /// [runs, R, RUN].
    pub(super) x: &'a [D::X],
    /// P times [groups, PANEL, GROUP].
    pub(super) w: &'a [D::Weight],
    /// Entries from one panel to the next.
    pub(super) panel_stride: usize,
    /// Groups along k.
    pub(super) groups: usize,
    /// What will be read soon after: it is brought near while there is no other use of memory.
    pub(super) next: &'a [D::Weight],
    /// Rows that will be read or written soon after, such as where results belong; brought near likewise.
    pub(super) rows: [Lines; 2],
}

impl<D: Dot> Clone for Factors<'_, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: Dot> Copy for Factors<'_, D> {}

/// One tile.
pub(super) struct Tile<'a, D: Dot> {
    pub(super) factors: Factors<'a, D>,
    /// [R, P · PANEL].
    pub(super) sums: &'a mut [D::Sum],
    /// Sums from one row to the next.
    pub(super) row_stride: usize,
    /// Whether to add to `sums` or to begin at zero.
    pub(super) accumulate: bool,
}

impl<D: VectorDot> Tile<'_, D> {
    /// The tile loop, and where its sums go.
    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "indices also say where sums lie")]
    fn compute<const R: usize, const P: usize>(mut self, dot: D) {
        let (acc, row_stride) = (self.summed::<R, P>(dot), self.row_stride);
        let sums = self.sums.as_mut_ptr();
        for r in 0..R {
            for p in 0..P {
                for v in 0..VECTORS {
                    // SAFETY: `summed` made sure that every sum that is addressed lies in its slice.
                    unsafe { dot.store(acc[r][p][v], sums.add(r * row_stride + p * D::PANEL + v * D::LANES)) };
                }
            }
        }
    }

    /// The tile loop alone.
    ///
    /// # Panics
    /// If the sums of `R` rows and `P` panels do not fit their slice.
    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "indices also say where sums lie")]
    pub(super) fn summed<const R: usize, const P: usize>(&mut self, dot: D) -> [[[D::Sums; VECTORS]; P]; R] {
        let &mut Self { factors, ref sums, row_stride, accumulate } = self;
        assert!(
            (R - 1) * row_stride + P * D::PANEL <= sums.len(),
            "sums of a tile of {R} rows and {P} panels do not fit their slice"
        );
        let mut acc = [[[dot.zero(); VECTORS]; P]; R];
        if accumulate {
            for r in 0..R {
                for p in 0..P {
                    for v in 0..VECTORS {
                        let at = r * row_stride + p * D::PANEL + v * D::LANES;
                        // SAFETY: the assertion above keeps every sum that is addressed inside its slice.
                        acc[r][p][v] = unsafe { dot.load(sums.as_ptr().add(at)) };
                    }
                }
            }
        }
        factors.add(dot, &mut acc);
        acc
    }
}

impl<D: VectorDot> Factors<'_, D> {
    /// Adds the products to `acc`. Every accumulator stays in a register: R · P · [`VECTORS`] of them.
    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "indices also say where operands lie")]
    pub(super) fn add<const R: usize, const P: usize>(self, dot: D, acc: &mut [[[D::Sums; VECTORS]; P]; R]) {
        let Self { x, w, panel_stride, groups, next, mut rows } = self;
        let group = D::PANEL * D::GROUP;
        assert!(
            R > 0
                && P > 0
                && groups.next_multiple_of(D::RUN) * R <= x.len()
                && (P - 1) * panel_stride + groups * group <= w.len(),
            "a tile of {R} rows, {P} panels and {groups} groups does not fit its slices"
        );
        let (x, w) = (x.as_ptr(), w.as_ptr());
        // A few lines every run: all at once would stand in the way of what is read now.
        let runs = groups.div_ceil(RUN).max(1);
        let lines_of_run = size_of_val(next).div_ceil(LINE).div_ceil(runs);
        let rows_of_run = rows[0].rows().max(rows[1].rows()).div_ceil(runs);
        let mut line: *const u8 = next.as_ptr().cast();
        // SAFETY: the assertion above keeps every group that is addressed inside its slice.
        unsafe {
            for run in (0..groups).step_by(RUN) {
                // Tiles of several panels, of few rows, read the weight as it comes.
                if const { P == 1 } {
                    for _ in 0..lines_of_run {
                        prefetch_line_l2(line);
                        line = line.wrapping_add(LINE);
                    }
                    for _ in 0..rows_of_run {
                        rows.iter_mut().for_each(Lines::ask);
                    }
                }
                for g in run..(run + RUN).min(groups) {
                    let x = if D::RUN == RUN { x.add(run * R + g - run) } else { x.add(g * R) };
                    for step in 0..D::STEPS {
                        for p in 0..P {
                            let at = w.add(p * panel_stride + g * group);
                            let weights = [dot.weights(at, step), dot.weights(at.add(D::LANES * D::GROUP), step)];
                            for r in 0..R {
                                let x = dot.x(x.add(r * D::RUN), step);
                                for v in 0..VECTORS {
                                    acc[r][p][v] = dot.add(acc[r][p][v], x, weights[v]);
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
