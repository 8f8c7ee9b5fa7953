//! `gar eval score`.
use std::path::PathBuf;

use clap::{Args, ValueEnum, builder::PossibleValuesParser};
use gar_eval::score::{Format, SCORERS, Scored, render, scores_json};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::output;

#[derive(Debug, Args)]
pub(crate) struct ScoreArgs {
    /// The benchmark
    #[arg(value_name = "BENCHMARK", value_parser = names())]
    benchmark: String,
    /// Outputs, or run directories
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Print the scores alone: `{"categories": {NAME: {"correct", "total", "score"}}, "overall": {…}}`; of several
    /// files a list of `{"file", "categories", "overall"}`
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// How the table is written
    #[arg(long, value_enum, default_value = "table")]
    format: TableFormat,
}

/// [`Format`] on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum TableFormat {
    /// Aligned columns
    Table,
    /// A Markdown table
    Markdown,
    /// A line for each file and row
    Csv,
    /// Rows, intervals, notes and comparisons
    Json,
}

fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(SCORERS.iter().map(|scorer| scorer.name))
}

pub(crate) fn run(args: &ScoreArgs) -> Result<()> {
    let scorer = SCORERS.iter().find(|scorer| scorer.name == args.benchmark);
    let scorer = scorer.ok_or_else(|| Error::Usage(format!("unknown benchmark {:?}", args.benchmark)))?;
    let paths: Vec<&std::path::Path> = args.files.iter().map(PathBuf::as_path).collect();
    let scored = (scorer.score)(&paths)?;
    let files = short_names(&args.files);
    // Several files may be one column.
    let names = if scored.len() == files.len() { files } else { vec![files.join(" + ")] };
    if args.json {
        return output::json(&scores(&scored, &names), true);
    }
    let format = match args.format {
        TableFormat::Table => Format::Table,
        TableFormat::Markdown => Format::Markdown,
        TableFormat::Csv => Format::Csv,
        TableFormat::Json => Format::Json,
    };
    output::text(&render(&scored, &names, format))
}

/// File names alone, unless two files have the same.
fn short_names(paths: &[PathBuf]) -> Vec<String> {
    let whole = || paths.iter().map(|path| path.display().to_string());
    let short: Vec<String> = paths
        .iter()
        .zip(whole())
        .map(|(path, whole)| path.file_name().map_or(whole, |name| name.to_string_lossy().into_owned()))
        .collect();
    let distinct = short.iter().enumerate().all(|(at, name)| !short[..at].contains(name));
    if distinct { short } else { whole().collect() }
}

fn scores(scored: &[Scored], names: &[String]) -> Value {
    let with_file = |(scored, name): (&Scored, &String)| {
        let mut scores = json!({"file": name});
        if let (Value::Object(all), Value::Object(own)) = (&mut scores, scores_json(&scored.table())) {
            all.extend(own);
        }
        scores
    };
    match scored {
        [one] => scores_json(&one.table()),
        several => several.iter().zip(names).map(with_file).collect(),
    }
}
