//! The one error type of this crate.
use std::path::PathBuf;

/// What can go wrong in a training run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The model: a tensor, a picture, a prompt, a checkpoint.
    #[error(transparent)]
    Model(#[from] gar_core::Error),
    /// A sample that cannot be made or read.
    #[error(transparent)]
    Data(gar_data::Error),
    /// A file could not be read or written: it is missing, or the disk is full.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A configuration that does not parse, has unknown keys, or asks for what makes no sense.
    #[error("{}: {reason}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong, with its line where it is known.
        reason: String,
    },
    /// A file of samples or a saved run that does not hold together.
    #[error("{}: {what}: expected {expected}, found {found}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The line, key or tensor.
        what: String,
        /// What was expected.
        expected: String,
        /// What was found.
        found: String,
    },
    /// A sample that cannot be trained on.
    #[error("sample {position}: {source}")]
    Sample {
        /// Its position in the stream of samples.
        position: u64,
        /// Why not.
        source: Box<Error>,
    },
    /// A conversation is longer than the decoder's context.
    #[error("conversation: expected at most {context} tokens, found {tokens}")]
    TooLong {
        /// Positions of the decoder's context.
        context: usize,
        /// Tokens of the conversation.
        tokens: usize,
    },
    /// A sample without anything that the assistant says.
    #[error("sample: expected at least one exchange in every conversation, found none")]
    NoAnswers,
    /// The loss or a gradient is not a number. The weights are those of the step before, and the last checkpoint stands.
    #[error("step {step}, sample {position} of the stream: expected finite numbers, found NaN or infinity in {tensor}")]
    NotFinite {
        /// The step, from 1.
        step: u64,
        /// Position of the sample in the stream; of the batch's first where the sum is at fault.
        position: u64,
        /// Where it was seen first.
        tensor: String,
    },
    /// A sample states a fact that the run has no probe for.
    #[error("probes: expected the heads that the run began with, found no weight {name:?}")]
    NoProbe {
        /// The weight that is missing.
        name: String,
    },
    /// A fact that is not to be learnt is none of those there are.
    #[error("probes.without: expected names among {known:?}, found {name:?}")]
    NoFact {
        /// The name.
        name: String,
        /// What there is.
        known: Vec<&'static str>,
    },
    /// A probe is to read a layer that the decoder does not have.
    #[error("probes: expected a layer from 1 to {layers}, found {layer}")]
    NoLayer {
        /// The layer.
        layer: usize,
        /// How many there are.
        layers: usize,
    },
    /// A sample tells of an option that its conversation does not hold.
    #[error("conversation {conversation}: expected the option {text:?}, found none")]
    NoOption {
        /// Index of the conversation.
        conversation: usize,
        /// The option.
        text: String,
    },
    /// Every part is frozen.
    #[error("freeze: expected at least one part that trains, found all frozen")]
    AllFrozen,
}

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// For `map_err` on file operations.
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    /// Says which sample an error is about.
    pub(crate) fn at(position: u64) -> impl FnOnce(Self) -> Self {
        move |source| match source {
            already @ (Self::Sample { .. } | Self::NotFinite { .. }) => already,
            source => Self::Sample { position, source: Box::new(source) },
        }
    }
}

impl From<gar_core::kernels::Error> for Error {
    fn from(error: gar_core::kernels::Error) -> Self {
        Self::Model(error.into())
    }
}

impl From<gar_core::llm::Error> for Error {
    fn from(error: gar_core::llm::Error) -> Self {
        Self::Model(error.into())
    }
}
