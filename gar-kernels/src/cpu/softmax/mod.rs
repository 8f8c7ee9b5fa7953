//! The online softmax of a tile of rows (Milakov & Gimelshein, 2018): scores of a block of keys become shares, and sums so
//! far are kept relative to the same base.
#[cfg(target_arch = "x86_64")]
mod avx512;
mod rounded;

use pulp::{Simd, WithSimd};

#[cfg(target_arch = "x86_64")]
pub(super) use avx512::{shares_bf16, shares_of_products_bf16};
pub(super) use rounded::shares_rounded;

use super::math;

/// Scores of a row are a multiple of this: wide enough for two AVX-512 registers, so that sums have one order everywhere.
pub(super) const LANES: usize = 32;

/// Sums of shares that a row keeps side by side: half of [`LANES`].
const KEPT: usize = LANES / 2;

/// How far scores may rise above their base before it is moved, and sums with it. Most blocks then leave sums as they are; no
/// share overflows, and none loses a digit.
const RISE: f32 = 8.0;

/// The softmax of one query over the keys so far.
#[derive(Clone, Copy)]
pub(super) struct Running {
    /// What scores are taken relative to: one that was the largest when it was set.
    base: f32,
    /// Σ e^(score − base), lane by lane.
    sum: [f32; KEPT],
}

impl Default for Running {
    fn default() -> Self {
        Self { base: f32::NEG_INFINITY, sum: [0.0; KEPT] }
    }
}

impl Running {
    /// What the summed values must be multiplied with in the end; 0 where no key was seen.
    pub(super) fn inverse(&self) -> f32 {
        let mut lanes = self.sum;
        let sum = fold(&mut lanes, 1, |a, b| a + b)[0];
        if sum > 0.0 { 1.0 / sum } else { 0.0 }
    }

    /// Moves the base to the largest score of a further block if that stands far above it, and with it the values summed so
    /// far.
    #[inline(always)]
    fn meet<S: Simd>(&mut self, simd: S, top: f32, values: &mut [f32]) {
        if top - self.shift() > RISE || self.base == f32::NEG_INFINITY {
            // Without a base nothing was summed, and `values` may be anything.
            if self.base > f32::NEG_INFINITY {
                let shrink = math::exp(simd, simd.splat_f32s(self.base - top));
                math::scale(simd, &mut self.sum, shrink);
                math::scale(simd, values, shrink);
            }
            self.base = top;
        }
    }

    /// What is subtracted from scores: where no key was seen, no score counts.
    #[inline(always)]
    fn shift(&self) -> f32 {
        if self.base == f32::NEG_INFINITY { 0.0 } else { self.base }
    }
}

/// Scores of one tile and one block of keys.
pub(super) struct Scores<'a> {
    /// [rows, stride].
    pub(super) scores: &'a mut [f32],
    pub(super) stride: usize,
    /// How many of a row may be scores, a multiple of [`LANES`].
    pub(super) span: usize,
    /// One for each row.
    pub(super) running: &'a mut [Running],
    /// Values summed so far, [rows, width].
    pub(super) values: &'a mut [f32],
    pub(super) width: usize,
}

/// One row of them.
struct Row<'a> {
    scores: &'a mut [f32],
    running: &'a mut Running,
    values: &'a mut [f32],
}

impl<'a> Scores<'a> {
    /// Lets only the first `seen(row)` scores of a row count, of which a row has no fewer than the one before; what stands
    /// behind them may be anything.
    pub(super) fn hide(&mut self, seen: impl Fn(usize) -> usize) {
        if seen(0) >= self.span {
            return;
        }
        for (r, scores) in self.scores.chunks_exact_mut(self.stride).take(self.running.len()).enumerate() {
            scores[seen(r).min(self.span)..self.span].fill(f32::NEG_INFINITY);
        }
    }

    /// Puts the shares e^(score − base) in the place of the scores, and moves what was summed to the same base.
    pub(super) fn share(self) {
        pulp::Arch::new().dispatch(Share(self));
    }

    #[inline(always)]
    fn rows(self) -> impl Iterator<Item = Row<'a>> {
        let values = self.values.chunks_exact_mut(self.width);
        self.scores.chunks_exact_mut(self.stride).zip(self.running).zip(values).map(
            #[inline(always)]
            move |((scores, running), values)| Row { scores: &mut scores[..self.span], running, values },
        )
    }
}

struct Share<'a>(Scores<'a>);

impl WithSimd for Share<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for Row { scores, running, values } in self.0.rows() {
            running.meet(simd, max(simd, scores), values);
            exponentials(simd, scores, running);
        }
    }
}

/// The largest score.
#[inline(always)]
fn max<S: Simd>(simd: S, scores: &[f32]) -> f32 {
    let mut lanes = [simd.splat_f32s(f32::NEG_INFINITY); LANES];
    let lanes = &mut lanes[..LANES / S::F32_LANES];
    for scores in S::as_simd_f32s(scores).0.chunks_exact(lanes.len()) {
        for (lane, score) in lanes.iter_mut().zip(scores) {
            // In this order a NaN is never taken.
            *lane = simd.max_f32s(*score, *lane);
        }
    }
    simd.reduce_max_f32s(fold(lanes, 1, |a, b| simd.max_f32s(a, b))[0])
}

/// Scores ← e^(score − base), summed up.
#[inline(always)]
fn exponentials<S: Simd>(simd: S, scores: &mut [f32], running: &mut Running) {
    let shift = simd.splat_f32s(running.shift());
    let sums = S::as_mut_simd_f32s(&mut running.sum).0;
    for scores in S::as_mut_simd_f32s(scores).0.chunks_exact_mut(LANES / S::F32_LANES) {
        for score in &mut *scores {
            *score = math::exp(simd, simd.sub_f32s(*score, shift));
        }
        let (low, high) = scores.split_at(scores.len() / 2);
        for ((sum, low), high) in sums.iter_mut().zip(low).zip(high) {
            *sum = simd.add_f32s(*sum, simd.add_f32s(*low, *high));
        }
    }
}

/// Folds lanes by halves until `left` are left, which are given.
#[inline(always)]
fn fold<V: Copy>(lanes: &mut [V], left: usize, f: impl Fn(V, V) -> V) -> &mut [V] {
    let mut half = lanes.len();
    while half > left {
        half /= 2;
        for i in 0..half {
            lanes[i] = f(lanes[i], lanes[half + i]);
        }
    }
    &mut lanes[..half]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shares of one row over blocks of keys, on any registers, and what their sum is.
    fn shares(blocks: &[Vec<f32>]) -> (Vec<Vec<f32>>, f32) {
        let mut running = Running::default();
        let shares = blocks.iter().map(|scores| {
            let mut scores = scores.clone();
            let (span, values) = (scores.len(), &mut [1.0]);
            let (scores_of, running) = (&mut scores, std::slice::from_mut(&mut running));
            Scores { scores: scores_of, stride: span, span, running, values, width: 1 }.share();
            scores
        });
        (shares.collect(), 1.0 / running.inverse())
    }

    #[test]
    fn sums_are_those_of_f64_and_ignore_trailing_zeros() {
        let scores: Vec<f32> = (0..3 * LANES).map(|i| (i as f32 * 0.7).sin() * 5.0).collect();
        let top = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let exact: f64 = scores.iter().map(|s| f64::from(s - top).exp()).sum();
        let (found, sum) = shares(std::slice::from_ref(&scores));
        assert!((f64::from(sum) / exact - 1.0).abs() < 1e-6, "{sum}, not {exact}");
        let longer = [scores, vec![f32::NEG_INFINITY; LANES]].concat();
        let (with_zeros, same) = shares(&[longer]);
        assert_eq!((sum, &found[0][..]), (same, &with_zeros[0][..3 * LANES]));
    }
}
