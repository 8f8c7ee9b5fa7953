//! Linear probes: what is known of a region, learnt beside the answers.
//!
//! A model that begins from nothing is slow to find out that its crop tokens hold the answers, and slower to tell one
//! region's from another's. Linear heads that read what a region leaves inside the model give that a gradient of its
//! own. Letters of multiple choice are slow as well: which option is right must be known before its letter means anything,
//! so heads learn that where the option ends, and whom the question is about. All are trained with the model, and thrown
//! away.
//!
//! | probe | reads | learns |
//! |---|---|---|
//! | `crops` | the mean of a region's crop features | its [`Fact`]s |
//! | `slots` | the decoder's state at every crop token | the region's slot |
//! | `names` | the decoder's state at every `<PromptK>` behind the regions | the facts of region K |
//! | `asked` | the decoder's state at the last token of every [`Choice`] | what is true where its question asks |
//! | `stated` | the same | what the option claims |
//! | `options` | the same | whether it is right, and its letter |
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
const OPTIONS: &str = "options";
const ASKED: &str = "asked";
const STATED: &str = "stated";
/// Options of a question that are learnt; further ones are passed over.
const PLACES: usize = 5;
/// The heads of options, and their classes.
const OPTION_HEADS: [(&str, usize); 2] = [(RIGHT, 2), (LETTER, PLACES)];
const RIGHT: &str = "right";
const LETTER: &str = "letter";

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

/// The questions that a source of samples has answers to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heads {
    /// Those that [`Fact`]s answer.
    pub facts: Vec<Head>,
    /// Those that [`Answer`]s of a [`Choice`] answer.
    pub claims: Vec<Head>,
}

/// One of the classes of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Index of the [`Head`].
    pub head: usize,
    /// The class.
    pub class: u32,
}

/// An option of a multiple-choice question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// What its question is about, as tallies name it.
    pub about: &'static str,
    /// Index of the conversation that asks the question.
    pub conversation: usize,
    /// Its place among the question's options, from 0: its letter.
    pub place: usize,
    /// The option as the conversation words it, its letter included.
    pub text: String,
    /// Whether it is the right one.
    pub right: bool,
    /// What is true where the question asks, by [`Heads::claims`].
    pub asked: Vec<Answer>,
    /// What the option claims, by the same.
    pub stated: Vec<Answer>,
}

/// How probes take part in a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProbeConfig {
    /// Weight of each probe's mean loss beside the mean loss of the answers; 0 for no probes.
    pub weight: f64,
    /// Steps at the beginning in which only `crops` are learnt, and the decoder is not run.
    pub alone: u64,
    /// Whether the decoder's states are probed.
    pub states: bool,
    /// Behind which layers of the decoder they are.
    pub behind: Layers,
    /// Names of facts that are not learnt. Default: none, all are learnt.
    pub without: Vec<String>,
}

/// The layer, counted from 1, behind which each probe reads the decoder's states; the last where none is named.
///
/// What a probe finds behind the last layer is too late for the layers to use. Naming earlier ones asks that the slot be
/// known before the facts are looked for, and what is true and what is claimed before the two are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Layers {
    /// For `slots`.
    pub slots: Option<usize>,
    /// For `names`.
    pub names: Option<usize>,
    /// For `options`.
    pub options: Option<usize>,
    /// For `asked`.
    pub asked: Option<usize>,
    /// For `stated`.
    pub stated: Option<usize>,
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
        Self { weight: 0.0, alone: 0, states: true, behind: Layers::default(), without: Vec::new() }
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
    pub(crate) heads: Heads,
    /// Which of the facts are learnt.
    learnt: Vec<bool>,
    slots: usize,
}

/// Decoder states, and which of them belong to whom.
pub(crate) struct States {
    /// [n, D].
    pub(crate) rows: Tensor,
    /// What each row speaks of: a slot, or the index of a choice.
    pub(crate) of: Vec<usize>,
}

/// Whether a tensor belongs to a probe and not to the model.
pub(crate) fn is_probe(name: &str) -> bool {
    name.starts_with(PREFIX)
}

impl Probes {
    /// Those of a run, for a model of so many slots.
    pub(crate) fn new(heads: Heads, slots: usize, config: &ProbeConfig) -> Result<Self> {
        let known = |name: &String| heads.facts.iter().any(|head| head.name == name);
        if let Some(name) = config.without.iter().find(|name| !known(name)) {
            return Err(Error::NoFact {
                name: name.clone(),
                known: heads.facts.iter().map(|head| head.name).collect(),
            });
        }
        let learnt = heads.facts.iter().map(|head| config.without.iter().all(|name| head.name != name)).collect();
        Ok(Self { heads, learnt, slots })
    }

    /// Every weight, by name: `width` is D. They begin at zero, as the weights of a linear classifier may.
    pub(crate) fn weights(&self, width: usize, states: bool) -> Result<Vec<(String, Tensor)>> {
        let zeros = |probe: &str, head: &str, classes: usize| {
            Ok((weight(probe, head), Tensor::from_vec(vec![0.0_f32; classes * width], &[classes, width])?))
        };
        let facts = self.heads.facts.iter().zip(&self.learnt).filter_map(|(head, learnt)| learnt.then_some(head));
        let (facts, claims): (Vec<&Head>, Vec<&Head>) = (facts.collect(), self.heads.claims.iter().collect());
        let mut probes = vec![("crops", &facts)];
        if states {
            probes.extend([("names", &facts), (ASKED, &claims), (STATED, &claims)]);
        }
        let known = probes.into_iter();
        let known = known.flat_map(|(probe, heads)| heads.iter().map(move |h| zeros(probe, h.name, h.classes)));
        let slots = states.then(|| zeros(SLOTS, SLOTS, self.slots));
        let options = states.then(|| OPTION_HEADS.map(|(head, classes)| zeros(OPTIONS, head, classes)));
        known.chain(slots).chain(options.into_iter().flatten()).collect()
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
        self.learn_facts("crops", &States { rows, of: slots })
    }

    /// The probe of slots, given the states at crop tokens.
    pub(crate) fn slots(&mut self, states: &States) -> Result<()> {
        if states.of.is_empty() {
            return Ok(());
        }
        let classes: Vec<u32> = states.of.iter().map(|&slot| slot as u32).collect();
        let term = self.learn(SLOTS, SLOTS, &states.rows, &classes, |_| SLOTS)?;
        self.terms.push((term, 1.0 / classes.len() as f32));
        Ok(())
    }

    /// The probe of names, given the states at them.
    pub(crate) fn names(&mut self, states: &States) -> Result<()> {
        self.learn_facts("names", states)
    }

    /// The probe of options, given the states where they end.
    pub(crate) fn options(&mut self, states: &States, choices: &[Choice]) -> Result<()> {
        let known = states.of.iter().enumerate().filter_map(|(row, &at)| Some((row as u32, choices.get(at)?)));
        let known: Vec<(u32, &Choice)> = known.filter(|(_, choice)| choice.place < PLACES).collect();
        if known.is_empty() {
            return Ok(());
        }
        let (index, known): (Vec<u32>, Vec<&Choice>) = known.into_iter().unzip();
        let rows = self.kernels.rows.gather(&states.rows, &index)?;
        let right: Vec<u32> = known.iter().map(|choice| u32::from(choice.right)).collect();
        let letters: Vec<u32> = known.iter().map(|choice| choice.place as u32).collect();
        let share = 1.0 / known.len() as f32;
        // One head learns what is right, whatever the question is about; the tallies are told apart by that.
        let term = self.learn(OPTIONS, RIGHT, &rows, &right, |row| known[row].about)?;
        self.terms.push((term, share));
        let term = self.learn(OPTIONS, LETTER, &rows, &letters, |_| LETTER)?;
        self.terms.push((term, share));
        Ok(())
    }

    /// The probe of what is true where questions ask, given the states where their options end.
    pub(crate) fn asked(&mut self, states: &States, choices: &[Choice]) -> Result<()> {
        self.learn_claims(ASKED, states, |choice| &choice.asked, choices)
    }

    /// The probe of what options claim, given the states where they end.
    pub(crate) fn stated(&mut self, states: &States, choices: &[Choice]) -> Result<()> {
        self.learn_claims(STATED, states, |choice| &choice.stated, choices)
    }

    fn learn_claims(
        &mut self,
        probe: &str,
        states: &States,
        answers: impl Fn(&Choice) -> &Vec<Answer>,
        choices: &[Choice],
    ) -> Result<()> {
        let class = |choice: usize, head| {
            answers(choices.get(choice)?).iter().find(|answer| answer.head == head).map(|answer| answer.class)
        };
        self.learn_each(probe, &self.probes.heads.claims, states, class)
    }

    /// Each head learns the facts of its kind from the rows of their regions.
    fn learn_facts(&mut self, probe: &str, states: &States) -> Result<()> {
        let facts = self.facts.iter().filter(|fact| self.probes.learnt.get(fact.head) == Some(&true));
        let class = |slot, head| facts.clone().find(|f| (f.head, f.slot) == (head, slot)).map(|fact| fact.class);
        self.learn_each(probe, &self.probes.heads.facts, states, class)
    }

    /// Each head learns its classes from the rows that have one, given what a row speaks of.
    fn learn_each(
        &mut self,
        probe: &str,
        heads: &[Head],
        states: &States,
        class: impl Fn(usize, usize) -> Option<u32>,
    ) -> Result<()> {
        let mut terms = Vec::with_capacity(heads.len());
        for (at, head) in heads.iter().enumerate() {
            let known = states.of.iter().enumerate();
            let (index, classes): (Vec<u32>, Vec<u32>) =
                known.filter_map(|(row, &of)| Some((row as u32, class(of, at)?))).unzip();
            if !index.is_empty() {
                let rows = self.kernels.rows.gather(&states.rows, &index)?;
                terms.push((self.learn(probe, head.name, &rows, &classes, |_| head.name)?, classes.len()));
            }
        }
        let share = 1.0 / terms.len().max(1) as f32;
        self.terms.extend(terms.into_iter().map(|(term, rows)| (term, share / rows as f32)));
        Ok(())
    }

    /// Cross-entropy of one head on some rows, summed; `told` names the tally that a row counts in.
    fn learn<'t>(
        &mut self,
        probe: &str,
        head: &str,
        rows: &Tensor,
        classes: &[u32],
        told: impl Fn(usize) -> &'t str,
    ) -> Result<Tensor> {
        let name = weight(probe, head);
        let weight = self.weights.get(&name).ok_or_else(|| Error::NoProbe { name: name.clone() })?;
        let logits = self.kernels.matmul.matmul(rows, weight, Default::default())?;
        let width = logits.as_rows().1;
        for (at, (row, &class)) in logits.to_f32_vec()?.chunks_exact(width.max(1)).zip(classes).enumerate() {
            let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(i, _)| i as u32);
            let tally = self.tallies.entry(format!("{probe}.{}", told(at))).or_default();
            tally.right += u64::from(best == Some(class));
            tally.of += 1;
        }
        Ok(self.tape.cross_entropy(&logits, classes)?)
    }
}

fn weight(probe: &str, head: &str) -> String {
    format!("{PREFIX}{probe}.{head}")
}
