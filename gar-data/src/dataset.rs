//! Datasets on disk: one file, or a folder of shards.

use std::path::{Path, PathBuf};

#[cfg(feature = "arrow")]
use crate::ArrowShard;
use crate::{Error, JsonLines, Result, Sample};

/// A stream of samples.
pub type Samples = Box<dyn Iterator<Item = Result<Sample>> + Send>;

/// A region dataset. It can be streamed any number of times; at most one shard is open at a time.
///
/// ```no_run
/// for sample in gar_data::Dataset::open("Fine-Grained-Dataset-Part1")?.samples() {
///     println!("{} masks", sample?.masks.len());
/// }
/// # Ok::<(), gar_data::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    folder: PathBuf,
    files: Vec<PathBuf>,
}

impl Dataset {
    /// Finds the files of a dataset: a `.jsonl` file, an `.arrow` shard, or a folder of shards named
    /// `data-00000-of-00003.arrow` and so on, all of which must be there.
    ///
    /// # Errors
    /// [`Error::InFile`] with [`Error::Io`], [`Error::NotADataset`] or [`Error::MissingShard`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::find(path).map_err(Error::in_file(path))
    }

    fn find(path: &Path) -> Result<Self> {
        if path.metadata()?.is_dir() {
            return Ok(Self { folder: path.to_owned(), files: shards(path)? });
        }
        if !is_json_lines(path) && path.extension().is_none_or(|extension| extension != "arrow") {
            return Err(Error::NotADataset { found: "a file with another ending".into() });
        }
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        Ok(Self { folder, files: vec![path.to_owned()] })
    }

    /// The folder that the samples' pictures are relative to.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The files in order.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The samples in order. A sample or shard that cannot be read is an error in its place, and the stream goes on
    /// behind it: whether to stop is the caller's choice.
    pub fn samples(&self) -> Samples {
        Box::new(self.files.clone().into_iter().flat_map(|file| {
            let opened = if is_json_lines(&file) {
                JsonLines::open(&file).map(|lines| Box::new(lines) as Samples)
            } else {
                shard(&file)
            };
            opened.unwrap_or_else(|error| Box::new(std::iter::once(Err(error))))
        }))
    }
}

#[cfg(feature = "arrow")]
fn shard(file: &Path) -> Result<Samples> {
    ArrowShard::open(file).map(|shard| Box::new(shard) as Samples)
}

#[cfg(not(feature = "arrow"))]
fn shard(file: &Path) -> Result<Samples> {
    Err(Error::in_file(file)(Error::NotADataset { found: "an Arrow shard, which needs the feature `arrow`".into() }))
}

fn is_json_lines(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "jsonl")
}

/// The shards of a folder in order.
fn shards(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in folder.read_dir()? {
        let path = entry?.path();
        if let Some(place) = path.file_name().and_then(|name| place(name.to_str()?)) {
            found.push((place, path));
        }
    }
    found.sort();
    let Some(&((_, expected), _)) = found.first() else {
        return Err(Error::NotADataset { found: "a folder without such shards".into() });
    };
    let missing = (0..expected).find(|&n| found.get(n).map(|(place, _)| *place) != Some((n, expected)));
    if let Some(n) = missing {
        return Err(Error::MissingShard {
            expected,
            found: found.len(),
            missing: format!("data-{n:05}-of-{expected:05}.arrow"),
        });
    }
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// Number and count of a shard's name.
fn place(name: &str) -> Option<(usize, usize)> {
    let (number, count) = name.strip_prefix("data-")?.strip_suffix(".arrow")?.split_once("-of-")?;
    let (number, count) = (number.parse().ok()?, count.parse().ok()?);
    (number < count).then_some((number, count))
}
