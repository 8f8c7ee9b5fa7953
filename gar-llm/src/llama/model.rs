//! The forward pass of a Llama, written against the table of operations.

use std::any::Any;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use gar_kernels::ops::{
    CacheSpec, CachedAttentionSpec, Epilogue, Gated, KvCache, NormKind, NormSpec, Normalization, Pairing, Projection,
    RotarySpec, Rotation,
};
use gar_kernels::{Kernels, Progress, Tensor, Weights};

use super::LlamaConfig;
use super::rope::{Rope, RopeTables};
use crate::{AfterLayer, Decoder, Error, Result, Sequence};

/// Rows of a prompt that go through the layers together, at least: bounds the memory that a long prompt needs.
const CHUNK: usize = 512;
/// Steps are taken to ask for the same operations until their length reaches this, and then until it doubles.
const SAME_LENGTH: usize = 128;

/// Where a checkpoint keeps the parts of a Llama. The default is the plain Hugging Face layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LlamaNames {
    /// Prefix of `embed_tokens`, `layers` and `norm`.
    pub backbone: String,
    /// Prefix of the output head's `weight`.
    pub head: String,
}

impl Default for LlamaNames {
    fn default() -> Self {
        Self { backbone: "model".into(), head: "lm_head".into() }
    }
}

impl LlamaNames {
    /// Where a GAR checkpoint keeps its decoder.
    pub fn gar() -> Self {
        Self { backbone: "mllm.model.language_model".into(), head: "mllm.lm_head".into() }
    }
}

/// A Llama with its weights on a device.
#[derive(Debug)]
pub struct Llama {
    config: LlamaConfig,
    /// [V, D].
    embedding: Tensor,
    layers: Vec<Layer>,
    /// [D].
    norm: Tensor,
    /// [V, D], prepared; made of the embedding where they are tied.
    head: Tensor,
    rope: Rope,
}

/// A projection, prepared for the matrix product, [N, K], with its bias [N].
#[derive(Debug)]
struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

/// One layer: attention, then a gated MLP, each behind an RMS norm and added to the residual stream.
#[derive(Debug)]
struct Layer {
    attention_norm: Tensor,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    mlp_norm: Tensor,
    gate: Linear,
    up: Linear,
    down: Linear,
}

/// The positions of one sequence and the rotary tables that cover them.
struct LlamaSequence {
    cache: Box<dyn KvCache>,
    rope: Arc<RopeTables>,
}

impl Llama {
    /// Loads the weights onto the device of `kernels`, in the element type they are stored in.
    ///
    /// # Errors
    /// A tensor that is missing, misshapen, of another kind or not finite, named with its file; a failing device.
    pub fn load(
        weights: &Weights,
        names: &LlamaNames,
        config: LlamaConfig,
        kernels: &Kernels,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let backbone = weights.scope(&names.backbone);
        progress.start("loading the decoder", config.layers as u64 + 1);
        let load = |scope: &Weights, name: &str, shape: &[usize]| -> Result<Tensor> {
            Ok(kernels.device.upload(&scope.tensor(name, shape)?)?)
        };
        let table = [config.vocab_size, config.hidden_size];
        let embedding = load(&backbone, "embed_tokens.weight", &table)?;
        let head = match config.tie_word_embeddings {
            // A quantised checkpoint holds a head of its own: rows of the embedding are looked up in full.
            true if !weights.scope(&names.head).is_quantized("weight") => embedding.clone(),
            _ => load(&weights.scope(&names.head), "weight", &table)?,
        };
        let head = kernels.matmul.prepare(&head)?;
        let norm = load(&backbone, "norm.weight", &[config.hidden_size])?;
        progress.advance(1);
        let mut layers = Vec::with_capacity(config.layers);
        for i in 0..config.layers {
            layers.push(Layer::load(&backbone.scope(&format!("layers.{i}")), &config, kernels)?);
            progress.advance(1);
        }
        progress.finish();
        let rope = Rope::new(&config);
        Ok(Self { config, embedding, layers, norm, head, rope })
    }

    /// Its sizes and switches.
    pub fn config(&self) -> &LlamaConfig {
        &self.config
    }

    fn cache_spec(&self, capacity: usize) -> CacheSpec {
        let LlamaConfig { layers, kv_heads, head_dim, .. } = self.config;
        CacheSpec { layers, kv_heads, head_dim, capacity }
    }

    /// An RMS norm of what only `next`, and weights like it, are multiplied with.
    fn rms_norm<'a>(&self, kernels: &'a Kernels, weight: &'a Tensor, next: &Tensor) -> Normalization<'a> {
        let (eps, to) = (self.config.rms_norm_eps, kernels.matmul.rounding(next));
        let spec = NormSpec { kind: NormKind::Rms, weight, bias: None, eps, to };
        Normalization { norm: &*kernels.norm, spec }
    }

    /// Recovers a sequence of this model that has room for `rows` more positions.
    fn own<'a>(&self, sequence: &'a mut dyn Sequence, rows: usize) -> Result<&'a mut LlamaSequence> {
        let expected = self.cache_spec(sequence.capacity());
        let mismatch = |found: &str| Error::Mismatch {
            what: "sequence",
            expected: format!("one made by this model ({expected:?})"),
            found: found.into(),
        };
        let own = sequence.as_any_mut().downcast_mut::<LlamaSequence>();
        let own = own.ok_or_else(|| mismatch("one of another kind of model"))?;
        if own.cache.spec() != expected {
            return Err(mismatch(&format!("{:?}", own.cache.spec())));
        }
        let needed = own.cache.len().saturating_add(rows);
        if needed > expected.capacity {
            return Err(Error::Capacity { what: "sequence", capacity: expected.capacity, needed });
        }
        Ok(own)
    }

    /// `x` [B, L, D] behind what each of B sequences holds → the residual stream after the last layer, of the last `wanted`
    /// rows [B, wanted, D]. The last layer computes keys and values alone for the others. `after` is shown the stream after
    /// each layer.
    fn layers(
        &self,
        kernels: &Kernels,
        mut x: Tensor,
        wanted: usize,
        sequences: &mut [&mut LlamaSequence],
        after: &mut AfterLayer<'_>,
    ) -> Result<Tensor> {
        let [_, rows, _] = x.dims("llama", "x")?;
        let start: Vec<usize> = sequences.iter().map(|sequence| sequence.cache.len()).collect();
        // Every table begins with the same rows, so the longest serves all.
        let rope = sequences.iter().map(|sequence| &sequence.rope).max_by_key(|rope| rope.positions);
        let Some(rope) = rope.cloned() else { return Ok(x) };
        let turn = RotarySpec { cos: &rope.cos, sin: &rope.sin, start: &start, pairing: Pairing::HalfSplit };
        let rotation = Rotation { rotary: &*kernels.rotary, spec: turn };
        let mut caches: Vec<&mut dyn KvCache> = Vec::with_capacity(sequences.len());
        for sequence in sequences {
            caches.push(sequence.cache.as_mut());
        }
        for (i, layer) in self.layers.iter().enumerate() {
            let wanted = if i + 1 == self.layers.len() { wanted } else { rows };
            x = self.attention(kernels, i, &x, wanted, rotation, &mut caches)?;
            let norm = self.rms_norm(kernels, &layer.mlp_norm, &layer.gate.weight);
            let [gate, up] = [&layer.gate, &layer.up].map(Linear::projection);
            let to = kernels.matmul.rounding(&layer.down.weight);
            let gated = Gated { gate, up, pointwise: &*kernels.pointwise, to };
            let gated = kernels.matmul.swiglu_normalized(&x, norm, gated)?;
            x = layer.down.apply(kernels, &gated, Some(&x))?;
            after(i + 1, &x);
        }
        for cache in caches {
            cache.advance(rows)?;
        }
        Ok(x)
    }

    /// `x + output(attention(norm(x)))` of the last `wanted` rows of `x` [B, L, D].
    fn attention(
        &self,
        kernels: &Kernels,
        index: usize,
        x: &Tensor,
        wanted: usize,
        rotation: Rotation<'_>,
        caches: &mut [&mut dyn KvCache],
    ) -> Result<Tensor> {
        let LlamaConfig { heads, kv_heads, head_dim, .. } = self.config;
        let layer = &self.layers[index];
        let [batch, rows, _] = x.dims("llama", "x")?;
        let [query, key, mut value] = [&layer.query, &layer.key, &layer.value].map(Linear::projection);
        // Only attention reads values, and only the next product what attention gives.
        value.epilogue.to = kernels.cached_attention.rounding();
        let to = kernels.matmul.rounding(&layer.output.weight);
        let norm = self.rms_norm(kernels, &layer.attention_norm, &layer.query.weight);
        let (x, [q, k, v]) = if wanted == rows {
            (x.clone(), kernels.matmul.matmuls_normalized_of(x, norm, [query, key, value])?)
        } else {
            let last = last_rows(kernels, x, wanted)?;
            let [q] = kernels.matmul.matmuls_normalized_of(&last, norm, [query])?;
            let [k, v] = kernels.matmul.matmuls_normalized_of(x, norm, [key, value])?;
            (last, [q, k, v])
        };
        let q = q.reshape(&[batch, wanted, heads, head_dim])?;
        let [k, v] = [k, v].map(|t| t.reshape(&[batch, rows, kv_heads, head_dim]));
        let (k, v) = (k?, v?);
        let spec = CachedAttentionSpec { layer: index, scale: 1.0 / (head_dim as f32).sqrt(), to };
        let mixed = kernels.cached_attention.attend_rotated(&q, &k, &v, rotation, caches, &spec)?;
        layer.output.apply(kernels, &mixed.reshape(&[batch, wanted, heads * head_dim])?, Some(&x))
    }

    /// Steps of as many sequences of about the same length ask for the same operations on the same shapes.
    fn step_key(&self, lengths: &[usize]) -> u64 {
        let mut hasher = DefaultHasher::new();
        std::ptr::from_ref(self).hash(&mut hasher);
        (lengths.len(), lengths.iter().max().map(|len| (len / SAME_LENGTH).checked_ilog2())).hash(&mut hasher);
        hasher.finish()
    }

    /// The final norm and the head: `x` [B, D] → logits [B, V].
    fn head(&self, kernels: &Kernels, x: &Tensor) -> Result<Tensor> {
        let norm = self.rms_norm(kernels, &self.norm, &self.head);
        let head = Projection { w: &self.head, epilogue: Epilogue::default() };
        let [logits] = kernels.matmul.matmuls_normalized_of(x, norm, [head])?;
        Ok(logits)
    }
}

/// The last `wanted` rows of each of B sequences: `x` [B, L, D] → [B, wanted, D].
fn last_rows(kernels: &Kernels, x: &Tensor, wanted: usize) -> Result<Tensor> {
    let [batch, rows, width] = x.dims("llama", "x")?;
    let last: Vec<u32> = (1..=batch).flat_map(|end| end * rows - wanted..end * rows).map(|row| row as u32).collect();
    let x = x.reshape(&[batch * rows, width])?;
    Ok(kernels.rows.gather(&x, &last)?.reshape(&[batch, wanted, width])?)
}

impl Layer {
    fn load(weights: &Weights, config: &LlamaConfig, kernels: &Kernels) -> Result<Self> {
        let LlamaConfig { hidden_size: d, intermediate_size: inner, heads, kv_heads, head_dim, .. } = *config;
        let (q, kv) = (heads * head_dim, kv_heads * head_dim);
        let norm = |name: &str| -> Result<Tensor> { Ok(kernels.device.upload(&weights.tensor(name, &[d])?)?) };
        let linear = |name: &str, shape: [usize; 2], bias: bool| -> Result<Linear> {
            let scope = weights.scope(name);
            let weight = kernels.matmul.prepare(&kernels.device.upload(&scope.tensor("weight", &shape)?)?)?;
            let bias = match bias {
                true => Some(kernels.device.upload(&scope.tensor("bias", &shape[..1])?)?),
                false => None,
            };
            Ok(Linear { weight, bias })
        };
        let (in_attention, in_mlp) = (config.attention_bias, config.mlp_bias);
        Ok(Self {
            attention_norm: norm("input_layernorm.weight")?,
            query: linear("self_attn.q_proj", [q, d], in_attention)?,
            key: linear("self_attn.k_proj", [kv, d], in_attention)?,
            value: linear("self_attn.v_proj", [kv, d], in_attention)?,
            output: linear("self_attn.o_proj", [d, q], in_attention)?,
            mlp_norm: norm("post_attention_layernorm.weight")?,
            gate: linear("mlp.gate_proj", [inner, d], in_mlp)?,
            up: linear("mlp.up_proj", [inner, d], in_mlp)?,
            down: linear("mlp.down_proj", [d, inner], in_mlp)?,
        })
    }
}

impl Linear {
    /// `x·wᵀ + bias`.
    fn projection(&self) -> Projection<'_> {
        Projection { w: &self.weight, epilogue: Epilogue { bias: self.bias.as_ref(), ..Epilogue::default() } }
    }

    /// `x·wᵀ + bias + residual`.
    fn apply(&self, kernels: &Kernels, x: &Tensor, residual: Option<&Tensor>) -> Result<Tensor> {
        let epilogue = Epilogue { bias: self.bias.as_ref(), residual, ..Epilogue::default() };
        Ok(kernels.matmul.matmul(x, &self.weight, epilogue)?)
    }
}

impl Decoder for Llama {
    fn width(&self) -> usize {
        self.config.hidden_size
    }

    fn vocabulary(&self) -> usize {
        self.config.vocab_size
    }

    fn context(&self) -> usize {
        self.config.max_positions
    }

    fn embed(&self, kernels: &Kernels, ids: &[u32]) -> Result<Tensor> {
        let vocabulary = self.config.vocab_size;
        if let Some(&id) = ids.iter().find(|&&id| id as usize >= vocabulary) {
            return Err(Error::UnknownId { id, vocabulary });
        }
        Ok(kernels.rows.gather(&self.embedding, ids)?)
    }

    fn sequence(&self, kernels: &Kernels, capacity: usize) -> Result<Box<dyn Sequence>> {
        let context = self.context();
        if capacity > context {
            return Err(Error::Capacity { what: "context of the model", capacity: context, needed: capacity });
        }
        let cache = kernels.cached_attention.cache(self.cache_spec(capacity))?;
        Ok(Box::new(LlamaSequence { cache, rope: self.rope.tables(kernels, capacity)? }))
    }

    fn prefill(&self, kernels: &Kernels, sequence: &mut dyn Sequence, embeds: &Tensor) -> Result<Tensor> {
        let [rows, width] = embeds.dims("prefill", "embeds")?;
        embeds.expect_shape("prefill", "embeds", &[rows, self.config.hidden_size])?;
        if rows == 0 {
            return Err(Error::EmptyPrompt);
        }
        let own = self.own(sequence, rows)?;
        let before = own.cache.len();
        let mut pass = || -> Result<Tensor> {
            let mut last = embeds.rows(0..0)?;
            let chunk = CHUNK.max(kernels.device.rows_at_once());
            for start in (0..rows).step_by(chunk) {
                let len = chunk.min(rows - start);
                let wanted = usize::from(start + len == rows);
                let chunk = embeds.rows(start..start + len)?.reshape(&[1, len, width])?;
                last = self.layers(kernels, chunk, wanted, &mut [&mut *own], &mut |_, _| {})?;
            }
            self.head(kernels, &last.reshape(&[1, width])?)
        };
        let logits = pass();
        if logits.is_err() {
            sequence.truncate(before);
        }
        logits
    }

    fn step(&self, kernels: &Kernels, sequences: &mut [&mut dyn Sequence], tokens: &[u32]) -> Result<Tensor> {
        if sequences.len() != tokens.len() || tokens.is_empty() {
            return Err(Error::Mismatch {
                what: "tokens of a step",
                expected: format!("one for each of {} sequences, at least one", sequences.len()),
                found: tokens.len().to_string(),
            });
        }
        let (batch, width) = (tokens.len(), self.config.hidden_size);
        let mut own = Vec::with_capacity(batch);
        for sequence in sequences.iter_mut() {
            own.push(self.own(&mut **sequence, 1)?);
        }
        let before: Vec<usize> = own.iter().map(|sequence| sequence.cache.len()).collect();
        let mut pass = || -> Result<Tensor> {
            let x = self.embed(kernels, tokens)?.reshape(&[batch, 1, width])?;
            let x = self.layers(kernels, x, 1, &mut own, &mut |_, _| {})?;
            self.head(kernels, &x.reshape(&[batch, width])?)
        };
        let mut logits = Err(Error::EmptyPrompt);
        let repeated = kernels.device.repeat(self.step_key(&before), &mut || logits = pass());
        let logits = repeated.map_err(Error::from).and(logits);
        if logits.is_err() {
            for (sequence, len) in own.into_iter().zip(before) {
                sequence.cache.truncate(len);
            }
        }
        logits
    }

    fn extend_seen(
        &self,
        kernels: &Kernels,
        sequences: &mut [&mut dyn Sequence],
        embeds: &Tensor,
        after: &mut AfterLayer<'_>,
    ) -> Result<Tensor> {
        let [batch, rows, width] = embeds.dims("extend", "embeds")?;
        embeds.expect_shape("extend", "embeds", &[sequences.len(), rows, self.config.hidden_size])?;
        if rows == 0 || batch == 0 {
            return Err(Error::EmptyPrompt);
        }
        let mut own = Vec::with_capacity(batch);
        for sequence in sequences.iter_mut() {
            own.push(self.own(&mut **sequence, rows)?);
        }
        let x = self.layers(kernels, embeds.clone(), rows, &mut own, after)?;
        Ok(x.reshape(&[batch, rows, width])?)
    }

    fn logits(&self, kernels: &Kernels, hidden: &Tensor) -> Result<Tensor> {
        let [rows, _] = hidden.dims("logits", "hidden")?;
        hidden.expect_shape("logits", "hidden", &[rows, self.config.hidden_size])?;
        self.head(kernels, hidden)
    }
}

impl Sequence for LlamaSequence {
    fn len(&self) -> usize {
        self.cache.len()
    }

    fn capacity(&self) -> usize {
        self.cache.spec().capacity
    }

    fn fork(&self) -> Result<Box<dyn Sequence>> {
        Ok(Box::new(Self { cache: self.cache.fork()?, rope: self.rope.clone() }))
    }

    fn truncate(&mut self, len: usize) {
        self.cache.truncate(len);
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
