//! Text to token ids and back.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::cleanup::clean_up;
use crate::files::read_json_if_there;
use crate::{Error, Result, TextStream};

/// A Hugging Face tokenizer: `tokenizer.json` with the settings of `tokenizer_config.json` beside it.
///
/// ```no_run
/// # fn main() -> gar_llm::Result<()> {
/// let tokenizer = gar_llm::Tokenizer::open("Llama-3.2-1B-Instruct")?;
/// let ids = tokenizer.encode("A dog.", true)?;
/// assert_eq!(ids[0], tokenizer.id_of("<|begin_of_text|>")?);
/// assert_eq!(tokenizer.decode(&ids)?, "A dog.");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    path: PathBuf,
    settings: Map<String, Value>,
    clean_up: bool,
}

impl Tokenizer {
    /// Opens `tokenizer.json` in `dir`, and `tokenizer_config.json` where there is one.
    ///
    /// Truncation and padding that the file may ask for are switched off: a prompt is encoded whole or refused.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref();
        let path = dir.join("tokenizer.json");
        let bytes = std::fs::read(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
        let refuse =
            |reason: tokenizers::Error| Error::TokenizerFile { path: path.clone(), reason: reason.to_string() };
        let mut inner = tokenizers::Tokenizer::from_bytes(&bytes).map_err(refuse)?;
        inner.with_padding(None).with_truncation(None).map_err(refuse)?;

        let settings_path = dir.join("tokenizer_config.json");
        let settings = match read_json_if_there(&settings_path)? {
            None => Map::new(),
            Some(Value::Object(settings)) => settings,
            Some(other) => return Err(not_an_object(settings_path, &other)),
        };
        let clean_up = match settings.get("clean_up_tokenization_spaces") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(on)) => *on,
            Some(other) => {
                return Err(Error::Config {
                    place: settings_path.display().to_string(),
                    field: "clean_up_tokenization_spaces".into(),
                    expected: "true or false".into(),
                    found: other.to_string(),
                });
            }
        };
        Ok(Self { inner, path, settings, clean_up })
    }

    /// The ids of `text`.
    ///
    /// Special tokens written in the text are recognised. `add_special` also adds those that the tokenizer puts
    /// around a bare text (for Llama: one `<|begin_of_text|>` in front); text that a chat template rendered already
    /// holds them and is encoded without.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>> {
        let encoding = self
            .inner
            .encode_fast(text, add_special)
            .map_err(|reason| Error::Tokenizer { action: "encode", reason: reason.to_string() })?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of `ids`, special tokens left out. An id that the vocabulary does not have (models round their
    /// vocabulary up) has no text.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        let text = self.decode_uncleaned(ids)?;
        Ok(if self.clean_up { clean_up(&text).into_owned() } else { text })
    }

    /// The token whose whole text is `text`, such as `<|eot_id|>`.
    pub fn id_of(&self, text: &str) -> Result<u32> {
        self.inner.token_to_id(text).ok_or_else(|| Error::UnknownToken {
            token: text.into(),
            place: self.path.display().to_string(),
            vocabulary: self.vocabulary(),
        })
    }

    /// The token with this id as the vocabulary writes it: for byte-level BPE in its printable alphabet.
    pub fn token_of(&self, id: u32) -> Result<String> {
        self.inner.id_to_token(id).ok_or_else(|| Error::UnknownId { id, vocabulary: self.vocabulary() })
    }

    /// How many tokens there are, added ones included.
    pub fn vocabulary(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// A decoder for tokens that come one at a time.
    pub fn stream(&self) -> TextStream<'_> {
        TextStream::new(self)
    }

    /// The special tokens that `tokenizer_config.json` names (`bos_token`, `eos_token`, …), with their texts.
    pub fn named_tokens(&self) -> impl Iterator<Item = (&str, &str)> {
        self.settings.iter().filter(|(name, _)| name.ends_with("_token")).filter_map(|(name, value)| {
            let text = value.as_str().or_else(|| value.get("content").and_then(Value::as_str));
            text.map(|text| (name.as_str(), text))
        })
    }

    /// The entries of `tokenizer_config.json`.
    pub(crate) fn settings(&self) -> &Map<String, Value> {
        &self.settings
    }

    /// Whether decoded text goes through the English clean-up.
    pub(crate) fn cleans_up(&self) -> bool {
        self.clean_up
    }

    /// The text of `ids` before the clean-up.
    pub(crate) fn decode_uncleaned(&self, ids: &[u32]) -> Result<String> {
        self.inner.decode(ids, true).map_err(|reason| Error::Tokenizer { action: "decode", reason: reason.to_string() })
    }

    /// Whether decoding shows the token: it is in the vocabulary and not special.
    pub(crate) fn is_shown(&self, id: u32) -> bool {
        let token = self.inner.id_to_token(id);
        token.is_some_and(|token| !self.inner.get_added_vocabulary().is_special_token(&token))
    }

    /// Whether the token stands for one raw byte (`<0x0A>`, SentencePiece vocabularies).
    pub(crate) fn is_raw_byte(&self, id: u32) -> bool {
        self.inner
            .id_to_token(id)
            .is_some_and(|token| token.len() == 6 && token.starts_with("<0x") && token.ends_with('>'))
    }
}

fn not_an_object(path: PathBuf, found: &Value) -> Error {
    let kind = match found {
        Value::Array(_) => "an array",
        Value::String(_) => "a string",
        _ => "a plain value",
    };
    Error::Json { path, reason: format!("expected an object, found {kind}") }
}
