//! Tables for people and for programs.
use serde_json::{Map, Value as Json, json};

use super::{Comparison, Measure, Row, RowKind, ScoreTable, Scored, compare};

/// How a table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Aligned columns for a terminal.
    Table,
    /// A Markdown table.
    Markdown,
    /// Comma-separated values, a line for each file and row, with intervals in columns of their own.
    Csv,
    /// Everything as one JSON document: rows with kinds and intervals, notes and comparisons.
    Json,
}

/// `{"categories": {NAME: {"correct", "total", "score"}}, "overall": {…}}`: the scores alone.
pub fn scores_json(table: &ScoreTable) -> Json {
    let numbers = |m: &Measure| json!({"correct": number(m.correct), "total": number(m.total), "score": m.score});
    let categories: Map<String, Json> = table
        .rows
        .iter()
        .filter(|row| row.kind == RowKind::Category)
        .map(|row| (row.name.clone(), numbers(&row.measure)))
        .collect();
    json!({"categories": categories, "overall": table.overall().map(numbers)})
}

/// A whole number as one.
fn number(value: f64) -> Json {
    match value.fract() == 0.0 && value.abs() < 1e15 {
        true => json!(value as i64),
        false => json!(value),
    }
}

/// Writes the tables of several files of one benchmark side by side, each file after the first compared with the first.
/// `names` says what the files are called.
pub fn render(scored: &[Scored], names: &[String], format: Format) -> String {
    let tables: Vec<ScoreTable> = scored.iter().map(Scored::table).collect();
    let comparisons: Vec<Comparison> = scored.iter().skip(1).map(|other| compare(&scored[0], other)).collect();
    match format {
        Format::Table => people(&tables, names, &comparisons, scored, false),
        Format::Markdown => people(&tables, names, &comparisons, scored, true),
        Format::Csv => csv(&tables, names),
        Format::Json => whole_json(&tables, names, &comparisons, scored),
    }
}

/// Names of rows in the order of their first appearance in any table: kinds do not mix.
fn row_names(tables: &[ScoreTable]) -> Vec<(&str, RowKind)> {
    let mut names: Vec<(&str, RowKind)> = Vec::new();
    for kind in [RowKind::Category, RowKind::Group, RowKind::Overall] {
        for row in tables.iter().flat_map(|table| &table.rows).filter(|row| row.kind == kind) {
            if !names.contains(&(row.name.as_str(), kind)) {
                names.push((&row.name, kind));
            }
        }
    }
    names
}

fn find<'a>(table: &'a ScoreTable, (name, kind): (&str, RowKind)) -> Option<&'a Row> {
    table.rows.iter().find(|row| row.name == name && row.kind == kind)
}

fn people(
    tables: &[ScoreTable],
    names: &[String],
    comparisons: &[Comparison],
    scored: &[Scored],
    markdown: bool,
) -> String {
    let lenient = tables.iter().flat_map(|table| &table.rows).any(|row| row.measure.lenient.is_some());
    let mut grid = vec![vec![tables.first().map_or("", |t| t.benchmark).to_owned()]];
    for name in names {
        grid[0].extend([name.clone(), "95 %".into(), "of".into()]);
        grid[0].extend(lenient.then(|| "lenient".into()));
    }
    for wanted in row_names(tables) {
        let mut line = vec![wanted.0.to_owned()];
        for table in tables {
            let cells = find(table, wanted).map(|row| cells(&row.measure));
            let [score, interval, of, also] = cells.unwrap_or_default();
            line.extend([score, interval, of]);
            line.extend(lenient.then_some(also));
        }
        grid.push(line);
    }
    let mut text = if markdown { markdown_table(&grid) } else { terminal_table(&grid) };
    let (code, item) = if markdown { ("`", "\n- ") } else { ("", "\n") };
    for (comparison, name) in comparisons.iter().zip(names.iter().skip(1)) {
        let Comparison { shared, first_only, second_only, difference, interval, test, p_value } = comparison;
        let interval = interval.map(|i| format!(" (95 %: {:+.1} to {:+.1})", i.low, i.high)).unwrap_or_default();
        let p = if *p_value < 1e-4 { "< 0.0001".into() } else { format!("= {p_value:.4}") };
        text += &format!(
            "{item}{code}{name}{code} against {code}{}{code}: {difference:+.1}{interval} over {shared} shared questions; \
             {second_only} better, {first_only} worse, {test} p {p}",
            names[0]
        );
    }
    for (notes, name) in scored.iter().map(|s| &s.notes).zip(names) {
        for note in notes {
            text += &format!("{item}{code}{name}{code}: {note}");
        }
    }
    text.trim_end().to_owned() + "\n"
}

/// Score, interval, what it was made from, lenient score.
fn cells(m: &Measure) -> [String; 4] {
    let interval = m.interval.map(|i| format!("{:.1}–{:.1}", i.low, i.high)).unwrap_or_default();
    let lenient = m.lenient.map(|score| format!("{score:.1}")).unwrap_or_default();
    [format!("{:.1}", m.score), interval, format!("{}/{}", brief(m.correct), brief(m.total)), lenient]
}

/// Whole numbers as such, others with two decimals.
fn brief(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

/// Columns padded to their widest cell: the first to the left, numbers to the right.
fn terminal_table(grid: &[Vec<String>]) -> String {
    let columns = grid.iter().map(Vec::len).max().unwrap_or(0);
    let length = |cell: &String| cell.chars().count();
    let width = |column| grid.iter().filter_map(|line| line.get(column)).map(length).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (place, line) in grid.iter().enumerate() {
        let cells: Vec<String> = line
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, &width))| {
                let pad = " ".repeat(width - length(cell));
                if column == 0 { format!("{cell}{pad}") } else { format!("{pad}{cell}") }
            })
            .collect();
        text += cells.join("  ").trim_end();
        text.push('\n');
        if place == 0 {
            text += &"─".repeat(widths.iter().sum::<usize>() + 2 * columns.saturating_sub(1));
            text.push('\n');
        }
    }
    text
}

fn markdown_table(grid: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut lines = grid.iter();
    let head = lines.next().map_or(&[][..], Vec::as_slice);
    let rule: Vec<String> = head.iter().enumerate().map(|(i, _)| if i == 0 { "---" } else { "--:" }.into()).collect();
    let escaped: Vec<String> = head.iter().map(|cell| cell.replace('|', "\\|")).collect();
    line(&escaped) + &line(&rule) + &lines.map(|cells| line(cells)).collect::<String>()
}

fn csv(tables: &[ScoreTable], names: &[String]) -> String {
    let quoted = |text: &str| match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    };
    let mut text = String::from("file,benchmark,kind,name,correct,total,score,low,high,lenient\n");
    for (table, file) in tables.iter().zip(names) {
        for Row { name, kind, measure: m } in &table.rows {
            let optional = |value: Option<f64>| value.map(|v| v.to_string()).unwrap_or_default();
            let (low, high) = (optional(m.interval.map(|i| i.low)), optional(m.interval.map(|i| i.high)));
            let head = [quoted(file), table.benchmark.into(), kind_name(*kind).into(), quoted(name)].join(",");
            let lenient = optional(m.lenient);
            text += &format!("{head},{},{},{},{low},{high},{lenient}\n", m.correct, m.total, m.score);
        }
    }
    text
}

fn kind_name(kind: RowKind) -> &'static str {
    match kind {
        RowKind::Category => "category",
        RowKind::Group => "group",
        RowKind::Overall => "overall",
    }
}

fn whole_json(tables: &[ScoreTable], names: &[String], comparisons: &[Comparison], scored: &[Scored]) -> String {
    let line = |row: &Row| {
        let Measure { correct, total, score, interval, lenient } = row.measure;
        json!({
            "name": row.name, "kind": kind_name(row.kind), "correct": correct, "total": total, "score": score,
            "interval": interval, "lenient": lenient,
        })
    };
    let files: Vec<Json> = tables
        .iter()
        .zip(names)
        .zip(scored)
        .map(|((table, name), scored)| {
            let rows: Vec<Json> = table.rows.iter().map(line).collect();
            json!({"file": name, "benchmark": table.benchmark, "rows": rows, "notes": scored.notes})
        })
        .collect();
    let comparisons: Vec<Json> = comparisons
        .iter()
        .zip(names.iter().skip(1))
        .map(|(comparison, name)| json!({"first": names[0], "second": name, "paired": comparison}))
        .collect();
    format!("{:#}\n", json!({"files": files, "comparisons": comparisons}))
}

#[cfg(test)]
mod tests {
    use super::super::{Layout, Outcome, Overall, Value};
    use super::*;

    fn sample(rights: [bool; 4]) -> Scored {
        let layout = Layout {
            benchmark: "sample",
            categories: &["one", "two"],
            groups: &[("both", &["one", "two"])],
            groups_are: Overall::Micro,
            overall: Overall::Micro,
            scale: 100.0,
        };
        let outcome = |(i, right): (usize, bool)| Outcome {
            id: i.to_string(),
            category: if i < 3 { "one" } else { "two" }.into(),
            value: Value::Right(right),
            lenient: Some(true),
        };
        Scored { layout, outcomes: rights.into_iter().enumerate().map(outcome).collect(), notes: vec!["a note".into()] }
    }

    #[test]
    fn scores_have_the_agreed_form() {
        let expected = json!({
            "categories": {
                "one": {"correct": 1, "total": 3, "score": 100.0 / 3.0},
                "two": {"correct": 1, "total": 1, "score": 100.0},
            },
            "overall": {"correct": 2, "total": 4, "score": 50.0},
        });
        assert_eq!(scores_json(&sample([true, false, false, true]).table()), expected);
    }

    #[test]
    fn a_table_is_aligned() {
        let text = render(&[sample([true, false, false, true])], &["run".into()], Format::Table);
        let expected = "\
sample     run        95 %   of  lenient
────────────────────────────────────────
one       33.3    6.1–79.2  1/3    100.0
two      100.0  20.7–100.0  1/1    100.0
both      50.0   15.0–85.0  2/4    100.0
overall   50.0   15.0–85.0  2/4    100.0

run: a note
";
        assert_eq!(text, expected);
    }

    #[test]
    fn runs_stand_side_by_side() {
        let runs = [sample([true, false, false, true]), sample([true, true, true, true])];
        let names = ["a|b".to_owned(), "c,\"d\"".to_owned()];
        let text = render(&runs, &names, Format::Markdown);
        assert!(text.starts_with("| sample | a\\|b | 95 % | of | lenient | c,\"d\" |"), "{text}");
        assert!(text.contains("\n| one | 33.3 | 6.1–79.2 | 1/3 | 100.0 | 100.0 |"), "{text}");
        assert!(text.contains("\n- `c,\"d\"` against `a|b`: +50.0 (95 %: +0.0 to +100.0) over 4"), "{text}");
        assert!(text.contains("2 better, 0 worse, McNemar p = 0.5000"), "{text}");
        let csv = render(&runs, &names, Format::Csv);
        assert!(csv.contains("\n\"c,\"\"d\"\"\",sample,group,both,4,4,100,"), "{csv}");
        assert_eq!(csv.lines().count(), 1 + 2 * 4);
        let whole: Json = serde_json::from_str(&render(&runs, &names, Format::Json)).unwrap();
        assert_eq!(whole["comparisons"][0]["paired"]["second_only"], 2);
        assert_eq!(whole["files"][1]["rows"][3]["kind"], "overall");
    }
}
