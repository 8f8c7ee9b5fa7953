//! A small GAR-Bench of drawn scenes: held-out questions in the annotation format and the categories of the real one.

use std::collections::BTreeMap;
use std::path::Path;

use gar_prompt::Rle;
use gar_vision::Image;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::scene::{
    CaptionVerdict, Category, Form, Question, Scene, SceneConfig, SceneGenerator, Split, judge_caption, judge_relation,
};
use crate::{Error, Result, png};

/// File names of GAR-Bench's three parts.
const FILES: [&str; 3] = ["GAR-Bench-VQA.json", "GAR-Bench-Caption-Simple.json", "GAR-Bench-Caption-Detailed.json"];

/// Scenes drawn for one question before giving up; one in about ten has a given kind of question.
const TRIES: u64 = 2000;

/// A multiple-choice question of GAR-Bench-VQA.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VqaItem {
    /// Where the picture came from; here the same as `image`.
    pub image_path: String,
    /// Mask K is `<PromptK>`.
    pub mask_rles: Vec<Rle>,
    /// The question, without options.
    pub question: String,
    /// The options, each with its letter: `A. red`.
    pub choices: Vec<String>,
    /// The right letter.
    pub answer: String,
    /// `color`, `shape`, `texture/pattern`, `material`, `ordering`, `mirror` or `relation`.
    #[serde(rename = "type")]
    pub category: String,
    /// The picture's file, relative to the annotations.
    pub image: String,
}

/// A question of GAR-Bench-Caption-Simple: one sentence about a relation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SimpleItem {
    /// Where the picture came from; here the same as `image`.
    pub image_path: String,
    /// Mask K is `<PromptK>`.
    pub mask_rles: Vec<Rle>,
    /// The question.
    pub question: String,
    /// A right answer.
    pub answer: String,
    /// The picture's file, relative to the annotations.
    pub image: String,
}

/// An entry of GAR-Bench-Caption-Detailed. The question is always
/// `Describe <Prompt0> in detail, including the relationship with <Prompt1>.`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetailedItem {
    /// The picture's file, relative to the annotations.
    pub image: String,
    /// One word for the subject, `<Prompt0>`.
    pub subject_name: String,
    /// One word for the object, `<Prompt1>`.
    pub object_name: String,
    /// The relation of subject to object.
    pub predicate_name: String,
    /// Subject and object.
    pub mask_rles: Vec<Rle>,
}

/// Annotations and pictures.
#[derive(Debug, Clone)]
pub struct MiniBench {
    /// Multiple choice.
    pub vqa: Vec<VqaItem>,
    /// Short captions.
    pub simple: Vec<SimpleItem>,
    /// Detailed captions.
    pub detailed: Vec<DetailedItem>,
    /// The pictures by their name in the annotations.
    pub pictures: BTreeMap<String, Image>,
    /// Where each picture's scene came from.
    sources: BTreeMap<String, Source>,
    config: MiniConfig,
}

/// What to ask for, and the scene that had it.
#[derive(Debug, Clone, Copy)]
struct Source {
    category: Category,
    regions: usize,
    index: u64,
    /// The first two slots that the question names, subject first; of a question about one region, that slot twice.
    pair: [usize; 2],
}

/// A question and its picture, before they have a name.
struct Drawn {
    source: Source,
    picture: Image,
    mask_rles: Vec<Rle>,
    question: Question,
    /// Subject, object and predicate of a detailed caption.
    names: [String; 3],
}

/// The categories of the benchmark with the numbers of regions they are asked over.
const PARTS: [(Category, &[usize]); 9] = [
    (Category::Color, &[1, 2, 3, 4, 5]),
    (Category::Shape, &[1, 2, 3, 4, 5]),
    (Category::Texture, &[1, 2, 3, 4, 5]),
    (Category::Material, &[1, 2, 3, 4, 5]),
    (Category::Ordering, &[1, 2, 3, 4, 5]),
    (Category::Mirror, &[1, 2, 3, 4, 5]),
    (Category::Relation, &[2, 3, 4, 5]),
    (Category::SimpleCaption, &[2, 3, 4, 5]),
    (Category::RelationCaption, &[2]),
];

/// What questions are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MiniConfig {
    /// Start of the random generator.
    pub seed: u64,
    /// How many.
    pub questions: usize,
    /// Side of a picture in pixels.
    pub size: usize,
    /// Most regions of a question, at least 1. With 1, the categories that relate regions are left out.
    pub most_regions: usize,
    /// Whether all mirrors and screens are [clear](SceneConfig::clear_percent).
    pub clear_panes: bool,
}

impl Default for MiniConfig {
    fn default() -> Self {
        Self { seed: 1, questions: 2000, size: SceneConfig::default().size, most_regions: 5, clear_panes: false }
    }
}

/// `questions` questions about held-out scenes of `seed`, else as [`MiniConfig`] has them.
///
/// # Errors
/// As [`MiniBench::draw`].
pub fn mini_bench(seed: u64, questions: usize) -> Result<MiniBench> {
    MiniBench::draw(MiniConfig { seed, questions, ..MiniConfig::default() })
}

impl MiniBench {
    /// Questions about held-out scenes: as many of one category as of another, and within a category as many of one
    /// number of regions as of another. No picture is asked about twice.
    ///
    /// # Errors
    /// [`Error::NoQuestion`]; those of [`SceneGenerator`].
    pub fn draw(config: MiniConfig) -> Result<Self> {
        let few = |counts: &'static [usize]| &counts[..counts.partition_point(|&n| n <= config.most_regions.max(1))];
        let parts = PARTS.map(|(category, counts)| (category, few(counts)));
        let parts: Vec<_> = parts.into_iter().filter(|(_, counts)| !counts.is_empty()).collect();
        let (vqa, simple, detailed) = (Vec::new(), Vec::new(), Vec::new());
        let mut bench = Self { vqa, simple, detailed, pictures: BTreeMap::new(), sources: BTreeMap::new(), config };
        let drawn: Vec<Drawn> = (0..config.questions)
            .into_par_iter()
            .map(|n| {
                let (category, counts) = parts[n % parts.len()];
                let regions = counts[n / parts.len() % counts.len()];
                bench.find(n as u64, config.questions as u64, category, regions)
            })
            .collect::<Result<_>>()?;
        drawn.into_iter().for_each(|drawn| bench.annotate(drawn));
        Ok(bench)
    }

    /// The scene behind a picture, with its truth; `None` for a name that is not in the annotations.
    ///
    /// # Errors
    /// Those of [`SceneGenerator`].
    pub fn scene(&self, image: &str) -> Result<Option<Scene>> {
        let Some(source) = self.sources.get(image) else { return Ok(None) };
        self.generator(source.category, source.regions)?.scene(source.index).map(Some)
    }

    /// Judges the caption of a [`DetailedItem`] by the truth. `None` for a picture that is not in the annotations.
    ///
    /// # Errors
    /// As [`scene`](Self::scene).
    pub fn judge(&self, item: &DetailedItem, caption: &str) -> Result<Option<CaptionVerdict>> {
        Ok(self.scene(&item.image)?.and_then(|scene| judge_caption(&scene, 0, Some(1), caption)))
    }

    /// Judges the caption of a [`SimpleItem`] by the truth: whether it states a relation of the two regions that holds.
    /// `None` for a picture that is not in the annotations.
    ///
    /// # Errors
    /// As [`scene`](Self::scene).
    pub fn judge_simple(&self, item: &SimpleItem, caption: &str) -> Result<Option<bool>> {
        let Some(source) = self.sources.get(&item.image) else { return Ok(None) };
        Ok(self.scene(&item.image)?.map(|scene| judge_relation(&scene, source.pair, caption)))
    }

    /// Writes the annotations under GAR-Bench's file names and the pictures under `images`.
    ///
    /// # Errors
    /// [`Error::InFile`] with [`Error::Io`]; [`Error::Encode`].
    pub fn write(&self, folder: impl AsRef<Path>) -> Result<()> {
        let folder = folder.as_ref();
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.join(name);
            std::fs::write(&path, bytes).map_err(|error| Error::in_file(path)(error.into()))
        };
        let images = folder.join("images");
        std::fs::create_dir_all(&images).map_err(|error| Error::in_file(&images)(error.into()))?;
        let text = |done: serde_json::Result<Vec<u8>>| done.map_err(|source| Error::Json { source });
        write(FILES[0], &text(serde_json::to_vec_pretty(&self.vqa))?)?;
        write(FILES[1], &text(serde_json::to_vec_pretty(&self.simple))?)?;
        write(FILES[2], &text(serde_json::to_vec_pretty(&self.detailed))?)?;
        self.pictures.iter().try_for_each(|(name, picture)| write(name, &png(picture)?))
    }

    /// Scenes in which a category is asked over so many regions.
    fn generator(&self, category: Category, regions: usize) -> Result<SceneGenerator> {
        let usual = SceneConfig::default();
        let config = SceneConfig {
            size: self.config.size,
            shuffle_slots: false,
            kinds: match category {
                Category::Ordering => [0, 1, 0],
                Category::Mirror => [0, 0, 1],
                _ => usual.kinds,
            },
            regions: std::array::from_fn(|at| u32::from(at + 1 == regions)),
            questions: 24,
            absent_percent: 0,
            clear_percent: if self.config.clear_panes { 100 } else { 0 },
            ..usual
        };
        SceneGenerator::new(config, self.config.seed, Split::HeldOut)
    }

    /// Finds a scene with a question of this kind among the indices that leave remainder `n` when divided by `of`, so
    /// that questions never share a scene.
    fn find(&self, n: u64, of: u64, category: Category, regions: usize) -> Result<Drawn> {
        let generator = self.generator(category, regions)?;
        for index in (0..TRIES).map(|k| n + k * of) {
            let scene = generator.scene(index)?;
            let Some(question) = find(&scene, category, regions).cloned() else { continue };
            let pair =
                std::array::from_fn(|at| question.slots.get(at).or(question.slots.first()).copied().unwrap_or(0));
            let name = |slot| scene.object(slot).map_or("", |object| object.kind.word()).to_owned();
            let relation = scene.relations(0, 1).and_then(|known| known.first()).map_or("", |first| first.words());
            return Ok(Drawn {
                source: Source { category, regions, index, pair },
                mask_rles: scene.regions.iter().map(|region| Rle::encode(region.mask())).collect(),
                names: [name(0), name(1), relation.to_owned()],
                picture: scene.image,
                question,
            });
        }
        Err(Error::NoQuestion { category: category.name(), regions, tries: TRIES })
    }

    /// Appends an entry and its picture.
    fn annotate(&mut self, drawn: Drawn) {
        let Drawn { source, picture, mask_rles, question, names } = drawn;
        let Question { stem, choices, answer, .. } = question;
        let image = match source.category {
            Category::SimpleCaption => {
                let image = format!("images/caption_simple_{}.png", self.simple.len());
                self.simple.push(SimpleItem {
                    image_path: image.clone(),
                    mask_rles,
                    question: stem,
                    answer,
                    image: image.clone(),
                });
                image
            }
            Category::RelationCaption => {
                let image = format!("images/caption_detailed_{}.png", self.detailed.len());
                let [subject_name, object_name, predicate_name] = names;
                let file = image.clone();
                self.detailed.push(DetailedItem { image: file, subject_name, object_name, predicate_name, mask_rles });
                image
            }
            category => {
                let image = format!("images/vqa_{}.png", self.vqa.len());
                self.vqa.push(VqaItem {
                    image_path: image.clone(),
                    mask_rles,
                    question: stem,
                    choices,
                    answer,
                    category: category.name().to_owned(),
                    image: image.clone(),
                });
                image
            }
        };
        self.sources.insert(image.clone(), source);
        self.pictures.insert(image, picture);
    }
}

/// The first question of the scene that fits.
fn find(scene: &Scene, category: Category, regions: usize) -> Option<&Question> {
    let fits = |question: &&Question| match category {
        Category::SimpleCaption => true,
        Category::RelationCaption => question.slots == [0, 1],
        _ => question.form == Form::MultipleChoice,
    };
    let of_kind = scene.questions.iter().filter(|question| question.category == category);
    if scene.regions.len() == regions { of_kind.into_iter().find(fits) } else { None }
}
