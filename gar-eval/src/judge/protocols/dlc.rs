//! DLC-Bench: a recognition question, then questions about what a caption should and should not say (describe-anything,
//! §5.3).
//!
//! A caption that misses what the region is (the recognition gate) scores at most 0 in each of its questions. The
//! judge reads the caption alone, or sees the region as well; scores of the two are not comparable (Grasp Any Region, §F).
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::gar_bench::sized;
use super::{Judged, Protocol, Question, VERDICT_TOKENS, picture, question, unparsed};
use crate::benchmarks::dlc::{Annotations, Kind, Probe, Region, read_captions, read_class_names, read_probes};
use crate::benchmarks::picture_path;
use crate::judge::picture::focus;
use crate::judge::{Part, verdict};
use crate::{Error, Result, json};

/// A run's captions and what they are asked about.
#[derive(Debug)]
pub struct Dlc {
    captions: Vec<Caption>,
    /// Caption and probe of each question.
    order: Vec<(usize, usize)>,
    pictures: Option<PathBuf>,
}

#[derive(Debug)]
struct Caption {
    id: String,
    text: String,
    /// The recognition question first.
    probes: Vec<Probe>,
    /// Where it is, for a judge that sees it.
    region: Option<Region>,
}

impl Dlc {
    /// Reads captions `{id: text}` and, from `annotations`, `qa.json` and `class_names.json`. With `pictures`, the folder of
    /// the benchmark's pictures, the judge sees each region; `annotations.json` is read, too.
    ///
    /// # Errors
    /// Files that do not hold what they should; a caption without questions or questions without a caption.
    pub fn read(captions: &Path, annotations: &Path, pictures: Option<&Path>) -> Result<Self> {
        let texts = read_captions(captions)?;
        let class_names = read_class_names(&annotations.join("class_names.json"))?;
        let regions = pictures.map(|_| Annotations::read(&annotations.join("annotations.json"))).transpose()?;
        let qa = annotations.join("qa.json");
        let missing = |item: &str, path: &Path, field: &str| Error::Field {
            path: path.into(),
            item: item.into(),
            field: field.into(),
            expected: "an entry of this id".into(),
            found: "nothing".into(),
        };
        let mut of_caption = Vec::new();
        for (id, mut probes) in read_probes(&qa)? {
            let text = texts.get(&id).ok_or_else(|| missing(&id, captions, "caption"))?;
            let class =
                class_names.get(&id).ok_or_else(|| missing(&id, &annotations.join("class_names.json"), "name"))?;
            let region = match &regions {
                Some(all) => {
                    Some(all.region(&id).ok_or_else(|| missing(&id, &annotations.join("annotations.json"), "id"))?)
                }
                None => None,
            };
            probes.insert(0, recognition(class));
            of_caption.push(Caption { id, text: text.clone(), probes, region: region.cloned() });
        }
        if let Some(id) = texts.keys().find(|id| of_caption.iter().all(|caption| caption.id != **id)) {
            return Err(missing(id, &qa, "questions"));
        }
        let order = |(at, caption): (usize, &Caption)| (0..caption.probes.len()).map(move |probe| (at, probe));
        let order = of_caption.iter().enumerate().flat_map(order).collect();
        Ok(Self { captions: of_caption, order, pictures: pictures.map(Path::to_owned) })
    }

    fn name(&self, at: usize) -> String {
        let (caption, probe) = self.order[at];
        match probe {
            0 => format!("{}: recognition", self.captions[caption].id),
            probe => format!("{}: question {}", self.captions[caption].id, probe - 1),
        }
    }
}

/// The question whether the caption is about such a thing at all.
fn recognition(class: &str) -> Probe {
    Probe {
        question: format!(
            "Is what the description is about likely to be of the kind \"{class}\", or of a similar kind? It need not be \
             named exactly so."
        ),
        choices: vec![("Yes".into(), json!("correct")), ("No".into(), json!("incorrect"))],
        kind: Kind::Recognition,
        fields: Map::new(),
    }
}

impl Protocol for Dlc {
    fn len(&self) -> usize {
        self.order.len()
    }

    fn question(&self, at: usize) -> Result<Question> {
        let (caption, probe) = self.order[at];
        let caption = &self.captions[caption];
        let mut parts = Vec::new();
        if let (Some(pictures), Some(region)) = (&self.pictures, &caption.region) {
            let image = picture(&caption.id, &picture_path(pictures, &region.file_name))?;
            let mask = sized(&region.mask, &caption.id, 1, (image.width(), image.height()))?;
            let [cut, its_mask] = focus(&image, &mask)?;
            parts.push(Part::Text("An object, cut out of a picture, and its mask, in which it is white:".into()));
            parts.extend([cut, its_mask]);
        }
        parts.push(Part::Text(prompt(&caption.text, &caption.probes[probe])));
        Ok(question(self.name(at), parts, VERDICT_TOKENS))
    }

    /// For each id the questions with `pred_answer`, `pred_index` and `eval_result`, and the scores. A question whose
    /// answer cannot be read has `null` in the latter two and is left out of the means; where it is the recognition question,
    /// the gate is unknown and the caption has no scores.
    fn assemble(&self, answers: &[String]) -> Result<Judged> {
        let mut read = Vec::with_capacity(answers.len());
        let mut file = Map::new();
        let mut rest = self.order.iter().enumerate().zip(answers).peekable();
        let (mut positives, mut negatives) = (Vec::new(), Vec::new());
        for (at, caption) in self.captions.iter().enumerate() {
            let mut judged = JudgedCaption::new(caption);
            while let Some(((place, (_, probe)), answer)) = rest.next_if(|((_, (of, _)), _)| *of == at) {
                let index = judged.take(&caption.probes[*probe], *probe, answer);
                read.push((self.name(place), answer.as_str(), index.is_some()));
            }
            positives.extend(judged.mean(Kind::Positive));
            negatives.extend(judged.mean(Kind::Negative));
            file.insert(caption.id.clone(), judged.into_json());
        }
        file.insert("avg_pos".into(), mean(&positives).into());
        file.insert("avg_neg".into(), mean(&negatives).into());
        Ok(Judged { text: json::pretty(&file, 4)?, unparsed: unparsed(read) })
    }
}

/// A caption's answers as they come, the recognition question first.
struct JudgedCaption<'a> {
    caption: &'a Caption,
    recognised: Option<bool>,
    details: [Vec<Value>; 3],
    /// Readable results of the positive and of the negative questions.
    results: [Vec<f64>; 2],
    prompts: Vec<String>,
    responses: Vec<String>,
}

impl<'a> JudgedCaption<'a> {
    fn new(caption: &'a Caption) -> Self {
        Self {
            caption,
            recognised: None,
            details: Default::default(),
            results: Default::default(),
            prompts: Vec::new(),
            responses: Vec::new(),
        }
    }

    /// Adds an answer and says which choice it is.
    fn take(&mut self, probe: &Probe, place: usize, answer: &str) -> Option<usize> {
        let choices: Vec<&str> = probe.choices.iter().map(|(text, _)| text.as_str()).collect();
        let index = verdict::choice(answer, &choices);
        let chosen = index.map(|index| &probe.choices[index].1);
        let (slot, result) = match probe.kind {
            Kind::Recognition => {
                self.recognised = index.map(|index| index == 0);
                (2, chosen.cloned())
            }
            kind => {
                // The gate: without recognition, nothing counts for the caption.
                let capped = chosen.map(|score| match self.recognised {
                    Some(true) => score.clone(),
                    _ if score.as_f64().is_some_and(|score| score > 0.0) => json!(0),
                    _ => score.clone(),
                });
                let slot = usize::from(kind == Kind::Negative);
                self.results[slot].extend(capped.as_ref().and_then(Value::as_f64));
                (slot, capped)
            }
        };
        let mut detail = probe.to_json();
        detail.insert("pred_answer".into(), answer.trim().into());
        detail.insert("pred_index".into(), index.into());
        if place > 0 {
            detail.insert("question_index".into(), (place - 1).into());
        }
        detail.insert("eval_result".into(), result.unwrap_or_default());
        self.details[slot].push(detail.into());
        self.prompts.push(prompt(&self.caption.text, probe));
        self.responses.push(answer.into());
        index
    }

    /// The mean over the readable questions of a kind.
    fn mean(&self, kind: Kind) -> Option<f64> {
        self.recognised?;
        mean(&self.results[usize::from(kind == Kind::Negative)])
    }

    fn into_json(self) -> Value {
        let all = self.recognised.and_then(|_| mean(&self.results.concat()));
        let (positive, negative) = (self.mean(Kind::Positive), self.mean(Kind::Negative));
        let [positives, negatives, recognition] = self.details;
        json!({
            "pred": self.caption.text,
            "details_positives": positives,
            "details_negatives": negatives,
            "details_recognition": recognition,
            "prompt": self.prompts,
            "response": self.responses,
            "score": all,
            "score_pos": positive,
            "score_neg": negative,
            "neg_valid_num": self.results[1].len(),
            "recognition_result": self.recognised,
        })
    }
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The text of a question about a caption.
fn prompt(caption: &str, probe: &Probe) -> String {
    let choices: String =
        probe.choices.iter().zip('A'..).map(|((choice, _), letter)| format!("{letter}. {choice}\n")).collect();
    format!(
        "Someone describes an object of a picture:\n\n{caption}\n\n\
         Answer a question about this description with one of the choices, the one that fits best; it need not fit to \
         the word. Give the choice alone, its letter and its text, without reasons.\n\n{}\n{choices}",
        probe.question
    )
}
