//! A checkpoint directory opened as one thing that turns a prompt into text.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use gar_kernels::{Kernels, Progress, Weights};

use crate::{
    ChatTemplate, Decoder, Error, GenerateOptions, Generation, Job, Llama, LlamaConfig, LlamaNames, Message, Result,
    StopRules, Tokenizer, generate, stop_tokens,
};

/// Tokenizer, chat template and Llama of a plain Hugging Face directory.
#[derive(Debug)]
pub struct LanguageModel {
    dir: PathBuf,
    kernels: Kernels,
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    llama: Llama,
    stop_tokens: Vec<u32>,
}

impl LanguageModel {
    /// Opens a directory with `model_type` llama: `config.json`, safetensors (one file or shards), `tokenizer.json`;
    /// `tokenizer_config.json`, `generation_config.json` and a chat template where there are any.
    pub fn open(dir: impl AsRef<Path>, kernels: Kernels, progress: &dyn Progress) -> Result<Self> {
        let dir = dir.as_ref();
        let config = LlamaConfig::open(dir)?;
        let tokenizer = Tokenizer::open(dir)?;
        let template = ChatTemplate::open(dir, &tokenizer)?;
        let stop_tokens = stop_tokens(dir, &config.eos_token_ids)?;
        let weights = Weights::open(dir)?.converted_to(kernels.device.weight_type());
        let llama = Llama::load(&weights, &LlamaNames::default(), config, &kernels, progress)?;
        Ok(Self { dir: dir.into(), kernels, tokenizer, template, llama, stop_tokens })
    }

    /// The tokens of a conversation with the assistant's turn opened.
    ///
    /// # Errors
    /// [`Error::NoChatTemplate`] where the directory has none.
    pub fn chat(&self, messages: &[Message]) -> Result<Vec<u32>> {
        let template = self.template.as_ref().ok_or_else(|| Error::NoChatTemplate { dir: self.dir.clone() })?;
        self.tokenizer.encode(&template.render(messages, true)?, false)
    }

    /// The tokens of one user message where there is a chat template, else of the bare text.
    pub fn prompt(&self, text: &str) -> Result<Vec<u32>> {
        match &self.template {
            Some(template) => self.chat(&[template.user(text)]),
            None => self.tokenizer.encode(text, true),
        }
    }

    /// Continues a prompt. The text goes to `on_text` as it comes; [`ControlFlow::Break`] ends it.
    pub fn generate(
        &self,
        prompt: &[u32],
        options: &GenerateOptions,
        on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Generation> {
        let room = prompt.len().saturating_add(options.max_new_tokens).min(self.llama.context());
        if prompt.len() > room {
            return Err(Error::Capacity { what: "prompt", capacity: room, needed: prompt.len() });
        }
        let embeds = self.llama.embed(&self.kernels, prompt)?;
        let mut sequence = self.llama.sequence(&self.kernels, room)?;
        let mut on_text = |piece: &str| on_text(piece);
        let job = Job { sequence: sequence.as_mut(), embeds: &embeds, seen: prompt, options, on_text: &mut on_text };
        generate(&self.llama, &self.kernels, &self.tokenizer, job)
    }

    /// Greedy, up to `max_new_tokens`, ended by the checkpoint's own stop tokens.
    pub fn greedy(&self, max_new_tokens: usize) -> GenerateOptions {
        let stop = StopRules { tokens: self.stop_tokens.clone(), strings: Vec::new() };
        GenerateOptions { max_new_tokens, stop, ..GenerateOptions::default() }
    }

    /// Its tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Its chat template.
    pub fn template(&self) -> Option<&ChatTemplate> {
        self.template.as_ref()
    }

    /// Its decoder.
    pub fn llama(&self) -> &Llama {
        &self.llama
    }

    /// The operations that it is computed with.
    pub fn kernels(&self) -> &Kernels {
        &self.kernels
    }
}
