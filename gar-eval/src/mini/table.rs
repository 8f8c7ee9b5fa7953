//! Scores as a table of less than 100 columns, and as JSON.
use serde_json::{Map, Value, json};

use super::{MOST_REGIONS, MiniKind, MiniRow, MiniScores, Share, Shares};
use crate::score::Interval;

impl MiniScores {
    /// The table: a row a category, a column a number of regions; per cent. Rows and columns without a question show a
    /// dash.
    pub fn table(&self) -> String {
        let mut head = format!("{:16}", "mini GAR-Bench");
        (1..=MOST_REGIONS).for_each(|n| head += &format!("{:>7}", format!("N = {n}")));
        head += &format!("{:>7}{:>12}{:>7}{:>12}{:>10}", "N ≥ 2", "95 %", "all", "95 %", "of");
        let mut lines = vec![head.clone(), "─".repeat(head.chars().count())];
        lines.extend(self.rows.iter().map(line));
        if let Some(MiniRow { shares, .. }) = self.rows.last() {
            lines.push(questions(shares));
        }
        lines.join("\n") + "\n"
    }

    /// `{"categories": {NAME: ROW}, "groups": {…}, "caption_parts": {…}, "overall": ROW}`, where a row is
    /// `{"correct", "total", "score", "interval": {"low", "high"}, "regions": {"1": …}, "several": …}`; scores in per cent
    /// and not rounded, `several` over two regions and more, `null` where nothing was asked.
    pub fn json(&self) -> Value {
        let of = |kind: MiniKind| -> Map<String, Value> {
            let rows = self.rows.iter().filter(|row| row.kind == kind);
            rows.map(|row| (row.name.to_owned(), row.shares.json())).collect()
        };
        let overall = self.rows.iter().find(|row| row.kind == MiniKind::Overall);
        json!({
            "categories": of(MiniKind::Category),
            "groups": of(MiniKind::Group),
            "caption_parts": of(MiniKind::Part),
            "overall": overall.map(|row| row.shares.json()),
        })
    }
}

fn line(MiniRow { name, kind, shares }: &MiniRow) -> String {
    let name = if *kind == MiniKind::Part { format!("  {name}") } else { (*name).to_owned() };
    let mut line = format!("{name:16}");
    (1..=MOST_REGIONS).for_each(|n| line += &format!("{:>7}", score(shares.over(n))));
    let (several, all) = (shares.several(), shares.all());
    let counts = format!("{}/{}", all.correct, all.total);
    line + &format!("{:>7}{:>12}{:>7}{:>12}{counts:>10}", score(several), interval(several), score(all), interval(all))
}

/// How many questions stand in each column.
fn questions(shares: &Shares) -> String {
    let mut line = format!("{:16}", "questions");
    (1..=MOST_REGIONS).for_each(|n| line += &format!("{:>7}", shares.over(n).total));
    line + &format!("{:>7}{:>12}{:>7}", shares.several().total, "", shares.all().total)
}

fn score(share: Share) -> String {
    share.score().map_or_else(|| "–".to_owned(), |score| format!("{score:.1}"))
}

fn interval(share: Share) -> String {
    share.interval().map_or_else(String::new, |Interval { low, high }| format!("{low:.1}–{high:.1}"))
}
