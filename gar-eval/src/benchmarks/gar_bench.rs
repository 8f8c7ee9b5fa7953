//! GAR-Bench (Grasp Any Region, §3.4, §B): questions with options, and captions of a region in its relation to others.
//!
//! A file is a list of objects with `image` (a path below the folder of pictures), `mask_rles` (COCO RLE, one a slot, from
//! slot 0 on), and by part: `question`, `choices`, `answer`, `type` (VQA); `question`, `answer` (simple); `subject_name`,
//! `object_name`, `predicate_name` (detailed).
use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use gar_core::prompt::{Rle, multiple_choice, prompt_name, relation_caption};
use serde_json::Value;

use super::{Benchmark, Item, RegionShape, Shape, Source, picture_path};
use crate::json::{self, Entry};
use crate::run::Answered;
use crate::score::gar_bench::{ID, vqa_answer, vqa_category, vqa_options};
use crate::{Error, Result};

/// The parts of GAR-Bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Multiple choice: 424 questions in seven categories.
    Vqa,
    /// A short caption of a relation: 97 questions.
    Simple,
    /// A detailed caption of one region and its relation to another: 107 questions.
    Detailed,
}

impl Task {
    /// The benchmark's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vqa => "gar-bench-vqa",
            Self::Simple => "gar-bench-simple",
            Self::Detailed => "gar-bench-detailed",
        }
    }

    /// The file that holds it, in the released folder.
    pub fn file(self) -> &'static str {
        match self {
            Self::Vqa => "GAR-Bench-VQA.json",
            Self::Simple => "GAR-Bench-Caption-Simple.json",
            Self::Detailed => "GAR-Bench-Caption-Detailed.json",
        }
    }
}

/// Loads a part of GAR-Bench from a file, or from the folder that holds it under its released name. Pictures are looked
/// for below `images`. No mask is decoded and no picture opened; see [`Benchmark::check_pictures`].
///
/// # Errors
/// A file that is missing or no list of objects; [`Error::Field`] for a field that is missing or holds something else, a
/// category that GAR-Bench does not have, an answer outside the options, a question that names a region without a mask,
/// a picture outside its folder; [`Error::Region`] for runs that are malformed, empty or of another sum than their size;
/// [`Error::MaskSize`] for masks of different sizes in one entry; [`Error::DuplicateId`].
pub fn load(task: Task, annotations: &Path, images: &Path) -> Result<Benchmark> {
    let path = if annotations.is_dir() { annotations.join(task.file()) } else { annotations.to_owned() };
    let (bytes, source) = Source::read(&path)?;
    let mut items: Vec<Item> = Vec::new();
    let mut places = HashMap::new();
    for (place, entry) in json::objects(&path, &bytes)?.into_iter().enumerate() {
        let name = entry.get(ID).and_then(Value::as_str).map_or_else(|| format!("#{place}"), str::to_owned);
        let item = item(task, &Entry { path: &path, name: &name, fields: &entry }, images)?;
        if let Some(first) = places.insert(item.id.clone(), place) {
            return Err(Error::DuplicateId { path, id: item.id, first, second: place });
        }
        items.push(Item { entry, ..item });
    }
    Ok(Benchmark { name: task.name(), sources: vec![source], items, output })
}

/// An item but for its entry.
fn item(task: Task, entry: &Entry<'_>, images: &Path) -> Result<Item> {
    let id = entry.text(ID)?;
    let masks: Vec<Rle> = entry.get("mask_rles", "a list of COCO RLE objects")?;
    if masks.is_empty() {
        return Err(entry.wrong("mask_rles", "at least one mask", "none"));
    }
    let (question, category, shown) = match task {
        Task::Vqa => {
            let options = vqa_options(entry)?;
            vqa_answer(entry, &options)?;
            let question = multiple_choice(entry.text("question")?, &options);
            (question.clone(), Some(vqa_category(entry)?.to_owned()), question)
        }
        Task::Simple => {
            entry.text("answer")?;
            let question = entry.text("question")?.to_owned();
            (question.clone(), None, question)
        }
        Task::Detailed => {
            for field in ["subject_name", "object_name", "predicate_name"] {
                entry.text(field)?;
            }
            // The subject is the first mask, the object the second.
            let question = relation_caption(0, &[1]);
            (question.clone(), None, question)
        }
    };
    check_masks(entry, &masks)?;
    check_names(entry, &shown, masks.len())?;
    Ok(Item {
        id: id.to_owned(),
        picture: inside(entry, id, images)?,
        regions: masks
            .into_iter()
            .enumerate()
            .map(|(slot, rle)| RegionShape { slot, shape: Shape::Rle(rle) })
            .collect(),
        question,
        category,
        entry: serde_json::Map::new(),
    })
}

/// The picture's path; one that leaves the folder is refused, as annotations are data from elsewhere.
fn inside(entry: &Entry<'_>, name: &str, images: &Path) -> Result<PathBuf> {
    let plain = Path::new(name).components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
    match plain && !name.is_empty() {
        true => Ok(picture_path(images, name)),
        false => Err(entry.wrong(ID, "a path inside the folder of pictures", &format!("{name:?}"))),
    }
}

/// Judges the runs of masks without decoding them to pixels: that they add up to one and the same size and hold a pixel.
fn check_masks(entry: &Entry<'_>, masks: &[Rle]) -> Result<()> {
    let size = |rle: &Rle| (rle.size[1], rle.size[0]);
    for (slot, rle) in masks.iter().enumerate() {
        let region = Error::region(entry.name, slot);
        let expected = size(&masks[0]);
        if size(rle) != expected {
            return Err(Error::MaskSize { item: entry.name.to_owned(), slot, expected, found: size(rle) });
        }
        let runs = rle.runs().map_err(region)?;
        let sum: u64 = runs.iter().map(|&run| u64::from(run)).sum();
        if Some(sum) != (rle.size[0] as u64).checked_mul(rle.size[1] as u64) {
            // Decoding words the refusal.
            rle.to_mask().map_err(region)?;
        }
        if runs.iter().skip(1).step_by(2).all(|&run| run == 0) {
            let (width, height) = expected;
            return Err(region(gar_core::prompt::Error::EmptyMask { slot, width, height }));
        }
    }
    Ok(())
}

/// Refuses a question that names a region without a mask.
fn check_names(entry: &Entry<'_>, question: &str, masks: usize) -> Result<()> {
    for rest in question.split("<Prompt").skip(1) {
        let Some(slot) = rest.split_once('>').and_then(|(slot, _)| slot.parse::<usize>().ok()) else { continue };
        if slot >= masks {
            let expected = format!("a mask for each region that the question names, {} included", prompt_name(slot));
            return Err(entry.wrong("mask_rles", &expected, &format!("{masks} masks")));
        }
    }
    Ok(())
}

/// The published form: each entry as it was annotated, with the answer as `model_output`.
fn output(answers: &[Answered<'_>]) -> Result<String> {
    let entries: Vec<_> = answers
        .iter()
        .map(|Answered { item, record }| {
            let mut entry = item.entry.clone();
            entry.insert("model_output".into(), record.answer.trim().into());
            entry
        })
        .collect();
    json::pretty(&entries, 4)
}
