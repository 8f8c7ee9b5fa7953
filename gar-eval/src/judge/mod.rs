//! A language model as judge: what no rule can score, such as whether a caption says what it should.
//!
//! ```text
//! a run's output ──protocols──▶ questions ──Client──▶ answers ──protocols──▶ the published form of a judged file
//!                                   │         │ retries, rate limit, cache
//!                                   └ dry run └ any OpenAI-compatible endpoint
//! ```
//!
//! A [`Protocol`] knows a benchmark: which questions its judge is asked and what the answers become. [`Client`] knows
//! the endpoint. [`ask_all`] joins them: questions are asked once each, answers are kept on disk under the hash of the
//! whole request, so that a run that was interrupted goes on where it stopped. An answer that cannot be read is listed,
//! never guessed; a question that got no answer keeps the file from being written.
//!
//! The prompts are this crate's own words, written after the protocols that the benchmarks' authors describe. Scores
//! of two judges, or of two sets of prompts, are not comparable.
mod cache;
mod client;
mod endpoint;
mod error;
mod key;
mod message;
mod pace;
mod picture;
pub mod protocols;
mod retry;
mod session;
pub mod verdict;

pub use cache::Cache;
pub use client::{Client, Reply, Settings};
pub use endpoint::Endpoint;
pub use error::{Fault, JudgeError};
pub use key::ApiKey;
pub use message::{ChatRequest, Message, Part, Role};
pub use picture::{PictureUrl, focus};
pub use protocols::{Judged, Protocol, Question, Unparsed};
pub use retry::Backoff;
pub use session::{DryRun, Session, ask_all, dry_run};
