//! The table that every benchmark's scores end in.
use super::interval::{bootstrap, wilson};
use super::{Interval, Layout, Outcome, Overall, Value};

/// Scores by category and overall.
#[derive(Clone, Debug)]
pub struct ScoreTable {
    /// The benchmark's name.
    pub benchmark: &'static str,
    /// Categories, then groups, then the overall score.
    pub rows: Vec<Row>,
}

/// One line of a table.
#[derive(Clone, Debug)]
pub struct Row {
    /// What it is about.
    pub name: String,
    /// What kind of line it is.
    pub kind: RowKind,
    /// What was measured.
    pub measure: Measure,
}

/// What a line of a table sums up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowKind {
    /// One category.
    Category,
    /// Several categories.
    Group,
    /// Everything.
    Overall,
}

/// A score and what it was made from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measure {
    /// Questions answered right, or the sum of their scores; of a judge's ratio the sum over the model's answers.
    pub correct: f64,
    /// Questions; of a ratio the sum of the reference's scores.
    pub total: f64,
    /// The score, in the layout's scale: per cent where that is 100.
    pub score: f64,
    /// 95 %: Wilson's for shares, bootstrap for means and ratios. None where nothing was measured.
    pub interval: Option<Interval>,
    /// The score of lenient extraction, where the benchmark has one.
    pub lenient: Option<f64>,
}

impl ScoreTable {
    /// Sums outcomes up. Categories that the layout does not list come after those that it does, by name.
    pub fn new(layout: &Layout, outcomes: &[Outcome]) -> Self {
        let mut names: Vec<&str> = layout.categories.to_vec();
        let mut others: Vec<&str> = outcomes.iter().map(|o| o.category.as_str()).collect();
        others.sort_unstable();
        others.dedup();
        others.retain(|name| !names.contains(name));
        names.extend(others);
        let of = |wanted: &[&str]| -> Vec<&Outcome> {
            outcomes.iter().filter(|o| wanted.contains(&o.category.as_str())).collect()
        };
        let mut rows = Vec::new();
        let over = |how: Overall, names: &[&str], chosen: &[&Outcome]| match how {
            Overall::Micro => measure(chosen, layout.scale),
            Overall::MeanOfCategories => mean_of_categories(names, chosen, layout.scale),
        };
        let mut add = |name: &str, kind, how, members: &[&str]| {
            let chosen = of(members);
            if !chosen.is_empty() {
                rows.push(Row { name: name.to_owned(), kind, measure: over(how, members, &chosen) });
            }
        };
        for name in &names {
            add(name, RowKind::Category, Overall::Micro, &[name]);
        }
        for (name, members) in layout.groups {
            add(name, RowKind::Group, layout.groups_are, members);
        }
        let all: Vec<&Outcome> = outcomes.iter().collect();
        let measure = over(layout.overall, &names, &all);
        rows.push(Row { name: "overall".into(), kind: RowKind::Overall, measure });
        Self { benchmark: layout.benchmark, rows }
    }

    /// The last row.
    pub fn overall(&self) -> Option<&Measure> {
        self.rows.iter().find(|row| row.kind == RowKind::Overall).map(|row| &row.measure)
    }

    /// The row of a category or a group.
    pub fn row(&self, name: &str) -> Option<&Measure> {
        self.rows.iter().find(|row| row.name == name).map(|row| &row.measure)
    }
}

/// What a value adds to the two sums whose quotient is a score.
pub(super) fn parts(value: Value) -> (f64, f64) {
    match value {
        Value::Right(right) => (f64::from(u8::from(right)), 1.0),
        Value::Score(score) => (score, 1.0),
        Value::Against { score, reference } => (score, reference),
    }
}

fn quotient<'a>(outcomes: impl Iterator<Item = &'a &'a Outcome>) -> (f64, f64) {
    outcomes.map(|o| parts(o.value)).fold((0.0, 0.0), |(a, b), (x, y)| (a + x, b + y))
}

/// The micro average of some outcomes.
fn measure(outcomes: &[&Outcome], scale: f64) -> Measure {
    let (correct, total) = quotient(outcomes.iter());
    let scaled = |Interval { low, high }: Interval| Interval { low: scale * low, high: scale * high };
    let shares = outcomes.iter().all(|o| matches!(o.value, Value::Right(_)));
    let interval = (!outcomes.is_empty()).then(|| match shares {
        true => wilson(correct as usize, outcomes.len()),
        false => bootstrap(outcomes.len(), |drawn| {
            let (a, b) = quotient(drawn.iter().map(|&i| &outcomes[i]));
            a / b
        }),
    });
    let lenient: Option<Vec<bool>> = outcomes.iter().map(|o| o.lenient).collect();
    let lenient = lenient.filter(|all| !all.is_empty());
    Measure {
        correct,
        total,
        score: scale * correct / total,
        interval: interval.map(scaled),
        lenient: lenient.map(|all| scale * all.iter().filter(|&&right| right).count() as f64 / all.len() as f64),
    }
}

/// The mean of the categories' scores. The bootstrap draws ids, so that the categories' values of one id stay together.
fn mean_of_categories(names: &[&str], outcomes: &[&Outcome], scale: f64) -> Measure {
    let mean = |chosen: &mut dyn Iterator<Item = &&Outcome>| {
        let mut sums = vec![(0.0, 0.0); names.len()];
        for outcome in chosen {
            if let Some(at) = names.iter().position(|name| *name == outcome.category) {
                let (x, y) = parts(outcome.value);
                sums[at] = (sums[at].0 + x, sums[at].1 + y);
            }
        }
        let scores: Vec<f64> = sums.iter().filter(|(_, total)| *total > 0.0).map(|(sum, total)| sum / total).collect();
        scores.iter().sum::<f64>() / scores.len() as f64
    };
    let mut of_id = std::collections::BTreeMap::<&str, Vec<&&Outcome>>::new();
    for outcome in outcomes {
        of_id.entry(&outcome.id).or_default().push(outcome);
    }
    let of_id: Vec<Vec<&&Outcome>> = of_id.into_values().collect();
    let interval = (!of_id.is_empty())
        .then(|| bootstrap(of_id.len(), |drawn| mean(&mut drawn.iter().flat_map(|&i| of_id[i].iter().copied()))));
    let score = mean(&mut outcomes.iter());
    Measure {
        correct: score * of_id.len() as f64,
        total: of_id.len() as f64,
        score: scale * score,
        interval: interval.map(|i| Interval { low: scale * i.low, high: scale * i.high }),
        lenient: None,
    }
}
