//! Writes drawn scenes as JSON Lines in the released schema: `export_scenes OUT.jsonl SEED COUNT REGIONS SIZE [captions]`.
//!
//! With `captions`, each sample holds a caption for each mask and its questions are placeholders; without, the scene's
//! questions and answers.
use std::io::Write as _;

use gar_data::scene::{Kind, Scene, SceneConfig, SceneGenerator, Split};
use gar_data::{Sample, Turn};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [out, seed, count, regions, size, form @ ..] = arguments.as_slice() else {
        return Err("expected OUT.jsonl SEED COUNT REGIONS SIZE [captions]".into());
    };
    let regions: usize = regions.parse()?;
    let config = SceneConfig {
        size: size.parse()?,
        shuffle_slots: false,
        regions: std::array::from_fn(|at| u32::from(at + 1 == regions)),
        questions: 4,
        absent_percent: 0,
        ..SceneConfig::default()
    };
    let generator = SceneGenerator::new(config, seed.parse()?, Split::Train)?;
    let mut file = std::io::BufWriter::new(std::fs::File::create(out)?);
    for index in 0..count.parse()? {
        let scene = generator.scene(index)?;
        let mut sample = Sample::from_scene(&scene)?;
        if !form.is_empty() {
            sample.conversations = captions(&scene);
        }
        serde_json::to_writer(&mut file, &sample)?;
        file.write_all(b"\n")?;
    }
    file.flush()?;
    Ok(())
}

fn captions(scene: &Scene) -> Vec<Turn> {
    let mut turns = Vec::new();
    for object in scene.regions.slots().into_iter().filter_map(|slot| scene.object(slot)) {
        let mark = if turns.is_empty() { "<image>\n" } else { "" };
        turns.push(Turn::human(format!("{mark}Describe this masked region in detail.")));
        turns.push(Turn::gpt(match &object.kind {
            Kind::Thing(look) => format!("A {}.", look.phrase()),
            furniture => format!("A {}.", furniture.word()),
        }));
    }
    turns
}
