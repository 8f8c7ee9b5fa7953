//! Datasets in the released schema as an endless stream, prepared as the paper prepares them.
use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use gar_core::{Exchange, GarModel, Said};
use gar_data::{Dataset, Recipe, rng::Rng};

use crate::{Error, Result, Sample, Samples, fresh::mix, sample::CropTokens};

/// Names the random numbers of this stream: ASCII, so that it is seen in a debugger.
const DOMAIN: u64 = u64::from_le_bytes(*b"gar-rec1");

/// The samples of a dataset, in an order drawn anew for every pass through it.
///
/// They are held in memory as they are stored: encoded pictures or their paths, runs of masks, text. What is drawn at
/// random for a sample (slots, instructions, questions about empty slots; see [`Recipe`]) differs from pass to pass.
#[derive(Debug)]
pub struct Recorded {
    samples: Vec<gar_data::Sample>,
    folder: PathBuf,
    recipe: Recipe,
    crops: CropTokens,
    seed: u64,
    /// The pass whose order is at hand, and the order.
    order: Mutex<(u64, Vec<usize>)>,
}

impl Recorded {
    /// Reads a `.jsonl` file, an `.arrow` shard or a folder of shards, for a model's slots and crop tokens.
    ///
    /// # Errors
    /// A dataset without samples; the first sample or shard that cannot be read, named.
    pub fn open(path: impl AsRef<Path>, model: &GarModel, seed: u64) -> Result<Self> {
        let path = path.as_ref();
        let dataset = Dataset::open(path)?;
        let samples = dataset.samples().collect::<gar_data::Result<Vec<_>>>()?;
        if samples.is_empty() {
            let (expected, found) = ("at least one sample".into(), "none".into());
            return Err(Error::File { path: path.into(), what: "samples".into(), expected, found });
        }
        let crops = CropTokens::of(model);
        let recipe = Recipe::new(model.config().prompt_slots, crops.count);
        Ok(Self {
            samples,
            folder: dataset.folder().into(),
            recipe,
            crops,
            seed,
            order: Mutex::new((u64::MAX, Vec::new())),
        })
    }

    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether there are none; never.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// The sample at a position of the stream.
    fn index(&self, position: u64) -> usize {
        let count = self.samples.len() as u64;
        let (pass, place) = (position / count, (position % count) as usize);
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        if order.0 != pass || order.1.is_empty() {
            // Sorted by a hash of seed, pass and sample: an order that needs no generator's state.
            let mut all: Vec<usize> = (0..self.samples.len()).collect();
            all.sort_by_key(|&sample| (mix(mix(mix(self.seed) ^ pass) ^ sample as u64), sample));
            *order = (pass, all);
        }
        order.1[place]
    }
}

impl Samples for Recorded {
    fn sample(&self, position: u64) -> Result<Sample> {
        let mut rng = Rng::new(self.seed, DOMAIN, position);
        let sample = &self.samples[self.index(position)];
        let prepared = self.recipe.prepare(sample, &self.folder, |slot| self.crops.text(slot), &mut rng)?;
        let exchange = |turns: &[gar_data::Turn]| match turns {
            [human, gpt] => Some(Exchange { said: Said::Verbatim(human.value.clone()), answer: gpt.value.clone() }),
            _ => None,
        };
        let conversation = prepared.turns.chunks(2).filter_map(exchange).collect();
        let (image, regions) = (prepared.image, prepared.regions);
        Ok(Sample { image, regions, conversations: vec![conversation], facts: Vec::new(), choices: Vec::new() })
    }
}
