//! The softmax where shares are rounded to bf16 and multiplied as f32: each score is read once, and its share goes to the tile
//! rounded.
use pulp::{Simd, WithSimd};

use super::{KEPT, LANES, RISE, Row, Running, Scores, math, max};
use crate::cpu::dot::RUN;

const _: () = assert!(LANES == 2 * RUN, "a run takes the scores that are read together, in pairs");

/// Writes shares to a tile of `height` rows, [runs, height, [`RUN`]] pairs.
pub(in crate::cpu) fn shares_rounded(scores: Scores<'_>, tile: &mut [[f32; 2]], height: usize) {
    pulp::Arch::new().dispatch(Rounded { scores, tile, height });
}

struct Rounded<'a> {
    scores: Scores<'a>,
    tile: &'a mut [[f32; 2]],
    height: usize,
}

impl WithSimd for Rounded<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { scores, tile, height } = self;
        for (r, Row { scores, running, values }) in scores.rows().enumerate() {
            let to = &mut tile[r * RUN..];
            // The first block sets the base. From then on most blocks leave it where it is, which shows when all is done.
            if running.base == f32::NEG_INFINITY || !row(simd, scores, running, to, height * RUN) {
                running.meet(simd, max(simd, scores), values);
                row(simd, scores, running, to, height * RUN);
            }
        }
    }
}

/// The shares of one row, if the base need not be moved: else what was written is of no use, and sums are as they were.
#[inline(always)]
fn row<S: Simd>(simd: S, scores: &[f32], running: &mut Running, to: &mut [[f32; 2]], stride: usize) -> bool {
    let shift = simd.splat_f32s(running.shift());
    let mut kept = running.sum;
    let sums = S::as_mut_simd_f32s(&mut kept).0;
    let mut top = [simd.splat_f32s(f32::NEG_INFINITY); 2];
    for (scores, to) in scores.chunks_exact(LANES).zip(to.chunks_mut(stride)) {
        let (low, high) = S::as_simd_f32s(scores).0.split_at(KEPT / S::F32_LANES);
        let to = S::as_mut_simd_f32s(bytemuck::cast_slice_mut(&mut to[..RUN])).0;
        let (to_low, to_high) = to.split_at_mut(KEPT / S::F32_LANES);
        let shares = low.iter().zip(high).zip(to_low.iter_mut().zip(to_high));
        for (sum, ((low, high), (to_low, to_high))) in sums.iter_mut().zip(shares) {
            let [low, high] = [simd.sub_f32s(*low, shift), simd.sub_f32s(*high, shift)];
            // In this order a NaN is never taken.
            top = [simd.max_f32s(low, top[0]), simd.max_f32s(high, top[1])];
            let [low, high] = [math::exp_for_bf16(simd, low), math::exp_for_bf16(simd, high)];
            [*to_low, *to_high] = [rounded(simd, low), rounded(simd, high)];
            *sum = simd.add_f32s(*sum, simd.add_f32s(low, high));
        }
    }
    if running.base > f32::NEG_INFINITY && simd.reduce_max_f32s(simd.max_f32s(top[0], top[1])) > RISE {
        return false;
    }
    running.sum = kept;
    true
}

/// Rounds to bf16, ties to even; for shares, of which none is so large that it would become infinite.
#[inline(always)]
fn rounded<S: Simd>(simd: S, share: S::f32s) -> S::f32s {
    let splat = |v: u32| simd.splat_u32s(v);
    let bits = simd.transmute_u32s_f32s(share);
    let odd = simd.and_u32s(simd.wrapping_dyn_shr_u32s(bits, splat(16)), splat(1));
    let up = simd.add_u32s(bits, simd.add_u32s(odd, splat(0x7fff)));
    simd.transmute_f32s_u32s(simd.and_u32s(up, splat(0xffff_0000)))
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;

    /// Shares of two rows over blocks of keys: of each block, and their sums in the end.
    fn shares(blocks: &[[Vec<f32>; 2]]) -> (Vec<[Vec<f32>; 2]>, [f32; 2], [f32; 2]) {
        let (mut running, mut values) = ([Running::default(); 2], [1.0, 1.0]);
        let shares = blocks.iter().map(|block| {
            let (mut scores, span) = (block.concat(), block[0].len());
            let mut tile = vec![[0.0; 2]; span];
            let of = Scores {
                scores: &mut scores,
                stride: span,
                span,
                running: &mut running,
                values: &mut values,
                width: 1,
            };
            shares_rounded(of, &mut tile, 2);
            // A run of one row, a run of the other.
            let runs = |row: usize| tile.chunks(RUN).skip(row).step_by(2).flatten().flatten().copied().collect();
            [runs(0), runs(1)]
        });
        let shares = shares.collect();
        (shares, running.map(|row| 1.0 / row.inverse()), values)
    }

    #[test]
    fn shares_are_rounded_exponentials_and_sums_are_not_rounded() {
        let scores = |seed: f32| -> Vec<f32> { (0..3 * LANES).map(|i| (i as f32 * seed).sin() * 5.0).collect() };
        let mut hidden = scores(0.3);
        hidden[2 * LANES..].fill(f32::NEG_INFINITY);
        let (found, sums, values) = shares(&[[hidden.clone(), scores(0.9)]]);
        assert_eq!(values, [1.0; 2], "the first block finds no sums");
        let base = hidden.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for (share, score) in found[0][0].iter().zip(&hidden) {
            let exact = f64::from(score - base).exp();
            // Half a unit in the last of eight places, and the exponential's own 8.5e-5.
            assert!((f64::from(*share) - exact).abs() <= exact * (1.0 / 256.0 + 9e-5), "{share}, not {exact}");
            assert_eq!(*share, f32::from(bf16::from_f32(*share)), "{share} is no bf16");
        }
        let exact: f64 = hidden.iter().map(|score| f64::from(score - base).exp()).sum();
        assert!((f64::from(sums[0]) / exact - 1.0).abs() < 1e-4, "{}, not {exact}", sums[0]);
    }

    #[test]
    fn a_base_moves_where_scores_rise_far_and_only_there() {
        let of = |scores: f32| vec![scores; LANES];
        let blocks = |rise: f32| [[of(0.0), of(0.0)], [of(0.0), of(rise)]];
        let (found, sums, values) = shares(&blocks(RISE - 1.0));
        assert_eq!((found[1][0][0], values), (1.0, [1.0; 2]));
        assert!((f64::from(sums[1]) / (32.0 * (1.0 + f64::from(RISE - 1.0).exp())) - 1.0).abs() < 1e-4);
        let (found, sums, values) = shares(&blocks(RISE + 1.0));
        let shrunk = f64::from(-RISE - 1.0).exp();
        assert_eq!((found[1][1][0], values[0]), (1.0, 1.0));
        assert!((f64::from(values[1]) / shrunk - 1.0).abs() < 1e-4, "what was summed is moved: {}", values[1]);
        assert!((f64::from(sums[1]) / (32.0 * (1.0 + shrunk)) - 1.0).abs() < 1e-4);
    }

    #[test]
    fn what_is_no_number_stays_none() {
        let mut scores = vec![0.0; LANES];
        scores[5] = f32::NAN;
        let (found, _, _) = shares(&[[scores.clone(), vec![0.0; LANES]], [scores, vec![0.0; LANES]]]);
        assert!(found.iter().all(|[row, _]| row[5].is_nan() && row[4] == 1.0));
        assert!(found.iter().all(|[_, row]| row.iter().all(|&share| share == 1.0)));
    }
}
