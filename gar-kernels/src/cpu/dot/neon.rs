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

use super::{Dot, FloatDot, IntDot, RUN, Tile, VECTORS, VectorDot, operand};
use crate::cpu::strip::Strip;

/// f32 weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Single;

/// bf16 weights, widened in the registers. `rounded` tells whether x is rounded to bf16 or stays f32.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Half {
    pub(super) rounded: bool,
}

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
// vouch for the pointers as the trait demands; no load and no store asks for alignment.

/// The same address, of which the compiler does not know that: it would keep the pairs of a group from its first step to its
/// second, and there are no registers for them.
#[inline(always)]
fn unknown<T>(mut at: *const T) -> *const T {
    // SAFETY: no instruction at all.
    unsafe { asm!("/* {at} */", at = inout(reg) at, options(pure, readonly, nostack, preserves_flags)) };
    at
}

impl Dot for Single {
    const ROWS: usize = 6;
    const PANEL: usize = VECTORS * Self::LANES;
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

impl VectorDot for Single {
    const LANES: usize = 8;
    const STEPS: usize = 1;
    type Sums = [float32x4_t; 2];
    type Xs = float32x4_t;
    type Weights = [float32x4_t; 2];

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
    unsafe fn x(self, at: *const f32, _: usize) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vld1q_dup_f32(at) }
    }

    #[inline(always)]
    unsafe fn weights(self, at: *const f32, _: usize) -> [float32x4_t; 2] {
        // SAFETY: see above.
        unsafe { self.load(at) }
    }

    #[inline(always)]
    fn add(self, [a, b]: [float32x4_t; 2], x: float32x4_t, [v, w]: [float32x4_t; 2]) -> [float32x4_t; 2] {
        // SAFETY: see above.
        unsafe { [vfmaq_f32(a, v, x), vfmaq_f32(b, w, x)] }
    }

    fn tile<const R: usize, const P: usize>(self, tile: Tile<'_, Self>) {
        tile.compute::<R, P>(self);
    }
}

impl FloatDot for Single {
    fn rounds(self) -> bool {
        false
    }
}

impl Dot for Half {
    const ROWS: usize = 6;
    const PANEL: usize = VECTORS * Self::LANES;
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

impl VectorDot for Half {
    const LANES: usize = 8;
    const STEPS: usize = 2;
    type Sums = [float32x4_t; 2];
    type Xs = float32x4_t;
    type Weights = [float32x4_t; 2];

    #[inline(always)]
    fn zero(self) -> [float32x4_t; 2] {
        Single.zero()
    }

    #[inline(always)]
    unsafe fn load(self, at: *const f32) -> [float32x4_t; 2] {
        // SAFETY: see above.
        unsafe { Single.load(at) }
    }

    #[inline(always)]
    unsafe fn store(self, sums: [float32x4_t; 2], at: *mut f32) {
        // SAFETY: see above.
        unsafe { Single.store(sums, at) }
    }

    /// The second entry of a pair comes first, as in `vdpbf16ps`.
    #[inline(always)]
    unsafe fn x(self, at: *const [f32; 2], step: usize) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vld1q_dup_f32(at.cast::<f32>().add(1 - step)) }
    }

    /// The second entry of a pair is the upper half of its lane, a bf16 the upper half of an f32.
    #[inline(always)]
    unsafe fn weights(self, at: *const bf16, step: usize) -> [float32x4_t; 2] {
        let at = if step == 0 { at } else { unknown(at) }.cast::<u32>();
        // SAFETY: see above.
        unsafe {
            [vld1q_u32(at), vld1q_u32(at.add(4))].map(
                #[inline(always)]
                |pairs| {
                    vreinterpretq_f32_u32(match step {
                        0 => vandq_u32(pairs, vdupq_n_u32(0xffff_0000)),
                        _ => vshlq_n_u32::<16>(pairs),
                    })
                },
            )
        }
    }

    #[inline(always)]
    fn add(self, sums: [float32x4_t; 2], x: float32x4_t, w: [float32x4_t; 2]) -> [float32x4_t; 2] {
        Single.add(sums, x, w)
    }

    fn tile<const R: usize, const P: usize>(self, tile: Tile<'_, Self>) {
        tile.compute::<R, P>(self);
    }
}

impl FloatDot for Half {
    fn rounds(self) -> bool {
        self.rounded
    }
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
