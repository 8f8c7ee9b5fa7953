//! What can go wrong with an endpoint.
use std::time::Duration;

/// A judge that cannot be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JudgeError {
    /// The environment holds no usable key.
    #[error("environment variable {name}: expected the endpoint's key, found {found}")]
    Key {
        /// The variable.
        name: String,
        /// What was found; never the key.
        found: &'static str,
    },
    /// The base URL is none.
    #[error("base URL: expected {expected}, found {found}")]
    BaseUrl {
        /// What was expected.
        expected: &'static str,
        /// What was found.
        found: String,
    },
    /// A setting lies outside its range.
    #[error("judge setting `{field}`: expected {expected}, found {found}")]
    Setting {
        /// The setting.
        field: &'static str,
        /// The accepted range.
        expected: &'static str,
        /// The refused value.
        found: String,
    },
    /// A request got no usable answer.
    #[error("no usable answer after {attempts} attempt(s); the last one: {fault}")]
    GaveUp {
        /// How often it was sent.
        attempts: u32,
        /// What went wrong the last time.
        fault: Fault,
    },
    /// Some questions got no answer. The answers to the others are in the cache; the next run asks for these alone.
    #[error("{} of {questions} judge questions got no answer; first {first_question}: {first}", .failed)]
    Incomplete {
        /// Questions without an answer, those that were not sent any more included.
        failed: usize,
        /// Questions in all.
        questions: usize,
        /// The first that failed.
        first_question: String,
        /// Why.
        first: Box<JudgeError>,
    },
}

/// What went wrong with one attempt. Texts from the endpoint are shortened, and the key is struck out of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// No whole answer in time.
    #[error("timed out: {0}")]
    Timeout(String),
    /// The connection could not be made or broke.
    #[error("connection: {0}")]
    Connection(String),
    /// Another status than success.
    #[error("status {code}: {message}")]
    Status {
        /// The HTTP status.
        code: u16,
        /// How long the endpoint asks to wait.
        retry_after: Option<Duration>,
        /// The beginning of what it says.
        message: String,
    },
    /// The body is no JSON, such as one that was cut off.
    #[error("expected a JSON document, found: {0}")]
    Json(String),
    /// The body is JSON of another form.
    #[error("`choices[0].message.content`: expected text, found {0}")]
    Schema(String),
}

impl Fault {
    /// Whether another attempt may go better.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Status { code, .. } => matches!(code, 408 | 409 | 425 | 429 | 500..),
            _ => true,
        }
    }

    /// Whether every other request would be refused alike: a wrong key, no permission, no such model or address.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Status { code: 300..=399 | 401 | 403 | 404, .. })
    }
}
