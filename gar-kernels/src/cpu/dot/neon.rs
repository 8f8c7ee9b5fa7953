//! NEON: thirty-two registers of four lanes, taken two by two, so tiles of 6 rows and 16 columns as with AVX2.
//!
//! Every CPU of AArch64 has it. 8-bit numbers are multiplied by `sdot`, which all but the oldest have.
//!
//! Tested in an emulator, which shows that it is right and not how fast it is. What the compiler makes of the tile loop (rustc 1.95),
//! and of plain loops for this target:
//!
//! | | instructions | of them products |
//! |---|---:|---|
//! | f32 | 35 | 24 `fmla` |
//! | f32, plain loops | 41 | 16 `fmul`, 16 `fadd` |
//! | bf16, a pair | 82 | 48 `fmla` |
//! | 8 bits, a four | 40 | 24 `sdot` |
//!
//! Plain loops over bf16 go through memory entry by entry, those over 8 bits multiply in 32 bits.
use std::arch::{aarch64::*, asm, is_aarch64_feature_detected};

use half::bf16;

use super::{Dot, IntDot, RUN, Tile, VECTORS, VectorDot, float::Vectors, operand};
use crate::cpu::strip::Strip;

/// NEON, which every CPU of this target has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Neon;

/// 8-bit weights in fours, both operands with a sign.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Int8(());

impl Int8 {
    /// Where the CPU has `sdot`.
    pub(super) fn new() -> Option<Self> {
        is_aarch64_feature_detected!("dotprod").then_some(Self(()))
    }
}

/// The tile loop, compiled for `sdot`.
#[target_feature(enable = "dotprod")]
fn tile_of_dots<const R: usize, const P: usize>(dot: Int8, tile: Tile<'_, Int8>) {
    tile.compute::<R, P>(dot);
}

// SAFETY, for every `unsafe` block below: NEON is always there, an `Int8` is made only where the CPU has `sdot`, and the callers
// vouch for the pointers as the traits demand; no load and no store asks for alignment.

/// The same address, of which the compiler does not know that: it would keep the pairs of a group from its first step to its
/// second, and there are no registers for them.
#[inline(always)]
fn unknown<T>(mut at: *const T) -> *const T {
    // SAFETY: no instruction at all.
    unsafe { asm!("/* {at} */", at = inout(reg) at, options(pure, readonly, nostack, preserves_flags)) };
    at
}

impl Vectors for Neon {
    const LANES: usize = 8;
    const ROWS: usize = 6;
    type Vector = [float32x4_t; 2];
    type Splat = float32x4_t;

    #[inline(always)]
    fn zero(self) -> [float32x4_t; 2] {
        // SAFETY: see above.
        unsafe { [vdupq_n_f32(0.0); 2] }
    }

    #[inline(always)]
    unsafe fn load(self, at: *const f32) -> [float32x4_t; 2] {
        // SAFETY: see above.
        unsafe { [vld1q_f32(at), vld1q_f32(at.add(4))] }
    }

    #[inline(always)]
    unsafe fn store(self, [a, b]: [float32x4_t; 2], at: *mut f32) {
        // SAFETY: see above.
        unsafe {
            vst1q_f32(at, a);
            vst1q_f32(at.add(4), b);
        }
    }

    #[inline(always)]
    unsafe fn splat(self, at: *const f32) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vld1q_dup_f32(at) }
    }

    /// A bf16 is the upper half of an f32.
    #[inline(always)]
    unsafe fn first_of_pairs(self, at: *const bf16) -> [float32x4_t; 2] {
        // SAFETY: see above.
        unsafe {
            let [a, b] = pairs(unknown(at));
            [vreinterpretq_f32_u32(vshlq_n_u32::<16>(a)), vreinterpretq_f32_u32(vshlq_n_u32::<16>(b))]
        }
    }

    /// The second entry of a pair is the upper half of its lane.
    #[inline(always)]
    unsafe fn second_of_pairs(self, at: *const bf16) -> [float32x4_t; 2] {
        // SAFETY: see above.
        unsafe {
            let ([a, b], upper) = (pairs(at), vdupq_n_u32(0xffff_0000));
            [vreinterpretq_f32_u32(vandq_u32(a, upper)), vreinterpretq_f32_u32(vandq_u32(b, upper))]
        }
    }

    #[inline(always)]
    fn multiply_add(self, [a, b]: [float32x4_t; 2], x: float32x4_t, [v, w]: [float32x4_t; 2]) -> [float32x4_t; 2] {
        // SAFETY: see above.
        unsafe { [vfmaq_f32(a, v, x), vfmaq_f32(b, w, x)] }
    }

    fn tile<D: VectorDot, const R: usize, const P: usize>(self, dot: D, tile: Tile<'_, D>) {
        tile.compute::<R, P>(dot);
    }
}

/// Eight pairs of bf16.
///
/// # Safety
/// `at` is valid for reading them.
#[inline(always)]
unsafe fn pairs(at: *const bf16) -> [uint32x4_t; 2] {
    // SAFETY: see above.
    unsafe { [vld1q_u32(at.cast()), vld1q_u32(at.cast::<u32>().add(4))] }
}

impl Dot for Int8 {
    const ROWS: usize = 6;
    const PANEL: usize = VECTORS * Self::LANES;
    const GROUP: usize = 4;
    const RUN: usize = RUN;
    type Weight = i8;
    type X = [i8; 4];
    type Sum = i32;

    fn pack(self, x: &[f32], k: usize, tile: &mut [[i8; 4]], height: usize, scales: &mut [f32]) {
        operand::each_row(x, k, tile, height, scales, operand::i8_fours);
    }

    fn strip(self, strip: Strip<'_, Self>) {
        strip.in_tiles(self);
    }
}

impl VectorDot for Int8 {
    const LANES: usize = 8;
    const STEPS: usize = 1;
    type Sums = [int32x4_t; 2];
    type Xs = int8x16_t;
    type Weights = [int8x16_t; 2];

    #[inline(always)]
    fn zero(self) -> [int32x4_t; 2] {
        // SAFETY: see above.
        unsafe { [vdupq_n_s32(0); 2] }
    }

    #[inline(always)]
    unsafe fn load(self, at: *const i32) -> [int32x4_t; 2] {
        // SAFETY: see above.
        unsafe { [vld1q_s32(at), vld1q_s32(at.add(4))] }
    }

    #[inline(always)]
    unsafe fn store(self, [a, b]: [int32x4_t; 2], at: *mut i32) {
        // SAFETY: see above.
        unsafe {
            vst1q_s32(at, a);
            vst1q_s32(at.add(4), b);
        }
    }

    #[inline(always)]
    unsafe fn x(self, at: *const [i8; 4], _: usize) -> int8x16_t {
        // SAFETY: see above.
        unsafe { vreinterpretq_s8_s32(vdupq_n_s32(at.cast::<i32>().read_unaligned())) }
    }

    #[inline(always)]
    unsafe fn weights(self, at: *const i8, _: usize) -> [int8x16_t; 2] {
        // SAFETY: see above.
        unsafe { [vld1q_s8(at), vld1q_s8(at.add(16))] }
    }

    #[inline(always)]
    fn add(self, [a, b]: [int32x4_t; 2], x: int8x16_t, [v, w]: [int8x16_t; 2]) -> [int32x4_t; 2] {
        [sdot(a, v, x), sdot(b, w, x)]
    }

    fn tile<const R: usize, const P: usize>(self, tile: Tile<'_, Self>) {
        // SAFETY: see above.
        unsafe { tile_of_dots::<R, P>(self, tile) }
    }
}

impl IntDot for Int8 {
    const OFFSET: i32 = 0;
}

/// `sums + x · w`, four products a lane. Its intrinsic is not stable yet.
#[inline(always)]
fn sdot(mut sums: int32x4_t, w: int8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: see above; registers only.
    unsafe {
        asm!(
            "sdot {sums:v}.4s, {w:v}.16b, {x:v}.16b",
            sums = inout(vreg) sums, w = in(vreg) w, x = in(vreg) x,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sums
}
