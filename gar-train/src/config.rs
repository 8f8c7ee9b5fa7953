//! What a run does. Two runs of one configuration on the same samples give the same bytes.
use serde::{Deserialize, Serialize};

use crate::{OptimizerConfig, Part};

/// Settings of a run; they are saved with it, and a run resumes only under the same ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// Steps of the optimiser.
    pub steps: u64,
    /// Samples (pictures) of a step; their gradients are summed and divided by the answer tokens of all.
    #[serde(default = "batch")]
    pub batch: u64,
    /// Samples that are computed side by side. More need more memory; the result does not depend on it.
    #[serde(default = "at_once")]
    pub at_once: usize,
    /// Steps between two checkpoints; the last step always makes one.
    #[serde(default = "checkpoint_every")]
    pub checkpoint_every: u64,
    /// Parts that stay as they are.
    #[serde(default)]
    pub freeze: Vec<Part>,
    /// The optimiser.
    #[serde(default)]
    pub optimizer: OptimizerConfig,
}

fn batch() -> u64 {
    8
}

fn at_once() -> usize {
    4
}

fn checkpoint_every() -> u64 {
    200
}

impl RunConfig {
    /// A run of so many steps with the paper's optimiser.
    pub fn new(steps: u64) -> Self {
        Self {
            steps,
            batch: batch(),
            at_once: at_once(),
            checkpoint_every: checkpoint_every(),
            freeze: Vec::new(),
            optimizer: OptimizerConfig::default(),
        }
    }

    /// What makes no sense in it, if anything.
    pub fn fault(&self) -> Option<String> {
        let at_least_one = [
            ("steps", self.steps),
            ("batch", self.batch),
            ("at_once", self.at_once as u64),
            ("checkpoint_every", self.checkpoint_every),
        ];
        match at_least_one.iter().find(|(_, value)| *value == 0) {
            Some((key, _)) => Some(format!("`{key}`: expected at least 1, found 0")),
            None => self.optimizer.fault(),
        }
    }
}
