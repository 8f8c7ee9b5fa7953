//! exp, erf and dot products in plain loops over slices, vectorised.
use super::vectorize;

/// Lanes of a sum: wide enough for two AVX-512 registers, so that the order of additions is the same everywhere.
const LANES: usize = 32;

/// eˣ within 2 ulp; 0 below −87, where f32 has no normal result. For [`vectorize`].
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    /// 1.5·2²³: adding and subtracting it rounds to an integer.
    const ROUND: f32 = 12_582_912.0;
    let rounded = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = rounded - ROUND;
    // ln 2 in two parts, so that the product with n is exact.
    let r = n.mul_add(-0.693_359_4, x);
    let r = n.mul_add(2.121_944_4e-4, r);
    // Taylor to the sixth power: |r| ≤ ln 2 / 2 leaves 2e-8.
    let p = [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0].into_iter();
    let p = p.fold(0.0, |p, c| r.mul_add(p, c));
    // The low bits of `rounded` are those of n; what stands above them leaves the word.
    let scale = f32::from_bits(rounded.to_bits().wrapping_add(127) << 23);
    if x < -87.0 { 0.0 } else { p * scale }
}

/// The error function within 3e-7 (five units in the last place at 1): a rational approximation in x², its coefficients as Eigen and XLA publish them.
#[inline(always)]
fn erf(x: f32) -> f32 {
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
    let x = x.clamp(-3.832_507, 3.832_507);
    let x2 = x * x;
    let p = NUMERATOR.into_iter().fold(0.0, |p, c| x2.mul_add(p, c));
    let q = DENOMINATOR.into_iter().fold(0.0, |q, c| x2.mul_add(q, c));
    x * p / q
}

/// a ← a + b.
pub(super) fn add(a: &mut [f32], b: &[f32]) {
    vectorize(
        #[inline(always)]
        || a.iter_mut().zip(b).for_each(|(a, b)| *a += b),
    );
}

/// a ← a·b.
pub(super) fn multiply(a: &mut [f32], b: &[f32]) {
    vectorize(
        #[inline(always)]
        || a.iter_mut().zip(b).for_each(|(a, b)| *a *= b),
    );
}

/// out ← (x − mean)·root·weight.
pub(super) fn normalize(out: &mut [f32], x: &[f32], [mean, root]: [f32; 2], weight: &[f32]) {
    vectorize(
        #[inline(always)]
        || out.iter_mut().zip(x).zip(weight).for_each(|((y, x), w)| *y = (x - mean) * root * w),
    );
}

/// x ← x·Φ(x).
pub(super) fn gelu(x: &mut [f32]) {
    vectorize(
        #[inline(always)]
        || x.iter_mut().for_each(|x| *x *= 0.5 * (1.0 + erf(*x * std::f32::consts::FRAC_1_SQRT_2))),
    );
}

/// gate ← silu(gate)·up.
pub(super) fn swiglu(gate: &mut [f32], up: &[f32]) {
    vectorize(
        #[inline(always)]
        || {
            for (g, u) in gate.iter_mut().zip(up) {
                // Both branches of the logistic function use e^−|x|, which cannot overflow.
                let e = exp(-g.abs());
                let logistic = if *g >= 0.0 { 1.0 / (1.0 + e) } else { e / (1.0 + e) };
                *g *= logistic * u;
            }
        },
    );
}

/// All lanes in one, by halves: a chain as long as the lanes are many would take longer than what filled them.
#[inline(always)]
fn fold(lanes: [f32; LANES], f: impl Fn(f32, f32) -> f32 + Copy) -> f32 {
    #[inline(always)]
    fn halve<const N: usize, const HALF: usize>(lanes: [f32; N], f: impl Fn(f32, f32) -> f32) -> [f32; HALF] {
        std::array::from_fn(|i| f(lanes[i], lanes[HALF + i]))
    }
    let lanes = halve::<8, 4>(halve::<16, 8>(halve::<LANES, 16>(lanes, f), f), f);
    f(f(lanes[0], lanes[2]), f(lanes[1], lanes[3]))
}

/// Scores ← e^(score − max); returns their sum, in an order that does not depend on trailing zeros. For [`vectorize`].
#[inline(always)]
pub(super) fn exp_shifted(scores: &mut [f32], max: f32) -> f32 {
    let mut lanes = [0_f32; LANES];
    let (chunks, rest) = scores.as_chunks_mut::<LANES>();
    for chunk in chunks {
        for i in 0..LANES {
            chunk[i] = exp(chunk[i] - max);
            lanes[i] += chunk[i];
        }
    }
    for (lane, s) in lanes.iter_mut().zip(rest) {
        *s = exp(*s - max);
        *lane += *s;
    }
    fold(lanes, |a, b| a + b)
}

/// `Σ v − shift`, or `Σ (v − shift)²`, in f64, in [`LANES`] independent lanes.
pub(super) fn sum_f64<const SQUARED: bool>(values: &[f32], shift: f64) -> f64 {
    #[inline(always)]
    fn add<const SQUARED: bool>(lanes: &mut [f64], values: &[f32], shift: f64) {
        for (lane, &v) in lanes.iter_mut().zip(values) {
            let distance = f64::from(v) - shift;
            *lane += if SQUARED { distance * distance } else { distance };
        }
    }
    let mut lanes = [0_f64; LANES];
    vectorize(
        #[inline(always)]
        || {
            let chunks = values.chunks_exact(LANES);
            add::<SQUARED>(&mut lanes, chunks.remainder(), shift);
            for chunk in chunks {
                add::<SQUARED>(&mut lanes, chunk, shift);
            }
        },
    );
    lanes.iter().sum()
}

/// The largest entry; −∞ for none. For [`vectorize`].
#[inline(always)]
pub(super) fn max(scores: &[f32]) -> f32 {
    let greater = |a: f32, b: f32| if b > a { b } else { a };
    let (chunks, rest) = scores.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] = greater(lanes[i], chunk[i]);
        }
    }
    lanes.iter_mut().zip(rest).for_each(|(lane, s)| *lane = greater(*lane, *s));
    fold(lanes, greater)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_ulp() {
        let mut x = -86.9_f32;
        while x < 88.0 {
            let (found, exact) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((found / exact - 1.0).abs() < 2.4e-7, "exp({x}) = {found}, exact {exact}");
            x += 0.013;
        }
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(0.0), 1.0);
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
            assert!((f64::from(erf(x)) - exact(f64::from(x))).abs() < 3e-7, "erf({x})");
        }
    }

    #[test]
    fn sums_ignore_trailing_zeros() {
        let mut short: Vec<f32> = (0..37).map(|i| (i as f32 * 0.7).sin()).collect();
        let mut long = short.clone();
        long.resize(128, f32::NEG_INFINITY);
        let top = max(&short);
        assert_eq!(top, max(&long));
        assert_eq!(exp_shifted(&mut short, top), exp_shifted(&mut long, top));
    }
}
