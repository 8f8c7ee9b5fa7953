use std::path::PathBuf;

/// What this crate returns.
pub type Result<T> = std::result::Result<T, Error>;

/// Everything that can go wrong between a directory on disk and generated text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A JSON file does not parse.
    #[error("{}: not the expected JSON: {reason}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Position and reason.
        reason: String,
    },
    /// A configuration field is missing or holds a value this crate does not compute.
    #[error("{place}: `{field}`: expected {expected}, found {found}")]
    Config {
        /// The file or JSON object that holds the field.
        place: String,
        /// The field.
        field: String,
        /// What would have been accepted.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// `tokenizer.json` is not a tokenizer.
    #[error("{}: not a tokenizer: {reason}", path.display())]
    TokenizerFile {
        /// The file.
        path: PathBuf,
        /// What the tokenizer library said.
        reason: String,
    },
    /// The tokenizer library refused to encode or decode.
    #[error("the tokenizer cannot {action}: {reason}")]
    Tokenizer {
        /// `"encode"` or `"decode"`.
        action: &'static str,
        /// What the tokenizer library said.
        reason: String,
    },
    /// A token was asked for by its text, and the vocabulary has none of that text.
    #[error("tokenizer {place}: expected a token {token:?}, found none among its {vocabulary} tokens")]
    UnknownToken {
        /// The text of the token.
        token: String,
        /// The file the tokenizer came from.
        place: String,
        /// Size of the vocabulary.
        vocabulary: usize,
    },
    /// A token was asked for by its id, and the vocabulary does not reach that far.
    #[error("token id {id}: expected an id below {vocabulary}")]
    UnknownId {
        /// The id.
        id: u32,
        /// Size of the vocabulary.
        vocabulary: usize,
    },
    /// The chat template does not parse, or refused the messages.
    #[error("chat template {place}: {reason}")]
    Template {
        /// The file the template came from.
        place: String,
        /// Reason, with the line when the engine knows it.
        reason: String,
    },
    /// A chat was asked for and the directory has no chat template.
    #[error("{}: expected chat_template.jinja, or `chat_template` in tokenizer_config.json, found neither", dir.display())]
    NoChatTemplate {
        /// The directory.
        dir: PathBuf,
    },
    /// A setting of [`Sampling`](crate::Sampling) or [`StopRules`](crate::StopRules) is outside its range.
    #[error("setting `{field}`: expected {expected}, found {found}")]
    Setting {
        /// The setting.
        field: &'static str,
        /// The accepted range.
        expected: &'static str,
        /// The refused value.
        found: String,
    },
    /// Logits hold a NaN, or nothing but negative infinities: no token can be chosen from them.
    #[error("logits: expected at least one finite value and no NaN, found {found}")]
    Logits {
        /// What was found, with the position of a NaN.
        found: String,
    },
    /// The prompt holds no token, so there is no position to continue from.
    #[error("prompt: expected at least one token, found none")]
    EmptyPrompt,
    /// More positions than the sequence has room for.
    #[error("{what}: expected at most {capacity} positions, found {needed}")]
    Capacity {
        /// What did not fit.
        what: &'static str,
        /// Room, in positions.
        capacity: usize,
        /// Positions asked for.
        needed: usize,
    },
    /// Arguments that belong together do not match in number, shape or kind.
    #[error("{what}: expected {expected}, found {found}")]
    Mismatch {
        /// The argument.
        what: &'static str,
        /// What would have been accepted.
        expected: String,
        /// What was given.
        found: String,
    },
    /// A step that several sequences shared failed; another of them holds the error itself.
    #[error("a step shared with other sequences failed: {reason}")]
    Batch {
        /// The error, as text.
        reason: String,
    },
    /// An operation, a device or a weight file failed.
    #[error(transparent)]
    Kernels(#[from] gar_kernels::Error),
}
