use std::path::PathBuf;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can be wrong with data. Sizes are width × height in pixels.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Something about one file or folder.
    #[error("{}: {source}", path.display())]
    InFile {
        /// The file or folder.
        path: PathBuf,
        /// What was wrong with it.
        source: Box<Error>,
    },
    /// Something about one sample of a file.
    #[error("sample {index}: {source}")]
    InSample {
        /// Its place in the file, from 0.
        index: u64,
        /// What was wrong with it.
        source: Box<Error>,
    },
    /// A file could not be read or written.
    #[error("cannot read or write: {0}")]
    Io(#[from] std::io::Error),
    /// A path that holds no dataset.
    #[error("dataset: expected a .jsonl or .arrow file, or a folder of `data-*-of-*.arrow` shards, found {found}")]
    NotADataset {
        /// What is there.
        found: String,
    },
    /// A folder whose shards are not all there.
    #[error("dataset folder: expected all of {expected} shards, found {found}; the first missing is {missing}")]
    MissingShard {
        /// Shards that the file names speak of.
        expected: usize,
        /// Shards found.
        found: usize,
        /// Name of the first that is missing.
        missing: String,
    },
    /// A shard that ends early.
    #[error(
        "Arrow shard: expected the end-of-stream marker that `datasets` writes, found the end of a file of {bytes} bytes"
    )]
    ShardTruncated {
        /// Bytes there are.
        bytes: u64,
    },
    /// A shard that is not an Arrow stream, or a damaged one.
    #[error("Arrow shard: {found}")]
    Shard {
        /// What the reader found.
        found: String,
    },
    /// A column or field of a shard is not there.
    #[error("Arrow shard: expected a column `{name}`, found {found:?}")]
    MissingColumn {
        /// Its name.
        name: String,
        /// The names there are.
        found: Vec<String>,
    },
    /// A column of another type.
    #[error("column `{name}`: expected {expected}, found {found}")]
    ColumnType {
        /// Name of the column, with its parent's.
        name: String,
        /// Types that are read.
        expected: &'static str,
        /// The type found.
        found: String,
    },
    /// A value that must be there is null.
    #[error("column `{name}`: expected a value, found null")]
    NullValue {
        /// Name of the column, with its parent's.
        name: String,
    },
    /// A line that is not a sample.
    #[error("expected an object with `image`, `mask_rle` and `conversations`: {source}")]
    Json {
        /// What the JSON reader found.
        source: serde_json::Error,
    },
    /// An image given as text that is not what its prefix says.
    #[error("image: expected base64 after `data:`…`base64,`, found {found}")]
    Base64 {
        /// What is wrong with it.
        found: String,
    },
    /// A sample without a mask.
    #[error("mask_rle: expected at least one mask, found none")]
    NoMasks,
    /// A mask of another size than the image.
    #[error("mask {index}: expected the image's size {}×{}, found {}×{}", expected.0, expected.1, found.0, found.1)]
    MaskSize {
        /// Place in the sample's masks.
        index: usize,
        /// Width and height of the image.
        expected: (usize, usize),
        /// Width and height of the mask.
        found: (usize, usize),
    },
    /// A mask without a set pixel.
    #[error("mask {index}: expected at least one set pixel, found none")]
    EmptyMask {
        /// Place in the sample's masks.
        index: usize,
    },
    /// A conversation of another shape than question, answer, question, answer, ….
    #[error("conversation: expected {expected}, found {found}")]
    Conversation {
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A value of a configuration is out of range.
    #[error("{key}: expected {expected}, found {found}")]
    SceneConfig {
        /// The field.
        key: &'static str,
        /// What it may be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// Scenes of a configuration never gave a kind of question.
    #[error("mini benchmark: expected a {category} question over {regions} regions within {tries} scenes, found none")]
    NoQuestion {
        /// The category.
        category: &'static str,
        /// Number of regions.
        regions: usize,
        /// Scenes drawn.
        tries: u64,
    },
    /// A picture could not be encoded.
    #[error("picture: {0}")]
    Encode(#[from] image::ImageError),
    /// A mask or a region refuses.
    #[error(transparent)]
    Prompt(#[from] gar_prompt::Error),
    /// A picture refuses.
    #[error(transparent)]
    Vision(#[from] gar_vision::Error),
}

impl Error {
    /// For `map_err`: says which file the error is about.
    pub(crate) fn in_file(path: impl Into<PathBuf>) -> impl FnOnce(Self) -> Self {
        let path = path.into();
        move |source| Self::InFile { path, source: Box::new(source) }
    }

    /// For `map_err`: says which sample the error is about.
    pub(crate) fn in_sample(index: u64) -> impl FnOnce(Self) -> Self {
        move |source| Self::InSample { index, source: Box::new(source) }
    }
}
