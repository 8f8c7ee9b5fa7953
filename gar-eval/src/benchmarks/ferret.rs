//! Ferret-Bench, referring description: one region is described, the description is compared with GPT-4's (Ferret, §5.4).
//!
//! As in the published runs, the model is asked to describe the region; the benchmark's own question about it is read by
//! the judge alone.
//!
//! ```text
//! box_refer_caption.json                          regions: a box, and the same as a polygon
//! ferret_gpt4_data/rule.json                      how the judge compares
//! ferret_gpt4_data/refer_desc/{question, answer, context}.jsonl
//! val2017/                                        the pictures, of COCO
//! ```
use std::path::Path;

use gar_core::prompt::DESCRIBE;
use serde::Deserialize;
use serde_json::json;

use super::keyed::distinct;
use super::{Answered, Benchmark, Item, RegionShape, SINGLE_SLOT, Shape, Source, in_folder, picture_path};
use crate::json::Entry;
use crate::{Error, Result, json};

/// Loads `box_refer_caption.json`, or the file of another name that `annotations` is.
///
/// # Errors
/// A file that is no list, a field that is missing or of another type, two entries of one id.
pub fn load(annotations: &Path, pictures: &Path) -> Result<Benchmark> {
    let path = in_folder(annotations, "box_refer_caption.json");
    let (bytes, source) = Source::read(&path)?;
    let item = |(at, fields)| {
        let place = format!("#{at}");
        let entry = Entry { path: &path, name: &place, fields: &fields };
        let id: u64 = entry.get("question_id", "a whole number")?;
        let annotation = entry.get::<Annotation>("annotation", "{\"segmentation\": [[x1, y1, …], …], …}")?;
        let picture = picture_path(pictures, entry.text("image")?);
        let regions = vec![RegionShape { slot: SINGLE_SLOT, shape: Shape::Polygons(annotation.segmentation) }];
        Ok(Item { id: id.to_string(), picture, regions, question: DESCRIBE.into(), category: None, entry: fields })
    };
    let items: Vec<Item> = json::objects(&path, &bytes)?.into_iter().enumerate().map(item).collect::<Result<_>>()?;
    distinct(&path, items.iter().map(|item| item.id.as_str()))?;
    Ok(Benchmark { name: "ferret-bench", sources: vec![source], items, output })
}

#[derive(Deserialize)]
struct Annotation {
    segmentation: Vec<Vec<f64>>,
}

/// One answer a line, numbered by its place: the annotations leave a number out, the published answers do not.
fn output(answers: &[Answered<'_>]) -> Result<String> {
    let line = |(at, answered): (usize, &Answered<'_>)| {
        json::line(&json!({
            "question_id": at,
            "image": answered.item.entry.get("image"),
            "category": "refer_desc",
            "text": answered.record.answer,
        }))
    };
    answers.iter().enumerate().map(line).collect()
}

/// A line of the benchmark's files and of its answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its number within its file; files of one benchmark may number differently.
    pub question_id: u64,
    /// The picture.
    pub image: String,
    /// The question, the answer or the context.
    pub text: String,
}

/// Reads such lines.
///
/// # Errors
/// [`Error::Io`], [`Error::Json`], [`Error::Field`]; [`Error::DuplicateId`] for a question that stands twice.
pub fn read_lines(path: &Path) -> Result<Vec<Line>> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    let objects = json::object_lines(path, &bytes)?;
    let line = |(at, fields)| {
        let name = format!("#{at}");
        let entry = Entry { path, name: &name, fields };
        Ok(Line {
            question_id: entry.get("question_id", "a whole number")?,
            image: entry.text("image")?.into(),
            text: entry.text("text")?.into(),
        })
    };
    let lines: Vec<Line> = objects.iter().enumerate().map(line).collect::<Result<_>>()?;
    let ids: Vec<String> = lines.iter().map(|line| line.question_id.to_string()).collect();
    distinct(path, ids.iter().map(String::as_str))?;
    Ok(lines)
}
