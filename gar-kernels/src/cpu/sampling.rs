//! The choice of tokens on the CPU: candidates sorted, then filtered one rule after another.
use super::{Cpu, activation};
use crate::{
    Result, Tensor,
    ops::{Draw, Sample},
};

impl Sample for Cpu {
    fn sample(&self, logits: &Tensor, draws: &[Draw<'_>]) -> Result<Vec<u32>> {
        let [_, columns] = Draw::check(logits, draws)?;
        let rows = activation("sample", "logits", logits)?.chunks_exact(columns).zip(draws).enumerate();
        rows.map(|(row, (logits, draw))| {
            let broken = logits.iter().position(|x| x.is_nan() || *x == f32::INFINITY);
            if broken.is_some() || logits.iter().all(|x| !x.is_finite()) {
                return Err(Draw::refuse(row, broken));
            }
            Ok(choose(logits, draw))
        })
        .collect()
    }
}

/// The token of one row of numbers.
fn choose(logits: &[f32], draw: &Draw<'_>) -> u32 {
    let penalised = (draw.repetition_penalty != 1.0).then(|| penalise(logits, draw.seen, draw.repetition_penalty));
    let logits = penalised.as_deref().unwrap_or(logits);
    if draw.temperature == 0.0 {
        return largest(logits);
    }
    let mut candidates = Candidates::new(logits, draw.temperature);
    candidates.top_k(draw.top_k);
    candidates.top_p(draw.top_p);
    candidates.min_p(draw.min_p);
    candidates.draw(draw.at)
}

/// The first of the largest logits.
fn largest(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (i, &x) in logits.iter().enumerate() {
        if x > logits[best] {
            best = i;
        }
    }
    best as u32
}

/// Makes each distinct token of `seen` less likely, once.
fn penalise(logits: &[f32], seen: &[u32], penalty: f32) -> Vec<f32> {
    let mut out = logits.to_vec();
    for &token in seen {
        let i = token as usize;
        if let Some(&x) = logits.get(i) {
            out[i] = if x < 0.0 { x * penalty } else { x / penalty };
        }
    }
    out
}

/// Tokens that may still be drawn, the most likely first, of equal ones the lower id first.
struct Candidates {
    /// Token and scaled logit.
    tokens: Vec<(u32, f32)>,
}

impl Candidates {
    fn new(logits: &[f32], temperature: f32) -> Self {
        // Dividing the distance to the largest logit keeps a tiny temperature from overflowing.
        let top = logits[largest(logits) as usize];
        let mut tokens: Vec<(u32, f32)> =
            (0..).zip(logits).map(|(id, &x)| (id, (x - top) / temperature)).filter(|(_, x)| x.is_finite()).collect();
        tokens.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        Self { tokens }
    }

    /// Drops everything below the `k`-th largest; 0 drops nothing.
    fn top_k(&mut self, k: usize) {
        if let Some(&(_, smallest)) = k.checked_sub(1).and_then(|last| self.tokens.get(last)) {
            self.tokens.retain(|&(_, x)| x >= smallest);
        }
    }

    /// Keeps tokens until their probability reaches `p`.
    fn top_p(&mut self, p: f32) {
        if p >= 1.0 {
            return;
        }
        let weights = self.weights();
        let enough = f64::from(p) * weights.iter().sum::<f64>();
        let mut reached = 0.0;
        let still_short = |weight: &&f64| {
            let short = reached < enough;
            reached += **weight;
            short
        };
        let needed = weights.iter().take_while(still_short).count();
        self.tokens.truncate(needed.max(1));
    }

    /// Drops tokens less probable than `p` times the most probable one.
    fn min_p(&mut self, p: f32) {
        let weights = self.weights();
        let kept = weights.iter().take_while(|&&w| w >= f64::from(p)).count();
        self.tokens.truncate(kept.max(1));
    }

    /// The token at the share `at` ∈ [0, 1) of the distribution.
    fn draw(&self, at: f64) -> u32 {
        let weights = self.weights();
        let target = at * weights.iter().sum::<f64>();
        let mut reached = 0.0;
        for (&(token, _), weight) in self.tokens.iter().zip(&weights) {
            reached += weight;
            if target < reached {
                return token;
            }
        }
        // Rounding may leave the target at the very end.
        self.tokens.last().map_or(0, |&(token, _)| token)
    }

    /// Probabilities relative to the most probable token, whose logit is 0.
    fn weights(&self) -> Vec<f64> {
        self.tokens.iter().map(|&(_, x)| f64::from(x).exp()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_keep_what_their_rules_say() {
        let logits: Vec<f32> = [0.1_f32, 0.2, 0.4, 0.05, 0.2, 0.05].iter().map(|p| p.ln()).collect();
        let kept = |top_k, top_p, min_p| -> Vec<u32> {
            let mut candidates = Candidates::new(&logits, 1.0);
            candidates.top_k(top_k);
            candidates.top_p(top_p);
            candidates.min_p(min_p);
            candidates.tokens.iter().map(|t| t.0).collect()
        };
        assert_eq!(kept(2, 1.0, 0.0), [2, 1, 4], "a tie at the border stays");
        assert_eq!(kept(0, 0.39, 0.0), [2]);
        assert_eq!(kept(0, 0.5, 0.0), [2, 1]);
        assert_eq!(kept(0, 1.0, 0.3), [2, 1, 4]);
        assert_eq!(kept(0, 1.0, 1.0), [2]);
        assert_eq!(kept(3, 0.7, 0.0), [2, 1], "top-p sees what top-k left");
    }

    #[test]
    fn repetition_penalty_acts_once_on_each_seen_token() {
        assert_eq!(penalise(&[2.0, -2.0, 0.0, 3.0], &[0, 1, 0, 9], 2.0), [1.0, -4.0, 0.0, 3.0]);
    }
}
