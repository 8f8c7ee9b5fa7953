//! VideoRefer-Bench-D: a description beside the true one, scored from 0 to 5 in four ways (VideoRefer, §4).
use std::path::Path;

use serde_json::{Map, Value};

use super::{Judged, Protocol, Question, VERDICT_TOKENS, question, unparsed};
use crate::json::{self, Entry};
use crate::judge::{Part, verdict};
use crate::score::VIDEOREFER_D_ASPECTS as ASPECTS;
use crate::{Error, Result};

/// A run's descriptions. The judge reads both texts and sees nothing.
#[derive(Debug)]
pub struct VideoReferD {
    entries: Vec<Map<String, Value>>,
    descriptions: Vec<Description>,
}

#[derive(Debug)]
struct Description {
    name: String,
    truth: String,
    said: String,
}

impl VideoReferD {
    /// Reads an output: a list of entries, or one a line, with `Answer` (the true description) and `pred`.
    ///
    /// # Errors
    /// A file of another form, a field that is missing or of another type.
    pub fn read(output: &Path) -> Result<Self> {
        let bytes = std::fs::read(output).map_err(Error::io(output))?;
        let entries = match bytes.trim_ascii_start().first() {
            Some(b'[') => json::objects(output, &bytes)?,
            _ => json::object_lines(output, &bytes)?,
        };
        let description = |(at, fields)| {
            let name = format!("#{at}");
            let entry = Entry { path: output, name: &name, fields };
            let (truth, said) = (entry.text("Answer")?.into(), entry.text("pred")?.into());
            Ok(Description { name, truth, said })
        };
        let descriptions = entries.iter().enumerate().map(description).collect::<Result<_>>()?;
        Ok(Self { entries, descriptions })
    }
}

impl Protocol for VideoReferD {
    fn len(&self) -> usize {
        self.entries.len()
    }

    fn question(&self, at: usize) -> Result<Question> {
        let Description { name, truth, said } = &self.descriptions[at];
        let [subject, appearance, motion, invention] = ASPECTS;
        let text = format!(
            "An object of a video was described twice. The first description is true, the second is to be judged.\n\n\
             True description: {truth}\n\nDescription to judge: {said}\n\n\
             Score the second from 0 (wrong or missing throughout) to 5 (as good as the first) in each of four ways:\n\
             {subject}: is it about the same thing?\n\
             {appearance}: are colour, shape, material and other visible properties right?\n\
             {motion}: is what the object does, and how it changes over time, right?\n\
             {invention}: is it free of things that the first gives no ground for? 5 means that nothing is made up.\n\n\
             Reply with four lines and nothing else, each the name of a score, a colon and the number:\n\
             {subject}: \n{appearance}: \n{motion}: \n{invention}: "
        );
        Ok(question(name.clone(), vec![Part::Text(text)], VERDICT_TOKENS))
    }

    /// Each entry with what the judge said (`gpt`, the published name) and, where it can be read, the four scores.
    fn assemble(&self, answers: &[String]) -> Result<Judged> {
        let mut entries = self.entries.clone();
        let mut read = Vec::new();
        for ((entry, answer), description) in entries.iter_mut().zip(answers).zip(&self.descriptions) {
            let scores = verdict::named_scores(answer, &ASPECTS, 5.0);
            entry.insert("gpt".into(), answer.as_str().into());
            for (aspect, score) in ASPECTS.iter().zip(scores.iter().flatten()) {
                entry.insert((*aspect).into(), (*score).into());
            }
            read.push((description.name.clone(), answer.as_str(), scores.is_some()));
        }
        Ok(Judged { text: json::pretty(&entries, 4)?, unparsed: unparsed(read) })
    }
}
