//! The softmax where shares are multiplied in pairs of bf16: each score is read once, its share goes to the tile rounded.
use std::{arch::x86_64::*, mem::transmute};

use pulp::{Simd, f32x16, x86::V4};

use super::{RISE, Row, Running, Scores, math, max};

/// Groups of a run: pairs of a register.
const RUN: usize = 16;

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
    let shift = v4.splat_f32s(running.shift());
    let (mut top, mut sums) = ([v4.splat_f32s(f32::NEG_INFINITY); 2], [v4.splat_f32s(0.0); 2]);
    for (scores, to) in scores.as_chunks::<{ 2 * RUN }>().0.iter().zip(to.chunks_mut(stride)) {
        let [low, high] = [math::read(v4, scores, 0), math::read(v4, scores, RUN)];
        top = [v4.max_f32s(low, top[0]), v4.max_f32s(high, top[1])];
        let [low, high] =
            [math::exp_for_bf16(v4, v4.sub_f32s(low, shift)), math::exp_for_bf16(v4, v4.sub_f32s(high, shift))];
        sums = [v4.add_f32s(sums[0], low), v4.add_f32s(sums[1], high)];
        // SAFETY: registers of one size; every pattern is valid.
        let pairs = unsafe {
            let [low, high] = [transmute::<f32x16, __m512>(low), transmute::<f32x16, __m512>(high)];
            transmute::<__m512bh, [u32; RUN]>(_mm512_cvtne2ps_pbh(high, low))
        };
        to[..RUN].copy_from_slice(&pairs);
    }
    let rises = v4.greater_than_f32s(v4.max_f32s(top[0], top[1]), v4.splat_f32s(running.base + RISE));
    if running.base > f32::NEG_INFINITY && v4.first_true_m32s(rises) < V4::F32_LANES {
        return false;
    }
    let sum = math::read(v4, &running.sum, 0);
    let sum = v4.add_f32s(sum, v4.add_f32s(sums[0], sums[1]));
    math::fill(v4, &mut running.sum, |_| sum);
    true
}
