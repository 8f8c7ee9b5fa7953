//! AVX2: blocks of 8 × 8 in registers, bands of rows from top to bottom; what lacks at the edges goes through smaller moves.
use std::arch::x86_64::*;

use super::{ENTRY, Source};

/// Side of a block.
const SIDE: usize = 8;

/// # Safety
/// Rows and columns lie inside `from.bytes` and `to`.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn transpose(from: Source<'_>, to: &mut [u8], stride: usize) {
    for row in (0..from.rows).step_by(SIDE) {
        let rows = (from.rows - row).min(SIDE);
        for column in (0..from.columns).step_by(SIDE) {
            let columns = (from.columns - column).min(SIDE);
            // SAFETY: the block begins inside and has no more rows and columns than there are.
            unsafe {
                let (at, stride_in) = (from.bytes.as_ptr().add(row * from.stride + column * ENTRY), from.stride);
                let to = to.as_mut_ptr().add((column * stride + row) * ENTRY);
                // With the size known to the compiler it stays in registers.
                if rows == SIDE && columns == SIDE {
                    block((at, stride_in), (to, stride * ENTRY), SIDE, SIDE);
                } else {
                    block((at, stride_in), (to, stride * ENTRY), rows, columns);
                }
            }
        }
    }
}

/// One block: where its rows begin and how many bytes apart, and the same of its columns.
///
/// # Safety
/// All of it lies inside.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn block((from, apart): (*const u8, usize), (to, stride): (*mut u8, usize), rows: usize, columns: usize) {
    let mut lines = [_mm256_setzero_si256(); SIDE];
    for (r, line) in lines.iter_mut().enumerate().take(rows) {
        // SAFETY: row r has so many columns.
        *line = unsafe { read(from.add(r * apart), columns) };
    }
    for (c, line) in turned(lines).into_iter().enumerate().take(columns) {
        // SAFETY: column c has so many rows.
        unsafe { write(to.add(c * stride), line, rows) };
    }
}

/// The first `n` of up to eight entries; others are zero.
///
/// # Safety
/// `at` is valid for reading them.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn read(at: *const u8, n: usize) -> __m256i {
    if n == SIDE {
        // SAFETY: the caller vouches for it.
        return unsafe { _mm256_loadu_si256(at.cast()) };
    }
    let mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    // SAFETY: entries from `n` on are masked.
    unsafe { _mm256_maskload_epi32(at.cast(), mask) }
}

/// Writes the first `n` of eight entries. By halves: a masked store takes some processors as long as forty others.
///
/// # Safety
/// `at` is valid for writing them.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn write(mut at: *mut u8, line: __m256i, n: usize) {
    if n == SIDE {
        // SAFETY: the caller vouches for it, here and below.
        unsafe { _mm256_storeu_si256(at.cast(), line) };
        return;
    }
    let mut rest = _mm256_castsi256_si128(line);
    if n & 4 != 0 {
        // SAFETY: see above.
        unsafe {
            _mm_storeu_si128(at.cast(), rest);
            at = at.add(4 * ENTRY);
        }
        rest = _mm256_extracti128_si256::<1>(line);
    }
    if n & 2 != 0 {
        // SAFETY: see above.
        unsafe {
            _mm_storel_epi64(at.cast(), rest);
            at = at.add(2 * ENTRY);
        }
        rest = _mm_unpackhi_epi64(rest, rest);
    }
    if n & 1 != 0 {
        // SAFETY: see above.
        unsafe { at.cast::<i32>().write_unaligned(_mm_cvtsi128_si32(rest)) };
    }
}

/// The transpose of 8 lines of 8 entries.
#[inline]
#[target_feature(enable = "avx2")]
fn turned(lines: [__m256i; SIDE]) -> [__m256i; SIDE] {
    // Within lanes of four entries: pairs of lines, then fours, so that fours[4·i + j] holds column j of both lanes of lines
    // 4·i to 4·i + 3.
    let mut pairs = lines;
    for i in (0..SIDE).step_by(2) {
        pairs[i] = _mm256_unpacklo_epi32(lines[i], lines[i + 1]);
        pairs[i + 1] = _mm256_unpackhi_epi32(lines[i], lines[i + 1]);
    }
    let mut fours = pairs;
    for i in (0..SIDE).step_by(4) {
        fours[i] = _mm256_unpacklo_epi64(pairs[i], pairs[i + 2]);
        fours[i + 1] = _mm256_unpackhi_epi64(pairs[i], pairs[i + 2]);
        fours[i + 2] = _mm256_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
        fours[i + 3] = _mm256_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
    }
    // Across lanes: column j is the lower lane of fours j and 4 + j, column 4 + j their upper one.
    let mut turned = fours;
    for j in 0..4 {
        turned[j] = _mm256_permute2x128_si256::<0x20>(fours[j], fours[4 + j]);
        turned[4 + j] = _mm256_permute2x128_si256::<0x31>(fours[j], fours[4 + j]);
    }
    turned
}
