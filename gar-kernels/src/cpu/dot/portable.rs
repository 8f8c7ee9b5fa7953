//! Plain arrays in place of registers: for every CPU, and, at the widths of the others, the judge of their layouts.
//!
//! `LANES` and `ROWS` are free: with 16 and 12 the loops run over the same panels and tiles as with AVX-512.
use half::bf16;

use super::{Dot, IntDot, RUN, Tile, VECTORS, VectorDot, float::Vectors, operand};
use crate::cpu::strip::Strip;

/// Arrays for vectors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Arrays<const LANES: usize, const ROWS: usize>;

/// 8-bit weights in fours, x without sign, as `vpdpbusd` takes them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Int8<const LANES: usize, const ROWS: usize>;

impl<const LANES: usize, const ROWS: usize> Vectors for Arrays<LANES, ROWS> {
    const LANES: usize = LANES;
    const ROWS: usize = ROWS;
    type Vector = [f32; LANES];
    type Splat = f32;

    #[inline(always)]
    fn zero(self) -> [f32; LANES] {
        [0.0; LANES]
    }

    #[inline(always)]
    unsafe fn load(self, at: *const f32) -> [f32; LANES] {
        // SAFETY: the caller vouches for LANES numbers; alignment is not asked for.
        unsafe { at.cast::<[f32; LANES]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(self, vector: [f32; LANES], at: *mut f32) {
        // SAFETY: as in `load`.
        unsafe { at.cast::<[f32; LANES]>().write_unaligned(vector) }
    }

    #[inline(always)]
    unsafe fn splat(self, at: *const f32) -> f32 {
        // SAFETY: the caller vouches for it.
        unsafe { *at }
    }

    #[inline(always)]
    unsafe fn first_of_pairs(self, at: *const bf16) -> [f32; LANES] {
        // SAFETY: the caller vouches for LANES pairs; alignment is not asked for.
        unsafe { at.cast::<[[bf16; 2]; LANES]>().read_unaligned() }.map(|[first, _]| operand::widened(first))
    }

    #[inline(always)]
    unsafe fn second_of_pairs(self, at: *const bf16) -> [f32; LANES] {
        // SAFETY: as in `first_of_pairs`.
        unsafe { at.cast::<[[bf16; 2]; LANES]>().read_unaligned() }.map(|[_, second]| operand::widened(second))
    }

    /// Rounded twice where the product is not exact; `mul_add` would call a function on a CPU without the instruction.
    #[inline(always)]
    fn multiply_add(self, mut sums: [f32; LANES], x: f32, w: [f32; LANES]) -> [f32; LANES] {
        for (sum, w) in sums.iter_mut().zip(w) {
            *sum += x * w;
        }
        sums
    }

    fn tile<D: VectorDot, const R: usize, const P: usize>(self, dot: D, tile: Tile<'_, D>) {
        tile.compute::<R, P>(dot);
    }
}

impl<const LANES: usize, const ROWS: usize> Dot for Int8<LANES, ROWS> {
    const ROWS: usize = ROWS;
    const PANEL: usize = VECTORS * LANES;
    const GROUP: usize = 4;
    const RUN: usize = RUN;
    type Weight = i8;
    type X = [u8; 4];
    type Sum = i32;

    fn pack(self, x: &[f32], k: usize, tile: &mut [[u8; 4]], height: usize, scales: &mut [f32]) {
        operand::each_row(x, k, tile, height, scales, operand::u8_fours);
    }

    fn strip(self, strip: Strip<'_, Self>) {
        strip.in_tiles(self);
    }
}

impl<const LANES: usize, const ROWS: usize> VectorDot for Int8<LANES, ROWS> {
    const LANES: usize = LANES;
    const STEPS: usize = 1;
    type Sums = [i32; LANES];
    type Xs = [u8; 4];
    type Weights = [[i8; 4]; LANES];

    #[inline(always)]
    fn zero(self) -> [i32; LANES] {
        [0; LANES]
    }

    #[inline(always)]
    unsafe fn load(self, at: *const i32) -> [i32; LANES] {
        // SAFETY: the caller vouches for LANES entries; alignment is not asked for.
        unsafe { at.cast::<[i32; LANES]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(self, sums: [i32; LANES], at: *mut i32) {
        // SAFETY: as in `load`.
        unsafe { at.cast::<[i32; LANES]>().write_unaligned(sums) }
    }

    #[inline(always)]
    unsafe fn x(self, at: *const [u8; 4], _: usize) -> [u8; 4] {
        // SAFETY: the caller vouches for one group.
        unsafe { *at }
    }

    #[inline(always)]
    unsafe fn weights(self, at: *const i8, _: usize) -> [[i8; 4]; LANES] {
        // SAFETY: the caller vouches for LANES groups; alignment is not asked for.
        unsafe { at.cast::<[[i8; 4]; LANES]>().read_unaligned() }
    }

    #[inline(always)]
    fn add(self, mut sums: [i32; LANES], x: [u8; 4], w: [[i8; 4]; LANES]) -> [i32; LANES] {
        for (sum, w) in sums.iter_mut().zip(w) {
            for (x, w) in x.into_iter().zip(w) {
                *sum += i32::from(x) * i32::from(w);
            }
        }
        sums
    }

    fn tile<const R: usize, const P: usize>(self, tile: Tile<'_, Self>) {
        tile.compute::<R, P>(self);
    }
}

impl<const LANES: usize, const ROWS: usize> IntDot for Int8<LANES, ROWS> {
    const OFFSET: i32 = 128;
}
