//! Weight files, written tensor by tensor, so that memory stays small whatever the model's size.
use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;

use gar_core::kernels::Progress;
use serde_json::{Map, Value, json};

use super::preset::{Architecture, PATCH, Text, Vision};
use super::random::{fill_constant, fill_normal};
use super::write_json;
use crate::error::{Error, Result};

/// Bytes of a weight file, at most; the limit that transformers has by default.
const SHARD_BYTES: usize = 5_000_000_000;

/// Values that are made and written at once: a multiple of the generator's block.
const CHUNK: usize = 1 << 22;

/// What a tensor is filled with.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fill {
    Normal,
    Constant(f32),
}

/// A tensor to be written, bf16.
#[derive(Debug)]
struct Spec {
    name: String,
    shape: Vec<usize>,
    fill: Fill,
}

impl Spec {
    fn values(&self) -> usize {
        self.shape.iter().product()
    }

    fn bytes(&self) -> usize {
        2 * self.values()
    }
}

/// The tensors in the order of the files.
#[derive(Default)]
struct Specs {
    list: Vec<Spec>,
}

impl Specs {
    fn of(model: &Architecture) -> Self {
        let Architecture { vision, text } = model;
        let mut specs = Self::default();
        // The published models begin training with zeros here; zeros would hide the masks from whoever measures.
        specs.normal("mask_patch_embedding.weight", &[vision.width, 3, PATCH, PATCH]);
        specs.tower("mllm.model.vision_tower.timm_model", vision);
        for (i, input) in [(1, vision.width), (2, text.width)] {
            specs.linear(&format!("mllm.model.multi_modal_projector.linear_{i}"), text.width, input);
        }
        specs.decoder("mllm.model.language_model", text);
        if !text.tied {
            let vocabulary = super::tokenizer::Specials::of(text).vocabulary();
            specs.normal("mllm.lm_head.weight", &[vocabulary, text.width]);
        }
        specs
    }

    fn tower(&mut self, at: &str, vision: &Vision) {
        let Vision { width, depth, mlp, .. } = *vision;
        if vision.class_token {
            self.normal(&format!("{at}.cls_token"), &[1, 1, width]);
        }
        self.normal(&format!("{at}.pos_embed"), &[1, vision.positions(), width]);
        self.normal(&format!("{at}.patch_embed.proj.weight"), &[width, 3, PATCH, PATCH]);
        self.norm(&format!("{at}.norm_pre"), width);
        for block in (0..depth).map(|i| format!("{at}.blocks.{i}")) {
            for (norm, gamma) in [("norm1", "gamma_1"), ("norm2", "gamma_2")] {
                self.norm(&format!("{block}.{norm}"), width);
                self.push(&format!("{block}.{gamma}"), &[width], Fill::Constant(0.1));
            }
            self.linear(&format!("{block}.attn.qkv"), 3 * width, width);
            self.linear(&format!("{block}.attn.proj"), width, width);
            self.linear(&format!("{block}.mlp.fc1"), mlp, width);
            self.linear(&format!("{block}.mlp.fc2"), width, mlp);
        }
    }

    fn decoder(&mut self, at: &str, text: &Text) {
        let Text { width, mlp, .. } = *text;
        let (queries, keys) = (text.heads * text.head, text.kv_heads * text.head);
        let vocabulary = super::tokenizer::Specials::of(text).vocabulary();
        self.normal(&format!("{at}.embed_tokens.weight"), &[vocabulary, width]);
        for layer in (0..text.layers).map(|i| format!("{at}.layers.{i}")) {
            for norm in ["input_layernorm", "post_attention_layernorm"] {
                self.push(&format!("{layer}.{norm}.weight"), &[width], Fill::Constant(1.0));
            }
            for (name, output, input) in [
                ("self_attn.q_proj", queries, width),
                ("self_attn.k_proj", keys, width),
                ("self_attn.v_proj", keys, width),
                ("self_attn.o_proj", width, queries),
                ("mlp.gate_proj", mlp, width),
                ("mlp.up_proj", mlp, width),
                ("mlp.down_proj", width, mlp),
            ] {
                self.normal(&format!("{layer}.{name}.weight"), &[output, input]);
            }
        }
        self.push(&format!("{at}.norm.weight"), &[width], Fill::Constant(1.0));
    }

    fn norm(&mut self, at: &str, width: usize) {
        self.push(&format!("{at}.weight"), &[width], Fill::Constant(1.0));
        self.push(&format!("{at}.bias"), &[width], Fill::Constant(0.0));
    }

    fn linear(&mut self, at: &str, output: usize, input: usize) {
        self.normal(&format!("{at}.weight"), &[output, input]);
        self.push(&format!("{at}.bias"), &[output], Fill::Constant(0.0));
    }

    fn normal(&mut self, name: &str, shape: &[usize]) {
        self.push(name, shape, Fill::Normal);
    }

    fn push(&mut self, name: &str, shape: &[usize], fill: Fill) {
        self.list.push(Spec { name: name.to_owned(), shape: shape.to_vec(), fill });
    }

    /// Which tensors go into which file: in order, as many as fit `limit` bytes.
    fn shards(&self, limit: usize) -> Vec<Range<usize>> {
        let (mut shards, mut start, mut bytes) = (Vec::new(), 0, 0);
        for (i, spec) in self.list.iter().enumerate() {
            if bytes + spec.bytes() > limit && i > start {
                shards.push(start..i);
                (start, bytes) = (i, 0);
            }
            bytes += spec.bytes();
        }
        shards.push(start..self.list.len());
        shards
    }
}

/// Writes all weights of a model: one file, or shards with their index.
pub(super) fn write(directory: &Path, model: &Architecture, seed: u64, progress: &dyn Progress) -> Result<()> {
    let specs = Specs::of(model);
    let total: usize = specs.list.iter().map(Spec::bytes).sum();
    let shards = specs.shards(SHARD_BYTES);
    progress.start("writing weights", total as u64);
    let mut places = Map::new();
    for (i, shard) in shards.iter().enumerate() {
        let name = match shards.len() {
            1 => "model.safetensors".to_owned(),
            n => format!("model-{:05}-of-{n:05}.safetensors", i + 1),
        };
        let path = directory.join(&name);
        write_shard(&path, &specs.list[shard.clone()], shard.start, seed, progress).map_err(Error::io(&path))?;
        places.extend(specs.list[shard.clone()].iter().map(|spec| (spec.name.clone(), name.as_str().into())));
    }
    progress.finish();
    if shards.len() > 1 {
        let index = json!({ "metadata": { "total_size": total }, "weight_map": places });
        write_json(&directory.join("model.safetensors.index.json"), &index)?;
    }
    Ok(())
}

/// One file; `first` is the number of its first tensor in the model, from which the generators are seeded.
fn write_shard(path: &Path, specs: &[Spec], first: usize, seed: u64, progress: &dyn Progress) -> io::Result<()> {
    let mut file = File::create(path)?;
    let header = header(specs);
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    let mut buffer = Vec::new();
    for (tensor, spec) in (first as u64..).zip(specs) {
        let values = spec.values();
        for start in (0..values).step_by(CHUNK) {
            buffer.resize(2 * CHUNK.min(values - start), 0);
            match spec.fill {
                Fill::Normal => fill_normal(&mut buffer, seed, tensor, start),
                Fill::Constant(value) => fill_constant(&mut buffer, value),
            }
            file.write_all(&buffer)?;
            progress.advance(buffer.len() as u64);
        }
    }
    file.flush()
}

/// The header of a safetensors file, padded with spaces so that the data is aligned to 8 bytes.
fn header(specs: &[Spec]) -> String {
    let mut entries = Map::new();
    entries.insert("__metadata__".into(), json!({ "format": "pt" }));
    let mut at = 0;
    for spec in specs {
        let end = at + spec.bytes();
        let entry = json!({ "dtype": "BF16", "shape": spec.shape, "data_offsets": [at, end] });
        entries.insert(spec.name.clone(), entry);
        at = end;
    }
    let mut text = Value::Object(entries).to_string();
    text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
    text
}

#[cfg(test)]
mod tests {
    use super::super::Preset;
    use super::*;

    fn parameters(preset: Preset) -> usize {
        Specs::of(&preset.architecture()).list.iter().map(Spec::values).sum()
    }

    #[test]
    fn sizes_are_those_of_the_published_models() {
        // Llama 3.2 1B has 1,235,814,400 parameters with 128,256 tokens; here are six more, a tower and a projector.
        let tower = 23 * (12 * 1024 * 1024 + 15 * 1024) + 1024 * (1 + 1025 + 588 + 2);
        let projector = 1024 * 2048 + 2048 * 2048 + 2 * 2048;
        assert_eq!(parameters(Preset::Gar1b), 1_235_814_400 + 6 * 2048 + tower + projector + 1024 * 588);
        // Llama 3.1 8B has 8,030,261,248 with two tables of 128,256 tokens.
        let tower = 47 * (1536 * (4 * 1536 + 2 * 8960) + 1536 * 11 + 8960) + 1536 * (1024 + 588 + 2);
        let projector = 1536 * 4096 + 4096 * 4096 + 2 * 4096;
        assert_eq!(parameters(Preset::Gar8b), 8_030_261_248 + 12 * 4096 + tower + projector + 1536 * 588);
    }

    #[test]
    fn shards_hold_everything_once_below_the_limit() {
        let specs = Specs::of(&Preset::Gar8b.architecture());
        let shards = specs.shards(SHARD_BYTES);
        assert_eq!(shards.iter().cloned().flatten().collect::<Vec<_>>(), (0..specs.list.len()).collect::<Vec<_>>());
        for shard in &shards {
            assert!(specs.list[shard.clone()].iter().map(Spec::bytes).sum::<usize>() <= SHARD_BYTES);
        }
        assert_eq!(shards.len(), 4, "{shards:?}");
        assert_eq!(Specs::of(&Preset::Gar1b.architecture()).shards(SHARD_BYTES).len(), 1);
    }
}
