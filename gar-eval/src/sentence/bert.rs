//! A BERT encoder: learned absolute positions, attention over all tokens, layer norms after each half (Devlin et al., §3).
use std::path::Path;

use gar_core::kernels::ops::{Activation, AttentionSpec, Epilogue, Mask, NormKind, NormSpec};
use gar_core::kernels::{Error as KernelError, Kernels, Tensor};
use serde::Deserialize;

use super::stored::Stored;
use super::{field, read};
use crate::Result;

/// `config.json` of a BERT.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct BertConfig {
    model_type: String,
    hidden_act: String,
    #[serde(default)]
    position_embedding_type: Option<String>,
    /// Entries of a token's vector.
    #[serde(rename = "hidden_size")]
    pub width: usize,
    /// Layers.
    #[serde(rename = "num_hidden_layers")]
    pub layers: usize,
    /// Heads; they divide the width.
    #[serde(rename = "num_attention_heads")]
    pub heads: usize,
    /// Entries between the two matrices of a layer's MLP.
    #[serde(rename = "intermediate_size")]
    pub mlp_width: usize,
    /// Most tokens of a text.
    #[serde(rename = "max_position_embeddings")]
    pub positions: usize,
    /// Kinds of tokens; a single text is of kind 0.
    #[serde(rename = "type_vocab_size")]
    pub kinds: usize,
    /// Tokens there are.
    #[serde(rename = "vocab_size")]
    pub vocabulary: usize,
    /// Added under the root of a norm.
    #[serde(rename = "layer_norm_eps")]
    pub norm_eps: f32,
}

/// The encoder with its weights on one device.
#[derive(Debug)]
pub struct Bert {
    config: BertConfig,
    words: Tensor,
    positions: Tensor,
    /// [1, width]: the vector of kind 0.
    kind: Tensor,
    norm: LayerNorm,
    layers: Vec<Layer>,
}

#[derive(Debug)]
struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    attention_out: Linear,
    attention_norm: LayerNorm,
    mlp_in: Linear,
    mlp_out: Linear,
    mlp_norm: LayerNorm,
}

#[derive(Debug)]
struct Linear {
    weight: Tensor,
    bias: Tensor,
}

#[derive(Debug)]
struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
}

impl BertConfig {
    /// Reads and checks the file.
    ///
    /// # Errors
    /// A file that cannot be read or lacks a field; another architecture than a BERT with absolute positions and exact
    /// GELU; extents that do not hold together.
    pub fn read(path: &Path) -> Result<Self> {
        let config: Self = read(path, "the configuration of a BERT")?;
        let text = |name: &str, found: &str, expected: &str| match found == expected {
            true => Ok(()),
            false => Err(field(path, name, format!("{expected:?}"), format!("{found:?}"))),
        };
        text("model_type", &config.model_type, "bert")?;
        text("hidden_act", &config.hidden_act, "gelu")?;
        let positions = config.position_embedding_type.as_deref().unwrap_or("absolute");
        text("position_embedding_type", positions, "absolute")?;
        if config.heads == 0 || config.width == 0 || !config.width.is_multiple_of(config.heads) {
            let expected = format!("a multiple of `num_attention_heads` ({})", config.heads);
            return Err(field(path, "hidden_size", expected, config.width));
        }
        Ok(config)
    }
}

impl Bert {
    /// Reads the weights of a safetensors file, in f32 and under the names that Hugging Face's `BertModel` stores.
    ///
    /// # Errors
    /// A file that is missing or does not hold; a tensor that is missing, misshapen or not finite.
    pub fn load(k: &Kernels, config: BertConfig, weights: &Path) -> Result<Self> {
        Stored::read(weights)
            .and_then(|stored| load(k, config, &stored))
            .map_err(|error| gar_core::Error::from(error).into())
    }

    /// The configuration.
    pub fn config(&self) -> &BertConfig {
        &self.config
    }

    /// The last layer's output for one text's tokens, row-major [tokens, width]. Texts are encoded one by one, so that
    /// nothing is padded and nothing masked.
    ///
    /// # Errors
    /// More tokens than positions, a token outside the vocabulary, what an operation refuses.
    pub fn encode(&self, k: &Kernels, tokens: &[u32]) -> Result<Vec<f32>> {
        self.forward(k, tokens).map_err(|error| gar_core::Error::from(error).into())
    }

    fn forward(&self, k: &Kernels, tokens: &[u32]) -> Result<Vec<f32>, KernelError> {
        let count = tokens.len();
        let mut x = k.rows.gather(&self.words, tokens)?;
        // Gathering checks the tokens and the positions alike.
        let places: Vec<u32> = (0..count as u32).collect();
        x = k.pointwise.add(&x, &k.rows.gather(&self.positions, &places)?)?;
        x = k.pointwise.add(&x, &k.rows.gather(&self.kind, &vec![0; count])?)?;
        x = self.norm.forward(k, &x, self.config.norm_eps)?;
        for layer in &self.layers {
            x = self.layer(k, layer, &x)?;
        }
        k.device.download(&x)?.to_f32_vec()
    }

    fn layer(&self, k: &Kernels, layer: &Layer, x: &Tensor) -> Result<Tensor, KernelError> {
        let (rows, width) = x.as_rows();
        let (heads, head) = (self.config.heads, width / self.config.heads);
        let split =
            |linear: &Linear| linear.forward(k, x, Activation::Identity, None)?.reshape(&[1, rows, heads, head]);
        let spec = AttentionSpec { scale: (head as f32).sqrt().recip(), mask: Mask::Full, to: None };
        let attended =
            k.attention.attention(&split(&layer.query)?, &split(&layer.key)?, &split(&layer.value)?, &spec)?;
        let attended = attended.reshape(&[rows, width])?;
        let x = layer.attention_out.forward(k, &attended, Activation::Identity, Some(x))?;
        let x = layer.attention_norm.forward(k, &x, self.config.norm_eps)?;
        let hidden = layer.mlp_in.forward(k, &x, Activation::Gelu, None)?;
        let x = layer.mlp_out.forward(k, &hidden, Activation::Identity, Some(&x))?;
        layer.mlp_norm.forward(k, &x, self.config.norm_eps)
    }
}

impl Linear {
    /// `residual + activation(x · wᵀ + bias)`.
    fn forward(
        &self,
        k: &Kernels,
        x: &Tensor,
        activation: Activation,
        residual: Option<&Tensor>,
    ) -> Result<Tensor, KernelError> {
        let epilogue = Epilogue { bias: Some(&self.bias), activation, residual, ..Epilogue::default() };
        k.matmul.matmul(x, &self.weight, epilogue)
    }
}

impl LayerNorm {
    fn forward(&self, k: &Kernels, x: &Tensor, eps: f32) -> Result<Tensor, KernelError> {
        k.norm.norm(x, &NormSpec { kind: NormKind::Layer, weight: &self.weight, bias: Some(&self.bias), eps, to: None })
    }
}

fn load(k: &Kernels, config: BertConfig, weights: &Stored) -> Result<Bert, KernelError> {
    let (width, mlp) = (config.width, config.mlp_width);
    let tensor = |name: &str, shape: &[usize]| k.device.upload(&weights.tensor(name, shape)?);
    let linear = |name: &str, from: usize, to: usize| -> Result<Linear, KernelError> {
        Ok(Linear {
            weight: tensor(&format!("{name}.weight"), &[to, from])?,
            bias: tensor(&format!("{name}.bias"), &[to])?,
        })
    };
    let norm = |name: &str| -> Result<LayerNorm, KernelError> {
        let part = |part: &str| tensor(&format!("{name}.LayerNorm.{part}"), &[width]);
        Ok(LayerNorm { weight: part("weight")?, bias: part("bias")? })
    };
    let layer = |i: usize| -> Result<Layer, KernelError> {
        let at = |name: &str| format!("encoder.layer.{i}.{name}");
        Ok(Layer {
            query: linear(&at("attention.self.query"), width, width)?,
            key: linear(&at("attention.self.key"), width, width)?,
            value: linear(&at("attention.self.value"), width, width)?,
            attention_out: linear(&at("attention.output.dense"), width, width)?,
            attention_norm: norm(&at("attention.output"))?,
            mlp_in: linear(&at("intermediate.dense"), width, mlp)?,
            mlp_out: linear(&at("output.dense"), mlp, width)?,
            mlp_norm: norm(&at("output"))?,
        })
    };
    Ok(Bert {
        words: tensor("embeddings.word_embeddings.weight", &[config.vocabulary, width])?,
        positions: tensor("embeddings.position_embeddings.weight", &[config.positions, width])?,
        kind: tensor("embeddings.token_type_embeddings.weight", &[config.kinds, width])?.rows(0..1)?,
        norm: norm("embeddings")?,
        layers: (0..config.layers).map(layer).collect::<Result<_, _>>()?,
        config,
    })
}
