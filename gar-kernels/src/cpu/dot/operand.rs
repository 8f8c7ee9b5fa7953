//! Rows of x in the groups that the instruction sets take.
use half::bf16;

use super::RUN;
use crate::{
    cpu::{
        transpose::{Source, transpose},
        vectorize,
    },
    quantized::{level, step},
};

/// A number rounded to bf16, ties to even, as f32.
#[inline(always)]
pub(super) fn round(value: f32) -> f32 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) & 0xffff_0000;
    // The carry could turn a NaN into an infinity or a zero.
    if value.is_nan() { f32::NAN } else { f32::from_bits(rounded) }
}

/// A number as bf16.
#[inline(always)]
pub(super) fn to_bf16(value: f32) -> bf16 {
    bf16::from_bits((round(value).to_bits() >> 16) as u16)
}

/// A bf16 as f32. Its own conversion would stand in the way of vectors.
#[inline(always)]
pub(in crate::cpu) fn widened(value: bf16) -> f32 {
    f32::from_bits(u32::from(value.to_bits()) << 16)
}

/// An entry of a floating-point weight.
pub(in crate::cpu) trait Entry: Sized {
    /// A number, rounded to nearest even.
    fn of(value: f32) -> Self;

    /// A number that is bf16 already.
    fn of_bf16(value: bf16) -> Self;
}

impl Entry for f32 {
    #[inline(always)]
    fn of(value: f32) -> Self {
        value
    }

    #[inline(always)]
    fn of_bf16(value: bf16) -> Self {
        widened(value)
    }
}

impl Entry for bf16 {
    #[inline(always)]
    fn of(value: f32) -> Self {
        to_bf16(value)
    }

    #[inline(always)]
    fn of_bf16(value: bf16) -> Self {
        value
    }
}

/// Single entries: the transpose of the rows.
pub(super) fn singles(x: &[f32], k: usize, tile: &mut [f32], height: usize, scales: &mut [f32]) {
    let (bytes, stride, rows) = (bytemuck::cast_slice(x), k * size_of::<f32>(), x.len() / k.max(1));
    transpose(Source { bytes, stride, rows, columns: k }, bytemuck::cast_slice_mut(tile), height);
    scales.fill(1.0);
}

/// Packs row after row: `pack` writes the runs of one to `to[..RUN]`, `to[stride..]`, … and gives its factor.
pub(super) fn each_row<X>(
    x: &[f32],
    k: usize,
    tile: &mut [X],
    height: usize,
    scales: &mut [f32],
    pack: impl Fn(&[f32], &mut [X], usize) -> f32,
) {
    for (r, (row, scale)) in x.chunks_exact(k.max(1)).zip(scales).enumerate() {
        *scale = pack(row, &mut tile[r * RUN..], height * RUN);
    }
}

/// Pairs in f32, rounded to bf16 or left as they are.
pub(super) fn pairs(row: &[f32], to: &mut [[f32; 2]], stride: usize, rounded: bool) {
    if rounded {
        each::<2, _>(
            row,
            to,
            stride,
            #[inline(always)]
            |pair| pair.map(round),
        );
    } else {
        each::<2, _>(
            row,
            to,
            stride,
            #[inline(always)]
            |pair| pair,
        );
    }
}

/// Pairs in bf16: the first entry in the lower half.
#[cfg(target_arch = "x86_64")]
pub(super) fn bf16_pairs(row: &[f32], to: &mut [u32], stride: usize) {
    each::<2, _>(
        row,
        to,
        stride,
        #[inline(always)]
        |[a, b]| (round(a).to_bits() >> 16) | round(b).to_bits(),
    );
}

/// Pairs of 8-bit integers in 16 bits; gives the row's step.
#[cfg(target_arch = "x86_64")]
pub(super) fn i16_pairs(row: &[f32], to: &mut [[i16; 2]], stride: usize) -> f32 {
    let (step, inverse) = step(row);
    each::<2, _>(
        row,
        to,
        stride,
        #[inline(always)]
        |pair| pair.map(|v| level(v, inverse) as i16),
    );
    step
}

/// Fours of 8-bit integers; gives the row's step.
#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
pub(super) fn i8_fours(row: &[f32], to: &mut [[i8; 4]], stride: usize) -> f32 {
    let (step, inverse) = step(row);
    each::<4, _>(
        row,
        to,
        stride,
        #[inline(always)]
        |four| four.map(|v| level(v, inverse) as i8),
    );
    step
}

/// Fours of 8-bit integers with 128 added; gives the row's step.
pub(super) fn u8_fours(row: &[f32], to: &mut [[u8; 4]], stride: usize) -> f32 {
    let (step, inverse) = step(row);
    each::<4, _>(
        row,
        to,
        stride,
        #[inline(always)]
        |four| four.map(|v| level(v, inverse).wrapping_add(128) as u8),
    );
    step
}

/// Writes `group` of every `N` entries in runs; what lacks in the last group is zero.
fn each<const N: usize, X>(row: &[f32], to: &mut [X], stride: usize, group: impl Fn([f32; N]) -> X) {
    vectorize(
        #[inline(always)]
        || {
            for (run, to) in row.chunks(N * RUN).zip(to.chunks_mut(stride)) {
                let (groups, rest) = run.as_chunks::<N>();
                groups.iter().zip(&mut *to).for_each(|(g, to)| *to = group(*g));
                if !rest.is_empty() {
                    let mut last = [0.0; N];
                    last[..rest.len()].copy_from_slice(rest);
                    to[groups.len()] = group(last);
                }
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_that_of_the_half_crate() {
        let mut bits = 0_u32;
        for _ in 0..200_000 {
            bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let value = f32::from_bits(bits);
            let (expected, found) = (bf16::from_f32(value), to_bf16(value));
            assert!(expected == found || (expected.is_nan() && found.is_nan()), "{value}: {found}, not {expected}");
        }
        for value in [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, 1.003_906_3, 1.011_718_8] {
            assert_eq!(to_bf16(value), bf16::from_f32(value), "{value}");
        }
    }
}
