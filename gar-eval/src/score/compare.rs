//! Two runs over the same questions: is one better, or was it luck?
use std::collections::HashMap;

use serde::Serialize;

use super::interval::bootstrap;
use super::{Interval, Scored, Value};

/// Two runs, compared question by question over those that both answered.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// Questions that both runs have.
    pub shared: usize,
    /// Questions that only the first answered right. Of scores: where the first has the higher one.
    pub first_only: usize,
    /// Questions that only the second answered right. Of scores: where the second has the higher one.
    pub second_only: usize,
    /// The second's score minus the first's over the shared questions, in the table's scale.
    pub difference: f64,
    /// 95 % interval of the difference: questions are drawn, both answers together.
    pub interval: Option<Interval>,
    /// The test of the two counts above: McNemar's, or the sign test where scores are compared.
    pub test: &'static str,
    /// Its exact, two-sided p-value.
    pub p_value: f64,
}

/// Compares two scored files of one benchmark. Questions that only one of them has are left out.
pub fn compare(first: &Scored, second: &Scored) -> Comparison {
    let key = |o: &super::Outcome| (o.category.clone(), o.id.clone());
    let theirs: HashMap<_, Value> = second.outcomes.iter().map(|o| (key(o), o.value)).collect();
    let pairs: Vec<(Value, Value)> =
        first.outcomes.iter().filter_map(|o| Some((o.value, *theirs.get(&key(o))?))).collect();
    let count = |wanted: fn(f64, f64) -> bool| pairs.iter().filter(|(a, b)| wanted(own(*a), own(*b))).count();
    let (first_only, second_only) = (count(|a, b| a > b), count(|a, b| a < b));
    let scale = first.layout.scale;
    let difference = |drawn: &[usize]| {
        let sum = |of: fn(&(Value, Value)) -> Value| {
            let parts = drawn.iter().map(|&i| super::table::parts(of(&pairs[i])));
            let (score, weight) = parts.fold((0.0, 0.0), |(a, b), (x, y)| (a + x, b + y));
            score / weight
        };
        scale * (sum(|pair| pair.1) - sum(|pair| pair.0))
    };
    let all: Vec<usize> = (0..pairs.len()).collect();
    let binary = pairs.iter().all(|pair| matches!(pair, (Value::Right(_), Value::Right(_))));
    Comparison {
        shared: pairs.len(),
        first_only,
        second_only,
        difference: difference(&all),
        interval: (!pairs.is_empty()).then(|| bootstrap(pairs.len(), difference)),
        test: if binary { "McNemar" } else { "sign test" },
        p_value: binomial(first_only, second_only),
    }
}

/// What a value says about the model's own answer.
fn own(value: Value) -> f64 {
    match value {
        Value::Right(right) => f64::from(u8::from(right)),
        Value::Score(score) | Value::Against { score, .. } => score,
    }
}

/// McNemar's test and the sign test alike: the two-sided exact probability of discordant counts as uneven as `b` and `c`, or
/// more, if both runs were equally good: 2·Σₖ₌₀^min(b,c) C(b+c,k)/2^(b+c), at most 1. Exact at every count, so no
/// approximation for large ones is needed.
fn binomial(b: usize, c: usize) -> f64 {
    let n = b + c;
    // C(n,k)/2ⁿ as logarithms: 2⁻ⁿ alone is below the smallest f64 from n = 1075 on.
    let mut term = -(n as f64) * std::f64::consts::LN_2;
    let mut sum = term.exp();
    for k in 1..=b.min(c) {
        term += ((n - k + 1) as f64 / k as f64).ln();
        sum += term.exp();
    }
    (2.0 * sum).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::super::{Layout, Outcome, Overall};
    use super::*;

    /// Values of a binomial test of k in n at one half, computed with exact fractions.
    #[test]
    fn mcnemar_is_a_binomial_test() {
        for (b, c, expected) in
            [(0, 0, 1.0), (1, 0, 1.0), (5, 0, 0.0625), (2, 8, 0.109375), (10, 10, 1.0), (1, 19, 4.00543212890625e-5)]
        {
            assert!((binomial(b, c) - expected).abs() < 1e-14, "{b}, {c}: {}", binomial(b, c));
            assert_eq!(binomial(b, c), binomial(c, b));
        }
        // Far beyond the range of 2⁻ⁿ: 4 standard deviations of a normal distribution, both sides.
        let large = binomial(9800, 10366);
        assert!((large / 6.8e-5 - 1.0).abs() < 0.05, "{large}");
    }

    #[test]
    fn only_shared_questions_are_compared() {
        let layout = Layout {
            benchmark: "test",
            categories: &["x"],
            groups: &[],
            groups_are: Overall::Micro,
            overall: Overall::Micro,
            scale: 100.0,
        };
        let scored = |rights: &[(&str, bool)]| {
            let outcome = |&(id, right): &(&str, bool)| Outcome {
                id: id.into(),
                category: "x".into(),
                value: Value::Right(right),
                lenient: None,
            };
            Scored { layout, outcomes: rights.iter().map(outcome).collect(), notes: Vec::new() }
        };
        let first = scored(&[("a", true), ("b", false), ("c", false), ("d", true)]);
        let second = scored(&[("c", true), ("b", true), ("a", true), ("e", true)]);
        let found = compare(&first, &second);
        assert_eq!((found.shared, found.first_only, found.second_only), (3, 0, 2));
        assert!((found.difference - 200.0 / 3.0).abs() < 1e-12);
        assert_eq!(found.p_value, 0.5);
        assert_eq!(compare(&first, &scored(&[])).interval, None);
    }
}
