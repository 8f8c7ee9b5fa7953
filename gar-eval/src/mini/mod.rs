//! The mini GAR-Bench of drawn scenes, scored by what the generator knows: no judge is asked.
//!
//! Letters are compared as GAR-Bench-VQA compares them. A simple caption is right where it states a relation that holds,
//! a detailed one where it names shape, colour and texture and such a relation; its parts are counted one by one, too.
//! Everything is counted by the number of regions N, as averages over N hide a model that mixes regions up.
mod share;
mod table;

use gar_data::MiniBench;
use gar_data::scene::CaptionVerdict;
use rayon::prelude::*;

pub use share::{MOST_REGIONS, Share, Shares};

use crate::Result;
use crate::score::exact;
use crate::score::gar_bench::VQA_TYPES;

/// Scores of a mini GAR-Bench.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MiniScores {
    /// In the table's order.
    pub rows: Vec<MiniRow>,
}

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MiniRow {
    /// What is counted, by the paper's names: `position`, `non-entity`, `simple caption`, …
    pub name: &'static str,
    /// What kind of line it is.
    pub kind: MiniKind,
    /// Right answers by N.
    pub shares: Shares,
}

/// What a line of the table sums up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MiniKind {
    /// The questions of one category, captions of one sort included.
    Category,
    /// One part of the detailed captions.
    Part,
    /// Several categories.
    Group,
    /// Every question.
    Overall,
}

/// Scores the answers to `bench`; `said` gives the answer to the question about a picture, named as in the annotations.
/// A question without an answer is wrong.
///
/// # Errors
/// Those of [`MiniBench::scene`].
pub fn score<'a>(bench: &MiniBench, said: impl Fn(&str) -> Option<&'a str> + Sync) -> Result<MiniScores> {
    let said = |image: &str| said(image).unwrap_or_default();
    let mut rows = Vec::new();
    let mut add = |name, kind, shares: Shares| rows.push(MiniRow { name, kind, shares });

    let mut choices = Shares::default();
    for (kind, name) in VQA_TYPES {
        let mut shares = Shares::default();
        for item in bench.vqa.iter().filter(|item| item.category == kind) {
            shares.count(item.mask_rles.len(), exact(said(&item.image), &item.answer));
        }
        choices += &shares;
        add(name, MiniKind::Category, shares);
    }
    add("multiple choice", MiniKind::Group, choices);

    // Each scene is drawn again for its truth, which is worth a thread.
    let simple = bench.simple.par_iter().map(|item| bench.judge_simple(item, said(&item.image)));
    let mut shares = Shares::default();
    for (item, verdict) in bench.simple.iter().zip(simple.collect::<Vec<_>>()) {
        shares.count(item.mask_rles.len(), verdict? == Some(true));
    }
    let simple = shares;
    add("simple caption", MiniKind::Category, simple);

    let detailed = bench.detailed.par_iter().map(|item| bench.judge(item, said(&item.image)));
    let mut parts = PARTS.map(|_| Shares::default());
    for (item, verdict) in bench.detailed.iter().zip(detailed.collect::<Vec<_>>()) {
        let verdict = verdict?;
        for (shares, (_, is_right)) in parts.iter_mut().zip(PARTS) {
            shares.count(item.mask_rles.len(), verdict.as_ref().is_some_and(is_right));
        }
    }
    for ((name, _), shares) in PARTS.into_iter().zip(parts) {
        add(name, if name == DETAILED { MiniKind::Category } else { MiniKind::Part }, shares);
    }
    let mut overall = Shares::default();
    rows.iter().filter(|row| row.kind == MiniKind::Category).for_each(|row| overall += &row.shares);
    rows.push(MiniRow { name: "overall", kind: MiniKind::Overall, shares: overall });
    Ok(MiniScores { rows })
}

const DETAILED: &str = "detailed caption";

type IsRight = fn(&CaptionVerdict) -> bool;

/// The row of the detailed captions as a whole, and those of their parts.
const PARTS: [(&str, IsRight); 7] = [
    (DETAILED, CaptionVerdict::passes),
    ("shape", |verdict| verdict.shape),
    ("color", |verdict| verdict.color),
    ("texture", |verdict| verdict.texture),
    ("material", |verdict| verdict.material),
    ("size", |verdict| verdict.size),
    ("relation", |verdict| verdict.relation == Some(true)),
];

impl MiniScores {
    /// The line of a category or a group, or `overall`.
    pub fn row(&self, name: &str) -> Option<&Shares> {
        self.rows.iter().find(|row| row.kind != MiniKind::Part && row.name == name).map(|row| &row.shares)
    }

    /// The line of a part of the detailed captions.
    pub fn part(&self, name: &str) -> Option<&Shares> {
        self.rows.iter().find(|row| row.kind == MiniKind::Part && row.name == name).map(|row| &row.shares)
    }
}
