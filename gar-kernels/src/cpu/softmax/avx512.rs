//! The softmax where shares are multiplied in pairs of bf16: each score is read once, or stays in the register that it was
//! summed in, and its share goes to the tile rounded.
use std::{arch::x86_64::*, mem::transmute};

use pulp::{Simd, f32x16, x86::V4};

use super::{KEPT, RISE, Row, Running, Scores, math, max};
use crate::cpu::dot::{Factors, RUN, VectorDot};

/// Writes shares to a tile of `height` rows, [runs, height, [`RUN`]].
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(in crate::cpu) fn shares_bf16(v4: V4, scores: Scores<'_>, tile: &mut [u32], height: usize) {
    for (r, Row { scores, running, values }) in scores.rows().enumerate() {
        let to = &mut tile[r * RUN..];
        // The first block sets the base. From then on most blocks leave it where it is, which shows when all is done.
        if running.base == f32::NEG_INFINITY || !row(v4, scores, running, to, height * RUN) {
            running.meet(v4, max(v4, scores), values);
            row(v4, scores, running, to, height * RUN);
        }
    }
}

/// The shares of one row, if the base need not be moved: else what was written is of no use, and sums are as they were.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn row(v4: V4, scores: &[f32], running: &mut Running, to: &mut [u32], stride: usize) -> bool {
    let (shift, mut sum) = (v4.splat_f32s(running.shift()), math::read(v4, &running.sum, 0));
    let mut top = [v4.splat_f32s(f32::NEG_INFINITY); 2];
    for (scores, to) in scores.as_chunks::<{ 2 * RUN }>().0.iter().zip(to.chunks_mut(stride)) {
        let scores = [math::read(v4, scores, 0), math::read(v4, scores, RUN)];
        let Some(to) = to.first_chunk_mut() else { break };
        sum = v4.add_f32s(sum, pairs(v4, scores, shift, &mut top, to));
    }
    if running.base > f32::NEG_INFINITY && rises(v4, top) {
        return false;
    }
    math::fill(v4, &mut running.sum, |_| sum);
    true
}

/// The shares of 2 · [`RUN`] scores, rounded, and their sums lane by lane; `top` gets what scores stand above the base.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn pairs(v4: V4, scores: [f32x16; 2], shift: f32x16, top: &mut [f32x16; 2], to: &mut [u32; RUN]) -> f32x16 {
    let [low, high] = [v4.sub_f32s(scores[0], shift), v4.sub_f32s(scores[1], shift)];
    // In this order a NaN is never taken.
    *top = [v4.max_f32s(low, top[0]), v4.max_f32s(high, top[1])];
    let [low, high] = [math::exp_or_denormal(v4, low), math::exp_or_denormal(v4, high)];
    // SAFETY: registers of one size; every pattern is valid.
    *to = unsafe {
        let [low, high] = [transmute::<f32x16, __m512>(low), transmute::<f32x16, __m512>(high)];
        transmute::<__m512bh, [u32; RUN]>(_mm512_cvtne2ps_pbh(high, low))
    };
    v4.add_f32s(low, high)
}

/// Whether a score stands too far above its base.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn rises(v4: V4, top: [f32x16; 2]) -> bool {
    let rises = v4.greater_than_f32s(v4.max_f32s(top[0], top[1]), v4.splat_f32s(RISE));
    v4.first_true_m32s(rises) < V4::F32_LANES
}

/// Hides all but the first `seen` scores.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn visible([low, high]: [__m512; 2], seen: usize) -> [__m512; 2] {
    let hidden = _mm512_set1_ps(f32::NEG_INFINITY);
    let lanes = ((1_u64 << seen.min(2 * RUN)) - 1) as u32;
    [_mm512_mask_mov_ps(hidden, lanes as u16, low), _mm512_mask_mov_ps(hidden, (lanes >> RUN) as u16, high)]
}

/// The shares of a tile of `R` rows with some panels of keys, straight from the sums of products; see
/// [`shares_of_products`](crate::cpu::dot::FloatDot::shares_of_products).
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(in crate::cpu) fn shares_of_products_bf16<D, const R: usize>(
    v4: V4,
    dot: D,
    factors: Factors<'_, D>,
    panels: usize,
    seen: impl Fn(usize) -> usize,
    running: &mut [Running],
    tile: &mut [u32],
) -> bool
where
    D: VectorDot<Sums = __m512>,
{
    const { assert!(R <= 12, "rows are written out below") };
    let Some(running) = running.first_chunk_mut::<R>() else { return false };
    if running.iter().any(|row| row.base == f32::NEG_INFINITY) {
        return false;
    }
    let mut sums = [[0.0; KEPT]; R];
    sums.iter_mut().zip(&*running).for_each(|(sum, row)| *sum = row.sum);
    let mut top = [v4.splat_f32s(f32::NEG_INFINITY); 2];
    // The first row sees the least.
    let least = seen(0);
    for (panel, tile) in (0..panels).zip(tile.as_chunks_mut::<RUN>().0.as_chunks_mut::<R>().0) {
        let own = Factors { w: &factors.w[panel * factors.panel_stride..], ..factors };
        let mut scores = [[[dot.zero(); 2]; 1]; R];
        own.add(dot, &mut scores);
        // Row by row without a loop: its index would call for the sums in memory. And without a branch between rows: what is
        // needed after the last row alone would be put off until then, and registers with it.
        macro_rules! rows {
            ($do:ident: $($r:literal)*) => {$( if $r < R { $do!($r) } )*};
        }
        macro_rules! hide {
            ($r:literal) => {
                scores[$r][0] = visible(scores[$r][0], seen($r).saturating_sub(panel * 2 * RUN))
            };
        }
        macro_rules! share {
            ($r:literal) => {{
                let base = v4.splat_f32s(running[$r].base);
                // SAFETY: registers of one size; every pattern is valid.
                let scores = unsafe { transmute::<[__m512; 2], [f32x16; 2]>(scores[$r][0]) };
                let sum = pairs(v4, scores, base, &mut top, &mut tile[$r]);
                let sum = v4.add_f32s(math::read(v4, &sums[$r], 0), sum);
                math::fill(v4, &mut sums[$r], |_| sum);
            }};
        }
        if least < (panel + 1) * 2 * RUN {
            rows!(hide: 0 1 2 3 4 5 6 7 8 9 10 11);
        }
        rows!(share: 0 1 2 3 4 5 6 7 8 9 10 11);
    }
    if rises(v4, top) {
        return false;
    }
    for (row, sum) in running.iter_mut().zip(sums) {
        row.sum = sum;
    }
    true
}
