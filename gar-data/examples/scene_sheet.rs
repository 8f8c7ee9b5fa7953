//! Draws a sheet of scenes, the regions outlined in white: `scene_sheet OUT.png [SEED] [COLUMNS] [ROWS] [KIND]`.
use gar_data::scene::{SceneConfig, SceneGenerator, Split};
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{Rgb, RgbImage};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: u64| arguments.get(at).map_or(Ok(default), |text| text.parse());
    let out = arguments.first().ok_or("expected the picture to write")?;
    let (seed, columns, rows) = (number(1, 7)?, number(2, 8)? as u32, number(3, 4)? as u32);
    let mut config = SceneConfig::default();
    if let Some(kind) = arguments.get(4) {
        config.kinds = [0; 3];
        config.kinds[kind.parse::<usize>()?] = 1;
    }
    let (size, gap) = (config.size as u32, 6);
    let generator = SceneGenerator::new(config, seed, Split::Train)?;
    let mut sheet = RgbImage::from_pixel(columns * (size + gap) + gap, rows * (size + gap) + gap, Rgb([255; 3]));
    for n in 0..columns * rows {
        let scene = generator.scene(u64::from(n))?;
        let (left, top) = (gap + n % columns * (size + gap), gap + n / columns * (size + gap));
        for ((y, x, c), &value) in scene.image.pixels().indexed_iter() {
            sheet.get_pixel_mut(left + x as u32, top + y as u32).0[c] = value;
        }
        for region in &scene.regions {
            let mask = region.mask().view();
            let set = |y: usize, x: usize| mask.get([y, x]).copied().unwrap_or(false);
            for ((y, x), _) in mask.indexed_iter().filter(|&(_, &inside)| !inside) {
                let near = [(y + 1, x), (y.wrapping_sub(1), x), (y, x + 1), (y, x.wrapping_sub(1))];
                if near.iter().any(|&(y, x)| set(y, x)) {
                    sheet.put_pixel(left + x as u32, top + y as u32, Rgb([255; 3]));
                }
            }
        }
    }
    // Sixteen levels a channel do for a look, and halve the file.
    sheet.iter_mut().for_each(|value| *value = (*value / 16 * 16).saturating_add(if *value > 247 { 15 } else { 0 }));
    let file = std::io::BufWriter::new(std::fs::File::create(out)?);
    sheet.write_with_encoder(PngEncoder::new_with_quality(file, CompressionType::Best, FilterType::Adaptive))?;
    Ok(())
}
