//! A model behind `Box<dyn RegionModel>`: what a service holds.
//!
//! `cargo run --release -p gar-core --example embed -- MODEL IMAGE MASK "question about <Prompt0>"`
#![allow(clippy::print_stdout)]
use gar_core::{
    AnswerOptions, GarModel, RegionModel, RegionRequest,
    prompt::{Mask, RegionSet},
    vision::Image,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, image, mask, question] = arguments.as_slice() else {
        return Err("usage: embed MODEL IMAGE MASK QUESTION".into());
    };
    let model: Box<dyn RegionModel> = Box::new(GarModel::open(model)?.load()?);
    let answer = model.answer(&RegionRequest {
        image: Image::open(image)?,
        regions: RegionSet::numbered([Mask::open_picture(mask)?])?,
        question: question.clone(),
        options: AnswerOptions { max_new_tokens: 64, ..AnswerOptions::default() },
    })?;
    println!("{}", answer.text);
    Ok(())
}
