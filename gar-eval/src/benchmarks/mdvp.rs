//! MDVP-Bench, box captions: one region of a picture from six domains is described, the description is compared with
//! GPT-4V's (SPHINX-V). The published run used at most 8 tiles.
//!
//! ```text
//! mdvp_caption_mask.json         masks, true descriptions
//! rule.json                      how the judge compares
//! data/android_detailed_caption/images/…
//! ```
use std::path::Path;

use gar_core::prompt::{DESCRIBE, Rle};
use serde_json::{Map, Value, json};

use super::{Answered, Benchmark, Item, RegionShape, SINGLE_SLOT, Shape, Source, in_folder, picture_path};
use crate::json::Entry;
use crate::{Error, Result, json};

/// Where a picture comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// Screens of Android.
    Android,
    /// Figures of several panels.
    MultiPanel,
    /// Photographs.
    Natural,
    /// Documents.
    Document,
    /// Text in scenes.
    SceneText,
    /// Pages of the web.
    Web,
}

/// The domains in the order in which they are published.
pub const DOMAINS: [Domain; 6] =
    [Domain::Android, Domain::MultiPanel, Domain::Natural, Domain::Document, Domain::SceneText, Domain::Web];

impl Domain {
    /// Its `dataset_name`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Android => "android_detailed_caption_box",
            Self::MultiPanel => "multipanel_detailed_caption_box",
            Self::Natural => "natural_detailed_caption_box",
            Self::Document => "ocr_doc_detailed_caption_box",
            Self::SceneText => "ocr_spotting_detailed_caption_box",
            Self::Web => "web_detailed_caption_box",
        }
    }

    /// What the judge is told of the picture.
    pub fn context(self) -> &'static str {
        match self {
            Self::Android => "The picture is a screenshot of an Android phone.",
            Self::MultiPanel => "The picture is a figure of several panels.",
            Self::Natural => "The picture is a photograph of a natural scene.",
            Self::Document | Self::SceneText => "The picture holds text, and the user wants to know what it says.",
            Self::Web => "The picture is a screenshot of a web page.",
        }
    }
}

/// A region and its true description.
#[derive(Clone, Debug, PartialEq)]
pub struct Region {
    /// The picture, from the folder of pictures on.
    pub image_path: String,
    /// The mask.
    pub mask: Rle,
    /// Where the picture comes from.
    pub domain: Domain,
    /// What the benchmark asks.
    pub question: String,
    /// The true description.
    pub caption: String,
    /// The entry.
    pub fields: Map<String, Value>,
}

/// Reads `mdvp_caption_mask.json`.
///
/// # Errors
/// [`Error::Io`], [`Error::Json`]; [`Error::Field`] for a field that is missing or of another type, and for an unknown
/// domain.
pub fn read_regions(path: &Path) -> Result<Vec<Region>> {
    parse(path, &std::fs::read(path).map_err(Error::io(path))?)
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<Region>> {
    let region = |(at, fields)| {
        let name = format!("#{at}");
        let entry = Entry { path, name: &name, fields: &fields };
        let found = entry.text("dataset_name")?;
        let domain = DOMAINS
            .into_iter()
            .find(|domain| domain.name() == found)
            .ok_or_else(|| entry.wrong("dataset_name", &DOMAINS.map(Domain::name).join(", "), &format!("{found:?}")))?;
        Ok(Region {
            image_path: entry.text("image_path")?.into(),
            mask: entry.get("mask_rle", "a mask {\"size\": [h, w], \"counts\": …}")?,
            domain,
            question: entry.text("question")?.into(),
            caption: entry.text("caption")?.into(),
            fields: fields.clone(),
        })
    };
    json::objects(path, bytes)?.into_iter().enumerate().map(region).collect()
}

/// Loads `mdvp_caption_mask.json`, or the file of another name that `annotations` is. An item's id is its place, counted
/// from 1, as in the published reviews.
///
/// # Errors
/// Those of [`read_regions`].
pub fn load(annotations: &Path, pictures: &Path) -> Result<Benchmark> {
    let path = in_folder(annotations, "mdvp_caption_mask.json");
    let (bytes, source) = Source::read(&path)?;
    let item = |(at, region): (usize, Region)| Item {
        id: (at + 1).to_string(),
        picture: picture_path(pictures, &region.image_path),
        regions: vec![RegionShape { slot: SINGLE_SLOT, shape: Shape::Rle(region.mask) }],
        question: DESCRIBE.into(),
        category: Some(region.domain.name().into()),
        entry: region.fields,
    };
    let items = parse(&path, &bytes)?.into_iter().enumerate().map(item).collect();
    Ok(Benchmark { name: "mdvp-bench", sources: vec![source], items, output })
}

/// Descriptions beside the true ones.
fn output(answers: &[Answered<'_>]) -> Result<String> {
    let entry = |a: &Answered<'_>| {
        let of = |field: &str| a.item.entry.get(field).cloned().unwrap_or_default();
        json!({"image_path": of("image_path"), "caption": a.record.answer, "gt": of("caption")})
    };
    json::pretty(&answers.iter().map(entry).collect::<Vec<Value>>(), 4)
}
