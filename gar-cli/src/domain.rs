//! Models that know one kind of picture, and pictures of another kind.
use gar_core::GarConfig;
use gar_core::vision::Image;

/// The domain of a model that was trained on drawn scenes alone.
const DRAWN: &str = "drawn scenes";

/// Least share of muted pixels of a drawn scene, and what a muted pixel is: one whose channels lie closer together than this
/// share of the brightest. Backdrops are greyish on purpose: of 1,500 scenes the most colourful had 48 % of such pixels.
/// Few photographs have as many, but grey ones do, and pass.
const MUTED_PIXELS: f64 = 0.4;
const MUTED: f64 = 0.25;

/// What to tell a user whose picture is none that the model knows. `None` where it may be one, and for models that know any
/// picture.
pub(crate) fn warning(config: &GarConfig, image: &Image) -> Option<String> {
    if config.domain.as_deref() != Some(DRAWN) {
        return None;
    }
    let side = config.tower.spec.tile_size;
    let found = unlike(image, side)?;
    Some(format!(
        "warning: the model knows {DRAWN} of {side}×{side} pixels only, and this picture {found}: expect wrong answers"
    ))
}

/// What tells a picture from a drawn scene of `side` pixels: its size, or else its colours.
fn unlike(image: &Image, side: usize) -> Option<String> {
    let (width, height) = (image.width(), image.height());
    if (width, height) != (side, side) {
        return Some(format!("has {width}×{height}"));
    }
    let pixels = image.pixels();
    let is_muted = |&at: &(usize, usize)| {
        let channel = |c| f64::from(pixels[[at.1, at.0, c]]);
        let (low, high) =
            [1, 2].map(channel).into_iter().fold((channel(0), channel(0)), |(l, h), v| (l.min(v), h.max(v)));
        high - low < MUTED * high.max(1.0)
    };
    let muted = (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).filter(is_muted).count();
    ((muted as f64) < MUTED_PIXELS * (width * height) as f64).then(|| "is more colourful".to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use gar_data::scene::{SceneConfig, SceneGenerator, Split};

    use super::*;

    #[test]
    fn drawn_scenes_pass_and_a_photograph_does_not() {
        for (size, scenes) in [(112, 200), (96, 20)] {
            let config = SceneConfig { size, ..SceneConfig::default() };
            let generator = SceneGenerator::new(config, 5, Split::HeldOut).unwrap();
            for index in 0..scenes {
                assert_eq!(unlike(&generator.scene(index).unwrap().image, size), None, "scene {index}");
            }
            let scene = generator.scene(0).unwrap().image;
            assert_eq!(unlike(&scene, 224), Some(format!("has {size}×{size}")));
        }
        let photo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/photo/chelsea.png");
        let photo = image::open(photo).unwrap();
        for photo in [photo.crop_imm(150, 60, 112, 112), photo.thumbnail_exact(112, 112)] {
            let mut png = std::io::Cursor::new(Vec::new());
            photo.write_to(&mut png, image::ImageFormat::Png).unwrap();
            let photo = Image::decode(png.get_ref(), &Default::default()).unwrap();
            assert_eq!(unlike(&photo, 112).as_deref(), Some("is more colourful"));
        }
    }
}
