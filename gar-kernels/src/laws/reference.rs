//! Every operation as a plain f64 loop: slow, and obviously what the definition says.
//!
//! Arrays are as in [`ops`](crate::ops). Arguments are taken to fit; indexing panics where they do not.
use std::f64::consts::{FRAC_2_SQRT_PI, SQRT_2};

use ndarray::{Array1, Array2, Array3, Array4};

use crate::ops::{Activation, Draw, Mask, NormKind, Pairing, PoolSpec, RoiAlignSpec, RoiBox};

/// The error function to 1e-15: `2/√π · e^(−x²) · Σ 2ⁿ x^(2n+1) / (2n+1)!!` (Abramowitz & Stegun, 7.1.6), all terms of
/// one sign. From 6 on it rounds to ±1.
pub fn erf(x: f64) -> f64 {
    if x.is_nan() || x.abs() >= 6.0 {
        return x.clamp(-1.0, 1.0);
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= 2.0 * x * x / f64::from(2 * n + 1);
        sum += term;
    }
    FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

/// `x·Φ(x)`.
pub fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + erf(x / SQRT_2))
}

/// `x / (1 + e⁻ˣ)`.
pub fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

/// `residual + scale ⊙ activation(x wᵀ + bias)`: `x` [M, K], `w` [N, K] → [M, N].
pub fn matmul(
    x: &Array2<f64>,
    w: &Array2<f64>,
    bias: Option<&Array1<f64>>,
    activation: Activation,
    scale: Option<&Array1<f64>>,
    residual: Option<&Array2<f64>>,
) -> Array2<f64> {
    Array2::from_shape_fn((x.nrows(), w.nrows()), |(i, j)| {
        let product: f64 = (0..x.ncols()).map(|k| x[[i, k]] * w[[j, k]]).sum();
        let y = product + bias.map_or(0.0, |b| b[j]);
        let y = match activation {
            Activation::Identity => y,
            Activation::Gelu => gelu(y),
        };
        residual.map_or(0.0, |r| r[[i, j]]) + scale.map_or(1.0, |s| s[j]) * y
    })
}

/// Normalises the rows of `x` [M, D], D > 0.
pub fn norm(
    x: &Array2<f64>,
    kind: NormKind,
    weight: &Array1<f64>,
    bias: Option<&Array1<f64>>,
    eps: f64,
) -> Array2<f64> {
    let d = x.ncols() as f64;
    let mut y = x.clone();
    for mut row in y.rows_mut() {
        let mean = if kind == NormKind::Layer { row.sum() / d } else { 0.0 };
        let spread = row.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / d;
        for (j, v) in row.iter_mut().enumerate() {
            *v = (*v - mean) / (spread + eps).sqrt() * weight[j] + bias.map_or(0.0, |b| b[j]);
        }
    }
    y
}

/// Rotates pairs of `x` [B, L, H, d] by angles `cos`, `sin` [P, d/2].
pub fn rotary(x: &Array4<f64>, cos: &Array2<f64>, sin: &Array2<f64>, start: &[usize], pairing: Pairing) -> Array4<f64> {
    let (batch, len, heads, dim) = x.dim();
    let mut y = x.clone();
    for (b, l, h) in ndarray::indices((batch, len, heads)) {
        let p = start[b] + l;
        for i in 0..dim / 2 {
            let (first, second) = match pairing {
                Pairing::Interleaved => (2 * i, 2 * i + 1),
                Pairing::HalfSplit => (i, i + dim / 2),
            };
            let (u, v) = (x[[b, l, h, first]], x[[b, l, h, second]]);
            y[[b, l, h, first]] = u * cos[[p, i]] - v * sin[[p, i]];
            y[[b, l, h, second]] = v * cos[[p, i]] + u * sin[[p, i]];
        }
    }
    y
}

/// `q` [B, L, H, d], `k` and `v` [B, S, G, d] → [B, L, H, d].
pub fn attention(q: &Array4<f64>, k: &Array4<f64>, v: &Array4<f64>, scale: f64, mask: Mask) -> Array4<f64> {
    let (batch, queries, heads, dim) = q.dim();
    let (_, keys, kv_heads, _) = k.dim();
    let mut y = Array4::zeros(q.dim());
    for (b, i, h) in ndarray::indices((batch, queries, heads)) {
        let g = h / (heads / kv_heads);
        let seen = match mask {
            Mask::Full => keys,
            Mask::Causal { offset } => offset + i + 1,
        };
        let scores: Vec<f64> =
            (0..seen).map(|j| scale * (0..dim).map(|e| q[[b, i, h, e]] * k[[b, j, g, e]]).sum::<f64>()).collect();
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = scores.iter().map(|s| (s - largest).exp()).collect();
        let total: f64 = weights.iter().sum();
        for e in 0..dim {
            y[[b, i, h, e]] = weights.iter().enumerate().map(|(j, w)| w / total * v[[b, j, g, e]]).sum();
        }
    }
    y
}

/// Where RoI-Align samples along one side of a box: for each bin, the coordinates. `from` and `to` are box coordinates.
pub fn roi_samples(from: f32, to: f32, bins: usize, spec: &RoiAlignSpec) -> Vec<Vec<f64>> {
    let (from, to, scale) = (f64::from(from), f64::from(to), f64::from(spec.spatial_scale));
    let shift = if spec.aligned { 0.5 } else { 0.0 };
    let start = from * scale - shift;
    let side = (to * scale - shift) - start;
    let side = if spec.aligned { side } else { side.max(1.0) };
    let bin = side / bins as f64;
    let count = if spec.sampling_ratio > 0 { spec.sampling_ratio } else { bin.ceil().max(0.0) as usize };
    (0..bins)
        .map(|b| (0..count).map(|i| start + b as f64 * bin + (i as f64 + 0.5) * bin / count as f64).collect())
        .collect()
}

/// torchvision's `roi_align` on `map` [H, W, D] → [N, oh, ow, D].
pub fn roi_align(map: &Array3<f64>, boxes: &[RoiBox], spec: &RoiAlignSpec) -> Array4<f64> {
    let (height, width, channels) = map.dim();
    let [rows, columns] = spec.output;
    let mut y = Array4::zeros((boxes.len(), rows, columns, channels));
    for (n, &[x1, y1, x2, y2]) in boxes.iter().enumerate() {
        let (ys, xs) = (roi_samples(y1, y2, rows, spec), roi_samples(x1, x2, columns, spec));
        for (r, c, d) in ndarray::indices((rows, columns, channels)) {
            let mut sum = 0.0;
            for &sy in &ys[r] {
                for &sx in &xs[c] {
                    if let (Some((y0, y1, fy)), Some((x0, x1, fx))) = (neighbours(sy, height), neighbours(sx, width)) {
                        sum += (1.0 - fy) * ((1.0 - fx) * map[[y0, x0, d]] + fx * map[[y0, x1, d]])
                            + fy * ((1.0 - fx) * map[[y1, x0, d]] + fx * map[[y1, x1, d]]);
                    }
                }
            }
            y[[n, r, c, d]] = sum / (ys[r].len() * xs[c].len()).max(1) as f64;
        }
    }
    y
}

/// The cells on both sides of a coordinate and the second's share; nothing outside [−1, extent].
fn neighbours(at: f64, extent: usize) -> Option<(usize, usize, f64)> {
    if at < -1.0 || at > extent as f64 {
        return None;
    }
    let at = at.clamp(0.0, (extent - 1) as f64);
    let low = at.floor() as usize;
    Some((low, (low + 1).min(extent - 1), at - low as f64))
}

/// Averages windows of `x` [T, rows·columns, D].
pub fn average_pool(x: &Array3<f64>, spec: &PoolSpec) -> Array3<f64> {
    let ([rows, columns], window) = (spec.grid, spec.window);
    let (batch, _, channels) = x.dim();
    let out = [rows / window, columns / window];
    Array3::from_shape_fn((batch, out[0] * out[1], channels), |(t, token, d)| {
        let (r, c) = (token / out[1], token % out[1]);
        let cells = ndarray::indices((window, window));
        let sum: f64 = cells.into_iter().map(|(i, j)| x[[t, (r * window + i) * columns + c * window + j, d]]).sum();
        sum / (window * window) as f64
    })
}

/// Projects the patches of `pixels` [T, channels, S, S] with `weight` [C, channels, p, p] → [T, tokens, C].
pub fn patch_embed(
    pixels: &Array4<f64>,
    weight: &Array4<f64>,
    prompt: Option<&Array3<f64>>,
    class_token: Option<&Array1<f64>>,
    positions: Option<&Array2<f64>>,
) -> Array3<f64> {
    let (batch, channels, side, _) = pixels.dim();
    let (width, _, patch, _) = weight.dim();
    let (grid, front) = (side / patch, usize::from(class_token.is_some()));
    Array3::from_shape_fn((batch, grid * grid + front, width), |(t, token, c)| {
        let embedded = match class_token {
            Some(class_token) if token == 0 => class_token[c],
            _ => {
                let p = token - front;
                let (top, left) = (p / grid * patch, p % grid * patch);
                let taps = ndarray::indices((channels, patch, patch)).into_iter();
                let product: f64 = taps.map(|(k, i, j)| weight[[c, k, i, j]] * pixels[[t, k, top + i, left + j]]).sum();
                product + prompt.map_or(0.0, |prompt| prompt[[t, p, c]])
            }
        };
        embedded + positions.map_or(0.0, |positions| positions[[token, c]])
    })
}

/// Index of the largest entry of a row that is not empty: the first of equals, a NaN never larger than a number.
pub fn argmax(row: &[f64]) -> usize {
    let mut best = 0;
    for (i, &v) in row.iter().enumerate() {
        if v > row[best] || (row[best].is_nan() && !v.is_nan()) {
            best = i;
        }
    }
    best
}

/// The token that a draw falls on: entries sorted, filtered one rule after another, walked through. Scaled logits are taken
/// as f32 has them, so that ties are ties.
pub fn sample(row: &[f64], draw: &Draw<'_>) -> u32 {
    let penalty = |i: usize, x: f32| match draw.seen.contains(&(i as u32)) && draw.repetition_penalty != 1.0 {
        true if x < 0.0 => x * draw.repetition_penalty,
        true => x / draw.repetition_penalty,
        false => x,
    };
    let mut entries: Vec<(usize, f32)> = row.iter().enumerate().map(|(i, &x)| (i, penalty(i, x as f32))).collect();
    // A stable sort leaves equal entries in their order.
    entries.sort_by(|a, b| b.1.total_cmp(&a.1));
    let top = entries[0].1;
    if draw.temperature == 0.0 {
        return entries[0].0 as u32;
    }
    let scaled = entries.iter().map(|&(i, x)| (i, f64::from((x - top) / draw.temperature)));
    let mut entries: Vec<(usize, f64)> = scaled.filter(|(_, s)| s.is_finite()).collect();
    if draw.top_k > 0 && draw.top_k < entries.len() {
        let least = entries[draw.top_k - 1].1;
        entries.retain(|&(_, s)| s >= least);
    }
    let total = |entries: &[(usize, f64)]| entries.iter().map(|(_, s)| s.exp()).sum::<f64>();
    if draw.top_p < 1.0 {
        let (enough, mut reached, mut kept) = (f64::from(draw.top_p) * total(&entries), 0.0, 0);
        while kept == 0 || (kept < entries.len() && reached < enough) {
            reached += entries[kept].1.exp();
            kept += 1;
        }
        entries.truncate(kept);
    }
    entries.retain(|(_, s)| s.exp() >= f64::from(draw.min_p));
    let (target, mut reached) = (draw.at * total(&entries), 0.0);
    for &(i, s) in &entries {
        reached += s.exp();
        if reached > target {
            return i as u32;
        }
    }
    entries.last().map_or(0, |&(i, _)| i as u32)
}

#[cfg(test)]
mod tests {
    use super::erf;

    #[test]
    fn erf_agrees_with_printed_values() {
        // Abramowitz & Stegun, table 7.1, and erf(4), erf(5.5) from their complements.
        for (x, expected) in [
            (0.0, 0.0),
            (0.5, 0.520_499_877_813_046_5),
            (1.0, 0.842_700_792_949_714_9),
            (2.0, 0.995_322_265_018_952_7),
            (4.0, 0.999_999_984_582_742_1),
            (5.5, 0.999_999_999_999_992_6),
            (7.0, 1.0),
        ] {
            assert!((erf(x) - expected).abs() < 1e-14, "erf({x}) = {}", erf(x));
            assert!((erf(-x) + expected).abs() < 1e-14);
        }
        assert!(erf(f64::NAN).is_nan());
    }
}
