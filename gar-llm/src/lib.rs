//! The decoder of GAR, which stands alone: prompts in, text out.
//!
//! * [`Tokenizer`]: text to tokens and back; [`TextStream`] decodes token by token without splitting a character.
//! * [`ChatTemplate`]: conversations to prompt text, by the checkpoint's own Jinja template.
//! * [`Decoder`] and [`Sequence`]: what a language model is. It reads embeddings, keeps one key/value cache a sequence,
//!   forks a sequence to share a prefix, and advances many sequences in one step.
//! * [`Llama`]: Llama 2 and 3, with grouped-query attention and context stretching.
//! * [`Sampling`] and [`StopRules`]: how the next token is chosen and when an answer ends.
//! * [`generate()`] and [`generate_batch`]: the decoding loop.
//! * [`LanguageModel`]: all of that over a Hugging Face directory:
//!
//! ```no_run
//! use std::ops::ControlFlow;
//! use gar_kernels::{Kernels, NoProgress};
//! use gar_llm::LanguageModel;
//!
//! let model = LanguageModel::open("Llama-3.2-1B-Instruct", Kernels::cpu(), &NoProgress)?;
//! let prompt = model.prompt("Name three colours.")?;
//! let answer = model.generate(&prompt, &model.greedy(64), &mut |piece| {
//!     print!("{piece}");
//!     ControlFlow::Continue(())
//! })?;
//! # let _ = answer.finish;
//! # Ok::<(), gar_llm::Error>(())
//! ```
//!
//! Nothing is global, nothing is printed, and the same input with the same seed gives the same output whatever the
//! number of threads.
#![forbid(unsafe_code)]

mod chat;
mod cleanup;
mod decoder;
mod error;
mod files;
mod generate;
mod language_model;
mod llama;
mod rng;
mod sampling;
mod stop;
mod text_stream;
mod tokenizer;

pub use chat::{ChatTemplate, Content, Message, Part};
pub use decoder::{AfterLayer, Decoder, Sequence};
pub use error::{Error, Result};
pub use generate::{
    FinishReason, GenerateOptions, Generation, Job, OnText, Timings, generate, generate_batch, stop_tokens,
};
pub use language_model::LanguageModel;
pub use llama::{Llama, LlamaConfig, LlamaNames, RopeScaling};
pub use sampling::{Sampler, Sampling};
pub use stop::StopRules;
pub use text_stream::TextStream;
pub use tokenizer::Tokenizer;
