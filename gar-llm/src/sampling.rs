//! From logits to the next token: greedy, or drawn from a filtered distribution.

use gar_kernels::{
    Tensor,
    cpu::Cpu,
    ops::{Draw, Sample},
};

use crate::rng::SplitMix64;
use crate::{Error, Result};

/// How the next token is chosen. The default is greedy.
///
/// The filters have the meaning and the order they have in transformers: repetition penalty, temperature, top-k,
/// top-p, min-p, then one draw from what is left.
///
/// ```
/// use gar_llm::Sampling;
/// let sampling = Sampling { temperature: 0.7, top_p: 0.9, seed: 42, ..Sampling::default() };
/// let token = sampling.sampler()?.next(&[0.0, 5.0, 1.0], &[])?;
/// assert_eq!(token, 1);
/// # Ok::<(), gar_llm::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// Divides the logits. 0 is greedy: the largest logit wins, of equal ones the first.
    pub temperature: f32,
    /// Keeps the `k` largest logits and whatever equals the smallest of them. 0 keeps all.
    pub top_k: usize,
    /// Keeps the smallest set of most probable tokens whose probability reaches this share. 1 keeps all.
    pub top_p: f32,
    /// Keeps tokens at least this fraction as probable as the most probable one. 0 keeps all.
    pub min_p: f32,
    /// Divides positive logits, multiplies negative ones, of every token that occurs in the prompt or the answer
    /// (CTRL, Keskar et al. 2019, §4.1). 1 changes nothing. It also acts on the greedy choice.
    pub repetition_penalty: f32,
    /// Starts the random generator (SplitMix64): the same seed and logits give the same tokens on every platform.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0, repetition_penalty: 1.0, seed: 0 }
    }
}

impl Sampling {
    /// Whether the most probable token is always taken.
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0
    }

    /// Refuses settings outside their range, and filters or a seed beside a temperature of 0, where they would have no
    /// effect.
    pub fn validate(&self) -> Result<()> {
        let check = |ok: bool, field, expected, found: String| match ok {
            true => Ok(()),
            false => Err(Error::Setting { field, expected, found }),
        };
        let Self { temperature, top_k, top_p, min_p, repetition_penalty, seed } = *self;
        let finite = |x: f32| x.is_finite();
        check(
            finite(temperature) && temperature >= 0.0,
            "temperature",
            "a finite number ≥ 0",
            temperature.to_string(),
        )?;
        check(top_p > 0.0 && top_p <= 1.0, "top_p", "a number in (0, 1]", top_p.to_string())?;
        check((0.0..=1.0).contains(&min_p), "min_p", "a number in [0, 1]", min_p.to_string())?;
        let penalty = repetition_penalty;
        check(finite(penalty) && penalty > 0.0, "repetition_penalty", "a finite number > 0", penalty.to_string())?;
        if self.is_greedy() {
            check(top_k == 0, "top_k", "0 (all) where temperature is 0", top_k.to_string())?;
            check(top_p == 1.0, "top_p", "1 (all) where temperature is 0", top_p.to_string())?;
            check(min_p == 0.0, "min_p", "0 (all) where temperature is 0", min_p.to_string())?;
            check(seed == 0, "seed", "0 where temperature is 0", seed.to_string())?;
        }
        Ok(())
    }

    /// A sampler at the start of its random sequence.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn sampler(&self) -> Result<Sampler> {
        self.validate()?;
        Ok(Sampler { rng: SplitMix64::new(self.seed), settings: self.clone() })
    }
}

/// Chooses one token after another.
#[derive(Debug, Clone)]
pub struct Sampler {
    settings: Sampling,
    rng: SplitMix64,
}

impl Sampler {
    /// The next token, from the V `logits` and the tokens of the prompt and the answer so far.
    ///
    /// # Errors
    /// [`Error::Logits`] when one is NaN or none is finite.
    pub fn next(&mut self, logits: &[f32], seen: &[u32]) -> Result<u32> {
        check(logits)?;
        let draw = self.draw(seen);
        let row = Tensor::from_vec(logits.to_vec(), &[1, logits.len()])?;
        // One row gives one token.
        Ok(Cpu::default().sample(&row, &[draw])?.first().copied().unwrap_or_default())
    }

    /// How the next token is to be drawn, for an operation that does it where the logits are.
    pub fn draw<'a>(&mut self, seen: &'a [u32]) -> Draw<'a> {
        let Sampling { temperature, top_k, top_p, min_p, repetition_penalty, .. } = self.settings;
        // A greedy choice takes nothing from the sequence.
        let at = if self.settings.is_greedy() { 0.0 } else { self.rng.unit() };
        Draw { temperature, top_k, top_p, min_p, repetition_penalty, seen, at }
    }
}

fn check(logits: &[f32]) -> Result<()> {
    if let Some(position) = logits.iter().position(|x| x.is_nan() || *x == f32::INFINITY) {
        return Err(Error::Logits { found: format!("{} at {position}", logits[position]) });
    }
    if logits.iter().all(|x| !x.is_finite()) {
        return Err(Error::Logits { found: format!("{} values, none finite", logits.len()) });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sampled(temperature: f32) -> Sampling {
        Sampling { temperature, ..Sampling::default() }
    }

    /// The tokens that a thousand draws give, with how often.
    fn histogram(sampling: &Sampling, logits: &[f32]) -> Vec<usize> {
        let mut sampler = sampling.sampler().unwrap();
        let mut counts = vec![0; logits.len()];
        for _ in 0..1000 {
            counts[sampler.next(logits, &[]).unwrap() as usize] += 1;
        }
        counts
    }

    #[test]
    fn refuses_what_it_would_ignore() {
        let ok = sampled(1.0);
        for (bad, field) in [
            (sampled(-1.0), "temperature"),
            (sampled(f32::NAN), "temperature"),
            (Sampling { top_p: 0.0, ..ok.clone() }, "top_p"),
            (Sampling { top_p: f32::NAN, ..ok.clone() }, "top_p"),
            (Sampling { min_p: 1.5, ..ok.clone() }, "min_p"),
            (Sampling { repetition_penalty: 0.0, ..ok.clone() }, "repetition_penalty"),
            (Sampling { top_k: 3, ..Sampling::default() }, "top_k"),
            (Sampling { top_p: 0.5, ..Sampling::default() }, "top_p"),
            (Sampling { min_p: 0.5, ..Sampling::default() }, "min_p"),
            (Sampling { seed: 5, ..Sampling::default() }, "seed"),
        ] {
            assert!(matches!(bad.sampler(), Err(Error::Setting { field: f, .. }) if f == field), "{bad:?}");
        }
        assert!(ok.validate().is_ok() && Sampling::default().validate().is_ok());
    }

    #[test]
    fn refuses_broken_logits() {
        let mut sampler = Sampling::default().sampler().unwrap();
        for bad in [&[][..], &[f32::NAN, 1.0], &[f32::NEG_INFINITY], &[f32::INFINITY, 0.0]] {
            assert!(matches!(sampler.next(bad, &[]), Err(Error::Logits { .. })), "{bad:?}");
        }
        assert_eq!(sampler.next(&[f32::NEG_INFINITY, -3.0], &[]).unwrap(), 1);
    }

    #[test]
    fn repetition_penalty_acts_on_the_greedy_choice() {
        let greedy = Sampling { repetition_penalty: 2.0, ..Sampling::default() };
        assert_eq!(greedy.sampler().unwrap().next(&[1.0, 1.9], &[1]).unwrap(), 0);
    }

    #[test]
    fn frequencies_follow_the_distribution() {
        let logits: Vec<f32> = [0.5_f32, 0.3, 0.2].iter().map(|p| p.ln()).collect();
        let counts = histogram(&Sampling { seed: 7, ..sampled(1.0) }, &logits);
        // Three standard deviations of 1000 draws are at most 48.
        for (count, expected) in counts.iter().zip([500_i32, 300, 200]) {
            assert!((*count as i32 - expected).abs() < 48, "{counts:?}");
        }
    }

    proptest! {
        #[test]
        fn laws(logits in prop::collection::vec(-20.0_f32..20.0, 1..50), seed: u64, temperature in 0.05_f32..5.0) {
            let greedy = Sampling::default().sampler().unwrap().next(&logits, &[]).unwrap();
            let base = Sampling { seed, ..sampled(temperature) };
            let draw = |s: Sampling| s.sampler().unwrap().next(&logits, &[]).unwrap();
            let one = draw(Sampling { top_k: 1, ..base.clone() });
            prop_assert_eq!(logits[one as usize], logits[greedy as usize]);
            let narrow = draw(Sampling { min_p: 1.0, ..base.clone() });
            prop_assert_eq!(logits[narrow as usize], logits[greedy as usize]);
            prop_assert_eq!(draw(Sampling { top_p: 1e-9, ..base.clone() }), greedy);
            prop_assert_eq!(draw(base.clone()), draw(base.clone()), "same seed, same token");
            let wide = Sampling { top_k: logits.len(), top_p: 1.0, min_p: 0.0, ..base.clone() };
            prop_assert_eq!(draw(wide), draw(base.clone()), "open filters change nothing");
            let shifted: Vec<f32> = logits.iter().map(|x| (x * 4.0).round() + 64.0).collect();
            let unshifted: Vec<f32> = shifted.iter().map(|x| x - 64.0).collect();
            let next = |l: &[f32]| base.sampler().unwrap().next(l, &[]).unwrap();
            prop_assert_eq!(next(&shifted), next(&unshifted), "a constant added to all logits changes nothing");
        }
    }
}
