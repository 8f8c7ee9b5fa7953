//! When a request is sent again.
use std::time::{Duration, SystemTime};

/// Exponential backoff with jitter: before attempt n+1, a wait drawn from the upper half of `first · 2ⁿ⁻¹`, at most
/// `most`; or as long as the endpoint asks, where that is longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Most attempts, the first included.
    pub attempts: u32,
    /// The longest wait after the first attempt.
    pub first: Duration,
    /// The longest wait after any.
    pub most: Duration,
    /// The longest wait that an endpoint may ask for. One that asks for more has spent a quota: the request fails.
    pub longest_asked: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            attempts: 6,
            first: Duration::from_secs(1),
            most: Duration::from_secs(60),
            longest_asked: Duration::from_secs(10 * 60),
        }
    }
}

impl Backoff {
    /// The wait after `failed` attempts; `draw` in 0 … 1 is the jitter. `None` where there is no other attempt.
    pub fn wait(&self, failed: u32, asked: Option<Duration>, draw: f64) -> Option<Duration> {
        if failed >= self.attempts || asked.is_some_and(|asked| asked > self.longest_asked) {
            return None;
        }
        let doubled = 2_u32.saturating_pow(failed.saturating_sub(1));
        let ceiling = self.first.saturating_mul(doubled).min(self.most);
        Some(ceiling.mul_f64(0.5 + draw.clamp(0.0, 1.0) / 2.0).max(asked.unwrap_or_default()))
    }
}

/// The wait that a `Retry-After` header asks for: seconds, or a date. A date that has passed asks for none.
pub(super) fn retry_after(header: &str, now: SystemTime) -> Option<Duration> {
    let header = header.trim();
    if let Ok(seconds) = header.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    httpdate::parse_http_date(header).ok().map(|date| date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn waits_double_up_to_a_bound_and_yield_to_the_endpoint() {
        let backoff = Backoff { attempts: 5, first: ms(100), most: ms(300), longest_asked: ms(5000) };
        let longest: Vec<_> = (1..6).map(|n| backoff.wait(n, None, 1.0)).collect();
        assert_eq!(longest, [Some(ms(100)), Some(ms(200)), Some(ms(300)), Some(ms(300)), None]);
        assert_eq!(backoff.wait(2, None, 0.0), Some(ms(100)), "the jitter halves at most");
        assert_eq!(backoff.wait(1, Some(ms(700)), 1.0), Some(ms(700)));
        assert_eq!(backoff.wait(1, Some(ms(1)), 1.0), Some(ms(100)));
        assert_eq!(backoff.wait(1, Some(ms(5001)), 1.0), None, "a quota that is spent");
        assert_eq!(Backoff { attempts: u32::MAX, ..backoff }.wait(1000, None, 1.0), Some(ms(300)));
    }

    #[test]
    fn pauses_come_as_seconds_or_as_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        assert_eq!(retry_after(" 7 ", now), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:47 GMT", now), Some(Duration::from_secs(10)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:27 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
        assert_eq!(retry_after("-1", now), None);
    }
}
