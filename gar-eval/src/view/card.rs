//! What the page shows of one question.
use std::collections::HashMap;
use std::path::Path;

use gar_core::prompt::{RegionSet, Rle};
use serde::Serialize;

use crate::json::Entry;
use crate::run::AnswerRecord;
use crate::score::exact;
use crate::score::gar_bench::{vqa_answer, vqa_category, vqa_options};
use crate::{Error, Result};

/// One question of the page.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Card {
    id: String,
    category: String,
    question: String,
    /// Options as they were shown; empty for captions.
    options: Vec<String>,
    /// The right option's letter, or a caption's reference, where there is one.
    answer: Option<String>,
    /// What the model said.
    said: String,
    /// Whether that was right; none where no judge has said.
    right: Option<bool>,
    /// Why the model could not be asked.
    refused: Option<String>,
    /// The drawn picture, relative to the page.
    pub(super) picture: Option<String>,
    /// Whether it shows the photograph, not only the regions.
    pub(super) pictured: bool,
    #[serde(skip)]
    masks: Vec<Rle>,
}

impl Card {
    /// Reads an entry of a GAR-Bench output, of whichever part.
    pub(super) fn read(entry: &Entry<'_>) -> Result<Self> {
        let text = |field| entry.fields.get(field).and_then(|value| value.as_str()).map(str::to_owned);
        let said = text("model_output").unwrap_or_default();
        let masks = match entry.fields.contains_key("mask_rles") {
            true => entry.get("mask_rles", "a list of COCO RLE objects")?,
            false => Vec::new(),
        };
        let card = Self {
            id: entry.name.to_owned(),
            category: "simple".into(),
            question: text("question").unwrap_or_default(),
            options: Vec::new(),
            answer: text("answer"),
            right: text("eval_result").map(|verdict| exact(&verdict, "true")),
            said,
            refused: None,
            picture: None,
            pictured: false,
            masks,
        };
        if entry.fields.contains_key("choices") {
            let options = vqa_options(entry)?;
            let right = Some(exact(&card.said, vqa_answer(entry, &options)?));
            return Ok(Self { category: vqa_category(entry)?.into(), options, right, ..card });
        }
        if let (Some(subject), Some(predicate), Some(object)) =
            (text("subject_name"), text("predicate_name"), text("object_name"))
        {
            let answer = Some(format!("{subject} (<Prompt0>) {predicate} {object} (<Prompt1>)"));
            return Ok(Self { category: predicate, answer, ..card });
        }
        Ok(card)
    }

    /// Width and height that the masks state.
    pub(super) fn size(&self) -> Option<(usize, usize)> {
        self.masks.first().map(|rle| (rle.size[1], rle.size[0]))
    }

    /// The masks as regions in slots 0, 1, …, of the picture's size where there is one.
    pub(super) fn regions(&self, item: &str, picture: Option<(usize, usize)>) -> Result<RegionSet> {
        let mut set = RegionSet::new();
        for (slot, rle) in self.masks.iter().enumerate() {
            let refused = Error::region(item, slot);
            let mask = rle.to_mask().map_err(refused)?;
            let found = (mask.width(), mask.height());
            if let Some(expected) = picture
                && expected != found
            {
                return Err(Error::MaskSize { item: item.to_owned(), slot, expected, found });
            }
            set.push(slot, mask).map_err(refused)?;
        }
        Ok(set)
    }

    pub(super) fn refused_if(self, refusals: &HashMap<String, String>) -> Self {
        Self { refused: refusals.get(&self.id).cloned(), ..self }
    }
}

/// Id and reason of each refused item of a run's directory; none of anything else.
pub(super) fn refusals(run: &Path) -> HashMap<String, String> {
    let log = std::fs::read_to_string(run.join("answers.jsonl")).unwrap_or_default();
    let records = log.lines().filter_map(|line| serde_json::from_str::<AnswerRecord>(line).ok());
    records.filter_map(|record| Some((record.id, record.refused?))).collect()
}
