//! The one error type of this crate.
use std::path::PathBuf;

/// What can go wrong between a checkpoint and an answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor, an operation or a weight file.
    #[error(transparent)]
    Kernels(#[from] gar_kernels::Error),
    /// A mask, a region or the prompt.
    #[error(transparent)]
    Prompt(#[from] gar_prompt::Error),
    /// The picture, its tiles or the tower.
    #[error(transparent)]
    Vision(#[from] gar_vision::Error),
    /// The tokenizer, the chat template or the decoder.
    #[error(transparent)]
    Llm(#[from] gar_llm::Error),
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A checkpoint's configuration does not hold together.
    #[error("{}: `{field}`: expected {expected}, found {found}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// The key.
        field: String,
        /// What was expected.
        expected: String,
        /// What was found.
        found: String,
    },
    /// A question or a name holds a token that the prompt itself is made of.
    #[error("question: expected text without special tokens other than <PromptN>, found {token:?}")]
    ReservedToken {
        /// The token's text.
        token: String,
    },
    /// The rendered chat does not hold the image exactly once.
    #[error("chat template: expected {token:?} once in the rendered prompt, found it {found} times")]
    ImagePlaceholder {
        /// The image token's text.
        token: String,
        /// How often it stands there.
        found: usize,
    },
    /// The prompt leaves no room in the decoder's context.
    #[error("prompt: expected fewer than {context} tokens, found {tokens}")]
    ContextFull {
        /// Positions of the decoder's context.
        context: usize,
        /// Tokens of the prompt.
        tokens: usize,
    },
    /// The chat template does not let a conversation grow turn by turn, so that answers have no place of their own.
    #[error("chat template: expected turn {turn} to begin with the text of the turns before, found another text")]
    Turns {
        /// Number of the exchange, from 0.
        turn: usize,
    },
    /// A case file for a trace does not hold together.
    #[error("{}: {reason}", path.display())]
    Case {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        reason: String,
    },
}

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
