//! `gar inspect`: architecture, parameters and memory of a checkpoint. Headers are read, weights are not.
use std::fmt::Write as _;

use gar_core::GarConfig;
use gar_core::kernels::Weights;
use gar_core::vision::ImageProcessor;
use serde::Serialize;

use crate::args::InspectArgs;
use crate::error::Result;
use crate::output;

/// Parts of a checkpoint and how the names of their tensors begin.
const PARTS: [(&str, &str); 6] = [
    ("mask encoder", "mask_patch_embedding."),
    ("vision tower", "mllm.model.vision_tower."),
    ("projector", "mllm.model.multi_modal_projector."),
    ("token embedding", "mllm.model.language_model.embed_tokens."),
    ("decoder", "mllm.model.language_model."),
    ("output head", "mllm.lm_head."),
];

/// Bytes of a parameter in each element type that weights may be kept in.
const DTYPES: [(&str, u64); 3] = [("f32", 4), ("bf16", 2), ("int8", 1)];

#[derive(Debug, Serialize)]
struct Inspection {
    model: String,
    tower: Tower,
    projector: Projector,
    decoder: Decoder,
    prompt: Prompt,
    parameters: Vec<Part>,
    total_parameters: u64,
    /// Bytes of the weights as they are stored.
    stored_bytes: u64,
    /// Bytes of all parameters in each element type; activations and the KV cache come on top.
    memory_bytes: serde_json::Map<String, serde_json::Value>,
}

#[derive(Debug, Serialize)]
struct Tower {
    tile_size: usize,
    patch_size: usize,
    max_tiles: usize,
    width: usize,
    depth: usize,
    heads: usize,
    mlp_width: usize,
    class_token: bool,
}

#[derive(Debug, Serialize)]
struct Projector {
    input: usize,
    output: usize,
    pooling: usize,
    tokens_per_tile: usize,
}

#[derive(Debug, Serialize)]
struct Decoder {
    width: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    mlp_width: usize,
    vocabulary: usize,
    context: usize,
    tied_head: bool,
    /// Keys and values of one position, in f32.
    kv_bytes_per_token: usize,
}

#[derive(Debug, Serialize)]
struct Prompt {
    slots: usize,
    replay_boxes: String,
}

#[derive(Debug, Serialize)]
struct Part {
    name: &'static str,
    parameters: u64,
}

pub(crate) fn run(args: &InspectArgs) -> Result<()> {
    let found = inspect(args)?;
    if args.json { output::json(&found, true) } else { output::text(&found.to_text()) }
}

fn inspect(args: &InspectArgs) -> Result<Inspection> {
    let directory = &args.directory;
    let config = GarConfig::read(directory)?;
    let text = config.llama()?;
    let processor = ImageProcessor::open(directory.join("preprocessor_config.json"))?;
    let weights = Weights::open(directory)?;

    let mut parameters: Vec<Part> = PARTS.iter().map(|&(name, _)| Part { name, parameters: 0 }).collect();
    parameters.push(Part { name: "other", parameters: 0 });
    let mut stored_bytes = 0;
    for tensor in weights.tensors() {
        let count: u64 = tensor.shape.iter().map(|&extent| extent as u64).product();
        let part = PARTS.iter().position(|(_, prefix)| tensor.name.starts_with(prefix)).unwrap_or(PARTS.len());
        parameters[part].parameters += count;
        stored_bytes += count * tensor.dtype.size() as u64;
    }
    parameters.retain(|part| part.parameters > 0);
    let total = parameters.iter().map(|part| part.parameters).sum::<u64>();

    let (tower, spec) = (&config.tower, config.tower.spec);
    Ok(Inspection {
        model: directory.display().to_string(),
        tower: Tower {
            tile_size: spec.tile_size,
            patch_size: spec.patch_size,
            max_tiles: processor.max_num_tiles,
            width: spec.width,
            depth: tower.depth,
            heads: tower.heads,
            mlp_width: tower.mlp_width,
            class_token: tower.class_token,
        },
        projector: Projector {
            input: spec.width,
            output: config.decoder_width,
            pooling: config.pooling,
            tokens_per_tile: (spec.grid() / config.pooling.max(1)).pow(2),
        },
        decoder: Decoder {
            width: text.hidden_size,
            layers: text.layers,
            heads: text.heads,
            kv_heads: text.kv_heads,
            head_dim: text.head_dim,
            mlp_width: text.intermediate_size,
            vocabulary: text.vocab_size,
            context: text.max_positions,
            tied_head: text.tie_word_embeddings,
            kv_bytes_per_token: 2 * 4 * text.layers * text.kv_heads * text.head_dim,
        },
        prompt: Prompt {
            slots: config.prompt_slots,
            replay_boxes: format!("{:?}", config.replay_boxes).to_lowercase(),
        },
        parameters,
        total_parameters: total,
        stored_bytes,
        memory_bytes: DTYPES.iter().map(|&(name, size)| (name.to_owned(), (total * size).into())).collect(),
    })
}

impl Inspection {
    fn to_text(&self) -> String {
        let Self { tower, projector, decoder, prompt, .. } = self;
        let yes = |flag: bool| if flag { "yes" } else { "no" };
        let mut rows: Vec<(&str, String)> = vec![
            ("model", self.model.clone()),
            ("", String::new()),
            (
                "tiles",
                format!("{0}×{0}, patches of {1}, at most {2}", tower.tile_size, tower.patch_size, tower.max_tiles),
            ),
            (
                "vision tower",
                format!(
                    "{} blocks, width {}, {} heads, MLP {}",
                    tower.depth, tower.width, tower.heads, tower.mlp_width
                ),
            ),
            ("class token", yes(tower.class_token).into()),
            (
                "projector",
                format!(
                    "{} → {}, pooling {2}×{2}, {3} tokens a tile",
                    projector.input, projector.output, projector.pooling, projector.tokens_per_tile
                ),
            ),
            (
                "decoder",
                format!(
                    "{} layers, width {}, {} heads of {}, {} KV heads, MLP {}",
                    decoder.layers, decoder.width, decoder.heads, decoder.head_dim, decoder.kv_heads, decoder.mlp_width
                ),
            ),
            (
                "context",
                format!(
                    "{} tokens, {} of KV cache each (f32)",
                    grouped(decoder.context as u64),
                    bytes(decoder.kv_bytes_per_token as u64)
                ),
            ),
            ("vocabulary", format!("{} tokens", grouped(decoder.vocabulary as u64))),
            ("tied head", yes(decoder.tied_head).into()),
            ("region slots", format!("{}, boxes {}", prompt.slots, prompt.replay_boxes)),
            ("", String::new()),
        ];
        let counts = self.parameters.iter().map(|part| (part.name, part.parameters));
        let counts = counts.chain([("all parameters", self.total_parameters)]);
        rows.extend(counts.map(|(name, count)| (name, format!("{:>15}", grouped(count)))));
        rows.push(("", String::new()));
        rows.push(("stored", bytes(self.stored_bytes)));
        rows.extend(DTYPES.iter().map(|&(name, size)| (name, bytes(self.total_parameters * size))));
        let mut text = String::new();
        for (name, value) in rows {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{}", format!("{name:<16}{value}").trim_end());
        }
        text
    }
}

/// `1234567` → `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A size in the largest binary unit that leaves at least one.
fn bytes(size: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    match units.iter().find(|(_, shift)| size >> shift > 0) {
        Some((unit, shift)) => format!("{:.2} {unit}", size as f64 / (1_u64 << shift) as f64),
        None => format!("{size} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
        for (size, text) in [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.50 KiB"), (5 << 30, "5.00 GiB")] {
            assert_eq!(bytes(size), text);
        }
    }
}
