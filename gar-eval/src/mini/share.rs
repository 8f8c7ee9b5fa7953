//! Right answers among questions, by the number of regions.
use std::ops::AddAssign;

use serde_json::{Value, json};

use crate::score::{Interval, wilson};

/// Most regions of a question.
pub const MOST_REGIONS: usize = 5;

/// Right answers among so many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Right answers.
    pub correct: usize,
    /// Questions.
    pub total: usize,
}

impl Share {
    /// Per cent; `None` where nothing was asked.
    pub fn score(self) -> Option<f64> {
        (self.total > 0).then(|| 100.0 * self.correct as f64 / self.total as f64)
    }

    /// Wilson's 95 % interval, in per cent; `None` where nothing was asked.
    pub fn interval(self) -> Option<Interval> {
        let Interval { low, high } = (self.total > 0).then(|| wilson(self.correct, self.total))?;
        Some(Interval { low: 100.0 * low, high: 100.0 * high })
    }

    /// `{"correct", "total", "score", "interval": {"low", "high"}}`; `null` where nothing was asked.
    pub(super) fn json(self) -> Value {
        match (self.score(), self.interval()) {
            (Some(score), Some(interval)) => {
                json!({"correct": self.correct, "total": self.total, "score": score, "interval": interval})
            }
            _ => Value::Null,
        }
    }
}

impl AddAssign for Share {
    fn add_assign(&mut self, other: Self) {
        self.correct += other.correct;
        self.total += other.total;
    }
}

/// [`Share`]s of questions over 1, 2, …, [`MOST_REGIONS`] regions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shares([Share; MOST_REGIONS]);

impl Shares {
    /// Counts an answer to a question over `regions` regions; one over more than [`MOST_REGIONS`] with those.
    pub(super) fn count(&mut self, regions: usize, right: bool) {
        let at = regions.clamp(1, MOST_REGIONS) - 1;
        self.0[at] += Share { correct: usize::from(right), total: 1 };
    }

    /// The questions over `regions` regions.
    pub fn over(&self, regions: usize) -> Share {
        regions.checked_sub(1).and_then(|at| self.0.get(at)).copied().unwrap_or_default()
    }

    /// The questions over two regions and more.
    pub fn several(&self) -> Share {
        sum(&self.0[1..])
    }

    /// All questions.
    pub fn all(&self) -> Share {
        sum(&self.0)
    }

    /// [`all`](Self::all) with `regions`, by number, and `several`.
    pub(super) fn json(&self) -> Value {
        let mut whole = self.all().json();
        if let Value::Object(fields) = &mut whole {
            let by_number = (1..=MOST_REGIONS).filter(|&n| self.over(n).total > 0);
            let regions: serde_json::Map<String, Value> =
                by_number.map(|n| (n.to_string(), self.over(n).json())).collect();
            fields.insert("regions".into(), regions.into());
            fields.insert("several".into(), self.several().json());
        }
        whole
    }
}

impl AddAssign<&Self> for Shares {
    fn add_assign(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(share, &more)| *share += more);
    }
}

fn sum(shares: &[Share]) -> Share {
    let mut sum = Share::default();
    shares.iter().for_each(|&share| sum += share);
    sum
}
