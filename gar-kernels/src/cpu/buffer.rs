//! Memory of panels: on cache lines, and on huge pages where it is large.
//!
//! A decoded token reads every weight once. On pages of 4 KiB that is a translation every 64 lines, which the hardware's
//! prefetchers do not cross; pages of 2 MiB are asked for where the system gives them on request only.
use bytemuck::{Pod, Zeroable};
use memmap2::MmapMut;

/// 64 bytes: a cache line, and the widest register.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

// SAFETY: 64 bytes without padding; every pattern is valid.
unsafe impl Zeroable for Line {}
// SAFETY: as above.
unsafe impl Pod for Line {}

/// A huge page of x86-64 and, with base pages of 4 KiB, of AArch64. Smaller buffers stay on the heap.
const HUGE: usize = 2 << 20;

/// Zeroed memory that begins on a cache line, so that no vector of a panel straddles two.
pub(super) struct Buffer(Memory);

enum Memory {
    Heap(Vec<Line>),
    /// Pages of its own, a whole number of [`Line`]s.
    Pages(MmapMut),
}

impl Buffer {
    /// Room for `len` entries.
    pub(super) fn zeroed<T: Pod>(len: usize) -> Self {
        let lines = (len * size_of::<T>()).div_ceil(size_of::<Line>());
        let pages = if lines * size_of::<Line>() < HUGE { None } else { pages(lines * size_of::<Line>()) };
        Self(pages.map_or_else(|| Memory::Heap(bytemuck::allocation::zeroed_vec(lines)), Memory::Pages))
    }

    /// All of it, as entries.
    pub(super) fn entries<T: Pod>(&self) -> &[T] {
        match &self.0 {
            Memory::Heap(lines) => bytemuck::cast_slice(lines),
            Memory::Pages(pages) => bytemuck::cast_slice(pages),
        }
    }

    /// All of it, to write to.
    pub(super) fn entries_mut<T: Pod>(&mut self) -> &mut [T] {
        match &mut self.0 {
            Memory::Heap(lines) => bytemuck::cast_slice_mut(lines),
            Memory::Pages(pages) => bytemuck::cast_slice_mut(pages),
        }
    }

    pub(super) fn byte_len(&self) -> usize {
        self.entries::<u8>().len()
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Self {
        let mut copy = Self::zeroed::<u8>(self.byte_len());
        copy.entries_mut::<u8>().copy_from_slice(self.entries());
        copy
    }
}

/// Fresh pages, huge ones if the system has any to give; none where it has no memory to map.
fn pages(bytes: usize) -> Option<MmapMut> {
    let pages = MmapMut::map_anon(bytes).ok()?;
    // A kernel without huge pages refuses, and gives small ones.
    #[cfg(target_os = "linux")]
    let _ = pages.advise(memmap2::Advice::HugePage);
    Some(pages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_large_ones_are_zero_aligned_and_copied() {
        for bytes in [0, 1, 64, HUGE - 64, HUGE, HUGE + 1] {
            let mut buffer = Buffer::zeroed::<u8>(bytes);
            assert_eq!(buffer.byte_len(), bytes.next_multiple_of(64));
            assert!(buffer.entries::<u8>().iter().all(|&byte| byte == 0));
            assert!(buffer.entries::<u8>().as_ptr().addr().is_multiple_of(64));
            buffer.entries_mut::<u16>().iter_mut().enumerate().for_each(|(i, v)| *v = i as u16);
            let copy = buffer.clone();
            buffer.entries_mut::<u16>().fill(7);
            assert!(copy.entries::<u16>().iter().enumerate().all(|(i, &v)| v == i as u16));
        }
    }
}
