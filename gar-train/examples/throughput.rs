//! Pictures a second of training and of the forward pass alone, for a model of 112² pictures, patch 8, tower C 128 × 5
//! layers, decoder D 128 × 4 layers, with 2 regions and 10 questions a picture.
//!
//! `cargo run --release -p gar-train --example throughput -- fixtures/tile42`: the text side is that of the checkpoint.
#![allow(clippy::print_stdout)]
use std::{error::Error, path::Path, time::Instant};

use gar_core::{
    Exchange, GarModel, Said,
    kernels::Weights,
    prompt::{Mask, RegionSet},
    vision::Image,
};
use gar_train::{RunConfig, Sample, Trainer, fresh};
use serde_json::{Value, json};

const SIDE: usize = 112;
const BATCH: u64 = 4;

fn main() -> Result<(), Box<dyn Error>> {
    let source = std::env::args().nth(1).ok_or("usage: throughput CHECKPOINT")?;
    let folder = tempfile::tempdir()?;
    checkpoint(Path::new(&source), folder.path())?;
    let model = GarModel::open(folder.path())?.load()?;
    let weights = Weights::open(folder.path())?;
    let parameters: usize = weights.tensors().map(|t| t.shape.iter().product::<usize>()).sum();
    let sample = sample(&model)?;

    let config = RunConfig { batch: BATCH, at_once: 4, ..RunConfig::new(100) };
    let mut trainer = Trainer::new(model.clone(), &weights, config)?;
    let stream = |_: u64| -> gar_train::Result<Sample> { Ok(sample.clone()) };
    trainer.step(&stream)?;
    let (mut steps, mut forwards, mut tokens, started) = (Vec::new(), Vec::new(), 0, Instant::now());
    while started.elapsed().as_secs() < 20 || steps.len() < 2 {
        // In turn, so that both meet the same neighbours on the machine.
        let began = Instant::now();
        trainer.evaluate(&vec![sample.clone(); BATCH as usize])?;
        forwards.push(began.elapsed().as_secs_f64());
        let report = trainer.step(&stream)?;
        steps.push(report.took.as_secs_f64());
        tokens = report.tokens / BATCH as usize;
    }
    let median = |mut v: Vec<f64>| {
        v.sort_by(f64::total_cmp);
        v[v.len() / 2] / BATCH as f64
    };
    let (step, forward) = (median(steps), median(forwards));
    println!("{parameters} parameters, {} threads, {tokens} answer tokens a picture", rayon::current_num_threads());
    println!("training {:.2} pictures/s, forward {:.2} pictures/s: {:.2} ×", 1.0 / step, 1.0 / forward, step / forward);
    Ok(())
}

/// A checkpoint of random weights with the text side of another one.
fn checkpoint(source: &Path, folder: &Path) -> Result<(), Box<dyn Error>> {
    for name in ["tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja"] {
        std::fs::copy(source.join(name), folder.join(name))?;
    }
    let read = |name: &str| -> Result<Value, Box<dyn Error>> {
        Ok(serde_json::from_slice(&std::fs::read(source.join(name))?)?)
    };
    let (mut config, mut picture) = (read("config.json")?, read("preprocessor_config.json")?);
    config["kernel_size"] = json!([8, 8]);
    config["mask_path_embedding_out_channels"] = json!(128);
    let mllm = &mut config["mllm_config"];
    mllm["projector_pooling_ratio"] = json!(2);
    mllm["vision_config"]["model_args"] = json!({
        "embed_dim": 128, "depth": 5, "num_heads": 4, "mlp_ratio": 4, "patch_size": 8, "img_size": [SIDE, SIDE],
        "ref_feat_shape": [14, 14], "global_pool": "", "use_post_transformer_norm": false, "init_values": 0.1,
    });
    for (key, value) in [
        ("hidden_size", 128),
        ("intermediate_size", 352),
        ("num_hidden_layers", 4),
        ("num_attention_heads", 4),
        ("num_key_value_heads", 4),
        ("head_dim", 32),
    ] {
        mllm["text_config"][key] = json!(value);
    }
    picture["tile_size"] = json!(SIDE);
    picture["max_num_tiles"] = json!(1);
    std::fs::write(folder.join("config.json"), config.to_string())?;
    std::fs::write(folder.join("preprocessor_config.json"), picture.to_string())?;
    Ok(fresh::write(folder, 1, None)?)
}

/// A picture of stripes with two regions and ten questions that share a prefix.
fn sample(model: &GarModel) -> Result<Sample, Box<dyn Error>> {
    let pixels = ndarray::Array3::from_shape_fn((SIDE, SIDE, 3), |(y, x, c)| ((7 * y + 3 * x + 50 * c) % 251) as u8);
    let masks = [[10.0, 10.0, 50.0, 40.0], [60.0, 55.0, 100.0, 90.0]];
    let masks = masks.into_iter().map(|b| Mask::from_box(SIDE, SIDE, b)).collect::<Result<Vec<_>, _>>()?;
    let ask = |i: usize| Exchange {
        said: Said::Question(format!("Question {i}: what is <Prompt{}>?", i % 2)),
        answer: "A red square with stripes.".into(),
    };
    let conversations = (0..10).map(|i| vec![ask(i)]).collect();
    let sample = Sample {
        image: Image::from_rgb(pixels)?,
        regions: RegionSet::numbered(masks)?,
        conversations,
        facts: Vec::new(),
        choices: Vec::new(),
    };
    let tokens = model.scene(&sample.image, &sample.regions)?.transcript(&sample.conversations[0])?.ids.len();
    println!("{tokens} tokens a conversation");
    Ok(sample)
}
