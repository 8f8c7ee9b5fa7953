//! What training reads.
use gar_core::{Exchange, prompt::RegionSet, vision::Image};

use crate::{Fact, Head, Result};

/// A picture, its regions, and what is said about them. Each conversation begins anew; all share the picture, which is
/// encoded once.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The picture.
    pub image: Image,
    /// The regions, each in its slot.
    pub regions: RegionSet,
    /// At least one conversation of at least one exchange.
    pub conversations: Vec<Vec<Exchange>>,
    /// What is known of the regions, for probes to learn.
    pub facts: Vec<Fact>,
}

/// An endless stream of samples that can be entered anywhere, so that a run resumes where it stopped.
///
/// What stands at a position depends on the position and the source's own seed alone: shuffling is the source's affair.
pub trait Samples: Sync {
    /// The sample at `position`.
    ///
    /// # Errors
    /// A sample that cannot be read.
    fn sample(&self, position: u64) -> Result<Sample>;

    /// The questions that the facts of its samples answer.
    fn heads(&self) -> Vec<Head> {
        Vec::new()
    }
}

impl<F: Fn(u64) -> Result<Sample> + Sync> Samples for F {
    fn sample(&self, position: u64) -> Result<Sample> {
        self(position)
    }
}
