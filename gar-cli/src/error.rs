//! The one error type of this program.
use std::io;
use std::path::{Path, PathBuf};

/// Result with this crate's [`Error`].
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong between the command line and the answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Error {
    /// The model, its files or what it was asked.
    #[error(transparent)]
    Core(#[from] gar_core::Error),
    /// A drawn scene is refused.
    #[error(transparent)]
    Data(#[from] gar_data::Error),
    /// A picture could not be encoded or written.
    #[error("{}: {source}", path.display())]
    Picture { path: PathBuf, source: image::ImageError },
    /// A benchmark, its files or a run of it.
    #[error(transparent)]
    Eval(#[from] gar_eval::Error),
    /// A training run.
    #[error(transparent)]
    Train(#[from] gar_train::Error),
    /// A region flag that parsed but gives no mask.
    #[error("--{flag}: {source}")]
    Region { flag: &'static str, source: gar_core::prompt::Error },
    /// A region flag's file.
    #[error("--{flag} {}: {source}", path.display())]
    RegionFile { flag: &'static str, path: PathBuf, source: Box<gar_core::prompt::Error> },
    /// A region flag's JSON file.
    #[error("--{flag} {}: expected {expected}, found: {source}", path.display())]
    RegionJson { flag: &'static str, path: PathBuf, expected: &'static str, source: serde_json::Error },
    /// No model was named, and none is where one is looked for.
    #[error("no --model, and no gar-mini; looked for\n{looked}")]
    NoModel { looked: String },
    /// Flags that parse one by one but not together.
    #[error("{0}")]
    Usage(String),
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    /// A directory that must be empty is not.
    #[error("{}: expected an empty directory or none, found files in it", path.display())]
    NotEmpty { path: PathBuf },
    /// The overlay could not be encoded or written.
    #[error("--overlay {}: {source}", path.display())]
    Overlay { path: PathBuf, source: image::ImageError },
    /// The thread pool could not be started.
    #[error("--threads: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
    /// Standard output or input broke off.
    #[error("standard {stream}: {source}")]
    Stream { stream: &'static str, source: io::Error },
    /// Some questions of a conversation failed; each was reported when it did.
    #[error("{failed} of {asked} questions failed")]
    Questions { failed: usize, asked: usize },
}

impl Error {
    /// 2 for what the command line got wrong, as clap has it; 1 for everything else.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::NoModel { .. } => 2,
            _ => 1,
        }
    }

    /// Whether the reader of standard output went away, which is no news to anybody.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Stream { source, .. } if source.kind() == io::ErrorKind::BrokenPipe)
    }

    /// For `map_err` on file operations.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}

/// Errors of the crates below reach the user as those of `gar-core`.
macro_rules! through_core {
    ($($error:ty),*) => {$(
        impl From<$error> for Error {
            fn from(error: $error) -> Self {
                Self::Core(error.into())
            }
        }
    )*};
}
through_core!(gar_core::kernels::Error, gar_core::prompt::Error, gar_core::vision::Error, gar_core::llm::Error);
