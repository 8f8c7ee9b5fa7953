//! Tasks that threads take one after the other.
//!
//! `rayon` halves a range of tasks, and a thread keeps the half of a half that it has begun. Where something else slows one of
//! the cores, the others then wait for it. Two threads of a noisy Zen 3, each operation 61 times this way and that in one process:
//! products of one row with 8,192 by 2,048 weights and back took 0 to 1 % less time so, attention of a tower 4 %; beside another
//! program on one of the cores 15 to 19 and 10 %. Products of many rows, whose tasks are long, gain only where tasks
//! grow shorter towards the end ([`product`](super::product)).
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

/// Does every task: a thread that is free takes the next, so that at the end none waits for more than one task. A thread makes
/// itself `room` before its first.
pub(super) fn in_turn<T, R>(
    tasks: impl Iterator<Item = T> + Send,
    room: impl Fn() -> R + Sync,
    work: impl Fn(&mut R, T) + Sync,
) {
    let tasks = Mutex::new(tasks);
    // Locked while a task is taken, not while it is done.
    let next = || tasks.lock().unwrap_or_else(PoisonError::into_inner).next();
    (0..rayon::current_num_threads()).into_par_iter().with_max_len(1).for_each(|_| {
        let mut own = None;
        while let Some(task) = next() {
            work(own.get_or_insert_with(&room), task);
        }
    });
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        thread,
        time::{Duration, Instant},
    };

    use super::*;

    #[test]
    fn every_task_is_done_once_whatever_the_threads() {
        for threads in [1, 2, 3, 8] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            for count in [0, 1, 2, 7, 100] {
                let done: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
                let rooms = AtomicUsize::new(0);
                pool.install(|| {
                    in_turn(
                        0..count,
                        || rooms.fetch_add(1, Ordering::Relaxed),
                        |_, task| _ = done[task].fetch_add(1, Ordering::Relaxed),
                    );
                });
                assert!(
                    done.iter().all(|times| times.load(Ordering::Relaxed) == 1),
                    "{count} tasks, {threads} threads"
                );
                assert!(rooms.into_inner() <= threads.min(count), "{count} tasks, {threads} threads");
            }
        }
    }

    #[test]
    fn nobody_waits_for_more_than_a_task() {
        // The first task goes on until all others are done, which a thread that keeps a share of them would never do.
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("threads");
        let done = AtomicUsize::new(0);
        pool.install(|| {
            in_turn(
                0..100,
                || (),
                |(), task| {
                    let limit = Instant::now() + Duration::from_secs(60);
                    while task == 0 && done.load(Ordering::Relaxed) < 99 {
                        assert!(Instant::now() < limit, "{} of 99 done", done.load(Ordering::Relaxed));
                        thread::yield_now();
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                },
            );
        });
        assert_eq!(done.into_inner(), 100);
    }
}
