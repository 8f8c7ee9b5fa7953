//! GAR-Bench's captions: is the relation right, is it in the description (Grasp Any Region, §3.4).
use std::path::{Path, PathBuf};

use gar_core::prompt::{Mask, Rle};
use serde_json::{Map, Value};

use super::{Judged, Protocol, Question, VERDICT_TOKENS, picture, question, unparsed};
use crate::benchmarks::picture_path;
use crate::json::{self, Entry};
use crate::judge::picture::{focus, whole};
use crate::judge::{Part, verdict};
use crate::{Error, Result};

/// Which of the two caption tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Captions {
    /// A sentence about the relation of regions, beside a reference answer.
    Simple,
    /// A description that must hold a subject and its relation to an object.
    Detailed,
}

/// A run's output for one of GAR-Bench's caption tasks. Its judge sees the picture, and each region cut out with its mask.
#[derive(Debug)]
pub struct GarBench {
    task: Captions,
    pictures: PathBuf,
    entries: Vec<Map<String, Value>>,
    captions: Vec<Caption>,
}

/// What of an entry the judge is asked about.
#[derive(Debug)]
struct Caption {
    name: String,
    picture: PathBuf,
    masks: Vec<Rle>,
    text: String,
}

impl GarBench {
    /// Reads an output in the published form; `pictures` is the folder that its `image` paths begin in.
    ///
    /// # Errors
    /// A file that is no list of entries, a field that is missing or of another type, an entry without regions.
    pub fn read(output: &Path, task: Captions, pictures: &Path) -> Result<Self> {
        let bytes = std::fs::read(output).map_err(Error::io(output))?;
        let entries = json::objects(output, &bytes)?;
        let caption = |(at, fields)| {
            let name = format!("#{at}");
            let entry = Entry { path: output, name: &name, fields };
            let text = match task {
                Captions::Simple => simple(&entry)?,
                Captions::Detailed => detailed(&entry)?,
            };
            let masks: Vec<Rle> = entry.get("mask_rles", "a list of masks {\"size\": [h, w], \"counts\": …}")?;
            if masks.is_empty() {
                return Err(entry.wrong("mask_rles", "at least one mask", "none"));
            }
            Ok(Caption { picture: picture_path(pictures, entry.text("image")?), masks, text, name })
        };
        let captions = entries.iter().enumerate().map(caption).collect::<Result<_>>()?;
        Ok(Self { task, pictures: pictures.into(), entries, captions })
    }

    /// Which task it is.
    pub fn task(&self) -> Captions {
        self.task
    }

    /// Where its pictures are.
    pub fn pictures(&self) -> &Path {
        &self.pictures
    }
}

impl Protocol for GarBench {
    fn len(&self) -> usize {
        self.captions.len()
    }

    fn question(&self, at: usize) -> Result<Question> {
        let caption = &self.captions[at];
        let image = picture(&caption.name, &caption.picture)?;
        let mut parts = vec![Part::Text(INTRODUCTION.into()), whole(&image)?];
        for (slot, rle) in caption.masks.iter().enumerate() {
            let mask = sized(rle, &caption.name, slot, (image.width(), image.height()))?;
            let [cut, its_mask] = focus(&image, &mask)?;
            parts.push(Part::Text(format!("<Prompt{slot}>, cut out with what is around it:")));
            parts.push(cut);
            parts.push(Part::Text(format!("The mask of <Prompt{slot}> in the same place:")));
            parts.push(its_mask);
        }
        parts.push(Part::Text(caption.text.clone()));
        Ok(question(caption.name.clone(), parts, VERDICT_TOKENS))
    }

    /// Each entry with `eval_result`: `True` or `False`, or what the judge said where it is neither.
    fn assemble(&self, answers: &[String]) -> Result<Judged> {
        let mut entries = self.entries.clone();
        let mut read = Vec::new();
        for ((entry, answer), caption) in entries.iter_mut().zip(answers).zip(&self.captions) {
            let truth = verdict::truth(answer);
            let result = truth.map_or(answer.as_str(), |truth| if truth { "True" } else { "False" });
            entry.insert("eval_result".into(), result.into());
            read.push((caption.name.clone(), answer.as_str(), truth.is_some()));
        }
        Ok(Judged { text: json::pretty(&entries, 4)?, unparsed: unparsed(read) })
    }
}

const INTRODUCTION: &str = "You check what a model says about marked regions of a picture. You see the whole picture, then \
    each region <PromptN> cut out, and its mask, in which the region is white.\n\nThe whole picture:";

/// The question about a sentence.
fn simple(entry: &Entry<'_>) -> Result<String> {
    let [asked, reference, said] = [entry.text("question")?, entry.text("answer")?, entry.text("model_output")?];
    Ok(format!(
        "Question: {asked}\nReference answer: {reference}\nAnswer to check: {said}\n\n\
         Does the answer to check state the relation of the reference answer, between the same regions and with the same \
         roles? Other words for the same relation are fine. A relation that only might hold as well, that is turned round, \
         or that is too vague to imply the reference is not.\n\n\
         Reply with one word, True or False."
    ))
}

/// The question about a description.
fn detailed(entry: &Entry<'_>) -> Result<String> {
    let [subject, object] = [entry.text("subject_name")?, entry.text("object_name")?];
    let [predicate, said] = [entry.text("predicate_name")?, entry.text("model_output")?];
    Ok(format!(
        "<Prompt0> is the subject: {subject}\n<Prompt1> is the object: {object}\nTheir relation: {predicate}\n\
         Description to check: {said}\n\n\
         Two things must hold of the description. It mentions the {subject}, under whatever name. And it conveys that the \
         {subject} stands to the {object} in a relation that amounts to \"{predicate}\", in whatever words.\n\n\
         Reply with one word: True if both hold, False otherwise."
    ))
}

/// The mask of a region, of the picture's size.
pub(super) fn sized(rle: &Rle, item: &str, slot: usize, expected: (usize, usize)) -> Result<Mask> {
    let mask = rle.to_mask().map_err(Error::region(item, slot))?;
    let found = (mask.width(), mask.height());
    match found == expected {
        true => Ok(mask),
        false => Err(Error::MaskSize { item: item.into(), slot, expected, found }),
    }
}
