//! The candle peer of the decoder: reads a prompt and decodes, at the size of a checkpoint. Prints one JSON object.
//!
//! `gar-peer-candle MODEL f32|bf16 PROMPT NEW_TOKENS`, where MODEL is a checkpoint directory of gar, or
//! `gar-peer-candle FILE.gguf q8_0 PROMPT NEW_TOKENS`, where FILE is what `llama.py` has written. Threads are those of
//! `RAYON_NUM_THREADS`.
use std::{collections::HashMap, error::Error, fs::File, path::Path, time::Instant};

use candle_core::{DType, Device, Tensor, quantized::gguf_file};
use candle_nn::VarBuilder;
use candle_transformers::models::{
    llama::{Cache, Config, Llama},
    quantized_llama::ModelWeights,
};
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A decoder: token ids [1, L] behind so many positions → logits after the last.
type Forward = Box<dyn FnMut(&Tensor, usize) -> candle_core::Result<Tensor>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, kind, prompt, new_tokens] = arguments.as_slice() else {
        return Err("usage: gar-peer-candle MODEL f32|bf16|q8_0 PROMPT NEW_TOKENS".into());
    };
    let (prompt, new_tokens): (u32, u32) = (prompt.parse()?, new_tokens.parse()?);
    let started = Instant::now();
    let mut forward = match kind.as_str() {
        "q8_0" => quantized(Path::new(model))?,
        "f32" => plain(Path::new(model), DType::F32)?,
        "bf16" => plain(Path::new(model), DType::BF16)?,
        other => return Err(format!("weights: expected f32, bf16 or q8_0, found {other}").into()),
    };
    let load = started.elapsed().as_secs_f64();
    let ids: Vec<u32> = (0..prompt).map(|i| 3 + i % 1000).collect();
    let started = Instant::now();
    forward(&Tensor::new(ids, &Device::Cpu)?.unsqueeze(0)?, 0)?;
    let prefill = started.elapsed().as_secs_f64();
    let started = Instant::now();
    for i in 0..new_tokens - 1 {
        forward(&Tensor::new(&[3 + i], &Device::Cpu)?.unsqueeze(0)?, (prompt + i) as usize)?;
    }
    let decode = started.elapsed().as_secs_f64();
    let timings = json!({ "preprocess": 0.0, "vision": 0.0, "load": load, "prefill": prefill, "decode": decode });
    println!("{}", json!({ "timings": timings, "tokens": vec![0; new_tokens as usize] }));
    Ok(())
}

/// The decoder of a checkpoint of gar.
fn plain(folder: &Path, dtype: DType) -> Result<Forward> {
    let config: Value = serde_json::from_reader(File::open(folder.join("config.json"))?)?;
    let text = &config["mllm_config"]["text_config"];
    let size =
        |key: &str| text[key].as_u64().map(|n| n as usize).ok_or(format!("config.json: expected {key}, found none"));
    let number = |key: &str| text[key].as_f64().ok_or(format!("config.json: expected {key}, found none"));
    let config = Config {
        hidden_size: size("hidden_size")?,
        intermediate_size: size("intermediate_size")?,
        vocab_size: size("vocab_size")?,
        num_hidden_layers: size("num_hidden_layers")?,
        num_attention_heads: size("num_attention_heads")?,
        num_key_value_heads: size("num_key_value_heads")?,
        use_flash_attn: false,
        rms_norm_eps: number("rms_norm_eps")?,
        rope_theta: number("rope_theta")? as f32,
        bos_token_id: None,
        eos_token_id: None,
        // Angles of other length scaling cost the same.
        rope_scaling: None,
        max_position_embeddings: size("max_position_embeddings")?.min(8192),
        tie_word_embeddings: text["tie_word_embeddings"].as_bool().unwrap_or(false),
    };
    let mut tensors = HashMap::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "safetensors") {
            let all = candle_core::safetensors::load(path, &Device::Cpu)?.into_iter();
            // The decoder alone, under the names that candle expects, and once in its own type.
            let decoder = all.filter_map(|(name, tensor)| {
                let name = match name.strip_prefix("mllm.model.language_model.") {
                    Some(rest) => format!("model.{rest}"),
                    None => name.strip_prefix("mllm.").filter(|rest| *rest == "lm_head.weight")?.to_owned(),
                };
                Some(tensor.to_dtype(dtype).map(|tensor| (name, tensor)))
            });
            tensors.extend(decoder.collect::<candle_core::Result<Vec<_>>>()?);
        }
    }
    let weights = VarBuilder::from_tensors(tensors, dtype, &Device::Cpu);
    let llama = Llama::load(weights, &config)?;
    let mut cache = Cache::new(true, dtype, &config, &Device::Cpu)?;
    Ok(Box::new(move |ids, at| llama.forward(ids, at, &mut cache)))
}

/// The decoder in a GGUF file.
fn quantized(path: &Path) -> Result<Forward> {
    let mut file = File::open(path)?;
    let content = gguf_file::Content::read(&mut file)?;
    let mut model = ModelWeights::from_gguf(content, &mut file, &Device::Cpu)?;
    Ok(Box::new(move |ids, at| model.forward(ids, at)))
}
