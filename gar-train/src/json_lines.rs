//! Samples of a JSON Lines file in the released schema: `image`, `mask_rle` and `conversations`.
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use gar_core::{
    Exchange, Said,
    prompt::{RegionSet, Rle},
    vision::Image,
};
use serde::Deserialize;

use crate::{Error, Result, Sample, Samples, fresh::mix};

/// A file of samples, one object a line, in an order drawn anew for every pass through it.
///
/// Masks stand in slots 0, 1, … and questions name them `<Prompt0>`, `<Prompt1>`, …; a question about the only region
/// need not. Paths of pictures start from the file's folder.
#[derive(Debug)]
pub struct JsonLines {
    path: PathBuf,
    lines: Vec<String>,
    seed: u64,
    /// The pass whose order is at hand, and the order.
    order: Mutex<(u64, Vec<usize>)>,
}

#[derive(Deserialize)]
struct Line {
    image: PathBuf,
    mask_rle: Masks,
    conversations: Vec<Turn>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected mask_rle as one {\"size\": [height, width], \"counts\": …} or a list of them")]
enum Masks {
    One(Rle),
    Many(Vec<Rle>),
}

#[derive(Deserialize)]
struct Turn {
    from: Speaker,
    value: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Speaker {
    #[serde(alias = "user")]
    Human,
    #[serde(alias = "assistant")]
    Gpt,
}

impl JsonLines {
    /// Reads the lines; blank ones aside. They are parsed when they are asked for.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::File`] for a file without samples.
    pub fn open(path: impl Into<PathBuf>, seed: u64) -> Result<Self> {
        let path = path.into();
        let text = fs::read_to_string(&path).map_err(Error::io(&path))?;
        let lines: Vec<String> = text.lines().filter(|line| !line.trim().is_empty()).map(Into::into).collect();
        if lines.is_empty() {
            let (expected, found) = ("at least one sample".into(), "none".into());
            return Err(Error::File { path, what: "samples".into(), expected, found });
        }
        Ok(Self { path, lines, seed, order: Mutex::new((u64::MAX, Vec::new())) })
    }

    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there are none; never.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The sample of line `index`, blank lines not counted.
    ///
    /// # Errors
    /// [`Error::File`] for a line that is no sample; a picture or a mask that does not hold.
    pub fn read(&self, index: usize) -> Result<Sample> {
        let wrong = |expected: &str, found: String| Error::File {
            path: self.path.clone(),
            what: format!("sample {index}"),
            expected: expected.into(),
            found,
        };
        let text = self.lines.get(index).ok_or_else(|| wrong("a line", "the end of the file".into()))?;
        let line: Line = serde_json::from_str(text).map_err(|e| wrong("the released schema", e.to_string()))?;
        let masks = match line.mask_rle {
            Masks::One(mask) => vec![mask],
            Masks::Many(masks) => masks,
        };
        if masks.is_empty() {
            return Err(wrong("at least one mask", "none".into()));
        }
        let folder = self.path.parent().unwrap_or(Path::new(""));
        let image = Image::open(folder.join(&line.image)).map_err(gar_core::Error::from)?;
        let masks = masks.iter().map(Rle::to_mask).collect::<Result<Vec<_>, _>>().map_err(gar_core::Error::from)?;
        let regions = RegionSet::numbered(masks).map_err(gar_core::Error::from)?;
        let mut conversation = Vec::new();
        for pair in line.conversations.chunks(2) {
            let [human, gpt] = pair else {
                return Err(wrong("an answer to every question", "a question alone".into()));
            };
            if (human.from, gpt.from) != (Speaker::Human, Speaker::Gpt) {
                return Err(wrong("human and gpt in turn", "another order".into()));
            }
            let question = human.value.trim_start_matches("<image>").trim().to_owned();
            if regions.len() > 1 && !question.contains("<Prompt") {
                return Err(wrong("questions that name their regions", format!("{question:?}")));
            }
            conversation.push(Exchange { said: Said::Question(question), answer: gpt.value.clone() });
        }
        Ok(Sample { image, regions, conversations: vec![conversation] })
    }

    /// The line at a position of the stream.
    fn index(&self, position: u64) -> usize {
        let count = self.lines.len() as u64;
        let (pass, place) = (position / count, (position % count) as usize);
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        if order.0 != pass || order.1.is_empty() {
            // Sorted by a hash of seed, pass and line: an order that needs no generator's state.
            let mut lines: Vec<usize> = (0..self.lines.len()).collect();
            lines.sort_by_key(|&line| (mix(mix(mix(self.seed) ^ pass) ^ line as u64), line));
            *order = (pass, lines);
        }
        order.1[place]
    }
}

impl Samples for JsonLines {
    fn sample(&self, position: u64) -> Result<Sample> {
        self.read(self.index(position))
    }
}
