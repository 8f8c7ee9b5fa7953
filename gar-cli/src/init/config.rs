//! The JSON files beside weights and tokenizer, with the keys of the released ones that say something.
use serde_json::{Value, json};

use super::preset::{Architecture, CONTEXT, PATCH, POOLING, SLOTS, TILE};
use super::tokenizer::Specials;

/// File names and contents.
pub(super) fn files(model: &Architecture) -> [(&'static str, Value); 5] {
    let specials = Specials::of(&model.text);
    let (begin, stops) = (specials.begin(), specials.stops());
    [
        ("config.json", config(model, &specials)),
        ("generation_config.json", json!({ "bos_token_id": begin, "eos_token_id": stops, "do_sample": false })),
        ("preprocessor_config.json", preprocessor()),
        (
            "processor_config.json",
            json!({ "processor_class": "PerceptionLMProcessor", "patch_size": PATCH, "pooling_ratio": POOLING }),
        ),
        ("tokenizer_config.json", tokenizer_config()),
    ]
}

fn config(model: &Architecture, specials: &Specials) -> Value {
    let Architecture { vision, text } = model;
    let side = TILE / PATCH;
    json!({
        "architectures": ["GARModel"],
        "model_type": "GAR",
        "torch_dtype": "bfloat16",
        "prompt_numbers": SLOTS,
        "crop_tokens_ids": specials.crops(),
        "kernel_size": [PATCH, PATCH],
        "patch_size_h": PATCH,
        "patch_size_w": PATCH,
        "mask_path_embedding_out_channels": vision.width,
        "mllm_config": {
            "model_type": "perception_lm",
            "image_token_id": specials.image(),
            "video_token_id": specials.video(),
            "projector_pooling_ratio": POOLING,
            "vision_use_cls_token": vision.class_token,
            "tie_word_embeddings": text.tied,
            "vision_config": {
                "model_type": "timm_wrapper",
                "architecture": vision.architecture,
                "do_pooling": true,
                "initializer_range": 0.02,
                "num_features": vision.width,
                "model_args": {
                    "embed_dim": vision.width,
                    "depth": vision.depth,
                    "num_heads": vision.heads,
                    "img_size": [TILE, TILE],
                    "global_pool": "",
                    "use_post_transformer_norm": false,
                    "init_values": 0.1,
                    "ref_feat_shape": [side, side],
                },
            },
            "text_config": {
                "model_type": "llama",
                "vocab_size": specials.vocabulary(),
                "max_position_embeddings": CONTEXT,
                "hidden_size": text.width,
                "intermediate_size": text.mlp,
                "num_hidden_layers": text.layers,
                "num_attention_heads": text.heads,
                "num_key_value_heads": text.kv_heads,
                "head_dim": text.head,
                "hidden_act": "silu",
                "initializer_range": 0.02,
                "rms_norm_eps": 1e-5,
                "rope_theta": 500_000.0,
                "rope_scaling": {
                    "rope_type": "llama3",
                    "factor": text.rope_factor,
                    "low_freq_factor": 1.0,
                    "high_freq_factor": 4.0,
                    "original_max_position_embeddings": 8192,
                },
                "attention_bias": false,
                "mlp_bias": false,
                "tie_word_embeddings": text.tied,
                "bos_token_id": specials.begin(),
                "eos_token_id": specials.stops(),
            },
        },
    })
}

fn preprocessor() -> Value {
    json!({
        "image_processor_type": "PerceptionLMImageProcessorFast",
        "processor_class": "PerceptionLMProcessor",
        "vision_input_type": "thumb+tile",
        "tile_size": TILE,
        "max_num_tiles": 16,
        "size": { "height": TILE, "width": TILE },
        "do_resize": true,
        "do_rescale": true,
        "do_normalize": true,
        "resample": 3,
        "rescale_factor": 1.0 / 255.0,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    })
}

fn tokenizer_config() -> Value {
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|begin_of_text|>",
        "eos_token": "<|eot_id|>",
        "pad_token": "<|end_of_text|>",
        "image_token": "<|image|>",
        "video_token": "<|video|>",
        "model_max_length": CONTEXT,
        "clean_up_tokenization_spaces": true,
    })
}

#[cfg(test)]
mod tests {
    use gar_core::GarConfig;
    use gar_core::llm::LlamaConfig;

    use super::super::Preset;
    use super::*;

    #[test]
    fn every_preset_reads_back_as_it_was_meant() {
        for preset in [Preset::Gar1b, Preset::Gar8b, Preset::Tiny] {
            let model = preset.architecture();
            let config = config(&model, &Specials::of(&model.text));
            let read = GarConfig::from_json(config.to_string().as_bytes(), "config.json".into()).unwrap();
            let (tower, vision) = (&read.tower, model.vision);
            assert_eq!(
                (tower.spec.width, tower.depth, tower.heads, tower.mlp_width, tower.class_token),
                (vision.width, vision.depth, vision.heads, vision.mlp, vision.class_token),
            );
            assert_eq!(tower.spec.patches() + usize::from(tower.class_token), vision.positions());
            let (llama, text) = (LlamaConfig::from_json(&read.text, "config.json").unwrap(), model.text);
            assert_eq!((llama.heads, llama.head_dim, llama.kv_heads), (text.heads, text.head, text.kv_heads));
            assert_eq!((llama.layers, llama.hidden_size, llama.intermediate_size), (text.layers, text.width, text.mlp));
            assert_eq!((llama.tie_word_embeddings, llama.max_positions), (text.tied, CONTEXT));
        }
    }
}
