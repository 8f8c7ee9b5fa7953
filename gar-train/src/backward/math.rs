//! exp in plain loops, and transposes.
use gar_core::kernels::cpu::vectorize;
use rayon::prelude::*;

/// Lanes of a sum: four registers of AVX2, which hide the latency of an addition.
const LANES: usize = 32;

/// eˣ for x ≤ 0 within 3e-7 of its value; 0 below −87.
///
/// Products and sums are rounded apart, so every machine gives the same bits.
#[inline(always)]
pub(super) fn exp_negative(x: f32) -> f32 {
    /// 1.5·2²³: adding and subtracting it rounds to an integer.
    const ROUND: f32 = 12_582_912.0;
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    // ln 2 in two parts, the first with few bits, so that its product with n is exact.
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    // Taylor to the sixth power: |r| ≤ ln 2 / 2 leaves 2e-8.
    let p = 1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0))))));
    // The low bits of `rounded` are those of n; what stands above them leaves the word.
    let scale = f32::from_bits(rounded.to_bits().wrapping_add(127) << 23);
    if x < -87.0 { 0.0 } else { p * scale }
}

/// Φ(x) and φ(x) of the normal distribution within 2e-7 (Abramowitz & Stegun, 7.1.26).
#[inline(always)]
pub(super) fn normal(x: f32) -> (f32, f32) {
    let e = exp_negative(-0.5 * x * x);
    let t = 1.0 / (1.0 + 0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2 * x.abs());
    let p = t * (0.254_829_6 + t * (-0.284_496_72 + t * (1.421_413_8 + t * (-1.453_152 + t * 1.061_405_4))));
    let upper = 0.5 * p * e;
    let density = e * 0.398_942_3;
    (if x >= 0.0 { 1.0 - upper } else { upper }, density)
}

/// `x` [rows, columns] → [columns, rows].
pub(super) fn transpose(x: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    /// Side of a block: two of them fit in the first-level cache.
    const SIDE: usize = 32;
    let mut out = vec![0.0; x.len()];
    if out.is_empty() {
        return out;
    }
    out.par_chunks_mut(SIDE * rows).enumerate().for_each(|(block, out)| {
        let first = block * SIDE;
        for r0 in (0..rows).step_by(SIDE) {
            for (c, to) in out.chunks_exact_mut(rows).enumerate() {
                for r in r0..(r0 + SIDE).min(rows) {
                    to[r] = x[r * columns + first + c];
                }
            }
        }
    });
    out
}

/// The sum of the rows of `x` [.., columns].
pub(super) fn column_sums(x: &[f32], columns: usize) -> Vec<f32> {
    let mut sum = vec![0_f64; columns];
    vectorize(
        #[inline(always)]
        || {
            for row in x.chunks_exact(columns.max(1)) {
                sum.iter_mut().zip(row).for_each(|(s, x)| *s += f64::from(*x));
            }
        },
    );
    sum.into_iter().map(|s| s as f32).collect()
}

/// `start` and all pairs of entries folded in [`LANES`] lanes, which do not wait for each other; the lanes are folded last.
///
/// Lanes go by position alone, so every machine gives the same bits.
#[inline(always)]
pub(super) fn fold<T: Copy>(
    a: &[f32],
    b: &[f32],
    start: T,
    with: impl Fn(T, f32, f32) -> T,
    join: impl Fn(T, T) -> T,
) -> T {
    let mut lanes = [start; LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for i in 0..LANES {
            lanes[i] = with(lanes[i], a[i], b[i]);
        }
    }
    for ((lane, &a), &b) in lanes.iter_mut().zip(a_rest).zip(b_rest) {
        *lane = with(*lane, a, b);
    }
    lanes.into_iter().fold(start, join)
}

/// `Σ a·b`.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    vectorize(
        #[inline(always)]
        || fold(a, b, 0.0, |sum, a, b| sum + a * b, |a, b| a + b),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_and_normal_are_within_their_bounds() {
        for i in 0..9000 {
            let x = -f64::from(i) * 0.0097;
            let (found, exact) = (f64::from(exp_negative(x as f32)), f64::from(x as f32).exp());
            if x > -87.0 {
                assert!((found / exact - 1.0).abs() < 3e-7, "exp({x}) = {found}, exact {exact}");
            }
        }
        assert_eq!((exp_negative(0.0), exp_negative(-1e6), exp_negative(f32::NEG_INFINITY)), (1.0, 0.0, 0.0));
        // Printed values of Φ.
        for (x, exact) in [(0.0, 0.5), (1.0, 0.841_344_75), (-1.0, 0.158_655_25), (2.5, 0.993_790_33), (-4.0, 3.167e-5)]
        {
            assert!((f64::from(normal(x).0) - exact).abs() < 2e-7, "Φ({x}) = {}", normal(x).0);
        }
        assert!((normal(0.0).1 - 0.398_942_3).abs() < 1e-7);
    }

    #[test]
    fn transposes_of_all_edges() {
        for (rows, columns) in [(0, 3), (1, 1), (31, 33), (32, 64), (65, 2)] {
            let x: Vec<f32> = (0..rows * columns).map(|i| i as f32).collect();
            let y = transpose(&x, rows, columns);
            for r in 0..rows {
                for c in 0..columns {
                    assert_eq!(y[c * rows + r], x[r * columns + c]);
                }
            }
        }
    }
}
