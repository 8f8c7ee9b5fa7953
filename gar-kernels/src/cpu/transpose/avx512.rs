//! AVX-512: blocks of 16 × 16 in registers, masks at the edges.
use std::arch::x86_64::*;

use super::{ENTRY, Source, fours};

/// Side of a block.
const SIDE: usize = 16;

/// # Safety
/// Rows and columns lie inside `from.bytes` and `to`.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn transpose(from: Source<'_>, to: &mut [u8], stride: usize) {
    for row in (0..from.rows).step_by(SIDE) {
        let rows = (from.rows - row).min(SIDE);
        for column in (0..from.columns).step_by(SIDE) {
            let columns = (from.columns - column).min(SIDE);
            let mut block = [_mm512_setzero_si512(); SIDE];
            for (r, line) in block.iter_mut().enumerate().take(rows) {
                // SAFETY: `columns` entries from (row + r, column) on are inside; others are masked.
                *line = unsafe {
                    let at = from.bytes.as_ptr().add((row + r) * from.stride + column * ENTRY);
                    _mm512_maskz_loadu_epi32(first(columns), at.cast())
                };
            }
            for (c, line) in turned(block).into_iter().enumerate().take(columns) {
                // SAFETY: `rows` entries from line column + c on are inside; others are masked.
                unsafe {
                    let at = to.as_mut_ptr().add(((column + c) * stride + row) * ENTRY);
                    _mm512_mask_storeu_epi32(at.cast(), first(rows), line);
                }
            }
        }
    }
}

/// The mask of the first `n` of 16 lanes.
fn first(n: usize) -> __mmask16 {
    ((1_u32 << n) - 1) as __mmask16
}

/// The transpose of 16 lines of 16 entries.
#[inline]
#[target_feature(enable = "avx512f")]
fn turned(lines: [__m512i; SIDE]) -> [__m512i; SIDE] {
    let fours =
        fours!(lines, _mm512_unpacklo_epi32, _mm512_unpackhi_epi32, _mm512_unpacklo_epi64, _mm512_unpackhi_epi64);
    // Across lanes: column 4·l + j is lane l of fours j, 4 + j, 8 + j and 12 + j.
    let mut turned = fours;
    for j in 0..4 {
        let [a, b, c, d] = [fours[j], fours[4 + j], fours[8 + j], fours[12 + j]];
        let [low, high] = [_mm512_shuffle_i32x4::<0x44>(a, b), _mm512_shuffle_i32x4::<0xee>(a, b)];
        let [low_2, high_2] = [_mm512_shuffle_i32x4::<0x44>(c, d), _mm512_shuffle_i32x4::<0xee>(c, d)];
        turned[j] = _mm512_shuffle_i32x4::<0x88>(low, low_2);
        turned[4 + j] = _mm512_shuffle_i32x4::<0xdd>(low, low_2);
        turned[8 + j] = _mm512_shuffle_i32x4::<0x88>(high, high_2);
        turned[12 + j] = _mm512_shuffle_i32x4::<0xdd>(high, high_2);
    }
    turned
}
