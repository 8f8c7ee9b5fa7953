//! Weights to begin with when there is no checkpoint: drawn at random, from `config.json` alone.
use std::{collections::BTreeMap, path::Path};

use gar_core::{
    CrossAttention, EncodingKind, GarConfig,
    kernels::{Tensor, Weights},
    llm::LlamaConfig,
    vision::PerceptionConfig,
};

use crate::{Part, Result, checkpoint::write_tensors};

/// Every weight of a model, by its name in a checkpoint, f32.
///
/// Matrices have the variance of torch's `Linear`, 1/(3·inputs); those that write to a residual stream are smaller by the
/// root of how many do. Embeddings and positions have deviation 1/√width, layer scales are what `init_values` states, norms 1, biases 0, the
/// gate of a cross-attention 0. The convolution of masks is drawn too: from zero, as the paper begins with a trained tower,
/// a small model learns it late.
///
/// The same seed gives the same weights on every platform.
///
/// # Errors
/// A decoder's configuration that does not hold.
pub fn weights(config: &GarConfig, seed: u64) -> Result<BTreeMap<String, Tensor>> {
    let text = config.llama()?;
    let mut draw = Draw { tensors: BTreeMap::new(), seed };
    draw.tower("mllm.model.vision_tower.timm_model", &config.tower)?;
    let (width, d, patch) = (config.tower.spec.width, config.decoder_width, config.tower.spec.patch_size);
    draw.put("mask_patch_embedding.weight".into(), &[width, 3, patch, patch], Fill::Linear(1.0))?;
    draw.linear("mllm.model.multi_modal_projector.linear_1", width, d, true, 1.0)?;
    draw.linear("mllm.model.multi_modal_projector.linear_2", d, d, true, 1.0)?;
    if config.region_encoding == EncodingKind::LocalCrossAttention {
        draw.cross_attention(CrossAttention::PREFIX, d, text.heads * text.head_dim)?;
    }
    draw.decoder("mllm.model.language_model", &text)?;
    if !text.tie_word_embeddings {
        draw.put("mllm.lm_head.weight".into(), &[text.vocab_size, d], Fill::Normal(embedding(d)))?;
    }
    Ok(draw.tensors)
}

/// Writes `model.safetensors` of fresh weights beside the `config.json` of `folder`.
///
/// From a checkpoint `tower`, its tower, convolution of masks and projector are taken in place of fresh ones: the paper's
/// models begin with a trained tower.
///
/// # Errors
/// As [`weights`]; a file that cannot be read or written; tensors that `tower` lacks or has in another shape.
pub fn write(folder: &Path, seed: u64, tower: Option<&Path>) -> Result<()> {
    let mut tensors = weights(&GarConfig::read(folder)?, seed)?;
    if let Some(tower) = tower {
        let trained = Weights::open(tower)?;
        for (name, tensor) in &mut tensors {
            if matches!(Part::of(name), Part::Tower | Part::Mask | Part::Projector) {
                *tensor = trained.tensor(name, tensor.shape())?;
            }
        }
    }
    let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (name.clone(), tensor)).collect();
    write_tensors(&folder.join("model.safetensors"), &tensors)
}

/// The deviation of an embedding of so many entries: a vector of length 1.
fn embedding(width: usize) -> f32 {
    1.0 / (width as f32).sqrt()
}

/// How a tensor begins.
enum Fill {
    Constant(f32),
    /// Normal with this deviation.
    Normal(f32),
    /// Normal with the variance of torch's `Linear`, times this factor's square.
    Linear(f32),
}

struct Draw {
    tensors: BTreeMap<String, Tensor>,
    seed: u64,
}

impl Draw {
    fn tower(&mut self, scope: &str, config: &PerceptionConfig) -> Result<()> {
        let (c, patch) = (config.spec.width, config.spec.patch_size);
        let residual = 1.0 / (2.0 * config.depth as f32).sqrt();
        self.put(format!("{scope}.patch_embed.proj.weight"), &[c, 3, patch, patch], Fill::Linear(1.0))?;
        if config.class_token {
            self.put(format!("{scope}.cls_token"), &[1, 1, c], Fill::Normal(embedding(c)))?;
        }
        if config.absolute_positions {
            self.put(format!("{scope}.pos_embed"), &[1, config.tokens(), c], Fill::Normal(embedding(c)))?;
        }
        self.norm(&format!("{scope}.norm_pre"), c, true)?;
        for i in 0..config.depth {
            let block = format!("{scope}.blocks.{i}");
            self.norm(&format!("{block}.norm1"), c, true)?;
            self.linear(&format!("{block}.attn.qkv"), c, 3 * c, config.qkv_bias, 1.0)?;
            self.linear(&format!("{block}.attn.proj"), c, c, true, residual)?;
            self.norm(&format!("{block}.norm2"), c, true)?;
            self.linear(&format!("{block}.mlp.fc1"), c, config.mlp_width, true, 1.0)?;
            self.linear(&format!("{block}.mlp.fc2"), config.mlp_width, c, true, residual)?;
            if let Some(scale) = config.layer_scale {
                self.put(format!("{block}.gamma_1"), &[c], Fill::Constant(scale))?;
                self.put(format!("{block}.gamma_2"), &[c], Fill::Constant(scale))?;
            }
        }
        if config.post_norm {
            self.norm(&format!("{scope}.norm"), c, true)?;
        }
        Ok(())
    }

    fn cross_attention(&mut self, scope: &str, d: usize, inner: usize) -> Result<()> {
        self.norm(&format!("{scope}.norm"), d, true)?;
        self.norm(&format!("{scope}.context_norm"), d, true)?;
        for name in ["q_proj", "k_proj", "v_proj"] {
            self.linear(&format!("{scope}.{name}"), d, inner, false, 1.0)?;
        }
        self.linear(&format!("{scope}.o_proj"), inner, d, false, 1.0)?;
        self.put(format!("{scope}.gate"), &[d], Fill::Constant(0.0))
    }

    fn decoder(&mut self, scope: &str, config: &LlamaConfig) -> Result<()> {
        let LlamaConfig { hidden_size: d, intermediate_size: inner, heads, kv_heads, head_dim, .. } = *config;
        let residual = 1.0 / (2.0 * config.layers as f32).sqrt();
        self.put(format!("{scope}.embed_tokens.weight"), &[config.vocab_size, d], Fill::Normal(embedding(d)))?;
        self.norm(&format!("{scope}.norm"), d, false)?;
        for i in 0..config.layers {
            let layer = format!("{scope}.layers.{i}");
            let (q, kv, bias) = (heads * head_dim, kv_heads * head_dim, config.attention_bias);
            self.norm(&format!("{layer}.input_layernorm"), d, false)?;
            self.linear(&format!("{layer}.self_attn.q_proj"), d, q, bias, 1.0)?;
            self.linear(&format!("{layer}.self_attn.k_proj"), d, kv, bias, 1.0)?;
            self.linear(&format!("{layer}.self_attn.v_proj"), d, kv, bias, 1.0)?;
            self.linear(&format!("{layer}.self_attn.o_proj"), q, d, bias, residual)?;
            self.norm(&format!("{layer}.post_attention_layernorm"), d, false)?;
            self.linear(&format!("{layer}.mlp.gate_proj"), d, inner, config.mlp_bias, 1.0)?;
            self.linear(&format!("{layer}.mlp.up_proj"), d, inner, config.mlp_bias, 1.0)?;
            self.linear(&format!("{layer}.mlp.down_proj"), inner, d, config.mlp_bias, residual)?;
        }
        Ok(())
    }

    fn norm(&mut self, scope: &str, width: usize, bias: bool) -> Result<()> {
        self.put(format!("{scope}.weight"), &[width], Fill::Constant(1.0))?;
        if bias { self.put(format!("{scope}.bias"), &[width], Fill::Constant(0.0)) } else { Ok(()) }
    }

    fn linear(&mut self, scope: &str, from: usize, to: usize, bias: bool, factor: f32) -> Result<()> {
        self.put(format!("{scope}.weight"), &[to, from], Fill::Linear(factor))?;
        if bias { self.put(format!("{scope}.bias"), &[to], Fill::Constant(0.0)) } else { Ok(()) }
    }

    fn put(&mut self, name: String, shape: &[usize], fill: Fill) -> Result<()> {
        let count = shape.iter().product();
        let values = match fill {
            Fill::Constant(value) => vec![value; count],
            Fill::Normal(deviation) => self.normal(&name, count, deviation),
            Fill::Linear(factor) => {
                let inputs: usize = shape[1..].iter().product();
                self.normal(&name, count, factor / (3.0 * inputs as f32).sqrt())
            }
        };
        self.tensors.insert(name, Tensor::from_vec(values, shape)?);
        Ok(())
    }

    /// Nearly normal values (the sum of four uniform ones), from a generator of the tensor's own: SplitMix64 started by
    /// the seed and the name.
    fn normal(&self, name: &str, count: usize, deviation: f32) -> Vec<f32> {
        let mut state = name.bytes().fold(self.seed, |state, byte| mix(state ^ u64::from(byte)));
        (0..count)
            .map(|_| {
                state = state.wrapping_add(1);
                let bits = mix(state);
                let sum: f32 = (0..4).map(|i| f32::from((bits >> (16 * i)) as u16)).sum();
                // Four uniform numbers on 0…65535 have mean 2·65535 and variance 4·(65536² − 1)/12.
                deviation * (sum - 131_070.0) / 37_837.23
            })
            .collect()
    }
}

/// The output function of SplitMix64 (Steele, Lea & Flood, 2014) on its next state.
pub(crate) fn mix(x: u64) -> u64 {
    let z = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
