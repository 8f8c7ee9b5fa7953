//! Questions in the tables of VLMEvalKit, whose pictures stand in the table in base64.
use std::path::{Path, PathBuf};

use base64::{Engine, prelude::BASE64_STANDARD};
use gar_core::prompt::multiple_choice;

use super::{Question, output};
use crate::benchmarks::{Benchmark, Source, keyed::distinct};
use crate::csv::{Row, Table};
use crate::files::write_whole;
use crate::{Error, Result};

/// The longest text in an `image` column that is another row's index, whose picture it shares.
const LONGEST_INDEX: usize = 64;

/// Loads a table with the columns `index`, `question`, `answer`, `image`; options in `A`, `B`, …, where it has these;
/// `category` where `categories` are given. Pictures are unpacked into the folder `pictures`, unless they are there.
pub(super) fn load(name: &'static str, path: &Path, pictures: &Path, categories: Option<&[&str]>) -> Result<Benchmark> {
    let (bytes, source) = Source::read(path)?;
    let table = Table::parse(path, &bytes, b'\t')?;
    let [index, text, answer, image] =
        [table.column("index")?, table.column("question")?, table.column("answer")?, table.column("image")?];
    let letters: Vec<_> = ('A'..='Z').map_while(|c| Some((c, table.column(&c.to_string()).ok()?))).collect();
    let category = match categories {
        Some(known) => Some((known, table.column("category")?)),
        None => None,
    };
    distinct(path, table.rows().map(|row| row.get(index)))?;
    let mut items = Vec::new();
    for row in table.rows() {
        let options: Vec<String> = letters
            .iter()
            .filter(|(_, column)| !row.get(*column).is_empty())
            .map(|(letter, column)| format!("{letter}. {}", row.get(*column)))
            .collect();
        let right = row.get(answer).trim();
        if right.is_empty() || (!options.is_empty() && !options.iter().any(|o| o.starts_with(&format!("{right}. ")))) {
            return Err(row.wrong(answer, "the letter of an option", right));
        }
        let category = match category {
            None => None,
            Some((known, column)) if known.contains(&row.get(column)) => Some(row.get(column).to_owned()),
            Some((known, column)) => return Err(row.wrong(column, &known.join(", "), row.get(column))),
        };
        let own = row.get(image);
        let encoded = match own.len() <= LONGEST_INDEX {
            true => {
                let other = table.rows().find(|other| other.get(index) == own);
                other.ok_or_else(|| row.wrong(image, "a picture in base64, or the index of a row", own))?.get(image)
            }
            false => own,
        };
        let text = match options.is_empty() {
            true => row.get(text).to_owned(),
            false => multiple_choice(row.get(text).trim(), &options),
        };
        let id = row.get(index).to_owned();
        let picture = unpack(pictures, &id, encoded, &row, image)?;
        items.push(Question { id, picture, text, options, answer: right.into(), category }.into_item());
    }
    Ok(Benchmark { name, sources: vec![source], items, output })
}

/// Where the picture of a row is, after it was written there. Files appear whole.
fn unpack(folder: &Path, id: &str, encoded: &str, row: &Row<'_>, column: usize) -> Result<PathBuf> {
    let wrong = |found: &str| row.wrong(column, "a picture in base64", found);
    if id.contains(['/', '\\']) || id.starts_with('.') {
        return Err(row.wrong(column, "an index that can be a file's name", id));
    }
    let bytes = BASE64_STANDARD.decode(encoded).map_err(|error| wrong(&error.to_string()))?;
    let format = image::guess_format(&bytes).map_err(|_| wrong("bytes of no known format"))?;
    let path = folder.join(format!("{id}.{}", format.extensions_str().first().unwrap_or(&"png")));
    if !path.is_file() {
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        write_whole(&path, &bytes)?;
    }
    Ok(path)
}
