//! Tables with a header, by comma or tab, with errors that name file, row and column.
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// A table in memory.
#[derive(Debug)]
pub(crate) struct Table {
    path: PathBuf,
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// One row of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    table: &'a Table,
    place: usize,
}

impl Table {
    /// Reads a table; fields may be quoted.
    ///
    /// # Errors
    /// [`Error::Json`] for what is no table: rows of different lengths, bytes that are not UTF-8.
    pub(crate) fn parse(path: &Path, bytes: &[u8], delimiter: u8) -> Result<Self> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let wrong = |error: csv::Error| Error::Json {
            path: path.to_owned(),
            expected: "a table with a header".into(),
            found: error.to_string(),
        };
        let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(bytes);
        let header = reader.headers().map_err(wrong)?.iter().map(str::to_owned).collect();
        let rows = reader.into_records().map(|row| Ok(row?.iter().map(str::to_owned).collect()));
        let rows = rows.collect::<Result<_, csv::Error>>().map_err(wrong)?;
        Ok(Self { path: path.to_owned(), header, rows })
    }

    /// The place of a column.
    ///
    /// # Errors
    /// [`Error::Field`] where there is none of this name.
    pub(crate) fn column(&self, name: &str) -> Result<usize> {
        self.header.iter().position(|column| column == name).ok_or_else(|| Error::Field {
            path: self.path.clone(),
            item: "header".into(),
            field: name.into(),
            expected: "a column of this name".into(),
            found: self.header.join(", "),
        })
    }

    /// The rows below the header.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        (0..self.rows.len()).map(|place| Row { table: self, place })
    }
}

impl<'a> Row<'a> {
    /// The text in a column that [`Table::column`] gave.
    pub(crate) fn get(&self, column: usize) -> &'a str {
        &self.table.rows[self.place][column]
    }

    /// An error about one of its fields.
    pub(crate) fn wrong(&self, column: usize, expected: &str, found: &str) -> Error {
        const MOST: usize = 60;
        Error::Field {
            path: self.table.path.clone(),
            item: format!("row {}, counted from 1", self.place + 1),
            field: self.table.header[column].clone(),
            expected: expected.into(),
            found: format!("{:?}", found.chars().take(MOST).collect::<String>()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_and_named() {
        let table = Table::parse(Path::new("t.csv"), b"\xef\xbb\xbfa,b\n\"x, y\",2\n", b',').unwrap();
        let row = table.rows().next().unwrap();
        assert_eq!((row.get(0), row.get(table.column("b").unwrap())), ("x, y", "2"));
        assert_eq!(
            table.column("c").unwrap_err().to_string(),
            "t.csv: header: `c`: expected a column of this name, found a, b"
        );
        let wrong = row.wrong(1, "3", row.get(1)).to_string();
        assert_eq!(wrong, "t.csv: row 1, counted from 1: `b`: expected 3, found \"2\"");
        assert!(Table::parse(Path::new("t.csv"), b"a,b\n1\n", b',').is_err());
    }
}
