//! Memory asked for before it is needed.

/// Bytes of a cache line.
pub(super) const LINE: usize = 64;

/// What is next of some rows, which lie apart: asked for a row at a time while there is no other use of memory. All at once
/// would be more than a core can have under way, so that it waits.
#[derive(Clone, Copy)]
pub(super) struct Lines {
    at: *const u8,
    /// Bytes from one row to the next.
    stride: usize,
    /// Lines of a row.
    count: usize,
    /// Rows that were not asked for.
    rows: usize,
}

impl Lines {
    /// Nothing.
    pub(super) const NONE: Self = Self { at: std::ptr::null(), stride: 0, count: 0, rows: 0 };

    /// The first `columns` numbers of `rows` rows, which begin every `stride` numbers from `at` on.
    pub(super) fn of<T>(at: *const T, rows: usize, columns: usize, stride: usize) -> Self {
        let [stride, bytes] = [stride, columns].map(|numbers| numbers * size_of::<T>());
        Self { at: at.cast(), stride, count: bytes.div_ceil(LINE), rows }
    }

    /// Rows that were not asked for.
    #[inline(always)]
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Brings the next row, if there is one, into the level-2 cache.
    #[inline(always)]
    pub(super) fn ask(&mut self) {
        if self.rows > 0 {
            for line in 0..self.count {
                prefetch_line_l2(self.at.wrapping_add(line * LINE));
            }
            self.at = self.at.wrapping_add(self.stride);
            self.rows -= 1;
        }
    }
}

/// Brings a line that will be read or written soon, of which nothing need be there, into the level-2 cache.
#[inline(always)]
pub(super) fn prefetch_line_l2(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: a hint, which reads nothing and faults nowhere.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_asked_for_once() {
        let values = [0_f32; 250];
        // The last of 17 numbers lies in a line of its own.
        let mut lines = Lines::of(values.as_ptr(), 3, 17, 100);
        assert_eq!((lines.count, lines.rows()), (2, 3));
        for asked in 1..=5 {
            lines.ask();
            assert_eq!(lines.rows(), 3_usize.saturating_sub(asked));
        }
        assert_eq!(lines.at, values.as_ptr().wrapping_add(300).cast());
        let mut none = Lines::NONE;
        none.ask();
        assert_eq!(none.rows(), 0);
    }
}
