//! Case files: an image, regions and a question in one JSON object, as parity data states them.
use std::path::{Path, PathBuf};

use gar_prompt::{RegionSet, Rle};
use serde::Deserialize;

use crate::{Error, Result};

/// One case: what goes into the model, apart from the picture's own file.
#[derive(Clone, Debug)]
pub struct Case {
    /// The picture, relative to a folder of pictures.
    pub image: PathBuf,
    /// Slots and masks, in prompt order.
    pub regions: RegionSet,
    /// The question; for one region usually the instruction to describe it.
    pub question: String,
    /// Most tiles of the grid, where the case bounds them.
    pub max_num_tiles: Option<usize>,
}

/// The keys as they are written; others, such as expected results, are not read.
#[derive(Deserialize)]
struct Raw {
    image: PathBuf,
    #[serde(default)]
    size: Option<[usize; 2]>,
    prompts: Vec<usize>,
    masks: Vec<Rle>,
    user_text: String,
    #[serde(default)]
    max_num_tiles: Option<usize>,
}

impl Case {
    /// Reads a case file.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Case`], and what a mask or a region is refused for.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).map_err(|source| Error::Io { path: path.to_path_buf(), source })?;
        Self::from_json(&text, path)
    }

    /// Parses the text of a case file; `path` is for messages.
    ///
    /// # Errors
    /// [`Error::Case`], and what a mask or a region is refused for.
    pub fn from_json(text: &[u8], path: &Path) -> Result<Self> {
        let wrong = |reason: String| Error::Case { path: path.to_path_buf(), reason };
        let raw: Raw = serde_json::from_slice(text).map_err(|e| wrong(e.to_string()))?;
        if raw.prompts.len() != raw.masks.len() {
            let (slots, masks) = (raw.prompts.len(), raw.masks.len());
            return Err(wrong(format!("`masks`: expected {slots}, one for each of `prompts`, found {masks}")));
        }
        if !raw.image.is_relative() || raw.image.components().any(|c| c == std::path::Component::ParentDir) {
            return Err(wrong(format!(
                "`image`: expected a path inside the folder of pictures, found {:?}",
                raw.image
            )));
        }
        let mut regions = RegionSet::new();
        for (&slot, mask) in raw.prompts.iter().zip(&raw.masks) {
            regions.push(slot, mask.to_mask()?)?;
        }
        if let (Some([w, h]), Some((width, height))) = (raw.size, regions.size())
            && (w, h) != (width, height)
        {
            return Err(wrong(format!("`masks`: expected {w}×{h} as `size` says, found {width}×{height}")));
        }
        Ok(Self { image: raw.image, regions, question: raw.user_text, max_num_tiles: raw.max_num_tiles })
    }
}
