//! Memory asked for before it is needed.

/// Numbers in a cache line.
pub(super) const LINE: usize = 16;

/// Brings numbers that are about to be read or written into the level-1 cache, where the CPU can be asked to.
#[inline(always)]
pub(super) fn prefetch(values: &[f32]) {
    for line in values.chunks(LINE) {
        prefetch_line(line.as_ptr());
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
