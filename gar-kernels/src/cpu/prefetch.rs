//! Memory asked for before it is needed.

/// Bytes of a cache line.
pub(super) const LINE: usize = 64;

/// Brings numbers that are about to be read or written into the level-1 cache.
#[inline(always)]
pub(super) fn prefetch<T>(values: &[T]) {
    for line in values.chunks(LINE / size_of::<T>()) {
        prefetch_line(line.as_ptr().cast());
    }
}

/// As [`prefetch`], one line, of which nothing need be there.
#[inline(always)]
pub(super) fn prefetch_line(at: *const f32) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, which reads nothing and faults nowhere.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// Brings a line that will be read soon into the level-2 cache.
#[inline(always)]
pub(super) fn prefetch_line_l2(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: as above.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}
