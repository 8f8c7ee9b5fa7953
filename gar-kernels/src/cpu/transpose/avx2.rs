//! AVX2: blocks of 8 columns in registers, of as many rows as panels and tiles have; what lacks at the edges is moved entry by
//! entry.
use std::arch::x86_64::*;

use super::{ENTRY, Source};

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
            // SAFETY: the block begins inside and has no more rows and columns than there are.
            unsafe {
                let block = Block {
                    from: from.bytes.as_ptr().add(row * from.stride + column * ENTRY),
                    row: from.stride,
                    to: to.as_mut_ptr().add((column * stride + row) * ENTRY),
                    column: stride * ENTRY,
                };
                match (rows, columns) {
                    (8, SIDE) => block.turn::<8>(),
                    (6, SIDE) => block.turn::<6>(),
                    (4, SIDE) => block.turn::<4>(),
                    _ => block.entry_by_entry(rows, columns),
                }
            }
        }
    }
}

/// Where a block lies, and where it goes.
struct Block {
    from: *const u8,
    /// Bytes from one row to the next.
    row: usize,
    to: *mut u8,
    /// Bytes from one column of what is written to the next.
    column: usize,
}

impl Block {
    /// # Safety
    /// `rows` and `columns` of it are valid to read and to write.
    unsafe fn entry_by_entry(self, rows: usize, columns: usize) {
        for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
            // SAFETY: the caller vouches for it.
            unsafe {
                let entry: u32 = self.from.add(row * self.row + column * ENTRY).cast::<u32>().read_unaligned();
                self.to.add(column * self.column + row * ENTRY).cast::<u32>().write_unaligned(entry);
            }
        }
    }

    /// # Safety
    /// `ROWS` rows and [`SIDE`] columns of it are valid to read and to write.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn turn<const ROWS: usize>(self) {
        const { assert!(ROWS == 8 || ROWS == 6 || ROWS == 4, "a column is written in at most two pieces") };
        let mut lines = [_mm256_setzero_si256(); SIDE];
        for (r, line) in lines.iter_mut().enumerate().take(ROWS) {
            // SAFETY: the caller vouches for it, here and below.
            *line = unsafe { _mm256_loadu_si256(self.from.add(r * self.row).cast()) };
        }
        for (c, line) in turned(lines).into_iter().enumerate() {
            // SAFETY: see above.
            unsafe {
                let to = self.to.add(c * self.column);
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
