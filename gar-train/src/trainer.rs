//! The loop: samples in, gradients summed in their order, one step of the optimiser.
use std::{
    path::Path,
    time::{Duration, Instant},
};

use gar_core::{GarModel, kernels::Weights};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    Error, Gradients, Heads, Loss, Moments, Parameters, Result, RunConfig, Sample, Samples, Tallies, Tape,
    objective::{self, Reading},
    optimizer::{adamw, norm},
    probe::{Prober, Probes},
};

/// What one step came to.
#[derive(Clone, Debug)]
pub struct StepReport {
    /// Its number, from 1.
    pub step: u64,
    /// Mean cross-entropy over the answer tokens, in nats, before the step.
    pub loss: f64,
    /// Learning rate.
    pub rate: f64,
    /// Norm of the mean gradient before it was clipped.
    pub norm: f64,
    /// Answer tokens.
    pub tokens: usize,
    /// How the probes' heads did.
    pub probes: Tallies,
    /// How long the step took.
    pub took: Duration,
    /// How long the rest of the run will take at the mean pace of this process.
    pub left: Duration,
}

/// A point of the loss curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Step, from 1.
    pub step: u64,
    /// Mean loss in nats.
    pub loss: f64,
}

/// Losses so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// Of every step, on what it trained on.
    pub training: Vec<Point>,
    /// Of evaluations.
    pub evaluation: Vec<Point>,
}

/// A model in training.
pub struct Trainer {
    pub(crate) config: RunConfig,
    pub(crate) parameters: Parameters,
    pub(crate) moments: Moments,
    /// Steps done.
    pub(crate) step: u64,
    pub(crate) history: History,
    pub(crate) probes: Probes,
    /// The architecture and the text side; its weights are those the run began with.
    model: GarModel,
}

/// Stands for a file in messages about weights.
const TRAINING: &str = "weights in training";

/// What one sample gives.
struct One {
    sum: f64,
    tallies: Tallies,
    tokens: usize,
    gradients: Gradients,
}

impl Trainer {
    /// Trains `model` from `weights`, which are those of a checkpoint of its architecture.
    ///
    /// # Errors
    /// [`Error::AllFrozen`], [`Error::Config`] for settings without sense, weights that do not fit the model.
    pub fn new(model: GarModel, weights: &Weights, config: RunConfig) -> Result<Self> {
        if let Some(reason) = config.fault() {
            return Err(Error::Config { path: "run".into(), reason });
        }
        let parameters = Parameters::from_weights(weights, &config.freeze)?;
        model.with_weights(&parameters.weights(weights.path()))?;
        let moments = Moments::zeros(parameters.trained().map(|(_, t)| t.len()).collect::<Vec<_>>().into_iter());
        let (history, probes) = (History::default(), Probes::default());
        Ok(Self { config, parameters, moments, step: 0, history, probes, model })
    }

    /// Trains linear probes beside the model, as [`RunConfig::probes`] says, to answer the questions of `heads`. To be
    /// called before the first step and before [`resume`](Self::resume).
    ///
    /// # Errors
    /// [`Error::NoFact`]; what a tensor refuses.
    pub fn with_probes(mut self, heads: Heads) -> Result<Self> {
        if self.config.probes.weight > 0.0 && !heads.facts.is_empty() {
            let config = self.model.config();
            self.probes = Probes::new(heads, config.prompt_slots, &self.config.probes)?;
            let weights = self.probes.weights(config.decoder_width, self.config.probes.states)?;
            self.parameters.add(weights);
            let lengths: Vec<usize> = self.parameters.trained().map(|(_, t)| t.len()).collect();
            self.moments = Moments::zeros(lengths.into_iter());
        }
        Ok(self)
    }

    /// Steps done.
    pub fn steps_done(&self) -> u64 {
        self.step
    }

    /// The settings.
    pub fn config(&self) -> &RunConfig {
        &self.config
    }

    /// The weights as they are now.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Losses so far.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// The model with the weights as they are now.
    ///
    /// # Errors
    /// A weight that is not finite, named.
    pub fn model(&self) -> Result<GarModel> {
        Ok(self.model.with_weights(&self.parameters.weights(Path::new(TRAINING)))?)
    }

    /// Mean loss of some samples in nats a token; it is added to the history.
    ///
    /// # Errors
    /// A sample that cannot be read.
    pub fn evaluate(&mut self, samples: &[Sample]) -> Result<f64> {
        let model = self.model()?;
        let each = |sample: &Sample| {
            // Nothing is watched, so nothing is noted.
            let (kernels, tape) = Tape::wrap(model.kernels().clone());
            objective::loss(&model.with_kernels(kernels), &tape, sample)
        };
        let losses = samples.par_iter().map(each).collect::<Result<Vec<_>>>()?;
        let tokens: usize = losses.iter().map(|loss| loss.tokens).sum();
        let loss = losses.iter().map(|loss| loss.sum).sum::<f64>() / tokens.max(1) as f64;
        if !loss.is_finite() {
            let at = losses.iter().position(|loss| !loss.sum.is_finite()).unwrap_or(0) as u64;
            return Err(Error::NotFinite { step: self.step, position: at, tensor: "the loss of an evaluation".into() });
        }
        self.history.evaluation.push(Point { step: self.step, loss });
        Ok(loss)
    }

    /// Runs to the last step, saving to the folder `out`. `on_step` is called after every step, and may evaluate.
    ///
    /// # Errors
    /// As [`step`](Self::step); a checkpoint that cannot be written. What was saved before stands.
    pub fn run(
        &mut self,
        samples: &dyn Samples,
        out: &Path,
        on_step: &mut dyn FnMut(&mut Self, &StepReport) -> Result<()>,
    ) -> Result<()> {
        let (started, first) = (Instant::now(), self.step);
        while self.step < self.config.steps {
            let mut report = self.step(samples)?;
            let (done, rest) = (self.step - first, self.config.steps - self.step);
            report.left = started.elapsed().mul_f64(rest as f64 / done.max(1) as f64);
            on_step(self, &report)?;
            if rest == 0 || self.step.is_multiple_of(self.config.checkpoint_every) {
                self.save(out)?;
            }
        }
        Ok(())
    }

    /// One step on the next [`RunConfig::batch`] samples. After an error the weights are as before.
    ///
    /// # Errors
    /// [`Error::Sample`] for a sample that cannot be trained on, [`Error::NotFinite`].
    pub fn step(&mut self, samples: &dyn Samples) -> Result<StepReport> {
        let started = Instant::now();
        let (step, first) = (self.step + 1, self.step * self.config.batch);
        // Loaded through a tape, so that the model holds the parameters themselves and not prepared forms of them.
        let (kernels, _) = Tape::wrap(self.model.kernels().clone());
        let model = self.model.with_kernels(kernels).with_weights(&self.parameters.weights(Path::new(TRAINING)))?;
        let (mut sum, mut tokens, mut probes) = (0.0, 0, Tallies::new());
        let mut total: Vec<Option<Vec<f32>>> = vec![None; self.parameters.trained().len()];
        let positions: Vec<u64> = (first..first + self.config.batch).collect();
        for group in positions.chunks(self.config.at_once) {
            let group: Vec<Result<One>> =
                group.par_iter().map(|&at| self.one(&model, samples, step, at).map_err(Error::at(at))).collect();
            for one in group {
                let mut one = one?;
                sum += one.sum;
                tokens += one.tokens;
                for (head, tally) in one.tallies {
                    *probes.entry(head).or_default() += tally;
                }
                for (total, (_, tensor)) in total.iter_mut().zip(self.parameters.trained()) {
                    match (total, one.gradients.take(tensor)) {
                        (Some(total), Some(new)) => total.iter_mut().zip(&new).for_each(|(t, n)| *t += n),
                        (total @ None, new) => *total = new,
                        (Some(_), None) => {}
                    }
                }
            }
        }
        let lengths = self.parameters.trained().map(|(_, t)| t.len());
        let gradients: Vec<Vec<f32>> = total.into_iter().zip(lengths).map(|(g, n)| g.unwrap_or(vec![0.0; n])).collect();
        let mean = 1.0 / tokens.max(1) as f64;
        let norm = norm(&gradients) * mean;
        if !norm.is_finite() {
            let bad = gradients.iter().position(|g| g.iter().any(|v| !v.is_finite())).unwrap_or(0);
            let tensor = self.parameters.trained().nth(bad).map_or("", |(name, _)| name);
            return Err(Error::NotFinite { step, position: first, tensor: format!("the gradient of {tensor:?}") });
        }
        let optimizer = self.config.optimizer;
        let shrink = match optimizer.clip {
            clip if clip > 0.0 => (clip / (norm + 1e-6)).min(1.0),
            _ => 1.0,
        };
        let rate = optimizer.rate(step, self.config.steps);
        let values = self.parameters.trained().map(|(_, t)| t.to_f32_vec());
        let mut values = values.collect::<gar_core::kernels::Result<Vec<_>>>()?;
        adamw(&optimizer, rate, step, (mean * shrink) as f32, &mut values, &gradients, &mut self.moments);
        let names = self.parameters.trained().map(|(name, _)| name);
        if let Some((name, _)) = names.zip(&values).find(|(_, v)| v.iter().any(|v| !v.is_finite())) {
            return Err(Error::NotFinite { step, position: first, tensor: format!("the new weights of {name:?}") });
        }
        self.parameters.replace(values)?;
        self.step = step;
        let loss = sum * mean;
        self.history.training.push(Point { step, loss });
        Ok(StepReport { step, loss, rate, norm, tokens, probes, took: started.elapsed(), left: Duration::ZERO })
    }

    /// The loss of a sample with that of its probes. Only the answers' part is told.
    fn loss(&self, model: &GarModel, tape: &Tape, sample: &Sample, step: u64) -> Result<(Loss, Tallies)> {
        let scene = model.scene(&sample.image, &sample.regions)?;
        let (config, probed) = (&self.config.probes, !self.probes.heads.facts.is_empty());
        let mut prober = Prober::new(&self.probes, &self.parameters, model.kernels(), tape, &sample.facts);
        if probed {
            prober.crops(&scene)?;
        }
        let mut loss = if probed && step <= config.alone {
            Loss { sum: 0.0, tokens: 1, node: tape.weighted_sum(&[])? }
        } else {
            let (loss, reading) = Reading::of(model, tape, &scene, &sample.conversations, self.config.weigh)?;
            if probed && config.states {
                let (behind, choices) = (config.behind, &sample.choices);
                prober.slots(&reading.crops(model, behind.slots)?)?;
                prober.names(&reading.names(model, tape, behind.names)?)?;
                let ends = reading.option_ends(model, choices)?;
                prober.asked(&reading.options(model, tape, &ends, behind.asked)?, choices)?;
                prober.stated(&reading.options(model, tape, &ends, behind.stated)?, choices)?;
                prober.options(&reading.options(model, tape, &ends, behind.options)?, choices)?;
            }
            loss
        };
        if probed {
            // The trainer divides by the answers' tokens; means of probes are to weigh as those of answers do.
            let weight = config.weight as f32 * loss.tokens as f32;
            let mut terms = vec![(loss.node, 1.0)];
            terms.extend(prober.terms.into_iter().map(|(term, share)| (term, share * weight)));
            loss.node = tape.weighted_sum(&terms)?;
        }
        Ok((loss, prober.tallies))
    }

    /// The loss and the gradients of the sample at a position.
    fn one(&self, model: &GarModel, samples: &dyn Samples, step: u64, position: u64) -> Result<One> {
        let sample = samples.sample(position)?;
        let (kernels, tape) = Tape::wrap(self.model.kernels().clone());
        tape.watch(self.parameters.trained().map(|(_, tensor)| tensor));
        let model = model.with_kernels(kernels);
        let (loss, tallies) = self.loss(&model, &tape, &sample, step)?;
        if !loss.sum.is_finite() {
            let tensor = match tape.first_not_finite()? {
                Some((at, op)) => format!("the output of {op}, operation {at} of the sample"),
                None => "the loss".into(),
            };
            return Err(Error::NotFinite { step, position, tensor });
        }
        Ok(One { sum: loss.sum, tallies, tokens: loss.tokens, gradients: tape.backward(&loss.node)? })
    }
}
