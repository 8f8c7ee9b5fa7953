//! Errors planted in the choice of tokens.
use super::*;

/// Changes what the right implementation is asked.
struct Plant(fn(Draw<'_>) -> Draw<'_>);

impl Sample for Plant {
    fn sample(&self, logits: &Tensor, draws: &[Draw<'_>]) -> Result<Vec<u32>> {
        Draw::check(logits, draws)?;
        let changed: Vec<Draw<'_>> = draws.iter().map(|&draw| (self.0)(draw)).collect();
        Cpu::default().sample(logits, &changed)
    }
}

#[test]
fn filters_left_out() {
    caught!(sample, Plant(|draw| Draw { top_k: 0, ..draw }));
    caught!(sample, Plant(|draw| Draw { top_p: 1.0, ..draw }));
    caught!(sample, Plant(|draw| Draw { min_p: 0.0, ..draw }));
}

#[test]
fn other_settings() {
    caught!(sample, Plant(|draw| Draw { temperature: draw.temperature.min(1.0), ..draw }));
    caught!(sample, Plant(|draw| Draw { repetition_penalty: 1.0, ..draw }));
    caught!(sample, Plant(|draw| Draw { at: 1.0 - draw.at - 1e-12, ..draw }));
}
