//! How fast requests may follow each other.
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A gate that requests pass one interval apart, whichever thread sends them. An endpoint that asks for a pause closes it
/// for all.
#[derive(Debug)]
pub(super) struct Pace {
    interval: Duration,
    /// When the next request may pass.
    next: Mutex<Instant>,
}

impl Pace {
    /// At most `per_minute` requests a minute; any number where it is `None`.
    pub(super) fn new(per_minute: Option<f64>) -> Self {
        let interval = per_minute.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(60.0 / rate));
        Self { interval, next: Mutex::new(Instant::now()) }
    }

    /// Waits for this request's turn.
    pub(super) fn pass(&self) {
        let turn = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = (*next).max(Instant::now());
            *next = turn + self.interval;
            turn
        };
        sleep(turn.saturating_duration_since(Instant::now()));
    }

    /// Lets nobody pass for `pause`.
    pub(super) fn hold(&self, pause: Duration) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        *next = (*next).max(Instant::now() + pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_pass_one_interval_apart_and_after_a_pause() {
        let pace = Pace::new(Some(60.0 / 0.02));
        let started = Instant::now();
        (0..4).for_each(|_| pace.pass());
        assert!(started.elapsed() >= Duration::from_millis(60), "three intervals of 20 ms lie between four requests");
        pace.hold(Duration::from_millis(50));
        let held = Instant::now();
        pace.pass();
        assert!(held.elapsed() >= Duration::from_millis(50));
    }
}
