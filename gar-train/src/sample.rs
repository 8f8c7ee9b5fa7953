//! What training reads.
use gar_core::{Exchange, GarModel, prompt::RegionSet, vision::Image};

use crate::{Choice, Fact, Heads, Result};

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
    /// The options of the conversations that have some, for a probe to learn.
    pub choices: Vec<Choice>,
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

    /// The questions that its samples have answers to.
    fn heads(&self) -> Heads {
        Heads::default()
    }
}

impl<F: Fn(u64) -> Result<Sample> + Sync> Samples for F {
    fn sample(&self, position: u64) -> Result<Sample> {
        self(position)
    }
}

/// How a model's prompt shows a region: so many copies of its slot's crop token.
#[derive(Clone, Debug)]
pub(crate) struct CropTokens {
    /// Copies for a region.
    pub(crate) count: usize,
    /// The token's text, one a slot.
    texts: Vec<String>,
}

impl CropTokens {
    pub(crate) fn of(model: &GarModel) -> Self {
        let texts = (0..model.config().prompt_slots).filter_map(|slot| model.crop_token(slot)).collect();
        Self { count: model.tokens_per_region(), texts }
    }

    /// The text of a slot's token; a slot that the model does not have shows nothing.
    pub(crate) fn text(&self, slot: usize) -> String {
        self.texts.get(slot).cloned().unwrap_or_default()
    }
}
