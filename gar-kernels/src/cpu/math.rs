//! exp, erf and what is made of them, on a register of whatever width; and loops over slices.
//!
//! Functions of a register are for [`pulp::WithSimd`]: the same operations in the same order on every machine.
use pulp::Simd;

use super::vectorize;

/// Lanes of a sum: wide enough for two AVX-512 registers, so that the order of additions is the same everywhere.
const LANES: usize = 32;

/// eˣ within 2 ulp; 0 below −87, where f32 has no normal result.
#[inline(always)]
pub(super) fn exp<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let splat = |v: f32| simd.splat_f32s(v);
    // 1.5·2²³: adding and subtracting it rounds to an integer.
    let round = splat(12_582_912.0);
    let rounded = simd.mul_add_f32s(x, splat(std::f32::consts::LOG2_E), round);
    let n = simd.sub_f32s(rounded, round);
    // ln 2 in two parts, so that the product with n is exact.
    let r = simd.mul_add_f32s(n, splat(-0.693_359_4), x);
    let r = simd.mul_add_f32s(n, splat(2.121_944_4e-4), r);
    // Taylor to the sixth power: |r| ≤ ln 2 / 2 leaves 2e-8.
    let p = polynomial(simd, r, &[1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0]);
    // Two to the power that the low bits of `rounded` tell; what stands above those bits leaves the word.
    let bits = simd.add_u32s(simd.transmute_u32s_f32s(rounded), simd.splat_u32s(127));
    let scale = simd.transmute_f32s_u32s(simd.wrapping_dyn_shl_u32s(bits, simd.splat_u32s(23)));
    let tiny = simd.less_than_f32s(x, splat(-87.0));
    simd.select_f32s(tiny, splat(0.0), simd.mul_f32s(p, scale))
}

/// eˣ within 8.5e-5, for what is rounded to bf16 next, where half a unit in the last place is 2e-3; 0 below
/// [`LEAST_NORMAL`]. Beyond 88 it is no number of use.
#[inline(always)]
pub(super) fn exp_for_bf16<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let tiny = simd.less_than_f32s(x, simd.splat_f32s(LEAST_NORMAL));
    simd.select_f32s(tiny, simd.splat_f32s(0.0), exp_or_denormal(simd, x))
}

/// ln 2⁻¹²⁶: below, eˣ is no normal number of f32.
const LEAST_NORMAL: f32 = -87.336_54;

/// As [`exp_for_bf16`], but some denormal number where that is 0, for what takes those as zero.
#[inline(always)]
pub(super) fn exp_or_denormal<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let splat = |v: f32| simd.splat_f32s(v);
    // 2⁻¹²⁷ times what is above 1: the least exponent there is. In this order a NaN stays one.
    let x = simd.max_f32s(splat(-87.9), x);
    // As in `exp`, but of two: x·log₂ e is rounded once, which is 1e-5 of the result at most.
    let (round, log2_e) = (splat(12_582_912.0), splat(std::f32::consts::LOG2_E));
    let rounded = simd.mul_add_f32s(x, log2_e, round);
    let rest = simd.mul_add_f32s(x, log2_e, simd.sub_f32s(round, rounded));
    // The polynomial of third degree with the smallest relative error from 2^rest, |rest| ≤ ½ (Remez): 7.5e-5.
    let p = polynomial(simd, rest, &[0.055_171_67, 0.242_611_13, 0.693_260_97, 0.999_928_06]);
    // The low bits of `rounded` are the power of two, which is added to the exponent of p; the others leave the word.
    let power = simd.wrapping_dyn_shl_u32s(simd.transmute_u32s_f32s(rounded), simd.splat_u32s(23));
    simd.transmute_f32s_u32s(simd.add_u32s(simd.transmute_u32s_f32s(p), power))
}

/// The error function within 3e-7 (five units in the last place at 1): a rational approximation in x², its coefficients as
/// Eigen and XLA publish them.
#[inline(always)]
fn erf<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    const NUMERATOR: [f32; 7] = [
        -2.726_142_3e-10,
        2.770_681_4e-8,
        -2.101_024e-6,
        -5.692_506_4e-5,
        -7.349_906_3e-4,
        -2.954_6e-3,
        -1.609_603_3e-2,
    ];
    const DENOMINATOR: [f32; 5] = [-1.456_607_2e-5, -2.133_740_6e-4, -1.682_827e-3, -7.373_329e-3, -1.426_473_9e-2];
    // Beyond, erf is ±1 within 6e-8 and the approximation would drift.
    let most = simd.splat_f32s(3.832_507);
    let x = simd.min_f32s(most, simd.max_f32s(simd.neg_f32s(most), x));
    let x2 = simd.mul_f32s(x, x);
    let (p, q) = (polynomial(simd, x2, &NUMERATOR), polynomial(simd, x2, &DENOMINATOR));
    simd.div_f32s(simd.mul_f32s(x, p), q)
}

/// The polynomial with these coefficients, highest first.
#[inline(always)]
fn polynomial<S: Simd, const N: usize>(simd: S, x: S::f32s, coefficients: &[f32; N]) -> S::f32s {
    let mut sum = simd.splat_f32s(coefficients[0]);
    for &c in &coefficients[1..] {
        sum = simd.mul_add_f32s(x, sum, simd.splat_f32s(c));
    }
    sum
}

/// x·Φ(x).
#[inline(always)]
pub(super) fn gelu<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let erf = erf(simd, simd.mul_f32s(x, simd.splat_f32s(std::f32::consts::FRAC_1_SQRT_2)));
    let half = simd.splat_f32s(0.5);
    simd.mul_f32s(x, simd.mul_f32s(half, simd.add_f32s(simd.splat_f32s(1.0), erf)))
}

/// x/(1 + e^−x)·up.
#[inline(always)]
pub(super) fn swiglu<S: Simd>(simd: S, gate: S::f32s, up: S::f32s) -> S::f32s {
    let (zero, one) = (simd.splat_f32s(0.0), simd.splat_f32s(1.0));
    // Both branches of the logistic function use e^−|x|, which cannot overflow.
    let e = exp(simd, simd.neg_f32s(simd.abs_f32s(gate)));
    let above = simd.greater_than_or_equal_f32s(gate, zero);
    let logistic = simd.div_f32s(simd.select_f32s(above, one, e), simd.add_f32s(one, e));
    simd.mul_f32s(gate, simd.mul_f32s(logistic, up))
}

/// The register that begins at entry `at` of a row; what lacks behind the row's end is zero.
#[inline(always)]
pub(super) fn read<S: Simd>(simd: S, row: &[f32], at: usize) -> S::f32s {
    let row = &row[at..];
    match S::as_simd_f32s(row).0 {
        [register, ..] => *register,
        [] => simd.partial_load_f32s(row),
    }
}

/// Fills a row register by register; `f` is given the entry that a register begins at.
#[inline(always)]
pub(super) fn fill<S: Simd>(simd: S, row: &mut [f32], f: impl Fn(usize) -> S::f32s) {
    let (registers, rest) = S::as_mut_simd_f32s(row);
    let mut at = 0;
    for register in registers {
        *register = f(at);
        at += S::F32_LANES;
    }
    if !rest.is_empty() {
        simd.partial_store_f32s(rest, f(at));
    }
}

/// Replaces a row register by register; `f` is given the entry that a register begins at, and the register.
#[inline(always)]
pub(super) fn replace<S: Simd>(simd: S, row: &mut [f32], f: impl Fn(usize, S::f32s) -> S::f32s) {
    let (registers, rest) = S::as_mut_simd_f32s(row);
    let mut at = 0;
    for register in registers {
        *register = f(at, *register);
        at += S::F32_LANES;
    }
    if !rest.is_empty() {
        let last = f(at, simd.partial_load_f32s(rest));
        simd.partial_store_f32s(rest, last);
    }
}

/// row ← row · factor, a register of one number.
#[inline(always)]
pub(super) fn scale<S: Simd>(simd: S, row: &mut [f32], factor: S::f32s) {
    replace(
        simd,
        row,
        #[inline(always)]
        |_, register| simd.mul_f32s(register, factor),
    );
}

/// to ← from · factor.
pub(super) fn scaled(to: &mut [f32], from: &[f32], factor: f32) {
    vectorize(
        #[inline(always)]
        || to.iter_mut().zip(from).for_each(|(to, from)| *to = from * factor),
    );
}

/// out ← (x − mean)·root·weight + bias.
pub(super) fn normalize(out: &mut [f32], x: &[f32], [mean, root]: [f32; 2], weight: &[f32], bias: Option<&[f32]>) {
    vectorize(
        #[inline(always)]
        || {
            let terms = out.iter_mut().zip(x).zip(weight);
            match bias {
                Some(bias) => terms.zip(bias).for_each(|(((y, x), w), b)| *y = (x - mean) * root * w + b),
                None => terms.for_each(|((y, x), w)| *y = (x - mean) * root * w),
            }
        },
    );
}

/// `Σ v` and `Σ v²` in f64, in [`LANES`] independent lanes.
pub(super) fn sums_f64(values: &[f32]) -> [f64; 2] {
    #[inline(always)]
    fn add(sums: &mut [f64], squares: &mut [f64], values: &[f32]) {
        for ((sum, square), &v) in sums.iter_mut().zip(squares).zip(values) {
            let v = f64::from(v);
            *sum += v;
            *square += v * v;
        }
    }
    let (mut sums, mut squares) = ([0_f64; LANES], [0_f64; LANES]);
    vectorize(
        #[inline(always)]
        || {
            let (chunks, rest) = values.as_chunks::<LANES>();
            add(&mut sums, &mut squares, rest);
            for chunk in chunks {
                add(&mut sums, &mut squares, chunk);
            }
        },
    );
    [sums.iter().sum(), squares.iter().sum()]
}

#[cfg(test)]
mod tests {
    use pulp::Scalar;

    use super::*;

    #[test]
    fn exp_is_within_two_ulp() {
        let mut x = -86.9_f32;
        while x < 88.0 {
            let (found, exact) = (f64::from(exp(Scalar, x)), f64::from(x).exp());
            assert!((found / exact - 1.0).abs() < 2.4e-7, "exp({x}) = {found}, exact {exact}");
            x += 0.013;
        }
        assert_eq!(exp(Scalar, f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(Scalar, 0.0), 1.0);
    }

    #[test]
    fn exp_for_bf16_is_within_bound() {
        let mut x = -86.9_f32;
        while x < 88.0 {
            let (found, exact) = (f64::from(exp_for_bf16(Scalar, x)), f64::from(x).exp());
            assert!((found / exact - 1.0).abs() < 8.5e-5, "exp({x}) = {found}, exact {exact}");
            x += 0.013;
        }
        assert_eq!(exp_for_bf16(Scalar, f32::NEG_INFINITY), 0.0);
    }

    #[test]
    fn erf_is_within_bound() {
        // ∫₀ˣ 2/√π e^(−t²) dt by Simpson's rule in f64: fourth-order with 2000 steps, exact to 1e-12 here.
        let exact = |x: f64| {
            let (n, f) = (2000, |t: f64| (-t * t).exp());
            let h = x / f64::from(n);
            let inner: f64 = (1..n).map(|i| f(f64::from(i) * h) * if i % 2 == 1 { 4.0 } else { 2.0 }).sum();
            (f(0.0) + inner + f(x)) * h / 3.0 * std::f64::consts::FRAC_2_SQRT_PI
        };
        for i in -600..600 {
            let x = i as f32 * 0.01;
            assert!((f64::from(erf(Scalar, x)) - exact(f64::from(x))).abs() < 3e-7, "erf({x})");
        }
    }
}
