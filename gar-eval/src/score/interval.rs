//! 95 % intervals.

/// A 95 % interval, in the unit of the score that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// The 97.5 % point of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// Wilson's interval for a share of `right` in `total` > 0, as fractions. It stays within [0, 1] and does not collapse
/// where all are right or none is.
pub(crate) fn wilson(right: usize, total: usize) -> Interval {
    let (n, p) = (total as f64, right as f64 / total as f64);
    let z2 = Z * Z;
    let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    Interval { low: (centre - half).max(0.0), high: (centre + half).min(1.0) }
}

/// The percentile bootstrap: draws `count` > 0 questions with replacement, many times, and gives the range that holds
/// the middle 95 % of `statistic`, which is given the drawn places. Always the same for the same input.
pub(super) fn bootstrap(count: usize, statistic: impl Fn(&[usize]) -> f64) -> Interval {
    /// The ends of the interval move by less than a tenth of its width beyond this number of draws.
    const DRAWS: usize = 2000;
    let mut random = SplitMix(0x9e37_79b9_7f4a_7c15);
    let mut drawn = vec![0; count];
    let mut found: Vec<f64> = (0..DRAWS)
        .map(|_| {
            drawn.iter_mut().for_each(|place| *place = random.below(count));
            statistic(&drawn)
        })
        .filter(|value| value.is_finite())
        .collect();
    found.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let place = (share * found.len().saturating_sub(1) as f64).round() as usize;
        found.get(place).copied().unwrap_or(f64::NAN)
    };
    Interval { low: at(0.025), high: at(0.975) }
}

/// SplitMix64 (Steele, Lea, Flood 2014): enough for a bootstrap, and the same everywhere.
struct SplitMix(u64);

impl SplitMix {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        // The high half of the product is uniform to within bound / 2⁶⁴.
        ((u128::from(z) * bound as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Newcombe 1998, table I: the score method without continuity correction.
    #[test]
    fn wilson_gives_published_intervals() {
        for (right, total, low, high) in [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)] {
            let found = wilson(right, total);
            assert!((found.low - low).abs() < 5e-5 && (found.high - high).abs() < 5e-5, "{right}/{total}: {found:?}");
        }
    }

    #[test]
    fn the_bootstrap_of_a_share_is_near_the_binomial_interval() {
        let interval = bootstrap(400, |drawn| drawn.iter().filter(|&&i| i < 200).count() as f64 / 400.0);
        // One standard error is 0.025; two thousand draws place a 2.5 % point to about a tenth of that.
        assert!((interval.low - 0.451).abs() < 0.006 && (interval.high - 0.549).abs() < 0.006, "{interval:?}");
        assert_eq!(bootstrap(5, |_| 3.0), Interval { low: 3.0, high: 3.0 });
    }
}
