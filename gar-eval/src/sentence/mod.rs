//! Sentence embeddings: how alike two short texts are in meaning.
//!
//! Open-class recognition is scored by the cosine between the embedding of what a model said and that of the class's
//! name (Osprey, §4; Grasp Any Region, Table 7). The encoder is all-MiniLM-L6-v2: a BERT of six layers whose outputs are
//! averaged over the tokens and brought to unit length. It runs on the operations of `gar-kernels`.
mod bert;
mod stored;

use std::path::Path;

use gar_core::kernels::Kernels;
use gar_core::llm::Tokenizer;
use serde::Deserialize;
use serde::de::DeserializeOwned;

pub use bert::{Bert, BertConfig};

use crate::{Error, Result, json};

/// A sentence encoder in the layout of sentence-transformers: `config.json`, `model.safetensors`, `tokenizer.json`;
/// `sentence_bert_config.json` and `1_Pooling/config.json` where they are there.
///
/// ```no_run
/// use gar_core::kernels::Kernels;
/// use gar_eval::sentence::SentenceEncoder;
///
/// let encoder = SentenceEncoder::open("all-MiniLM-L6-v2", Kernels::cpu())?;
/// assert!(encoder.similarity("a red car", "an automobile")? > encoder.similarity("a red car", "a spoon")?);
/// # Ok::<(), gar_eval::Error>(())
/// ```
#[derive(Debug)]
pub struct SentenceEncoder {
    kernels: Kernels,
    tokenizer: Tokenizer,
    bert: Bert,
    most_tokens: usize,
}

/// `sentence_bert_config.json`.
#[derive(Deserialize)]
struct Limits {
    max_seq_length: usize,
}

/// `1_Pooling/config.json`, where it says how the tokens' outputs become one vector.
#[derive(Deserialize)]
struct Pooling {
    #[serde(default)]
    pooling_mode_mean_tokens: bool,
    #[serde(default)]
    pooling_mode_cls_token: bool,
    #[serde(default)]
    pooling_mode_max_tokens: bool,
    #[serde(default)]
    pooling_mode_mean_sqrt_len_tokens: bool,
}

impl SentenceEncoder {
    /// Opens a directory.
    ///
    /// # Errors
    /// A file that is missing or does not parse; an architecture, an activation or a pooling that is not all-MiniLM's; a
    /// tensor that is missing, misshapen or not finite.
    pub fn open(directory: impl AsRef<Path>, kernels: Kernels) -> Result<Self> {
        let directory = directory.as_ref();
        let config = BertConfig::read(&directory.join("config.json"))?;
        let tokenizer = Tokenizer::open(directory).map_err(gar_core::Error::from)?;
        check_pooling(&directory.join("1_Pooling/config.json"))?;
        let limits = directory.join("sentence_bert_config.json");
        let most_tokens = match limits.is_file() {
            true => read::<Limits>(&limits, "{\"max_seq_length\": …}")?.max_seq_length.min(config.positions),
            false => config.positions,
        };
        // A text is at least its start and its end.
        if most_tokens < 2 {
            return Err(field(&limits, "max_seq_length", "at least 2", most_tokens));
        }
        let bert = Bert::load(&kernels, config, &directory.join("model.safetensors"))?;
        Ok(Self { kernels, tokenizer, bert, most_tokens })
    }

    /// The embedding of a text: `[width]`, of length 1. A text of more tokens than the encoder reads is cut at its end, as
    /// sentence-transformers does it.
    ///
    /// # Errors
    /// What the tokenizer or an operation refuses.
    pub fn embed(&self, text: &str) -> Result<Vec<f32>> {
        let mut ids = self.tokenizer.encode(text, true).map_err(gar_core::Error::from)?;
        if ids.len() > self.most_tokens {
            // The last token is the separator that ends every text.
            let end = ids[ids.len() - 1];
            ids.truncate(self.most_tokens - 1);
            ids.push(end);
        }
        let tokens = self.bert.encode(&self.kernels, &ids)?;
        Ok(unit(&mean(&tokens, self.bert.config().width)))
    }

    /// The cosine between the embeddings of two texts, −1 … 1.
    ///
    /// # Errors
    /// Those of [`embed`](Self::embed).
    pub fn similarity(&self, a: &str, b: &str) -> Result<f64> {
        Ok(cosine(&self.embed(a)?, &self.embed(b)?))
    }
}

/// The cosine between two vectors of one width; 0 where one of them has no direction.
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum() };
    let lengths = (dot(a, a) * dot(b, b)).sqrt();
    if lengths > 0.0 { (dot(a, b) / lengths).clamp(-1.0, 1.0) } else { 0.0 }
}

/// The mean of the rows of [n, width].
fn mean(rows: &[f32], width: usize) -> Vec<f64> {
    let mut sum = vec![0.0; width];
    for row in rows.chunks_exact(width) {
        sum.iter_mut().zip(row).for_each(|(s, &x)| *s += f64::from(x));
    }
    let count = (rows.len() / width).max(1) as f64;
    sum.iter().map(|s| s / count).collect()
}

/// The vector at length 1; one shorter than 1e-12 is divided by that, as torch's `normalize` does it.
fn unit(vector: &[f64]) -> Vec<f32> {
    let length = vector.iter().map(|x| x * x).sum::<f64>().sqrt().max(1e-12);
    vector.iter().map(|x| (x / length) as f32).collect()
}

/// Refuses any other pooling than the mean.
fn check_pooling(path: &Path) -> Result<()> {
    if !path.is_file() {
        return Ok(());
    }
    let p: Pooling = read(path, "an object of pooling modes")?;
    let others = p.pooling_mode_cls_token || p.pooling_mode_max_tokens || p.pooling_mode_mean_sqrt_len_tokens;
    match p.pooling_mode_mean_tokens && !others {
        true => Ok(()),
        false => Err(field(path, "pooling_mode_mean_tokens", "true, and every other mode false", "another mode")),
    }
}

/// A configuration file.
fn read<T: DeserializeOwned>(path: &Path, expected: &str) -> Result<T> {
    json::parse(path, &std::fs::read(path).map_err(Error::io(path))?, expected)
}

/// A field of a configuration file that holds something else than it must.
fn field(path: &Path, field: &str, expected: impl Into<String>, found: impl ToString) -> Error {
    Error::Field {
        path: path.to_owned(),
        item: "configuration".into(),
        field: field.into(),
        expected: expected.into(),
        found: found.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosines_of_plain_vectors() {
        assert_eq!(cosine(&[3.0, 0.0], &[5.0, 0.0]), 1.0);
        assert_eq!(cosine(&[1.0, 0.0], &[0.0, 2.0]), 0.0);
        assert_eq!(cosine(&[1.0, 1.0], &[-2.0, -2.0]), -1.0);
        assert_eq!(cosine(&[0.0, 0.0], &[1.0, 0.0]), 0.0);
    }

    #[test]
    fn the_mean_has_length_one() {
        let rows = [1.0, 5.0, 5.0, 3.0];
        assert_eq!(mean(&rows, 2), [3.0, 4.0]);
        assert_eq!(unit(&mean(&rows, 2)), [0.6, 0.8]);
    }
}
