//! Samples from JSON Lines: one object a line, blank lines aside.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use crate::{Error, Result, Sample};

/// A stream of the samples of one file. A line that is no sample is an error in its place; the lines after it are read
/// all the same.
#[derive(Debug)]
pub struct JsonLines {
    path: PathBuf,
    lines: std::io::Lines<BufReader<File>>,
    index: u64,
}

impl JsonLines {
    /// Opens a file.
    ///
    /// # Errors
    /// [`Error::InFile`] with [`Error::Io`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let file = File::open(&path).map_err(|error| Error::in_file(&path)(error.into()))?;
        Ok(Self { path, lines: BufReader::new(file).lines(), index: 0 })
    }
}

impl Iterator for JsonLines {
    type Item = Result<Sample>;

    fn next(&mut self) -> Option<Self::Item> {
        let line = loop {
            match self.lines.next()? {
                Ok(line) if line.trim().is_empty() => {}
                other => break other,
            }
        };
        let sample = line
            .map_err(Error::from)
            .and_then(|line| serde_json::from_str(&line).map_err(|source| Error::Json { source }))
            .map_err(Error::in_sample(self.index))
            .map_err(Error::in_file(&self.path));
        self.index += 1;
        Some(sample)
    }
}
