//! A vision tower of one's own: here one that shows the decoder the mask alone, to see what the picture adds.
//!
//! `cargo run --release -p gar-core --example swap_tower -- MODEL IMAGE MASK`
#![allow(clippy::print_stdout)]
use std::sync::Arc;

use gar_core::{
    GarModel,
    kernels::{DType, Kernels, Tensor},
    prompt::{DESCRIBE, Mask, RegionSet},
    vision::{Image, Result, Tiles, TowerSpec, VisionTower},
};

/// Gives the mask embedding back as features; sees no pixels.
struct Blindfold(TowerSpec);

impl VisionTower for Blindfold {
    fn spec(&self) -> TowerSpec {
        self.0
    }

    fn encode(&self, k: &Kernels, tiles: &Tiles, prompt: Option<&Tensor>) -> Result<Tensor> {
        match prompt {
            Some(prompt) => Ok(prompt.clone()),
            None => Ok(k.device.zeros(&[tiles.count(), self.0.patches(), self.0.width], DType::F32)?),
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, image, mask] = arguments.as_slice() else {
        return Err("usage: swap_tower MODEL IMAGE MASK".into());
    };
    let builder = GarModel::open(model)?;
    let blindfold = Arc::new(Blindfold(builder.config().tower.spec));
    let (image, regions) = (Image::open(image)?, RegionSet::single(Mask::open_picture(mask)?)?);

    let seeing = builder.load()?.scene(&image, &regions)?.ask(DESCRIBE)?;
    let blind = GarModel::open(model)?.with_tower(blindfold).load()?.scene(&image, &regions)?.ask(DESCRIBE)?;
    println!("with the picture:    {}\nwith the mask alone: {}", seeing.text, blind.text);
    Ok(())
}
