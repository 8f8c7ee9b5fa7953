//! Two assistants side by side: the reference answer first, the model's second, each scored from 1 to 10.
//!
//! The rule by which they are compared belongs to the benchmark and is read from its `rule.json`; the frame around it is
//! this crate's.
use std::path::{Path, PathBuf};

use gar_core::prompt::Rle;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::gar_bench::sized;
use super::{Judged, Protocol, Question, REVIEW_TOKENS, Unparsed, picture, unparsed};
use crate::benchmarks::{ferret, mdvp, picture_path};
use crate::judge::picture::framed;
use crate::judge::{ChatRequest, Message, Part, Role, verdict};
use crate::{Error, Result, json};

/// An entry of `rule.json`.
#[derive(Clone, Debug, Deserialize)]
struct Rule {
    /// What the two are called.
    role: String,
    /// What is asked for.
    prompt: String,
}

/// A question and its two answers.
#[derive(Debug)]
struct Pair {
    name: String,
    question_id: Value,
    category: String,
    /// What the judge knows of the picture.
    context: String,
    question: String,
    reference: String,
    answer: String,
}

const SYSTEM: &str = "You compare answers carefully and fairly, and keep to the form that is asked for.";

impl Pair {
    fn text(&self, rule: &Rule) -> String {
        let Rule { role, prompt } = rule;
        let Self { context, question, reference, answer, .. } = self;
        format!(
            "[Context]\n{context}\n\n[Question]\n{question}\n\n\
             [{role} 1]\n{reference}\n\n[End of {role} 1]\n\n[{role} 2]\n{answer}\n\n[End of {role} 2]\n\n\
             [Task]\n{prompt}"
        )
    }

    fn question(&self, rule: &Rule, picture: Option<Part>) -> Question {
        let mut parts = vec![Part::Text(self.text(rule))];
        parts.extend(picture);
        let messages = vec![Message::text(Role::System, SYSTEM), Message { role: Role::User, parts }];
        Question { name: self.name.clone(), request: ChatRequest { messages, max_tokens: REVIEW_TOKENS } }
    }
}

/// Reviews, one a line, in the published form; `tuple` is [-1, -1] where the scores cannot be read.
fn reviews(pairs: &[Pair], answers: &[String]) -> Result<(String, Vec<Unparsed>)> {
    let (mut lines, mut read) = (String::new(), Vec::new());
    for (at, (pair, review)) in pairs.iter().zip(answers).enumerate() {
        let scores = verdict::two_scores(review);
        let line = json!({
            "id": at + 1,
            "question_id": pair.question_id,
            "answer1_id": pair.question_id,
            "answer2_id": pair.question_id,
            "category": pair.category,
            "content": review,
            "tuple": scores.unwrap_or([-1.0, -1.0]),
            "answer1": pair.reference,
            "answer2": pair.answer,
        });
        lines.push_str(&json::line(&line)?);
        read.push((pair.name.clone(), review.as_str(), scores.is_some()));
    }
    Ok((lines, unparsed(read)))
}

fn read_rule(path: &Path, name: &str) -> Result<Rule> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    let mut rules: Map<String, Value> = json::parse(path, &bytes, "an object of rules")?;
    let entry = rules.remove(name).ok_or_else(|| Error::Field {
        path: path.into(),
        item: "rules".into(),
        field: name.into(),
        expected: "a rule {\"role\": …, \"prompt\": …}".into(),
        found: "nothing".into(),
    })?;
    json::parse(path, entry.to_string().as_bytes(), "a rule {\"role\": …, \"prompt\": …}")
}

/// Ferret-Bench, referring description: the judge reads what is known of the picture and sees nothing (Ferret, §5.4).
#[derive(Debug)]
pub struct Ferret {
    rule: Rule,
    pairs: Vec<Pair>,
}

impl Ferret {
    /// Reads answers (one JSON object a line) and, from the folder `data`, `rule.json` and `refer_desc/{question, answer,
    /// context}.jsonl`.
    ///
    /// # Errors
    /// Files that do not hold what they should; answers to other questions than there are.
    pub fn read(answers: &Path, data: &Path) -> Result<Self> {
        let lines = |name: &str| ferret::read_lines(&data.join("refer_desc").join(name));
        let [questions, references, contexts] =
            [lines("question.jsonl")?, lines("answer.jsonl")?, lines("context.jsonl")?];
        let said = ferret::read_lines(answers)?;
        let mut pairs = Vec::with_capacity(questions.len());
        for question in &questions {
            let of = |lines: &[ferret::Line], path: &Path| -> Result<String> {
                let line = lines.iter().find(|line| line.question_id == question.question_id);
                line.map(|line| line.text.clone()).ok_or_else(|| missing(path, &question.question_id))
            };
            pairs.push(Pair {
                name: format!("question {}", question.question_id),
                question_id: question.question_id.into(),
                category: "refer_desc".into(),
                context: of(&contexts, &data.join("refer_desc/context.jsonl"))?,
                question: question.text.clone(),
                reference: of(&references, &data.join("refer_desc/answer.jsonl"))?,
                answer: of(&said, answers)?,
            });
        }
        if let Some(other) = said.iter().find(|line| questions.iter().all(|q| q.question_id != line.question_id)) {
            return Err(missing(&data.join("refer_desc/question.jsonl"), &other.question_id));
        }
        Ok(Self { rule: read_rule(&data.join("rule.json"), "refer_desc")?, pairs })
    }
}

fn missing(path: &Path, question: &u64) -> Error {
    Error::Field {
        path: path.into(),
        item: format!("question {question}"),
        field: "question_id".into(),
        expected: "an entry of this id".into(),
        found: "nothing".into(),
    }
}

impl Protocol for Ferret {
    fn len(&self) -> usize {
        self.pairs.len()
    }

    fn question(&self, at: usize) -> Result<Question> {
        Ok(self.pairs[at].question(&self.rule, None))
    }

    fn assemble(&self, answers: &[String]) -> Result<Judged> {
        let (text, unparsed) = reviews(&self.pairs, answers)?;
        Ok(Judged { text, unparsed })
    }
}

/// MDVP-Bench, box captions: the judge sees the picture with the region framed.
#[derive(Debug)]
pub struct Mdvp {
    rule: Rule,
    pairs: Vec<Pair>,
    regions: Vec<(PathBuf, Rle)>,
}

impl Mdvp {
    /// Reads captions in the published form and, from the folder `data`, `mdvp_caption_mask.json` and `rule.json`;
    /// `pictures` is the folder that its `image_path`s begin in.
    ///
    /// # Errors
    /// Files that do not hold what they should; captions that are not those of the annotations, in their order.
    pub fn read(captions: &Path, data: &Path, pictures: &Path) -> Result<Self> {
        let annotations = data.join("mdvp_caption_mask.json");
        let regions = mdvp::read_regions(&annotations)?;
        let bytes = std::fs::read(captions).map_err(Error::io(captions))?;
        let entries = json::objects(captions, &bytes)?;
        if entries.len() != regions.len() {
            return Err(Error::Json {
                path: captions.into(),
                expected: format!("{} captions, one for each entry of {}", regions.len(), annotations.display()),
                found: entries.len().to_string(),
            });
        }
        let mut pairs = Vec::with_capacity(regions.len());
        for (at, (region, fields)) in regions.iter().zip(&entries).enumerate() {
            let name = format!("#{at}");
            let entry = json::Entry { path: captions, name: &name, fields };
            if entry.text("gt")? != region.caption {
                return Err(entry.wrong("gt", "the `caption` of the same place in the annotations", "another"));
            }
            pairs.push(Pair {
                name: name.clone(),
                question_id: (at + 1).into(),
                category: region.domain.name().into(),
                context: region.domain.context().into(),
                question: region.question.clone(),
                reference: region.caption.clone(),
                answer: entry.text("caption")?.into(),
            });
        }
        let regions = regions.into_iter().map(|r| (picture_path(pictures, &r.image_path), r.mask)).collect();
        Ok(Self { rule: read_rule(&data.join("rule.json"), "box")?, pairs, regions })
    }
}

impl Protocol for Mdvp {
    fn len(&self) -> usize {
        self.pairs.len()
    }

    fn question(&self, at: usize) -> Result<Question> {
        let (pair, (path, rle)) = (&self.pairs[at], &self.regions[at]);
        let image = picture(&pair.name, path)?;
        let mask = sized(rle, &pair.name, 1, (image.width(), image.height()))?;
        Ok(pair.question(&self.rule, Some(framed(&image, &mask)?)))
    }

    fn assemble(&self, answers: &[String]) -> Result<Judged> {
        let (text, unparsed) = reviews(&self.pairs, answers)?;
        Ok(Judged { text, unparsed })
    }
}
