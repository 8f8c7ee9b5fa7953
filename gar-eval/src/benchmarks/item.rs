//! One question of a benchmark.
use std::path::{Path, PathBuf};

use gar_core::prompt::{Mask, RegionSet, Rle};
use gar_core::vision::Image;
use image::{ImageDecoder, ImageReader, metadata::Orientation};
use serde_json::{Map, Value};

use crate::{Error, Result};

/// One question of a benchmark: a picture, regions and text.
#[derive(Clone, Debug)]
pub struct Item {
    /// Distinct within the benchmark, and the same in every run of it.
    pub id: String,
    /// The picture's file.
    pub picture: PathBuf,
    /// The regions in prompt order.
    pub regions: Vec<RegionShape>,
    /// What the model is asked: the whole text of the user's turn but for the opening that shows the regions.
    pub question: String,
    /// The category that it is scored in, where the benchmark has any.
    pub category: Option<String>,
    /// The entry as the annotations have it, for the output.
    pub entry: Map<String, Value>,
}

/// A region before the picture's size is known.
#[derive(Clone, Debug, PartialEq)]
pub struct RegionShape {
    /// Its prompt slot.
    pub slot: usize,
    /// Where it is.
    pub shape: Shape,
}

/// The ways in which annotations write a mask down. Coordinates are COCO's: pixels from the top left corner.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// Run lengths, which state the size of the picture themselves.
    Rle(Rle),
    /// Rings x1, y1, x2, y2, …; the region is their union.
    Polygons(Vec<Vec<f64>>),
    /// Left, top, right, bottom.
    Box([f64; 4]),
    /// Every pixel: a question about the picture as a whole.
    Whole,
}

impl Shape {
    /// The mask over a picture of `width` × `height` pixels.
    ///
    /// # Errors
    /// What the codecs of [`gar_core::prompt`] refuse. Run lengths keep their own size, which may be another.
    pub fn mask(&self, width: usize, height: usize) -> Result<Mask, gar_core::prompt::Error> {
        match self {
            Self::Rle(rle) => rle.to_mask(),
            Self::Polygons(rings) => Mask::from_polygons(width, height, rings),
            Self::Box(corners) => Mask::from_box(width, height, *corners),
            Self::Whole => Mask::from_box(width, height, [0.0, 0.0, width as f64, height as f64]),
        }
    }
}

impl Item {
    /// The regions over a picture of `width` × `height` pixels.
    ///
    /// # Errors
    /// [`Error::Region`], [`Error::MaskSize`].
    pub fn region_set(&self, width: usize, height: usize) -> Result<RegionSet> {
        let mut set = RegionSet::new();
        for RegionShape { slot, shape } in &self.regions {
            let refused = Error::region(&self.id, *slot);
            let mask = shape.mask(width, height).map_err(refused)?;
            self.check_size(*slot, (width, height), (mask.width(), mask.height()))?;
            set.push(*slot, mask).map_err(refused)?;
        }
        Ok(set)
    }

    /// The picture and the regions over it.
    ///
    /// # Errors
    /// [`Error::MissingPicture`], a file that is no picture, those of [`region_set`](Self::region_set).
    pub fn open(&self) -> Result<(Image, RegionSet)> {
        self.check_present()?;
        let image = Image::open(&self.picture).map_err(gar_core::Error::from)?;
        let regions = self.region_set(image.width(), image.height())?;
        Ok((image, regions))
    }

    /// That the picture is there and of the size that the regions state.
    pub(super) fn check_picture(&self) -> Result<()> {
        self.check_present()?;
        let size = picture_size(&self.picture)?;
        for RegionShape { slot, shape } in &self.regions {
            if let Shape::Rle(Rle { size: [height, width], .. }) = shape {
                self.check_size(*slot, size, (*width, *height))?;
            }
        }
        Ok(())
    }

    fn check_present(&self) -> Result<()> {
        match self.picture.is_file() {
            true => Ok(()),
            false => Err(Error::MissingPicture { item: self.id.clone(), path: self.picture.clone() }),
        }
    }

    fn check_size(&self, slot: usize, expected: (usize, usize), found: (usize, usize)) -> Result<()> {
        match expected == found {
            true => Ok(()),
            false => Err(Error::MaskSize { item: self.id.clone(), slot, expected, found }),
        }
    }
}

/// Width and height of a picture once it is upright, from its header alone. The content tells the format, not the name:
/// JPEGs called `.png` are common in benchmarks.
fn picture_size(path: &Path) -> Result<(usize, usize)> {
    let reader = ImageReader::open(path).and_then(ImageReader::with_guessed_format).map_err(Error::io(path))?;
    let refused = |source| Error::Io { path: path.to_owned(), source: std::io::Error::other(source) };
    let mut decoder = reader.into_decoder().map_err(refused)?;
    let (width, height) = decoder.dimensions();
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    Ok(match decoder.orientation() {
        Ok(Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH) => (height as usize, width as usize),
        _ => (width as usize, height as usize),
    })
}
