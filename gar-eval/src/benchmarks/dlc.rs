//! DLC-Bench: one region of a picture is described; a judge answers questions about the description (describe-anything).
//!
//! ```text
//! annotations.json   COCO's form: images, and annotations whose segmentation is an RLE
//! qa.json            {id: questions with choices, each worth −1 … 1}
//! class_names.json   {id: what the region is}
//! images/            the pictures
//! ```
use std::collections::BTreeMap;
use std::path::Path;

use gar_core::prompt::{DESCRIBE, Rle};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::keyed::{distinct, keyed};
use super::{Benchmark, Item, RegionShape, SINGLE_SLOT, Shape, Source, in_folder, picture_path};
use crate::json::Entry;
use crate::run::Answered;
use crate::{Error, Result, json};

/// Loads `annotations.json`, or the file of another name that `annotations` is; items come as the published output has
/// them: by picture.
///
/// # Errors
/// A file that is not COCO's form, two annotations of one id, an annotation of no picture, a mask of another size than
/// its picture's.
pub fn load(annotations: &Path, pictures: &Path) -> Result<Benchmark> {
    let path = in_folder(annotations, "annotations.json");
    let (bytes, source) = Source::read(&path)?;
    let annotations = Annotations::parse(&path, &bytes)?;
    let item = |region: &Region| Item {
        id: region.id.clone(),
        picture: picture_path(pictures, &region.file_name),
        regions: vec![RegionShape { slot: SINGLE_SLOT, shape: Shape::Rle(region.mask.clone()) }],
        question: DESCRIBE.into(),
        category: None,
        entry: Map::new(),
    };
    let items = annotations.regions.iter().map(item).collect();
    Ok(Benchmark { name: "dlc-bench", sources: vec![source], items, output })
}

/// `{id: text}`.
fn output(answers: &[Answered<'_>]) -> Result<String> {
    let texts: Map<String, Value> =
        answers.iter().map(|a| (a.item.id.clone(), a.record.answer.as_str().into())).collect();
    json::pretty(&texts, 4)
}

/// `annotations.json`: where the regions are, by picture.
#[derive(Clone, Debug)]
pub struct Annotations {
    regions: Vec<Region>,
}

/// A region of a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Region {
    /// The annotation's id.
    pub id: String,
    /// The picture.
    pub file_name: String,
    /// The mask, of the picture's size.
    pub mask: Rle,
}

#[derive(Deserialize)]
struct Coco {
    images: Vec<Picture>,
    annotations: Vec<Annotation>,
}

#[derive(Deserialize)]
struct Picture {
    id: u64,
    width: usize,
    height: usize,
    file_name: String,
}

#[derive(Deserialize)]
struct Annotation {
    id: u64,
    image_id: u64,
    segmentation: Rle,
}

impl Annotations {
    /// Reads the file.
    ///
    /// # Errors
    /// Those of [`load`].
    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(path, &std::fs::read(path).map_err(Error::io(path))?)
    }

    fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let Coco { images, mut annotations } = json::parse(path, bytes, "COCO's `images` and `annotations`")?;
        let names: Vec<String> = images.iter().map(|image| format!("image {}", image.id)).collect();
        distinct(path, names.iter().map(String::as_str))?;
        let place: BTreeMap<u64, usize> = images.iter().enumerate().map(|(at, image)| (image.id, at)).collect();
        annotations.sort_by_key(|a| place.get(&a.image_id).copied());
        let mut regions = Vec::with_capacity(annotations.len());
        for Annotation { id, image_id, segmentation } in annotations {
            let id = id.to_string();
            let picture = place.get(&image_id).map(|&at| &images[at]).ok_or_else(|| Error::Field {
                path: path.into(),
                item: id.clone(),
                field: "image_id".into(),
                expected: "the id of an image".into(),
                found: image_id.to_string(),
            })?;
            let [height, width] = segmentation.size;
            if (width, height) != (picture.width, picture.height) {
                let (expected, found) = ((picture.width, picture.height), (width, height));
                return Err(Error::MaskSize { item: id, slot: SINGLE_SLOT, expected, found });
            }
            regions.push(Region { id, file_name: picture.file_name.clone(), mask: segmentation });
        }
        distinct(path, regions.iter().map(|region| region.id.as_str()))?;
        Ok(Self { regions })
    }

    /// The region of an id.
    pub fn region(&self, id: &str) -> Option<&Region> {
        self.regions.iter().find(|region| region.id == id)
    }
}

/// What a question is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Whether the description is about the right thing at all.
    Recognition,
    /// Whether it says something that holds.
    Positive,
    /// Whether it leaves out something that does not hold.
    Negative,
}

/// A question about a description.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// The question.
    pub question: String,
    /// The choices and what they are worth: a number, or `correct` and `incorrect`.
    pub choices: Vec<(String, Value)>,
    /// What it is for.
    pub kind: Kind,
    /// As the annotations have it; empty for the recognition question, which they do not have.
    pub fields: Map<String, Value>,
}

impl Probe {
    /// The fields that a judged file repeats.
    pub fn to_json(&self) -> Map<String, Value> {
        if !self.fields.is_empty() {
            return self.fields.clone();
        }
        let fields = json!({"question": self.question, "choices": self.choices, "type": "recognition"});
        fields.as_object().cloned().unwrap_or_default()
    }
}

/// Reads `qa.json`: the questions of each id, in the file's order.
///
/// # Errors
/// [`Error::Json`], [`Error::DuplicateId`]; [`Error::Field`] for a question that lacks a field, of an unknown type, or
/// whose choices are not worth −1 … 1.
pub fn read_probes(path: &Path) -> Result<Vec<(String, Vec<Probe>)>> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    let lists: Vec<(String, Vec<Map<String, Value>>)> = keyed(path, &bytes, "lists of questions by id")?;
    let probe = |id: &str, at: usize, fields: Map<String, Value>| {
        let name = format!("{id}, question {at}");
        let entry = Entry { path, name: &name, fields: &fields };
        let kind = match entry.text("type")? {
            "positive" => Kind::Positive,
            "negative" => Kind::Negative,
            other => return Err(entry.wrong("type", "\"positive\" or \"negative\"", &format!("{other:?}"))),
        };
        const CHOICES: &str = "two to 26 pairs of a text and its worth, −1 … 1";
        let choices: Vec<(String, f64)> = entry.get("choices", CHOICES)?;
        if !(2..=26).contains(&choices.len()) || choices.iter().any(|(_, worth)| worth.abs() > 1.0) {
            return Err(entry.wrong("choices", CHOICES, "others"));
        }
        let choices = entry.get("choices", CHOICES)?;
        let question = entry.text("question")?.to_owned();
        Ok(Probe { question, choices, kind, fields })
    };
    let list = |(id, list): (String, Vec<_>)| {
        let probes = list.into_iter().enumerate().map(|(at, fields)| probe(&id, at, fields)).collect::<Result<_>>()?;
        Ok((id, probes))
    };
    lists.into_iter().map(list).collect()
}

/// Reads `class_names.json`.
///
/// # Errors
/// [`Error::Json`], [`Error::DuplicateId`].
pub fn read_class_names(path: &Path) -> Result<BTreeMap<String, String>> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    Ok(keyed(path, &bytes, "names by id")?.into_iter().collect())
}

/// Reads descriptions `{id: text}`.
///
/// # Errors
/// [`Error::Json`], [`Error::DuplicateId`].
pub fn read_captions(path: &Path) -> Result<BTreeMap<String, String>> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    Ok(keyed(path, &bytes, "descriptions by id")?.into_iter().collect())
}
