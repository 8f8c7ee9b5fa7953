//! Plain arrays in place of registers: for every CPU, and, at the widths of the others, the judge of their layouts.
//!
//! `LANES` and `ROWS` are free: with 16 and 12 the loops run over the same panels and tiles as with AVX-512.
use half::bf16;

use super::{Dot, FloatDot, IntDot, RUN, Tile, VECTORS, VectorDot, operand};
use crate::cpu::strip::Strip;

/// f32 weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Single<const LANES: usize, const ROWS: usize>;

/// bf16 weights, widened. `rounded` tells whether x is rounded to bf16 or stays f32.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Half<const LANES: usize, const ROWS: usize> {
    pub(super) rounded: bool,
}

/// 8-bit weights in fours, x without sign, as `vpdpbusd` takes them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Int8<const LANES: usize, const ROWS: usize>;

impl<const LANES: usize, const ROWS: usize> Dot for Single<LANES, ROWS> {
    const ROWS: usize = ROWS;
    const PANEL: usize = VECTORS * LANES;
    const GROUP: usize = 1;
    const RUN: usize = 1;
    type Weight = f32;
    type X = f32;
    type Sum = f32;

    fn pack(self, x: &[f32], k: usize, tile: &mut [f32], height: usize, scales: &mut [f32]) {
        operand::singles(x, k, tile, height, scales);
    }

    fn strip(self, strip: Strip<'_, Self>) {
        strip.in_tiles(self);
    }
}

impl<const LANES: usize, const ROWS: usize> VectorDot for Single<LANES, ROWS> {
    const LANES: usize = LANES;
    const STEPS: usize = 1;
    type Sums = [f32; LANES];
    type Xs = f32;
    type Weights = [f32; LANES];

    #[inline(always)]
    fn zero(self) -> [f32; LANES] {
        [0.0; LANES]
    }

    #[inline(always)]
    unsafe fn load(self, at: *const f32) -> [f32; LANES] {
        // SAFETY: the caller vouches for LANES entries; alignment is not asked for.
        unsafe { at.cast::<[f32; LANES]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(self, sums: [f32; LANES], at: *mut f32) {
        // SAFETY: as in `load`.
        unsafe { at.cast::<[f32; LANES]>().write_unaligned(sums) }
    }

    #[inline(always)]
    unsafe fn x(self, at: *const f32, _: usize) -> f32 {
        // SAFETY: the caller vouches for one group.
        unsafe { *at }
    }

    #[inline(always)]
    unsafe fn weights(self, at: *const f32, _: usize) -> [f32; LANES] {
        // SAFETY: as in `load`.
        unsafe { at.cast::<[f32; LANES]>().read_unaligned() }
    }

    #[inline(always)]
    fn add(self, sums: [f32; LANES], x: f32, w: [f32; LANES]) -> [f32; LANES] {
        multiply_add(sums, x, w)
    }

    fn tile<const R: usize, const P: usize>(self, tile: Tile<'_, Self>) {
        tile.compute::<R, P>(self);
    }
}

impl<const LANES: usize, const ROWS: usize> FloatDot for Single<LANES, ROWS> {
    fn rounds(self) -> bool {
        false
    }
}

impl<const LANES: usize, const ROWS: usize> Dot for Half<LANES, ROWS> {
    const ROWS: usize = ROWS;
    const PANEL: usize = VECTORS * LANES;
    const GROUP: usize = 2;
    const RUN: usize = RUN;
    type Weight = bf16;
    type X = [f32; 2];
    type Sum = f32;

    fn pack(self, x: &[f32], k: usize, tile: &mut [[f32; 2]], height: usize, scales: &mut [f32]) {
        operand::each_row(x, k, tile, height, scales, |row, to, stride| {
            operand::pairs(row, to, stride, self.rounded);
            1.0
        });
    }

    fn strip(self, strip: Strip<'_, Self>) {
        strip.in_tiles(self);
    }
}

impl<const LANES: usize, const ROWS: usize> VectorDot for Half<LANES, ROWS> {
    const LANES: usize = LANES;
    const STEPS: usize = 2;
    type Sums = [f32; LANES];
    type Xs = f32;
    type Weights = [f32; LANES];

    #[inline(always)]
    fn zero(self) -> [f32; LANES] {
        [0.0; LANES]
    }

    #[inline(always)]
    unsafe fn load(self, at: *const f32) -> [f32; LANES] {
        // SAFETY: the caller vouches for LANES entries; alignment is not asked for.
        unsafe { at.cast::<[f32; LANES]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(self, sums: [f32; LANES], at: *mut f32) {
        // SAFETY: as in `load`.
        unsafe { at.cast::<[f32; LANES]>().write_unaligned(sums) }
    }

    /// The second entry of a pair comes first, as in `vdpbf16ps`.
    #[inline(always)]
    unsafe fn x(self, at: *const [f32; 2], step: usize) -> f32 {
        // SAFETY: the caller vouches for one group.
        unsafe { (*at)[1 - step] }
    }

    #[inline(always)]
    unsafe fn weights(self, at: *const bf16, step: usize) -> [f32; LANES] {
        // SAFETY: the caller vouches for LANES pairs; alignment is not asked for.
        let pairs = unsafe { at.cast::<[[u16; 2]; LANES]>().read_unaligned() };
        pairs.map(|pair| f32::from_bits(u32::from(pair[1 - step]) << 16))
    }

    #[inline(always)]
    fn add(self, sums: [f32; LANES], x: f32, w: [f32; LANES]) -> [f32; LANES] {
        multiply_add(sums, x, w)
    }

    fn tile<const R: usize, const P: usize>(self, tile: Tile<'_, Self>) {
        tile.compute::<R, P>(self);
    }
}

impl<const LANES: usize, const ROWS: usize> FloatDot for Half<LANES, ROWS> {
    fn rounds(self) -> bool {
        self.rounded
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

/// Rounded twice where the product is not exact; `mul_add` would call a function on a CPU without the instruction.
#[inline(always)]
fn multiply_add<const LANES: usize>(mut sums: [f32; LANES], x: f32, w: [f32; LANES]) -> [f32; LANES] {
    for (sum, w) in sums.iter_mut().zip(w) {
        *sum += x * w;
    }
    sums
}
