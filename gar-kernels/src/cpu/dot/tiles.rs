//! What AMX computes, in plain loops: the judge of its sums' order and of the layout that it reads, on every CPU.
use half::bf16;

use super::{Dot, FloatDot, IntDot, RUN, operand};
use crate::cpu::strip::Strip;

/// bf16 weights and x, multiplied as `tdpbf16ps` does: the first entries of the pairs of a run are summed from zero on, the second
/// entries likewise, then both sums are added up, and that to what was summed so far. (That takes denormal numbers as zero, this
/// does not.)
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Half;

/// 8-bit weights in fours, x without sign, as `tdpbusd` takes them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Int8;

/// Columns of a panel.
const COLUMNS: usize = 32;

/// A product of tiles.
trait Model: Dot {
    /// Adds the products of a run of one row of x with groups of a panel.
    fn add(sums: &mut [Self::Sum; COLUMNS], x: &[Self::X], groups: &[Self::Weight]);

    fn compute(strip: Strip<'_, Self>) {
        strip.check();
        let Strip { height, x, w, groups, sums, row_stride, accumulate, .. } = strip;
        let group = Self::PANEL * Self::GROUP;
        for (row, sums) in sums.chunks_mut(row_stride).take(height).enumerate() {
            for (panel, sums) in sums.as_chunks_mut::<COLUMNS>().0[..w.count].iter_mut().enumerate() {
                if !accumulate {
                    *sums = bytemuck::Zeroable::zeroed();
                }
                let panel = &w.entries[panel * w.stride..][..groups * group];
                for (run, x) in panel.chunks(RUN * group).zip(x.chunks(height * RUN)) {
                    Self::add(sums, &x[row * RUN..][..run.len() / group], run);
                }
            }
        }
    }
}

impl Model for Half {
    fn add(sums: &mut [f32; COLUMNS], x: &[[f32; 2]], groups: &[bf16]) {
        let mut parts = [[0.0; COLUMNS]; 2];
        for (x, group) in x.iter().zip(groups.as_chunks::<{ 2 * COLUMNS }>().0) {
            for (part, x) in x.iter().enumerate() {
                for (sum, pair) in parts[part].iter_mut().zip(group.as_chunks::<2>().0) {
                    *sum += x * operand::widened(pair[part]);
                }
            }
        }
        let [first, second] = parts;
        sums.iter_mut().zip(first.iter().zip(second)).for_each(|(sum, (a, b))| *sum += a + b);
    }
}

impl Model for Int8 {
    fn add(sums: &mut [i32; COLUMNS], x: &[[u8; 4]], groups: &[i8]) {
        for (x, group) in x.iter().zip(groups.as_chunks::<{ 4 * COLUMNS }>().0) {
            for (sum, four) in sums.iter_mut().zip(group.as_chunks::<4>().0) {
                *sum += x.iter().zip(four).map(|(&x, &w)| i32::from(x) * i32::from(w)).sum::<i32>();
            }
        }
    }
}

impl Dot for Half {
    const ROWS: usize = 32;
    const PANEL: usize = COLUMNS;
    const GROUP: usize = 2;
    const RUN: usize = RUN;
    const TILES: usize = 16;
    const DEPTH: usize = 512;
    const ABREAST: usize = 8;
    type Weight = bf16;
    type X = [f32; 2];
    type Sum = f32;

    fn pack(self, x: &[f32], k: usize, tile: &mut [[f32; 2]], height: usize, scales: &mut [f32]) {
        operand::each_row(x, k, tile, height, scales, |row, to, stride| {
            operand::pairs(row, to, stride, true);
            1.0
        });
    }

    fn strip(self, strip: Strip<'_, Self>) {
        Self::compute(strip);
    }
}

impl FloatDot for Half {
    fn rounds(self) -> bool {
        true
    }
}

impl Dot for Int8 {
    const ROWS: usize = Half::ROWS;
    const PANEL: usize = COLUMNS;
    const GROUP: usize = 4;
    const RUN: usize = RUN;
    const TILES: usize = Half::TILES;
    const DEPTH: usize = Half::DEPTH;
    const ABREAST: usize = Half::ABREAST;
    type Weight = i8;
    type X = [u8; 4];
    type Sum = i32;

    fn pack(self, x: &[f32], k: usize, tile: &mut [[u8; 4]], height: usize, scales: &mut [f32]) {
        operand::each_row(x, k, tile, height, scales, operand::u8_fours);
    }

    fn strip(self, strip: Strip<'_, Self>) {
        Self::compute(strip);
    }
}

impl IntDot for Int8 {
    const OFFSET: i32 = 128;
}
