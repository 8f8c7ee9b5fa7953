//! AVX2 with FMA: sixteen registers of eight lanes, so tiles of 6 rows and 16 columns.
//!
//! The loop over bf16 weights, written in assembly with 43 instructions in place of 48, made products 1 to 2 % faster (noisy Zen 3,
//! forty alternating rounds in one process), which was not worth keeping. As loops alone, their operands in the level-1 cache, that of
//! bf16 does 89 % of what FMA does, that of 8 bits 81 % of what its two instructions do, 1.4 times as many products. One of
//! `vpmaddubsw`, which wants an operand without sign, of |w| and x with the sign of w in tiles of 5 rows, would do 6 % more;
//! it was not built.
use std::arch::{asm, x86_64::*};

use half::bf16;

use super::{Dot, IntDot, RUN, Tile, VECTORS, VectorDot, float::Vectors, operand};
use crate::cpu::strip::Strip;

/// AVX2 and FMA are there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Avx2(());

/// 8-bit weights in pairs, widened to 16 bits, so that no sum of a pair saturates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Int8(pub(super) Avx2);

impl Avx2 {
    pub(super) fn new() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Self(()))
    }
}

/// The tile loop, compiled for these instructions.
#[target_feature(enable = "avx2,fma")]
fn tile<D: VectorDot, const R: usize, const P: usize>(dot: D, tile: Tile<'_, D>) {
    tile.compute::<R, P>(dot);
}

// SAFETY, for every `unsafe` block below: an `Avx2` is made only where the CPU has the instructions, and the callers vouch
// for the pointers as the traits demand; unaligned loads and stores are used throughout.

/// The same address, of which the compiler does not know that. It would keep the pairs of a group from its first step to its
/// second, and a sum would have to make room, whose way through memory then costs half of the tile loop's speed.
#[inline(always)]
fn unknown<T>(mut at: *const T) -> *const T {
    // SAFETY: no instruction at all.
    unsafe { asm!("/* {at} */", at = inout(reg) at, options(pure, readonly, nostack, preserves_flags)) };
    at
}

impl Vectors for Avx2 {
    const LANES: usize = 8;
    const ROWS: usize = 6;
    type Vector = __m256;
    type Splat = __m256;

    #[inline(always)]
    fn zero(self) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn load(self, at: *const f32) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_loadu_ps(at) }
    }

    #[inline(always)]
    unsafe fn store(self, vector: __m256, at: *mut f32) {
        // SAFETY: see above.
        unsafe { _mm256_storeu_ps(at, vector) }
    }

    #[inline(always)]
    unsafe fn splat(self, at: *const f32) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_set1_ps(*at) }
    }

    /// A bf16 is the upper half of an f32.
    #[inline(always)]
    unsafe fn first_of_pairs(self, at: *const bf16) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_loadu_si256(unknown(at).cast()))) }
    }

    /// The second entry of a pair is the upper half of its lane.
    #[inline(always)]
    unsafe fn second_of_pairs(self, at: *const bf16) -> __m256 {
        // SAFETY: see above.
        unsafe {
            let upper = _mm256_set1_epi32(0xffff_0000_u32 as i32);
            _mm256_castsi256_ps(_mm256_and_si256(_mm256_loadu_si256(at.cast()), upper))
        }
    }

    #[inline(always)]
    fn multiply_add(self, sums: __m256, x: __m256, w: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_fmadd_ps(x, w, sums) }
    }

    fn tile<D: VectorDot, const R: usize, const P: usize>(self, dot: D, t: Tile<'_, D>) {
        // SAFETY: see above.
        unsafe { tile::<D, R, P>(dot, t) }
    }
}

impl Dot for Int8 {
    const ROWS: usize = 6;
    const PANEL: usize = VECTORS * Self::LANES;
    const GROUP: usize = 2;
    const RUN: usize = RUN;
    type Weight = i8;
    type X = [i16; 2];
    type Sum = i32;

    fn pack(self, x: &[f32], k: usize, tile: &mut [[i16; 2]], height: usize, scales: &mut [f32]) {
        operand::each_row(x, k, tile, height, scales, operand::i16_pairs);
    }

    fn strip(self, strip: Strip<'_, Self>) {
        strip.in_tiles(self);
    }
}

impl VectorDot for Int8 {
    const LANES: usize = 8;
    const STEPS: usize = 1;
    type Sums = __m256i;
    type Xs = __m256i;
    type Weights = __m256i;

    #[inline(always)]
    fn zero(self) -> __m256i {
        // SAFETY: see above.
        unsafe { _mm256_setzero_si256() }
    }

    #[inline(always)]
    unsafe fn load(self, at: *const i32) -> __m256i {
        // SAFETY: see above.
        unsafe { _mm256_loadu_si256(at.cast()) }
    }

    #[inline(always)]
    unsafe fn store(self, sums: __m256i, at: *mut i32) {
        // SAFETY: see above.
        unsafe { _mm256_storeu_si256(at.cast(), sums) }
    }

    #[inline(always)]
    unsafe fn x(self, at: *const [i16; 2], _: usize) -> __m256i {
        // SAFETY: see above.
        unsafe { _mm256_set1_epi32(at.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn weights(self, at: *const i8, _: usize) -> __m256i {
        // SAFETY: see above.
        unsafe { _mm256_cvtepi8_epi16(_mm_loadu_si128(at.cast())) }
    }

    #[inline(always)]
    fn add(self, sums: __m256i, x: __m256i, w: __m256i) -> __m256i {
        // SAFETY: see above.
        unsafe { _mm256_add_epi32(sums, _mm256_madd_epi16(x, w)) }
    }

    fn tile<const R: usize, const P: usize>(self, t: Tile<'_, Self>) {
        // SAFETY: see above.
        unsafe { tile::<Self, R, P>(self, t) }
    }
}

impl IntDot for Int8 {
    const OFFSET: i32 = 0;
}
