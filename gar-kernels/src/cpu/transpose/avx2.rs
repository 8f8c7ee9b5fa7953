//! AVX2: blocks of 8 columns in registers, of as many rows as panels and tiles have; what lacks at the edges is moved entry by
//! entry.
use std::arch::x86_64::*;

use super::{ENTRY, Source, fours, portable};

/// Columns of a block, and most of its rows.
const SIDE: usize = 8;

/// # Safety
/// Rows and columns lie inside `from.bytes` and `to`.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn transpose(from: Source<'_>, to: &mut [u8], stride: usize) {
    for row in (0..from.rows).step_by(SIDE) {
        let rows = (from.rows - row).min(SIDE);
        for column in (0..from.columns).step_by(SIDE) {
            let columns = (from.columns - column).min(SIDE);
            let bytes = &from.bytes[row * from.stride + column * ENTRY..];
            let block = Source { bytes, stride: from.stride, rows, columns };
            let to = &mut to[(column * stride + row) * ENTRY..];
            // SAFETY: the block has so many rows and columns, all of them inside.
            unsafe {
                match (rows, columns) {
                    (8, SIDE) => turn::<8>(block, to, stride),
                    (6, SIDE) => turn::<6>(block, to, stride),
                    (4, SIDE) => turn::<4>(block, to, stride),
                    _ => portable(block, to, stride),
                }
            }
        }
    }
}

/// One block of `ROWS` rows and [`SIDE`] columns.
///
/// # Safety
/// They lie inside `from.bytes` and `to`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn turn<const ROWS: usize>(from: Source<'_>, to: &mut [u8], stride: usize) {
    const { assert!(ROWS == 8 || ROWS == 6 || ROWS == 4, "a column is written in at most two pieces") };
    let mut lines = [_mm256_setzero_si256(); SIDE];
    for (r, line) in lines.iter_mut().enumerate().take(ROWS) {
        // SAFETY: the caller vouches for it, here and below.
        *line = unsafe { _mm256_loadu_si256(from.bytes.as_ptr().add(r * from.stride).cast()) };
    }
    for (c, line) in turned(lines).into_iter().enumerate() {
        // SAFETY: see above.
        unsafe {
            let to = to.as_mut_ptr().add(c * stride * ENTRY);
            if ROWS == SIDE {
                _mm256_storeu_si256(to.cast(), line);
            } else {
                _mm_storeu_si128(to.cast(), _mm256_castsi256_si128(line));
            }
            if ROWS == 6 {
                _mm_storel_epi64(to.add(4 * ENTRY).cast(), _mm256_extracti128_si256::<1>(line));
            }
        }
    }
}

/// The transpose of 8 lines of 8 entries.
#[inline]
#[target_feature(enable = "avx2")]
fn turned(lines: [__m256i; SIDE]) -> [__m256i; SIDE] {
    let fours =
        fours!(lines, _mm256_unpacklo_epi32, _mm256_unpackhi_epi32, _mm256_unpacklo_epi64, _mm256_unpackhi_epi64);
    // Across lanes: column j is the lower lane of fours j and 4 + j, column 4 + j their upper one.
    let mut turned = fours;
    for j in 0..4 {
        turned[j] = _mm256_permute2x128_si256::<0x20>(fours[j], fours[4 + j]);
        turned[4 + j] = _mm256_permute2x128_si256::<0x31>(fours[j], fours[4 + j]);
    }
    turned
}
