//! Antialiased bicubic resizing of bytes.
//!
//! It follows torchvision's tensor resize, which GAR's processor uses, down to the order of its f32 operations; Pillow's fixed-point resize and general resizing crates differ from it by one grey level here and there.
//! Work is shared out by bands of output rows, and every value is computed alone, so results do not depend on the
//! number of threads.

use ndarray::{Array3, ArrayView3, CowArray, Ix3};
use rayon::prelude::*;

use crate::{Error, Result};

/// Output rows computed together: enough to amortise the source rows that two neighbouring bands both need.
const BAND_ROWS: usize = 32;
/// Values summed together in the horizontal pass: one pixel of several source rows, eight of them for RGB.
const ROW_LANES: usize = 24;
/// Values of a row summed together in the vertical pass.
const COLUMN_LANES: usize = 32;

/// As [`bicubic`], but an image without gaps that has the size already is lent instead of copied.
pub(crate) fn bicubic_or_same(image: ArrayView3<'_, u8>, height: usize, width: usize) -> Result<CowArray<'_, u8, Ix3>> {
    let (in_height, in_width, _) = image.dim();
    check(image, height, width)?;
    match (in_height, in_width) == (height, width) && image.is_standard_layout() {
        true => Ok(image.into()),
        false => Ok(bicubic(image, height, width)?.into()),
    }
}

/// Resizes `image` [H, W, C] to [height, width, C], stretching it: antialiased bicubic with a = −0.5.
///
/// Values are resized in f32, along rows first and columns second (a side that keeps its length is left alone), then
/// clamped to 0…255 and rounded, ties to even. C is at least 1 and divides 24: a label map has 1, a picture 3.
///
/// # Errors
/// [`Error::EmptyImage`] where a side of the input or of the output is zero, [`Error::PixelBuffer`] for another C.
pub fn bicubic(image: ArrayView3<'_, u8>, height: usize, width: usize) -> Result<Array3<u8>> {
    check(image, height, width)?;
    let (in_height, in_width, channels) = image.dim();
    if (in_height, in_width) == (height, width) {
        // Bytes are bytes again after f32.
        return Ok(image.as_standard_layout().into_owned());
    }
    let image = image.as_standard_layout();
    let source = image.as_slice().unwrap_or_default();
    let (along_x, along_y) = (Filter::new(in_width, width), Filter::new(in_height, height));

    let mut resized = vec![0u8; height * width * channels];
    resized.par_chunks_mut(BAND_ROWS * width * channels).enumerate().for_each(|(band, out)| {
        let y0 = band * BAND_ROWS;
        let rows = y0..y0 + out.len() / (width * channels);
        // The source rows that this band reads.
        let (first, last) = match &along_y {
            Some(f) => (f.start[rows.start], f.start[rows.end - 1] + f.weights(rows.end - 1).len()),
            None => (rows.start, rows.end),
        };
        let source = &source[first * in_width * channels..last * in_width * channels];
        let narrow = Rows::resize(source, in_width, width, channels, &along_x);
        for (y, out) in rows.zip(out.chunks_exact_mut(width * channels)) {
            match &along_y {
                Some(f) => narrow.combine(f.start[y] - first, f.weights(y), out),
                None => narrow.copy(y - first, out),
            }
        }
    });
    Array3::from_shape_vec((height, width, channels), resized)
        .map_err(|_| Error::PixelBuffer { expected: [height, width, channels], found: vec![] })
}

/// Refuses what [`bicubic`] does not take.
fn check(image: ArrayView3<'_, u8>, height: usize, width: usize) -> Result<()> {
    let (in_height, in_width, channels) = image.dim();
    if channels == 0 || !ROW_LANES.is_multiple_of(channels) {
        return Err(Error::PixelBuffer { expected: [in_height, in_width, 3], found: image.shape().to_vec() });
    }
    for (w, h) in [(in_width, in_height), (width, height)] {
        if w == 0 || h == 0 {
            return Err(Error::EmptyImage { width: w, height: h });
        }
    }
    Ok(())
}

/// The taps of one axis: output `i` is Σ_j `weights(i)[j]` · source[`start[i]` + j].
struct Filter {
    start: Vec<usize>,
    end: Vec<usize>,
    weight: Vec<f32>,
}

impl Filter {
    /// The bicubic filter from `input` to `output` samples; none where the two are equal.
    ///
    /// Positions and widths are computed in the precision of the reference: f32 values, each step of which may be
    /// taken in f64 and rounded back.
    fn new(input: usize, output: usize) -> Option<Self> {
        if input == output {
            return None;
        }
        let scale = input as f32 / output as f32;
        // When shrinking, the kernel is stretched over `scale` source samples: that is the antialiasing.
        let (support, inverse) =
            if scale >= 1.0 { ((2.0 * f64::from(scale)) as f32, (1.0 / f64::from(scale)) as f32) } else { (2.0, 1.0) };
        let most_taps = support.ceil() as usize * 2 + 1;
        let mut filter = Self { start: Vec::with_capacity(output), end: Vec::with_capacity(output), weight: vec![] };
        for i in 0..output {
            let center = (f64::from(scale) * (i as f64 + 0.5)) as f32;
            // Both bounds truncate towards zero; the casts saturate at zero.
            let first = (f64::from(center - support) + 0.5) as usize;
            let last = ((f64::from(center + support) + 0.5) as usize).min(input);
            let taps = last.saturating_sub(first).min(most_taps);
            let begin = filter.weight.len();
            filter.weight.extend((0..taps).map(|j| {
                let distance = f64::from((first + j) as f32 - center) + 0.5;
                cubic((distance * f64::from(inverse)) as f32)
            }));
            let weights = &mut filter.weight[begin..];
            let total: f32 = weights.iter().fold(0.0, |sum, w| sum + w);
            if total != 0.0 {
                weights.iter_mut().for_each(|w| *w /= total);
            }
            filter.start.push(first.min(input - 1));
            filter.end.push(filter.weight.len());
        }
        Some(filter)
    }

    fn weights(&self, i: usize) -> &[f32] {
        let begin = if i == 0 { 0 } else { self.end[i - 1] };
        &self.weight[begin..self.end[i]]
    }
}

/// Keys' cubic convolution kernel with a = −0.5; products are fused with the following sum as in the reference.
fn cubic(x: f32) -> f32 {
    const A: f32 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0).mul_add(x, -(A + 3.0)) * x).mul_add(x, 1.0)
    } else if x < 2.0 {
        A.mul_add(x, -5.0 * A).mul_add(x, 8.0 * A).mul_add(x, -4.0 * A)
    } else {
        0.0
    }
}

/// Some source rows, resized horizontally: f32 [rows, stride], of which the first width · channels of a row count.
struct Rows {
    values: Vec<f32>,
    stride: usize,
}

impl Rows {
    /// Resizes `source` [n, in_width, channels] to n rows of `width` pixels.
    fn resize(source: &[u8], in_width: usize, width: usize, channels: usize, filter: &Option<Filter>) -> Self {
        let line = in_width * channels;
        let stride = (width * channels).next_multiple_of(COLUMN_LANES);
        let mut values = vec![0f32; source.len() / line * stride];
        let Some(filter) = filter else {
            for (row, out) in source.chunks_exact(line).zip(values.chunks_exact_mut(stride)) {
                row.iter().zip(out).for_each(|(&v, o)| *o = f32::from(v));
            }
            return Self { values, stride };
        };
        // Rows side by side, [in_width, row, channel], so that one tap is a run of lanes.
        let group_rows = ROW_LANES / channels;
        let mut group = vec![0f32; in_width * ROW_LANES];
        for (rows, out) in source.chunks(group_rows * line).zip(values.chunks_mut(group_rows * stride)) {
            for (r, row) in rows.chunks_exact(line).enumerate() {
                for (pixel, lanes) in row.chunks_exact(channels).zip(group.chunks_exact_mut(ROW_LANES)) {
                    pixel.iter().zip(&mut lanes[r * channels..]).for_each(|(&v, lane)| *lane = f32::from(v));
                }
            }
            for x in 0..width {
                let lanes = sum::<ROW_LANES>(&group[filter.start[x] * ROW_LANES..], ROW_LANES, filter.weights(x));
                for (row, lanes) in out.chunks_exact_mut(stride).zip(lanes.chunks_exact(channels)) {
                    row[x * channels..(x + 1) * channels].copy_from_slice(lanes);
                }
            }
        }
        Self { values, stride }
    }

    /// Writes Σ_j weights[j] · row[first + j] as u8.
    fn combine(&self, first: usize, weights: &[f32], out: &mut [u8]) {
        for (out, x) in out.chunks_mut(COLUMN_LANES).zip((0..).step_by(COLUMN_LANES)) {
            let lanes = sum::<COLUMN_LANES>(&self.values[first * self.stride + x..], self.stride, weights);
            out.iter_mut().zip(lanes).for_each(|(o, v)| *o = to_u8(v));
        }
    }

    /// Writes one row as u8.
    fn copy(&self, row: usize, out: &mut [u8]) {
        out.iter_mut().zip(&self.values[row * self.stride..]).for_each(|(o, &v)| *o = to_u8(v));
    }
}

/// Σ_j weights[j] · source[j · stride + lane], for `N` lanes at once, in the order of the reference's inner loop.
///
/// Its first product and whole groups of four after it are rounded before they are added; what is left over, up to
/// three taps, is fused into the sum. A fused step is taken in f64, where a product of two f32 is exact.
#[inline(always)]
fn sum<const N: usize>(source: &[f32], stride: usize, weights: &[f32]) -> [f32; N] {
    let mut total = [0f32; N];
    let fused = 1 + weights.len().saturating_sub(1) / 4 * 4;
    for (j, &weight) in weights.iter().enumerate() {
        let lanes = &source[j * stride..j * stride + N];
        if j == 0 {
            total.iter_mut().zip(lanes).for_each(|(t, v)| *t = v * weight);
        } else if j < fused {
            total.iter_mut().zip(lanes).for_each(|(t, v)| *t += v * weight);
        } else {
            let weight = f64::from(weight);
            total.iter_mut().zip(lanes).for_each(|(t, v)| *t = (f64::from(*v) * weight + f64::from(*t)) as f32);
        }
    }
    total
}

/// Clamps to 0…255 and rounds, ties to even: adding 1.5 · 2²³ leaves no bits for a fraction.
#[inline(always)]
fn to_u8(value: f32) -> u8 {
    const ROUND: f32 = 12_582_912.0;
    ((value.clamp(0.0, 255.0) + ROUND) - ROUND) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_of_every_output_sum_to_one() {
        for input in [1, 2, 3, 17, 447, 448, 449, 4000] {
            for output in [1, 2, 56, 447, 448, 1344] {
                let Some(filter) = Filter::new(input, output) else {
                    assert_eq!(input, output);
                    continue;
                };
                for i in 0..output {
                    let weights = filter.weights(i);
                    let total: f32 = weights.iter().sum();
                    assert!((total - 1.0).abs() < 1e-5, "{input} → {output}: output {i} sums to {total}");
                    assert!(
                        filter.start[i] + weights.len() <= input,
                        "{input} → {output}: output {i} reads past the end"
                    );
                }
            }
        }
    }

    #[test]
    fn rounding_is_to_even_and_clamped() {
        let cases = [(-3.0, 0), (0.5, 0), (1.5, 2), (2.5, 2), (2.500_001, 3), (254.5, 254), (255.5, 255), (900.0, 255)];
        for (value, expected) in cases {
            assert_eq!(to_u8(value), expected, "{value}");
        }
    }
}
