//! Transposing entries of 32 bits: how rows become panels.
//!
//! Every group of a panel has 32 bits, whatever its elements are, so one routine serves all of them. On AVX-512 a block of
//! 16 × 16 goes through registers; elsewhere entries are moved one by one. GAR-1B in bf16 is loaded in 0.7 s so, where entries
//! that were moved one by one took 1.5 s (two threads of a Zen 5, the file in memory).
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// Bytes of an entry.
const ENTRY: usize = 4;
/// Side of a block.
const SIDE: usize = 16;

/// Where rows come from: row r begins at byte r · `stride`.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) stride: usize,
    pub(super) rows: usize,
    /// Entries of a row.
    pub(super) columns: usize,
}

/// Writes entry c of row r to entry c · `stride` + r of `to`; entries between are left as they are.
pub(super) fn transpose(from: Source<'_>, to: &mut [u8], stride: usize) {
    let Source { bytes, rows, columns, .. } = from;
    if rows == 0 || columns == 0 {
        return;
    }
    assert!(
        (rows - 1) * from.stride + columns * ENTRY <= bytes.len()
            && ((columns - 1) * stride + rows) * ENTRY <= to.len(),
        "{rows} rows of {columns} entries do not fit their slices"
    );
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the CPU has the instructions, and the assertion above keeps all that is addressed inside the slices.
        unsafe { avx512(from, to, stride) };
        return;
    }
    portable(from, to, stride);
}

fn portable(from: Source<'_>, to: &mut [u8], stride: usize) {
    let to = to.as_chunks_mut::<ENTRY>().0;
    for row in 0..from.rows {
        let entries = from.bytes[row * from.stride..].as_chunks::<ENTRY>().0;
        for (to, entry) in to[row..].iter_mut().step_by(stride).zip(&entries[..from.columns]) {
            *to = *entry;
        }
    }
}

/// # Safety
/// Rows and columns lie inside `from.bytes` and `to`.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn avx512(from: Source<'_>, to: &mut [u8], stride: usize) {
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
#[cfg(target_arch = "x86_64")]
fn first(n: usize) -> __mmask16 {
    ((1_u32 << n) - 1) as __mmask16
}

/// The transpose of 16 lines of 16 entries.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f")]
fn turned(lines: [__m512i; SIDE]) -> [__m512i; SIDE] {
    // Within lanes of four entries: pairs of lines, then fours, so that fours[4·i + j] holds column j of every lane of lines
    // 4·i to 4·i + 3.
    let mut pairs = lines;
    for i in (0..SIDE).step_by(2) {
        pairs[i] = _mm512_unpacklo_epi32(lines[i], lines[i + 1]);
        pairs[i + 1] = _mm512_unpackhi_epi32(lines[i], lines[i + 1]);
    }
    let mut fours = pairs;
    for i in (0..SIDE).step_by(4) {
        fours[i] = _mm512_unpacklo_epi64(pairs[i], pairs[i + 2]);
        fours[i + 1] = _mm512_unpackhi_epi64(pairs[i], pairs[i + 2]);
        fours[i + 2] = _mm512_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
        fours[i + 3] = _mm512_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_entries_and_no_others_are_written() {
        for (rows, columns, stride, gap) in [
            (1, 1, 1, 0),
            (12, 33, 12, 1),
            (16, 16, 16, 0),
            (17, 15, 32, 3),
            (32, 64, 32, 0),
            (5, 40, 7, 2),
            (0, 3, 4, 0),
        ] {
            // Rows begin at any byte.
            let stride_in = (columns + gap) * ENTRY + 1;
            let bytes: Vec<u8> = (0..rows * stride_in).map(|i| (i * 7 % 251) as u8).collect();
            let from = Source { bytes: &bytes, stride: stride_in, rows, columns };
            for route in [transpose, portable] {
                let mut to = vec![255_u8; columns * stride * ENTRY];
                route(from, &mut to, stride);
                for (at, entry) in to.chunks_exact(ENTRY).enumerate() {
                    let (c, r) = (at / stride, at % stride);
                    let expected = if r < rows { &bytes[r * stride_in + c * ENTRY..][..ENTRY] } else { &[255; ENTRY] };
                    assert_eq!(entry, expected, "{rows}×{columns}: row {r}, column {c}");
                }
            }
        }
    }
}
