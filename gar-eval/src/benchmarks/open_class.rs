//! Open-class recognition on LVIS and PACO: what is this region, in a word or a phrase (Osprey, §4.1).
//!
//! ```text
//! lvis_val_1k_category.json, paco_val_1k_category.json   Osprey's files: pictures with categories and annotations
//! train2017/, val2017/                                   the pictures, of COCO
//! ```
use std::path::Path;

use gar_core::prompt::Rle;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Benchmark, Item, RegionShape, Shape, Source, picture_path};
use crate::json::Entry;
use crate::run::Answered;
use crate::{Error, Result, json};

const QUESTION: &str = "What is the category of <Prompt0>? Answer with a single word or phrase.";

/// Loads one of Osprey's files. `name` is what the benchmark is called: `lvis` or `paco`.
///
/// # Errors
/// A file that is no list of pictures, a field that is missing or of another type, another number of categories than of
/// annotations, a mask of another size than the picture is said to have.
pub fn load(name: &'static str, annotations: &Path, pictures: &Path) -> Result<Benchmark> {
    let (bytes, source) = Source::read(annotations)?;
    let mut items = Vec::new();
    for (at, fields) in json::objects(annotations, &bytes)?.iter().enumerate() {
        let place = format!("#{at}");
        let entry = Entry { path: annotations, name: &place, fields };
        let categories: Vec<String> = entry.get("categories", "a list of names")?;
        let regions: Vec<Annotation> = entry.get("annotations", "a list of objects with a `segmentation`")?;
        if categories.len() != regions.len() {
            let expected = format!("{} names, one for each annotation", regions.len());
            return Err(entry.wrong("categories", &expected, &categories.len().to_string()));
        }
        let size = (entry.get("width", "a whole number")?, entry.get("height", "a whole number")?);
        let file = entry.text("file_name")?;
        for (i, (category, region)) in categories.into_iter().zip(regions).enumerate() {
            let id = format!("{at}.{i}");
            let shape = region.segmentation.shape(&id, size)?;
            let entry = json!({"image": file, "Answer": category}).as_object().cloned().unwrap_or_default();
            items.push(Item {
                id,
                picture: picture_path(pictures, file),
                regions: vec![RegionShape { slot: 0, shape }],
                question: QUESTION.into(),
                category: None,
                entry,
            });
        }
    }
    Ok(Benchmark { name, sources: vec![source], items, output })
}

#[derive(Deserialize)]
struct Annotation {
    segmentation: Segmentation,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Segmentation {
    Rle(Rle),
    Polygons(Vec<Vec<f64>>),
}

impl Segmentation {
    fn shape(self, item: &str, expected: (usize, usize)) -> Result<Shape> {
        match self {
            Self::Polygons(rings) => Ok(Shape::Polygons(rings)),
            Self::Rle(rle) if (rle.size[1], rle.size[0]) == expected => Ok(Shape::Rle(rle)),
            Self::Rle(rle) => {
                let found = (rle.size[1], rle.size[0]);
                Err(Error::MaskSize { item: item.into(), slot: 0, expected, found })
            }
        }
    }
}

/// What was said beside the category.
fn output(answers: &[Answered<'_>]) -> Result<String> {
    let entry = |a: &Answered<'_>| {
        let mut fields: Map<String, Value> = a.item.entry.clone();
        fields.insert("id".into(), a.item.id.as_str().into());
        fields.insert("pred".into(), a.record.answer.as_str().into());
        fields
    };
    json::pretty(&answers.iter().map(entry).collect::<Vec<_>>(), 4)
}
