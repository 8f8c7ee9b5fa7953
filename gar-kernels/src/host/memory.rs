//! Memory of results that nobody holds any more, used again.
//!
//! Large memory that is given back to the system and asked for anew costs as much as some operations on it: the system
//! clears every page when it is first written to. That took 9 % of a tower's time.
use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, PoisonError},
};

/// Fewer numbers are left to the allocator, which keeps such memory itself.
const SMALL: usize = 1 << 15;
/// Most numbers that are kept (128 MiB): what a tower of GAR-1B holds at a time.
const MOST: usize = 32 << 20;

/// Memory that results of one table of operations come from and go back to.
#[derive(Clone, Default)]
pub(crate) struct Memory {
    /// Oldest first.
    kept: Arc<Mutex<Vec<Vec<f32>>>>,
}

/// Numbers that go back to their [`Memory`].
pub(crate) struct Room {
    values: Vec<f32>,
    memory: Memory,
}

impl Memory {
    /// Room for `len` numbers that are all written before they are read: which numbers are there is not known.
    pub(crate) fn room(&self, len: usize) -> Room {
        let mut values = self.take(len).unwrap_or_else(|| vec![0.0; len]);
        if cfg!(debug_assertions) {
            values.fill(f32::NAN);
        }
        Room { values, memory: self.clone() }
    }

    /// The smallest kept vector that holds `len` numbers and not more than twice as many, with that length.
    fn take(&self, len: usize) -> Option<Vec<f32>> {
        if len < SMALL {
            return None;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let fitting = kept.iter().enumerate().filter(|(_, v)| (len..=2 * len).contains(&v.capacity()));
        let (at, _) = fitting.min_by_key(|(_, v)| v.capacity())?;
        let mut values = kept.remove(at);
        // What lies beyond the length was written once, but only the length says so.
        values.resize(len, 0.0);
        Some(values)
    }

    fn give(&self, values: Vec<f32>) {
        if values.capacity() < SMALL || values.capacity() > MOST {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push(values);
        let mut sum: usize = kept.iter().map(Vec::capacity).sum();
        let first = kept.iter().position(|oldest| {
            let fits = sum <= MOST;
            sum -= oldest.capacity();
            fits
        });
        let gone: Vec<_> = kept.drain(..first.unwrap_or(0)).collect();
        drop(kept);
        // Given back to the system outside the lock.
        drop(gone);
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        write!(f, "Memory({} kept)", kept.len())
    }
}

impl Room {
    /// The numbers, which do not go back.
    pub(crate) fn take(&mut self) -> Vec<f32> {
        std::mem::take(&mut self.values)
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
        &self.values
    }
}

impl DerefMut for Room {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(memory: &Memory) -> Vec<usize> {
        memory.kept.lock().unwrap().iter().map(Vec::capacity).collect()
    }

    #[test]
    fn large_rooms_are_used_again_and_small_ones_are_not() {
        let memory = Memory::default();
        let (at, len) = {
            let room = memory.room(SMALL + 100);
            (room.as_ptr(), room.len())
        };
        drop(memory.room(SMALL - 1));
        assert_eq!((len, kept(&memory)), (SMALL + 100, vec![SMALL + 100]));
        let again = memory.room(SMALL + 7);
        assert_eq!((again.as_ptr(), again.len(), kept(&memory)), (at, SMALL + 7, vec![]));
        // Too small, and more than twice too large.
        drop(again);
        assert_eq!(memory.room(SMALL + 101).len(), SMALL + 101);
        drop(memory.room(4 * SMALL));
        let room = memory.room(SMALL);
        assert!(kept(&memory).contains(&(4 * SMALL)) && room.iter().all(|v| cfg!(not(debug_assertions)) || v.is_nan()));
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
        let taken = memory.room(SMALL).take();
        assert_eq!((taken.len(), kept(&memory).len()), (SMALL, 0));
    }
}
