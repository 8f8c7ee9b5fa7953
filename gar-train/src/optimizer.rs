//! AdamW (Loshchilov & Hutter, 2019) with a warm-up, a cosine and a bound on the gradient's norm (SPEC §10).
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Settings of the optimiser. The default is the paper's fine-tuning.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerConfig {
    /// Highest learning rate.
    pub lr: f64,
    /// Decay of the running mean and of the running mean square.
    pub betas: [f64; 2],
    /// Added to the root of the mean square.
    pub eps: f64,
    /// Share of a weight, times the learning rate, that each step takes off.
    pub weight_decay: f64,
    /// Share of the steps in which the learning rate rises linearly.
    pub warmup: f64,
    /// Share of the steps behind them in which it stays; then a cosine takes it to 0. The paper's is 0.
    pub hold: f64,
    /// Bound on the Euclidean norm of all gradients together; 0 for none.
    pub clip: f64,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self { lr: 1e-5, betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.0, warmup: 0.03, hold: 0.0, clip: 1.0 }
    }
}

impl OptimizerConfig {
    /// What makes no sense in it, if anything.
    pub(crate) fn fault(&self) -> Option<String> {
        let refuse =
            |key: &str, expected: &str, found: f64| Some(format!("`{key}`: expected {expected}, found {found}"));
        match *self {
            Self { lr, .. } if lr <= 0.0 || !lr.is_finite() => refuse("lr", "a positive number", lr),
            Self { betas: [b, _], .. } | Self { betas: [_, b], .. } if !(0.0..1.0).contains(&b) => {
                refuse("betas", "numbers from 0 to below 1", b)
            }
            Self { eps, .. } if eps <= 0.0 || !eps.is_finite() => refuse("eps", "a positive number", eps),
            Self { weight_decay: w, .. } if w < 0.0 || !w.is_finite() => refuse("weight_decay", "at least 0", w),
            Self { warmup: w, .. } if !(0.0..=1.0).contains(&w) => refuse("warmup", "0 to 1", w),
            Self { hold: h, warmup: w, .. } if !(0.0..=1.0 - w).contains(&h) => refuse("hold", "0 to 1 − warmup", h),
            Self { clip, .. } if clip < 0.0 || !clip.is_finite() => refuse("clip", "at least 0", clip),
            _ => None,
        }
    }

    /// The learning rate of step `step` (from 1) of `steps`, as transformers' cosine schedule gives it.
    pub fn rate(&self, step: u64, steps: u64) -> f64 {
        let warm = (self.warmup * steps as f64).ceil();
        let done = step.saturating_sub(1) as f64;
        if done < warm {
            return self.lr * done / warm.max(1.0);
        }
        let held = warm + (self.hold * steps as f64).floor();
        let progress = (done - held) / (steps as f64 - held).max(1.0);
        self.lr * 0.5 * (1.0 + (std::f64::consts::PI * progress.clamp(0.0, 1.0)).cos())
    }
}

/// Running means of the gradients and of their squares, one vector a parameter.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moments {
    /// Means.
    pub mean: Vec<Vec<f32>>,
    /// Mean squares.
    pub square: Vec<Vec<f32>>,
}

impl Moments {
    /// Zeros for parameters of these lengths.
    pub fn zeros(lengths: impl Iterator<Item = usize> + Clone) -> Self {
        let zeros = || lengths.clone().map(|n| vec![0.0; n]).collect();
        Self { mean: zeros(), square: zeros() }
    }
}

/// The Euclidean norm of all gradients together, summed in f64 in their order.
pub fn norm(gradients: &[Vec<f32>]) -> f64 {
    let squares: Vec<f64> =
        gradients.par_iter().map(|g| g.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>()).collect();
    squares.iter().sum::<f64>().sqrt()
}

/// One step of AdamW as `torch.optim.AdamW` does it: `step` counts from 1; `factor` is multiplied into the gradients.
pub fn adamw(
    config: &OptimizerConfig,
    rate: f64,
    step: u64,
    factor: f32,
    weights: &mut [Vec<f32>],
    gradients: &[Vec<f32>],
    moments: &mut Moments,
) {
    /// Entries that one task handles.
    const CHUNK: usize = 1 << 14;
    let [b1, b2] = config.betas;
    let power = i32::try_from(step).unwrap_or(i32::MAX);
    let (correct1, correct2) = (1.0 - b1.powi(power), (1.0 - b2.powi(power)).sqrt() as f32);
    let (size, keep) = ((rate / correct1) as f32, (1.0 - rate * config.weight_decay) as f32);
    let (b1, b2, eps) = (b1 as f32, b2 as f32, config.eps as f32);
    let all = weights.iter_mut().zip(gradients).zip(moments.mean.iter_mut().zip(&mut moments.square));
    for ((weights, gradients), (mean, square)) in all {
        weights
            .par_chunks_mut(CHUNK)
            .zip(gradients.par_chunks(CHUNK))
            .zip(mean.par_chunks_mut(CHUNK).zip(square.par_chunks_mut(CHUNK)))
            .for_each(|((weights, gradients), (mean, square))| {
                for (((w, g), m), v) in weights.iter_mut().zip(gradients).zip(mean).zip(square) {
                    let g = g * factor;
                    *m += (1.0 - b1) * (g - *m);
                    *v = b2 * *v + (1.0 - b2) * g * g;
                    *w = *w * keep - size * *m / (v.sqrt() / correct2 + eps);
                }
            });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_and_falls() {
        let config = OptimizerConfig { lr: 2.0, warmup: 0.1, ..OptimizerConfig::default() };
        let at = |step| config.rate(step, 100);
        assert_eq!((at(1), at(6), at(11)), (0.0, 1.0, 2.0));
        assert!((at(56) - 1.0).abs() < 1e-12, "half way down the cosine: {}", at(56));
        assert!(at(100) > 0.0 && at(100) < 0.002, "{}", at(100));
        assert_eq!(OptimizerConfig { warmup: 0.0, ..config }.rate(1, 10), 2.0);
        let held = |step| OptimizerConfig { hold: 0.5, ..config }.rate(step, 100);
        assert_eq!((held(11), held(61)), (2.0, 2.0));
        assert!((held(81) - 1.0).abs() < 1e-12, "half way down the cosine: {}", held(81));
    }

    #[test]
    fn settings_without_sense_are_named() {
        let bad = |config: OptimizerConfig| config.fault().unwrap_or_default();
        let good = OptimizerConfig::default();
        assert_eq!(good.fault(), None);
        assert!(bad(OptimizerConfig { lr: f64::NAN, ..good }).contains("`lr`"));
        assert!(bad(OptimizerConfig { betas: [0.9, 1.0], ..good }).contains("`betas`"));
        assert!(bad(OptimizerConfig { warmup: 1.5, ..good }).contains("`warmup`"));
        assert!(bad(OptimizerConfig { hold: 0.99, ..good }).contains("`hold`"));
    }
}
