//! Linear probes: what is known of a region, learnt beside the answers.
//!
//! A model that begins from nothing is slow to find out that its crop tokens hold the answers, and slower to tell one
//! region's from another's. Three linear heads that read what a region leaves inside the model give that a gradient of its
//! own. They are trained with it, and thrown away.
//!
//! | probe | reads | learns |
//! |---|---|---|
//! | `crops` | the mean of a region's crop features | its [`Fact`]s |
//! | `slots` | the decoder's state at every crop token | the region's slot |
//! | `names` | the decoder's state at every `<PromptK>` behind the regions | the facts of region K |
use std::collections::BTreeMap;

use gar_core::{
    Scene,
    kernels::{Kernels, Tensor, ops::PoolSpec},
};
use serde::{Deserialize, Serialize};

use crate::{Error, Parameters, Result, Tape};

/// What every weight of a probe is called by; no part of a checkpoint begins so.
const PREFIX: &str = "probe.";
const SLOTS: &str = "slots";

/// A question that a fact answers: which of so many classes a region belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its name, `color` say.
    pub name: &'static str,
    /// How many classes there are.
    pub classes: usize,
}

/// What is known of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fact {
    /// The region's slot.
    pub slot: usize,
    /// Index of the [`Head`].
    pub head: usize,
    /// Its class.
    pub class: u32,
}

/// How probes take part in a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProbeConfig {
    /// Weight of each probe's mean loss beside the mean loss of the answers; 0 for no probes.
    pub weight: f64,
    /// Steps at the beginning in which only `crops` are learnt, and the decoder is not run.
    pub alone: u64,
    /// Whether the decoder's states are probed.
    pub states: bool,
}

impl ProbeConfig {
    /// What makes no sense in it, if anything.
    pub(crate) fn fault(&self) -> Option<String> {
        let bad = self.weight < 0.0 || !self.weight.is_finite();
        bad.then(|| format!("`probes.weight`: expected at least 0, found {}", self.weight))
    }
}

impl Default for ProbeConfig {
    fn default() -> Self {
        Self { weight: 0.0, alone: 0, states: true }
    }
}

/// How often the heads of a probe chose right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Right choices.
    pub right: u64,
    /// All choices.
    pub of: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.right += other.right;
        self.of += other.of;
    }
}

/// Tallies by `probe.head`.
pub type Tallies = BTreeMap<String, Tally>;

/// The heads and where their weights stand.
#[derive(Clone, Debug, Default)]
pub(crate) struct Probes {
    pub(crate) heads: Vec<Head>,
    pub(crate) slots: usize,
}

/// Decoder states, and which of them belong to whom.
pub(crate) struct States {
    /// [n, D].
    pub(crate) rows: Tensor,
    /// The slot that each row speaks of.
    pub(crate) slots: Vec<usize>,
}

/// Whether a tensor belongs to a probe and not to the model.
pub(crate) fn is_probe(name: &str) -> bool {
    name.starts_with(PREFIX)
}

impl Probes {
    /// Every weight, by name: `width` is D. They begin at zero, as the weights of a linear classifier may.
    pub(crate) fn weights(&self, width: usize, states: bool) -> Result<Vec<(String, Tensor)>> {
        let zeros = |probe: &str, head: &str, classes: usize| {
            Ok((weight(probe, head), Tensor::from_vec(vec![0.0_f32; classes * width], &[classes, width])?))
        };
        let probes: &[&str] = if states { &["crops", "names"] } else { &["crops"] };
        let facts = probes.iter().flat_map(|probe| self.heads.iter().map(move |h| zeros(probe, h.name, h.classes)));
        let slots = states.then(|| zeros(SLOTS, SLOTS, self.slots));
        facts.chain(slots).collect()
    }
}

/// Probes at work on one sample.
pub(crate) struct Prober<'a> {
    probes: &'a Probes,
    weights: &'a Parameters,
    kernels: &'a Kernels,
    tape: &'a Tape,
    facts: &'a [Fact],
    /// Losses, each with the weight that makes the terms of a probe a mean.
    pub(crate) terms: Vec<(Tensor, f32)>,
    pub(crate) tallies: Tallies,
}

impl<'a> Prober<'a> {
    pub(crate) fn new(
        probes: &'a Probes,
        weights: &'a Parameters,
        kernels: &'a Kernels,
        tape: &'a Tape,
        facts: &'a [Fact],
    ) -> Self {
        Self { probes, weights, kernels, tape, facts, terms: Vec::new(), tallies: Tallies::new() }
    }

    /// The probe of crop features.
    pub(crate) fn crops(&mut self, scene: &Scene) -> Result<()> {
        let (mut means, mut slots, mut width) = (Vec::new(), Vec::new(), 0);
        for (slot, crop) in scene.crops() {
            let (rows, columns) = crop.as_rows();
            // Crop features are a square.
            let side = rows.isqrt();
            let spec = PoolSpec { grid: [side, side], window: side };
            means.push(self.kernels.pool.average_pool(&crop.reshape(&[1, rows, columns])?, &spec)?);
            slots.push(slot);
            width = columns;
        }
        if means.is_empty() {
            return Ok(());
        }
        let rows = self.tape.join(&means, &[means.len(), width])?;
        self.learn_facts("crops", &States { rows, slots })
    }

    /// The probe of slots, given the states at crop tokens.
    pub(crate) fn slots(&mut self, states: &States) -> Result<()> {
        if states.slots.is_empty() {
            return Ok(());
        }
        let classes: Vec<u32> = states.slots.iter().map(|&slot| slot as u32).collect();
        let term = self.learn(SLOTS, SLOTS, &states.rows, &classes)?;
        self.terms.push((term, 1.0 / classes.len() as f32));
        Ok(())
    }

    /// The probe of names, given the states at them.
    pub(crate) fn names(&mut self, states: &States) -> Result<()> {
        self.learn_facts("names", states)
    }

    /// Each head learns the facts of its kind from the rows of their regions.
    fn learn_facts(&mut self, probe: &str, states: &States) -> Result<()> {
        let mut terms = Vec::with_capacity(self.probes.heads.len());
        for (at, head) in self.probes.heads.iter().enumerate() {
            let class =
                |slot| self.facts.iter().find(|fact| (fact.head, fact.slot) == (at, slot)).map(|fact| fact.class);
            let known = states.slots.iter().enumerate();
            let (index, classes): (Vec<u32>, Vec<u32>) =
                known.filter_map(|(row, &slot)| Some((row as u32, class(slot)?))).unzip();
            if !index.is_empty() {
                let rows = self.kernels.rows.gather(&states.rows, &index)?;
                terms.push((self.learn(probe, head.name, &rows, &classes)?, classes.len()));
            }
        }
        let share = 1.0 / terms.len().max(1) as f32;
        self.terms.extend(terms.into_iter().map(|(term, rows)| (term, share / rows as f32)));
        Ok(())
    }

    /// Cross-entropy of one head on some rows, summed.
    fn learn(&mut self, probe: &str, head: &str, rows: &Tensor, classes: &[u32]) -> Result<Tensor> {
        let name = weight(probe, head);
        let weight = self.weights.get(&name).ok_or_else(|| Error::NoProbe { name: name.clone() })?;
        let logits = self.kernels.matmul.matmul(rows, weight, Default::default())?;
        let tally = self.tallies.entry(format!("{probe}.{head}")).or_default();
        let width = logits.as_rows().1;
        for (row, &class) in logits.to_f32_vec()?.chunks_exact(width.max(1)).zip(classes) {
            let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(i, _)| i as u32);
            tally.right += u64::from(best == Some(class));
            tally.of += 1;
        }
        Ok(self.tape.cross_entropy(&logits, classes)?)
    }
}

fn weight(probe: &str, head: &str) -> String {
    format!("{PREFIX}{probe}.{head}")
}
