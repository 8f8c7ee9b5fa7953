//! The Llama architecture (Touvron et al., 2023; Llama 3: Grattafiori et al., 2024).

mod config;
mod model;
mod rope;

pub(crate) use config::Fields;
pub use config::{LlamaConfig, RopeScaling};
pub use model::{Llama, LlamaNames};
