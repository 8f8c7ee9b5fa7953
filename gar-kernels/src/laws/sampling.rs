//! Laws of the choice of tokens.
use ndarray::Array2;
use proptest::{prelude::*, sample::select};

use super::{
    LawConfig, Violation,
    draw::seed,
    judge::{Failure, Judge, Verdict},
    reference,
};
use crate::{
    Device,
    ops::{Draw, Sample},
};

#[derive(Clone, Debug)]
struct Case {
    rows: usize,
    columns: usize,
    /// Distinct logits: few of them give ties.
    levels: usize,
    temperature: f32,
    top_k: usize,
    top_p: f32,
    min_p: f32,
    penalty: f32,
    seed: u64,
}

impl Case {
    /// Logits in eighths, from −8 on: exact in every type, some of them −∞.
    fn logits(&self, config: &LawConfig) -> Array2<f64> {
        let mut values = config.values(self.seed);
        let mut x = Array2::from_shape_simple_fn((self.rows, self.columns), || match values.below(12) {
            0 => f64::NEG_INFINITY,
            _ => values.below(self.levels) as f64 / 8.0 - 8.0,
        });
        x.column_mut(self.columns / 2).fill(-7.5);
        x
    }

    /// Tokens that were seen, some twice, some beyond the row.
    fn seen(&self, config: &LawConfig) -> Vec<u32> {
        let mut values = config.values(!self.seed);
        (0..self.columns.min(40)).map(|_| values.below(self.columns + 1) as u32).collect()
    }

    fn draws<'a>(&self, config: &LawConfig, seen: &'a [u32]) -> Vec<Draw<'a>> {
        let mut values = config.values(self.seed.rotate_left(7));
        let Self { temperature, top_k, top_p, min_p, penalty, .. } = *self;
        let draw = |at| Draw { temperature, top_k, top_p, min_p, repetition_penalty: penalty, seen, at };
        (0..self.rows).map(|_| draw(values.unit())).collect()
    }
}

/// Judges a [`Sample`]: agreement with a sorted distribution in f64 for every filter, ties included; the largest at
/// temperature 0 and for one candidate; rows and settings that are refused.
///
/// # Errors
/// The first law that is broken.
pub fn sample(op: &dyn Sample, device: &dyn Device, config: &LawConfig) -> Result<(), Violation> {
    let judge = Judge { op: "sample", device, config };
    let cases = || {
        let extents = (config.extent(9), config.some_extent(usize::MAX), select(vec![1, 3, 40, 200]), seed());
        let filters = (
            select(vec![0.0_f32, 0.3, 1.0, 4.0]),
            select(vec![0, 1, 5, 50, usize::MAX]),
            select(vec![1.0_f32, 0.9, 0.3, 1e-9]),
            select(vec![0.0_f32, 0.05, 1.0]),
            select(vec![1.0_f32, 1.3]),
        );
        (extents, filters).prop_map(|((rows, columns, levels, seed), (temperature, top_k, top_p, min_p, penalty))| {
            Case { rows, columns, levels, temperature, top_k, top_p, min_p, penalty, seed }
        })
    };
    let compare = |x: &Array2<f64>, draws: &[Draw<'_>]| -> Verdict {
        let found = op.sample(&judge.up(x)?, draws)?;
        let row = |(row, draw): (ndarray::ArrayView1<'_, f64>, &Draw<'_>)| reference::sample(&row.to_vec(), draw);
        let expected: Vec<u32> = x.rows().into_iter().zip(draws).map(row).collect();
        if found == expected {
            return Ok(());
        }
        Err(Failure::new(format!("{expected:?}"), format!("{found:?}")))
    };
    judge.law("the entry at a share of the filtered distribution", cases(), |c| {
        let seen = c.seen(config);
        compare(&c.logits(config), &c.draws(config, &seen))
    })?;
    judge.law("one candidate, by whatever rule, is the largest", cases(), |c| {
        let x = c.logits(config);
        let open = Draw { temperature: 1.0, at: 0.999, ..Draw::GREEDY };
        for draw in [Draw::GREEDY, Draw { top_p: 1e-9, ..open }] {
            compare(&x, &vec![draw; c.rows])?;
        }
        // Ties all stay in the top 1: each has the largest value.
        let tokens = op.sample(&judge.up(&x)?, &vec![Draw { top_k: 1, ..open }; c.rows])?;
        for (row, &token) in x.rows().into_iter().zip(&tokens) {
            let largest = row.fold(f64::NEG_INFINITY, |m, &v| m.max(v));
            if row.get(token as usize) != Some(&largest) {
                return Err(Failure::new(format!("an entry of {largest}"), format!("entry {token}")));
            }
        }
        Ok(())
    })?;
    judge.law("rows that are not numbers, and settings out of range, are refused", cases(), |c| {
        let mut x = c.logits(config);
        let greedy = vec![Draw::GREEDY; c.rows];
        let numbers = judge.up(&x)?;
        judge.refuses("a draw too many", op.sample(&numbers, &vec![Draw::GREEDY; c.rows + 1]))?;
        if c.rows == 0 {
            return Ok(());
        }
        let open = Draw { temperature: 1.0, ..Draw::GREEDY };
        for bad in [
            Draw { temperature: -1.0, ..open },
            Draw { top_p: 0.0, ..open },
            Draw { min_p: f32::NAN, ..open },
            Draw { repetition_penalty: 0.0, ..open },
            Draw { at: 1.0, ..open },
        ] {
            judge.refuses(&format!("{bad:?}"), op.sample(&numbers, &vec![bad; c.rows]))?;
        }
        for bad in [f64::NAN, f64::INFINITY] {
            x[[c.rows - 1, c.columns - 1]] = bad;
            judge.refuses(&format!("an entry of {bad}"), op.sample(&judge.up(&x)?, &greedy))?;
        }
        x.row_mut(c.rows - 1).fill(f64::NEG_INFINITY);
        judge.refuses("a row without finite entries", op.sample(&judge.up(&x)?, &greedy))
    })
}
