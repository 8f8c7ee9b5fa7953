//! Transposing entries of 32 bits: how rows become panels.
//!
//! Every group of a panel has 32 bits, whatever its elements are, so one routine serves all of them. A block of 16 × 16 goes
//! through the registers of AVX-512, one of 8 × 8 through those of AVX2; elsewhere entries are moved one by one.
//!
//! Loading GAR-1B in bf16, two threads, the file in memory:
//!
//! | | one by one | in registers |
//! |---|---:|---:|
//! | AVX-512, Zen 5 | 1.5 s | 0.7 s |
//! | AVX2, a noisy Zen 3 | 1.9 s | 1.4 s |
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

/// Bytes of an entry.
const ENTRY: usize = 4;

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
        unsafe { avx512::transpose(from, to, stride) };
        return;
    }
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: as above.
        unsafe { avx2::transpose(from, to, stride) };
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

/// The first two steps of a transpose, within lanes of four entries: pairs of lines, then fours, so that entry 4·i + j holds
/// column j of every lane of lines 4·i to 4·i + 3. Given are the lines and what interleaves the lower and the upper halves of
/// two lanes by 32 and by 64 bits.
#[cfg(target_arch = "x86_64")]
macro_rules! fours {
    ($lines:ident, $low_32:ident, $high_32:ident, $low_64:ident, $high_64:ident) => {{
        let mut pairs = $lines;
        for i in (0..$lines.len()).step_by(2) {
            pairs[i] = $low_32($lines[i], $lines[i + 1]);
            pairs[i + 1] = $high_32($lines[i], $lines[i + 1]);
        }
        let mut fours = pairs;
        for i in (0..$lines.len()).step_by(4) {
            fours[i] = $low_64(pairs[i], pairs[i + 2]);
            fours[i + 1] = $high_64(pairs[i], pairs[i + 2]);
            fours[i + 2] = $low_64(pairs[i + 1], pairs[i + 3]);
            fours[i + 3] = $high_64(pairs[i + 1], pairs[i + 3]);
        }
        fours
    }};
}
#[cfg(target_arch = "x86_64")]
use fours;

#[cfg(test)]
mod tests {
    use super::*;

    type Route = fn(Source<'_>, &mut [u8], usize);

    /// What the CPU chooses, and what it would have besides.
    fn routes() -> Vec<Route> {
        let routes: [Option<Route>; 3] = [Some(transpose), Some(portable), by_avx2()];
        routes.into_iter().flatten().collect()
    }

    #[cfg(target_arch = "x86_64")]
    fn by_avx2() -> Option<Route> {
        // SAFETY: the CPU has the instructions; the test's rows and columns lie inside.
        is_x86_feature_detected!("avx2").then_some(|from, to, stride| unsafe { avx2::transpose(from, to, stride) })
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn by_avx2() -> Option<Route> {
        None
    }

    #[test]
    fn all_entries_and_no_others_are_written() {
        for (rows, columns, stride, gap) in [
            (1, 1, 1, 0),
            (12, 33, 12, 1),
            (16, 16, 16, 0),
            (17, 15, 32, 3),
            (32, 64, 32, 0),
            (5, 40, 7, 2),
            (6, 24, 6, 0),
            (15, 7, 16, 1),
            (0, 3, 4, 0),
        ] {
            // Rows begin at any byte.
            let stride_in = (columns + gap) * ENTRY + 1;
            let bytes: Vec<u8> = (0..rows * stride_in).map(|i| (i * 7 % 251) as u8).collect();
            let from = Source { bytes: &bytes, stride: stride_in, rows, columns };
            for route in routes() {
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
