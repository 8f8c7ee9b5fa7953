//! Memory of results that nobody holds any more, used again.
//!
//! Large memory that is given back to the system and asked for anew costs as much as some operations on it: the system
//! clears every page when it is first written to. That took 9 % of a tower's time.
//!
//! Large memory begins at a cache line, so that no register of a row straddles two, and not always at the same one of a page:
//! rows of a power of two would otherwise meet in the same sets of the caches. That is 1 % of a tower.
use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, PoisonError},
};

/// Fewer numbers are left to the allocator, which keeps such memory itself.
const SMALL: usize = 1 << 15;
/// Most numbers that are kept (128 MiB): what a tower of GAR-1B holds at a time.
const MOST: usize = 32 << 20;

/// Numbers of a cache line, and lines of a page.
const LINE: usize = 16;
const LINES: usize = 64;
/// Numbers before a room: what it may begin behind.
const BEFORE: usize = LINE * (LINES + 1);

/// Memory that results of one table of operations come from and go back to.
#[derive(Clone, Default)]
pub(crate) struct Memory {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    /// Oldest first.
    vectors: Vec<Vec<f32>>,
    /// How many rooms were given so far.
    given: usize,
}

/// Numbers that go back to their [`Memory`].
pub(crate) struct Room {
    values: Vec<f32>,
    /// Where they begin.
    start: usize,
    memory: Memory,
}

impl Memory {
    /// Room for `len` numbers that are all written before they are read: which numbers are there is not known.
    pub(crate) fn room(&self, len: usize) -> Room {
        let (mut values, start) = if len < SMALL { (vec![0.0; len], 0) } else { self.take(len) };
        if cfg!(debug_assertions) {
            values.fill(f32::NAN);
        }
        Room { values, start, memory: self.clone() }
    }

    /// The smallest kept vector that holds `len` numbers and not more than twice as many, or a fresh one, and where in it
    /// they begin.
    fn take(&self, len: usize) -> (Vec<f32>, usize) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // 11 and 64 have no divisor in common: every line of a page has its turn.
        kept.given += 1;
        let line = kept.given * 11 % LINES;
        let needed = len + BEFORE;
        let fitting = kept.vectors.iter().enumerate().filter(|(_, v)| (needed..=2 * needed).contains(&v.capacity()));
        let found = fitting.min_by_key(|(_, v)| v.capacity()).map(|(at, _)| at);
        let found = found.map(|at| kept.vectors.remove(at));
        drop(kept);
        let mut values = found.unwrap_or_else(|| vec![0.0; needed]);
        let to_line = (values.as_ptr().addr() / size_of::<f32>()).wrapping_neg() % LINE;
        let start = to_line + line * LINE;
        // What lies beyond the length was written once, but only the length says so.
        values.resize(start + len, 0.0);
        (values, start)
    }

    fn give(&self, values: Vec<f32>) {
        if values.capacity() < SMALL || values.capacity() > MOST {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let vectors = &mut kept.vectors;
        vectors.push(values);
        let mut sum: usize = vectors.iter().map(Vec::capacity).sum();
        let first = vectors.iter().position(|oldest| {
            let fits = sum <= MOST;
            sum -= oldest.capacity();
            fits
        });
        let gone: Vec<_> = vectors.drain(..first.unwrap_or(0)).collect();
        drop(kept);
        // Given back to the system outside the lock.
        drop(gone);
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        write!(f, "Memory({} kept)", kept.vectors.len())
    }
}

impl Room {
    /// The numbers, which do not go back.
    pub(crate) fn take(&mut self) -> Vec<f32> {
        let mut values = std::mem::take(&mut self.values);
        values.drain(..std::mem::take(&mut self.start));
        values
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.memory.give(std::mem::take(&mut self.values));
    }
}

impl Deref for Room {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values[self.start..]
    }
}

impl DerefMut for Room {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(memory: &Memory) -> Vec<usize> {
        memory.kept.lock().unwrap().vectors.iter().map(Vec::capacity).collect()
    }

    /// What a room of `len` numbers takes.
    const fn taken(len: usize) -> usize {
        len + BEFORE
    }

    #[test]
    fn large_rooms_are_used_again_and_small_ones_are_not() {
        let memory = Memory::default();
        let (at, len) = {
            let room = memory.room(SMALL + 100);
            (room.values.as_ptr(), room.len())
        };
        drop(memory.room(SMALL - 1));
        assert_eq!((len, kept(&memory)), (SMALL + 100, vec![taken(SMALL + 100)]));
        let again = memory.room(SMALL + 7);
        assert_eq!((again.values.as_ptr(), again.len(), kept(&memory)), (at, SMALL + 7, vec![]));
        // Too small, and more than twice too large.
        drop(again);
        assert_eq!(memory.room(SMALL + 101).len(), SMALL + 101);
        drop(memory.room(4 * SMALL));
        let room = memory.room(SMALL);
        let unknown = room.iter().all(|v| cfg!(not(debug_assertions)) || v.is_nan());
        assert!(kept(&memory).contains(&taken(4 * SMALL)) && unknown);
    }

    #[test]
    fn large_rooms_begin_at_lines_of_their_own() {
        let memory = Memory::default();
        let mut lines = std::collections::HashSet::new();
        for _ in 0..LINES {
            let room = memory.room(SMALL);
            assert!(room.as_ptr().addr().is_multiple_of(64));
            lines.insert((room.as_ptr().addr() - room.values.as_ptr().addr()) / 64);
        }
        assert!(lines.len() > LINES / 2, "{lines:?}");
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_oldest_goes_first() {
        let memory = Memory::default();
        for part in [3, 4, 5] {
            memory.give(Vec::with_capacity(MOST / part));
        }
        assert_eq!(kept(&memory), [MOST / 3, MOST / 4, MOST / 5]);
        memory.give(Vec::with_capacity(MOST / 2));
        assert_eq!(kept(&memory), [MOST / 4, MOST / 5, MOST / 2]);
        memory.give(Vec::with_capacity(MOST + 1));
        memory.give(Vec::with_capacity(MOST));
        assert_eq!(kept(&memory), [MOST]);
    }

    #[test]
    fn taken_numbers_do_not_go_back() {
        let memory = Memory::default();
        let mut room = memory.room(SMALL);
        room.iter_mut().enumerate().for_each(|(i, v)| *v = i as f32);
        let numbers = room.take();
        assert!(numbers.len() == SMALL && numbers.iter().enumerate().all(|(i, &v)| v == i as f32));
        drop(room);
        assert_eq!(kept(&memory).len(), 0);
    }
}
