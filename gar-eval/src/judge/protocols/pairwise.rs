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
    /// Numbers of the question and of its answers.
    ids: [u64; 3],
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
            "question_id": pair.ids[0],
            "answer1_id": pair.ids[1],
            "answer2_id": pair.ids[2],
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
    /// context}.jsonl`. Entries belong together by their place and their picture, as in the published review.
    ///
    /// # Errors
    /// Files that do not hold what they should, of different lengths or about other pictures.
    pub fn read(answers: &Path, data: &Path) -> Result<Self> {
        let [questions, references, contexts] =
            ["question", "answer", "context"].map(|name| data.join("refer_desc").join(name).with_extension("jsonl"));
        let asked = ferret::read_lines(&questions)?;
        let [references, contexts, said] =
            [read_beside(&asked, &references)?, read_beside(&asked, &contexts)?, read_beside(&asked, answers)?];
        let pair = |(at, asked): (usize, &ferret::Line)| Pair {
            name: format!("question {}", asked.question_id),
            ids: [asked.question_id, references[at].question_id, said[at].question_id],
            category: "refer_desc".into(),
            context: contexts[at].text.clone(),
            question: asked.text.clone(),
            reference: references[at].text.clone(),
            answer: said[at].text.clone(),
        };
        let pairs = asked.iter().enumerate().map(pair).collect();
        Ok(Self { rule: read_rule(&data.join("rule.json"), "refer_desc")?, pairs })
    }
}

/// Lines that belong to those that were asked, place by place.
fn read_beside(asked: &[ferret::Line], path: &Path) -> Result<Vec<ferret::Line>> {
    let lines = ferret::read_lines(path)?;
    if lines.len() != asked.len() {
        return Err(Error::Json {
            path: path.into(),
            expected: format!("{} lines, one for each question", asked.len()),
            found: lines.len().to_string(),
        });
    }
    match asked.iter().zip(&lines).position(|(asked, line)| asked.image != line.image) {
        None => Ok(lines),
        Some(at) => Err(Error::Field {
            path: path.into(),
            item: format!("#{at}"),
            field: "image".into(),
            expected: format!("{:?}, the picture of the question", asked[at].image),
            found: format!("{:?}", lines[at].image),
        }),
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
                ids: [at as u64 + 1; 3],
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
