//! A page to look at a run: each question with its picture, outlined regions, options and answer.
//!
//! The page is one static HTML file beside a folder of pictures; it needs no server and loads nothing from elsewhere.
mod card;

use std::path::{Path, PathBuf};

use gar_core::kernels::Progress;
use gar_core::prompt::RegionSet;
use gar_core::vision::Image;
use image::{DynamicImage, RgbImage, codecs::jpeg::JpegEncoder, imageops::FilterType};
use rayon::prelude::*;
use serde_json::json;

use crate::benchmarks::picture_path;
use crate::score::{Output, read_output};
use crate::{Error, Result, overlay};
use card::Card;

/// The page, without its data.
const PAGE: &str = include_str!("page.html");

/// Longest side of a picture on the page, in pixels: enough for a card on a dense screen.
const LONGEST: u32 = 960;

/// JPEG quality of the pictures: outlines stay clean.
const QUALITY: u8 = 85;

/// Writes a page about a run's directory or an output file of GAR-Bench into the folder `out`: `index.html` and
/// `pictures/`. Pictures come from below `images`; where one is missing, its regions are drawn on grey.
///
/// Progress counts pictures. Gives the page's path.
///
/// # Errors
/// What cannot be read or written; [`Error::Field`] for entries of another form.
pub fn write(output: &Path, images: Option<&Path>, out: &Path, progress: &dyn Progress) -> Result<PathBuf> {
    let whole = read_output(output, crate::score::gar_bench::ID)?;
    let pictures = out.join("pictures");
    std::fs::create_dir_all(&pictures).map_err(Error::io(&pictures))?;
    progress.start("pictures", whole.entries.len() as u64);
    let refusals = card::refusals(output);
    let cards: Vec<Card> = cards(&whole, images, &pictures, progress).collect::<Result<_>>()?;
    progress.finish();
    let colours: Vec<String> =
        (0..overlay::COLOURS).map(overlay::colour).map(|[r, g, b]| format!("#{r:02x}{g:02x}{b:02x}")).collect();
    let title = output.file_name().map_or_else(|| "run".into(), |name| name.to_string_lossy().into_owned());
    let cards: Vec<Card> = cards.into_iter().map(|card| card.refused_if(&refusals)).collect();
    let data = json!({"title": title, "colours": colours, "cards": cards}).to_string();
    let page = out.join("index.html");
    // In a script element, only `<` could end it early; the JSON means the same with it escaped.
    let html = PAGE.replacen("/*DATA*/null", &data.replace('<', "\\u003c"), 1);
    std::fs::write(&page, html).map_err(Error::io(&page))?;
    Ok(page)
}

fn cards(
    output: &Output,
    images: Option<&Path>,
    pictures: &Path,
    progress: &dyn Progress,
) -> impl Iterator<Item = Result<Card>> {
    let entries: Vec<_> = output.iter().enumerate().collect();
    let made: Vec<Result<Card>> = entries
        .par_iter()
        .map(|(place, entry)| {
            let mut card = Card::read(entry)?;
            let path = images.map(|folder| picture_path(folder, entry.name)).filter(|path| path.is_file());
            if let Some((width, height)) = card.size() {
                let image = path.map(|path| Image::open(path).map_err(gar_core::Error::from)).transpose()?;
                card.pictured = image.is_some();
                let regions = card.regions(entry.name, image.as_ref().map(|i| (i.width(), i.height())))?;
                let drawn = draw(image, (width, height), &regions)?;
                let file = format!("{place}.jpg");
                save(&drawn, &pictures.join(&file))?;
                card.picture = Some(format!("pictures/{file}"));
            }
            progress.advance(1);
            Ok(card)
        })
        .collect();
    made.into_iter()
}

fn draw(image: Option<Image>, (width, height): (usize, usize), regions: &RegionSet) -> Result<RgbImage> {
    /// Stands for a picture that is not there.
    const GREY: u8 = 96;
    let image = match image {
        Some(image) => image,
        None => Image::from_rgb(ndarray::Array3::from_elem((height, width, 3), GREY)).map_err(gar_core::Error::from)?,
    };
    Ok(overlay::draw(&image, regions))
}

/// Writes a picture as JPEG, made smaller where it is larger than the page needs.
fn save(picture: &RgbImage, path: &Path) -> Result<()> {
    let wrong = |e: image::ImageError| Error::Io { path: path.to_owned(), source: std::io::Error::other(e) };
    let longest = picture.width().max(picture.height());
    let picture = DynamicImage::from(picture.clone());
    let picture = if longest > LONGEST { picture.resize(LONGEST, LONGEST, FilterType::CatmullRom) } else { picture };
    let mut bytes = Vec::new();
    picture.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, QUALITY)).map_err(wrong)?;
    std::fs::write(path, bytes).map_err(Error::io(path))
}
