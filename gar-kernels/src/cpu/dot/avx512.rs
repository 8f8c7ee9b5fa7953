//! AVX-512: thirty-two registers of sixteen lanes, so tiles of 12 rows and 32 columns; with BF16 and VNNI where they are.
use std::{arch::x86_64::*, mem::transmute};

use half::bf16;
use pulp::x86::V4;

use super::{Dot, Factors, Finisher, FloatDot, IntDot, RUN, Tile, VECTORS, VectorDot, float::Vectors, operand};
use crate::cpu::{
    epilogue::finish_tile,
    panels::Rows,
    softmax::{Running, Scores, shares_bf16, shares_of_products_bf16},
    strip::Strip,
};

/// AVX-512 F and BW are there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Avx512(());

/// bf16 weights and x, multiplied in pairs by `vdpbf16ps` (AVX512-BF16).
///
/// The instruction adds the product of a pair's second entries first, rounds, adds the other, rounds; and it takes
/// denormal numbers as zero, which is the one difference from [`Half`](super::float::Half).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct HalfPairs(Avx512);

/// 8-bit weights in fours, x without sign, multiplied by `vpdpbusd` (AVX512-VNNI), which does not saturate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Int8(Avx512);

impl Avx512 {
    pub(super) fn new() -> Option<Self> {
        (is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")).then_some(Self(()))
    }
}

impl HalfPairs {
    pub(super) fn new() -> Option<Self> {
        let isa = Avx512::new().filter(|_| is_x86_feature_detected!("avx512bf16"))?;
        // What `pulp` asks for besides is needed where shares are computed.
        V4::try_new().map(|_| Self(isa))
    }

    /// Whether they make more products than [`Half`](super::float::Half) does: not where Intel built the CPU.
    pub(super) fn are_fast() -> bool {
        let vendor = __cpuid(0);
        [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).as_flattened() != b"GenuineIntel"
    }
}

impl Int8 {
    pub(super) fn new() -> Option<Self> {
        Avx512::new().filter(|_| is_x86_feature_detected!("avx512vnni")).map(Self)
    }
}

// SAFETY, for every `unsafe` block below: an `Avx512`, a `HalfPairs` and an `Int8` are made only where the CPU has the
// instructions, and the callers vouch for the pointers as the traits demand; unaligned loads and stores are used throughout.

impl Vectors for Avx512 {
    const LANES: usize = 16;
    const ROWS: usize = 12;
    type Vector = __m512;
    type Splat = __m512;

    #[inline(always)]
    fn zero(self) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn load(self, at: *const f32) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_loadu_ps(at) }
    }

    #[inline(always)]
    unsafe fn store(self, vector: __m512, at: *mut f32) {
        // SAFETY: see above.
        unsafe { _mm512_storeu_ps(at, vector) }
    }

    #[inline(always)]
    unsafe fn splat(self, at: *const f32) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_set1_ps(*at) }
    }

    /// A bf16 is the upper half of an f32.
    #[inline(always)]
    unsafe fn first_of_pairs(self, at: *const bf16) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_loadu_si512(at.cast()))) }
    }

    /// The second entry of a pair is the upper half of its lane.
    #[inline(always)]
    unsafe fn second_of_pairs(self, at: *const bf16) -> __m512 {
        // SAFETY: see above.
        unsafe {
            let upper = _mm512_set1_epi32(0xffff_0000_u32 as i32);
            _mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512(at.cast()), upper))
        }
    }

    #[inline(always)]
    fn multiply_add(self, sums: __m512, x: __m512, w: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_fmadd_ps(x, w, sums) }
    }

    fn tile<D: VectorDot, const R: usize, const P: usize>(self, dot: D, t: Tile<'_, D>) {
        // SAFETY: see above.
        unsafe { tile::<D, R, P>(dot, t) }
    }
}

impl Dot for HalfPairs {
    const ROWS: usize = 12;
    const PANEL: usize = VECTORS * Self::LANES;
    const GROUP: usize = 2;
    const RUN: usize = RUN;
    type Weight = bf16;
    type X = u32;
    type Sum = f32;

    fn pack(self, x: &[f32], k: usize, tile: &mut [u32], height: usize, scales: &mut [f32]) {
        operand::each_row(x, k, tile, height, scales, |row, to, stride| {
            // SAFETY: see above.
            unsafe { pack_bf16(row, to, stride) };
            1.0
        });
    }

    fn pack_rounded(self, x: &[bf16], k: usize, tile: &mut [u32], height: usize, scales: &mut [f32]) {
        scales.fill(1.0);
        for (r, row) in x.chunks_exact(k.max(1)).enumerate() {
            let (whole, rest) = row.as_chunks::<{ 2 * RUN }>();
            let mut runs = tile[r * RUN..].chunks_mut(height * RUN);
            // Of a length that the compiler knows: a register, not a call.
            whole
                .iter()
                .zip(&mut runs)
                .for_each(|(run, to)| to[..RUN].copy_from_slice(&bytemuck::cast::<_, [u32; RUN]>(*run)));
            if let (false, Some(to)) = (rest.is_empty(), runs.next()) {
                let to = &mut bytemuck::cast_slice_mut(to)[..rest.len().next_multiple_of(2)];
                // What lacks in the last pair is zero.
                to.fill(bf16::ZERO);
                to[..rest.len()].copy_from_slice(rest);
            }
        }
    }

    fn narrow(self, from: &[f32], to: &mut [bf16]) {
        // SAFETY: see above.
        unsafe { narrow_bf16(from, to) };
    }

    fn strip(self, strip: Strip<'_, Self>) {
        strip.in_tiles(self);
    }

    fn finisher(self) -> Option<Finisher<Self>> {
        const { assert!(Self::ABREAST == 1, "a strip is one panel") };
        // SAFETY: see above.
        Some(|dot, mut strip, then| unsafe {
            finish_tile::<_, { Self::ROWS }>(V4::new_unchecked(), dot, strip.tile(0), then);
        })
    }
}

impl VectorDot for HalfPairs {
    const LANES: usize = 16;
    const STEPS: usize = 1;
    type Sums = __m512;
    type Xs = __m512i;
    type Weights = __m512i;

    #[inline(always)]
    fn zero(self) -> __m512 {
        self.0.zero()
    }

    #[inline(always)]
    unsafe fn load(self, at: *const f32) -> __m512 {
        // SAFETY: see above.
        unsafe { self.0.load(at) }
    }

    #[inline(always)]
    unsafe fn store(self, sums: __m512, at: *mut f32) {
        // SAFETY: see above.
        unsafe { self.0.store(sums, at) }
    }

    #[inline(always)]
    unsafe fn x(self, at: *const u32, _: usize) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_set1_epi32(*at as i32) }
    }

    #[inline(always)]
    unsafe fn weights(self, at: *const bf16, _: usize) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_loadu_si512(at.cast()) }
    }

    #[inline(always)]
    fn add(self, sums: __m512, x: __m512i, w: __m512i) -> __m512 {
        // SAFETY: see above; a vector of pairs of bf16 has the bits of a vector of integers.
        unsafe { _mm512_dpbf16_ps(sums, transmute::<__m512i, __m512bh>(x), transmute::<__m512i, __m512bh>(w)) }
    }

    fn tile<const R: usize, const P: usize>(self, t: Tile<'_, Self>) {
        // SAFETY: see above.
        unsafe { tile_bf16::<Self, R, P>(self, t) }
    }
}

impl FloatDot for HalfPairs {
    fn rounds(self) -> bool {
        true
    }

    fn shares_of_products(
        self,
        factors: Factors<'_, Self>,
        panels: usize,
        seen: impl Fn(usize) -> usize,
        running: &mut [Running],
        to: &mut Rows<Self>,
    ) -> bool {
        if to.height() != Self::ROWS {
            return false;
        }
        // SAFETY: see above.
        unsafe {
            let v4 = V4::new_unchecked();
            shares_of_products_bf16::<_, { Self::ROWS }>(v4, self, factors, panels, seen, running, to.groups_mut())
        }
    }

    fn shares(self, scores: Scores<'_>, to: &mut Rows<Self>) {
        let height = to.height();
        // SAFETY: see above.
        unsafe { shares_bf16(V4::new_unchecked(), scores, to.groups_mut(), height) }
    }
}

impl Dot for Int8 {
    const ROWS: usize = 12;
    const PANEL: usize = VECTORS * Self::LANES;
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

impl VectorDot for Int8 {
    const LANES: usize = 16;
    const STEPS: usize = 1;
    type Sums = __m512i;
    type Xs = __m512i;
    type Weights = __m512i;

    #[inline(always)]
    fn zero(self) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    unsafe fn load(self, at: *const i32) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_loadu_si512(at.cast()) }
    }

    #[inline(always)]
    unsafe fn store(self, sums: __m512i, at: *mut i32) {
        // SAFETY: see above.
        unsafe { _mm512_storeu_si512(at.cast(), sums) }
    }

    #[inline(always)]
    unsafe fn x(self, at: *const [u8; 4], _: usize) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_set1_epi32(at.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn weights(self, at: *const i8, _: usize) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_loadu_si512(at.cast()) }
    }

    #[inline(always)]
    fn add(self, sums: __m512i, x: __m512i, w: __m512i) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_dpbusd_epi32(sums, x, w) }
    }

    fn tile<const R: usize, const P: usize>(self, t: Tile<'_, Self>) {
        // SAFETY: see above.
        unsafe { tile_vnni::<Self, R, P>(self, t) }
    }
}

impl IntDot for Int8 {
    const OFFSET: i32 = 128;
}

/// Pairs of bf16, rounded to nearest even a run at a time; denormal numbers become zero, as the product takes them anyway.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn pack_bf16(row: &[f32], to: &mut [u32], stride: usize) {
    let (whole, rest) = row.as_chunks::<{ 2 * RUN }>();
    for (chunk, to) in whole.iter().zip(to.chunks_mut(stride)) {
        // SAFETY: the chunk has 32 entries.
        let [low, high] = unsafe { [_mm512_loadu_ps(chunk.as_ptr()), _mm512_loadu_ps(chunk.as_ptr().add(16))] };
        let pairs = _mm512_cvtne2ps_pbh(high, low);
        // SAFETY: 512 bits of 16 pairs; every pattern is valid.
        let pairs = unsafe { transmute::<__m512bh, [u32; RUN]>(pairs) };
        to[..RUN].copy_from_slice(&pairs);
    }
    if !rest.is_empty() {
        operand::bf16_pairs(rest, &mut to[whole.len() * stride..], stride);
    }
}

/// Numbers rounded to nearest even; denormal ones become zero.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn narrow_bf16(from: &[f32], to: &mut [bf16]) {
    let ((from, from_rest), (to, to_rest)) = (from.as_chunks::<16>(), to.as_chunks_mut::<16>());
    for (from, to) in from.iter().zip(to) {
        // SAFETY: sixteen numbers each; every pattern is valid.
        unsafe {
            let rounded = _mm512_cvtneps_pbh(_mm512_loadu_ps(from.as_ptr()));
            *to = transmute::<__m256bh, [bf16; 16]>(rounded);
        }
    }
    to_rest.iter_mut().zip(from_rest).for_each(|(to, &from)| *to = operand::to_bf16(from));
}

/// The tile loop, compiled for AVX-512 F and BW.
#[target_feature(enable = "avx512f,avx512bw")]
fn tile<D: VectorDot, const R: usize, const P: usize>(dot: D, tile: Tile<'_, D>) {
    tile.compute::<R, P>(dot);
}

/// The tile loop, compiled for AVX512-BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn tile_bf16<D: VectorDot, const R: usize, const P: usize>(dot: D, tile: Tile<'_, D>) {
    tile.compute::<R, P>(dot);
}

/// The tile loop, compiled for AVX512-VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn tile_vnni<D: VectorDot, const R: usize, const P: usize>(dot: D, tile: Tile<'_, D>) {
    tile.compute::<R, P>(dot);
}
