//! The one error type of this crate.
use std::path::{Path, PathBuf};

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can be wrong with annotations, outputs and runs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The model or what it was asked.
    #[error(transparent)]
    Core(#[from] gar_core::Error),
    /// A scene of the mini benchmark could not be drawn.
    #[error(transparent)]
    Data(#[from] gar_data::Error),
    /// A benchmark of videos was to be run.
    #[error("{benchmark}: expected a model that takes frames, found none: `gar-core` answers about single pictures")]
    NoVideo {
        /// The benchmark.
        benchmark: &'static str,
    },
    /// A judge could not be asked.
    #[error(transparent)]
    Judge(Box<crate::judge::JudgeError>),
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is not the JSON that it should be.
    #[error("{}: expected {expected}, found: {found}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What was expected.
        expected: String,
        /// What was found, with the parser's place in the file where it has one.
        found: String,
    },
    /// An entry of a file lacks a field or holds something else in it.
    #[error("{}: {item}: `{field}`: expected {expected}, found {found}", path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The entry: its id, or its place as `#3`, counted from 0.
        item: String,
        /// The field.
        field: String,
        /// What was expected.
        expected: String,
        /// What was found.
        found: String,
    },
    /// Two entries of a file have one id.
    #[error("{}: expected distinct ids, found {id:?} twice (entries {first} and {second}, counted from 0)", path.display())]
    DuplicateId {
        /// The file.
        path: PathBuf,
        /// The id.
        id: String,
        /// Place of its first entry.
        first: usize,
        /// Place of the other.
        second: usize,
    },
    /// A picture that an entry names is not there.
    #[error("{item}: expected a picture at {}, found no such file", path.display())]
    MissingPicture {
        /// The entry.
        item: String,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A mask is of another size than its picture.
    #[error(
        "{item}: region {slot}: expected a mask of the picture's {}×{} pixels, found {}×{}",
        expected.0, expected.1, found.0, found.1
    )]
    MaskSize {
        /// The entry.
        item: String,
        /// The region.
        slot: usize,
        /// Width and height of the picture.
        expected: (usize, usize),
        /// Width and height of the mask.
        found: (usize, usize),
    },
    /// The model failed at an entry; what was answered before is kept.
    #[error("{item}: {source}")]
    Asked {
        /// The entry.
        item: String,
        /// What the model said.
        source: Box<gar_core::Error>,
    },
    /// A directory holds another run.
    #[error("{}: holds another run: `{field}`: expected {expected}, found {found}", directory.display())]
    OtherRun {
        /// The directory.
        directory: PathBuf,
        /// What differs.
        field: &'static str,
        /// What this run has.
        expected: String,
        /// What the directory's manifest has.
        found: String,
    },
    /// A directory holds files, but no run.
    #[error("{}: expected a run's directory, an empty one or none, found files without `manifest.json`", directory.display())]
    NoRun {
        /// The directory.
        directory: PathBuf,
    },
    /// Another process is at work in a run's directory.
    #[error("{}: in use by another process", directory.display())]
    InUse {
        /// The directory.
        directory: PathBuf,
    },
    /// A line of a run's log does not belong there.
    #[error("{}: line {line}: {reason}", path.display())]
    Log {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A region of an entry gives no mask.
    #[error("{item}: region {slot}: {source}")]
    Region {
        /// The entry.
        item: String,
        /// The region.
        slot: usize,
        /// Why not.
        source: Box<gar_core::prompt::Error>,
    },
}

impl Error {
    /// For `map_err` on file operations.
    pub fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }

    /// For `map_err` on masks: region `slot` of an entry gives none.
    pub(crate) fn region(item: &str, slot: usize) -> impl Fn(gar_core::prompt::Error) -> Self + Copy {
        move |source| Self::Region { item: item.to_owned(), slot, source: Box::new(source) }
    }
}
