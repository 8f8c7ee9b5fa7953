//! Drawn scenes as samples: pictures, questions with their answers, and the facts that probes learn.
use gar_core::{Exchange, GarModel, Said};
use gar_data::scene::{Category, Claim, Color, Kind, Material, Nature, Object, Question, Relation, Says, Scene};
use gar_data::scene::{SceneConfig, SceneGenerator, Shape, Size, Split, Texture};
use serde::{Deserialize, Serialize};

use crate::{Answer, Choice, Error, Fact, Head, Heads, Result, Sample, Samples, sample::CropTokens};

/// Bins of a region's place along a side of the picture.
const BINS: usize = 8;
/// Rows and columns that a grid of things can have.
const CELLS: usize = 4;

const COLOR: Head = head("color", Color::ALL.len());
const TEXTURE: Head = head("texture", Texture::ALL.len());
const MATERIAL: Head = head("material", Material::ALL.len());
const NATURE: Head = head("nature", Nature::ALL.len());
const ROW: Head = head("row", CELLS);
const FROM_LEFT: Head = head("from-left", CELLS);
const FROM_RIGHT: Head = head("from-right", CELLS);

/// What is known of a region, in the order of [`classes`].
const FACTS: [Head; 13] = [
    COLOR,
    // And a table and a box.
    head("shape", Shape::ALL.len() + 2),
    TEXTURE,
    MATERIAL,
    head("size", Size::ALL.len()),
    NATURE,
    head("x", BINS),
    head("y", BINS),
    ROW,
    FROM_LEFT,
    FROM_RIGHT,
    // Whether something covers a part of it.
    head("hidden", 2),
    // Of two things that overlap, whether it is the one behind or the one in front.
    head("front", 2),
];

/// What options claim, and whom it may be about, as an index of the question's slots.
const CLAIMS: [(Head, usize); 14] = [
    (COLOR, 0),
    (head("shape", Shape::ALL.len()), 0),
    (TEXTURE, 0),
    (MATERIAL, 0),
    (ROW, 0),
    (FROM_LEFT, 0),
    (FROM_RIGHT, 0),
    (NATURE, 0),
    (head("nature-2", Nature::ALL.len()), 1),
    (head("nature-3", Nature::ALL.len()), 2),
    // Of the first region to the second, and to the third.
    (head("relation", Relation::ALL.len()), 1),
    (head("relation-2", Relation::ALL.len()), 2),
    (head("stands", 2), 0),
    (head("stands-2", 2), 1),
];

const fn head(name: &'static str, classes: usize) -> Head {
    Head { name, classes }
}

/// Which drawn scenes to train on. Absent keys are those of [`SceneConfig`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScenesConfig {
    /// Side of the pictures in pixels.
    pub size: Option<usize>,
    /// How often a scene is a room, a grid, a reflection, as weights.
    pub kinds: Option<[u32; 3]>,
    /// How often a scene has 1, 2, … 5 regions, as weights.
    pub regions: Option<[u32; 5]>,
    /// Questions a scene, at most.
    pub questions: Option<usize>,
    /// How many of a hundred questions are multiple choice, where they may be.
    pub choice_percent: Option<u32>,
    /// Names of categories to ask about more often, as [`SceneConfig::again`].
    pub again: Vec<String>,
    /// How many of a hundred mirrors and screens only their frame betrays, as [`SceneConfig::clear_percent`].
    pub clear_percent: Option<u32>,
    /// How many of a hundred rooms hold nothing but things in front of others, as [`SceneConfig::pairs_percent`].
    pub pairs_percent: Option<u32>,
}

/// An endless stream of drawn scenes.
#[derive(Clone, Debug)]
pub struct DrawnScenes {
    generator: SceneGenerator,
    crops: CropTokens,
}

impl DrawnScenes {
    /// The scenes of a seed, for a model's slots and crop tokens.
    ///
    /// # Errors
    /// A configuration without sense, named.
    pub fn new(config: &ScenesConfig, model: &GarModel, seed: u64, split: Split) -> Result<Self> {
        let usual = SceneConfig::default();
        let category = |name: &String| {
            let expected = "names of categories, `relation` say";
            let refuse = || gar_data::Error::SceneConfig { key: "again", expected, found: name.clone() };
            Category::of_name(name).ok_or_else(refuse)
        };
        let again = config.again.iter().map(category).collect::<gar_data::Result<_>>()?;
        let config = SceneConfig {
            size: config.size.unwrap_or(usual.size),
            kinds: config.kinds.unwrap_or(usual.kinds),
            regions: config.regions.unwrap_or(usual.regions),
            questions: config.questions.unwrap_or(usual.questions),
            choice_percent: config.choice_percent.unwrap_or(usual.choice_percent),
            again,
            clear_percent: config.clear_percent.unwrap_or(usual.clear_percent),
            pairs_percent: config.pairs_percent.unwrap_or(usual.pairs_percent),
            prompt_slots: model.config().prompt_slots,
            ..usual
        };
        Ok(Self { generator: SceneGenerator::new(config, seed, split)?, crops: CropTokens::of(model) })
    }
}

impl Samples for DrawnScenes {
    fn sample(&self, position: u64) -> Result<Sample> {
        let scene = self.generator.scene(position)?;
        let facts = facts(&scene);
        let slots = scene.regions.slots();
        let exchange = |question: &Question| {
            let text = question
                .user_text(&slots, self.crops.count, |slot| self.crops.text(slot))
                .map_err(gar_core::Error::from)?;
            Ok(vec![Exchange { said: Said::Verbatim(text), answer: question.answer.clone() }])
        };
        let conversations = scene.questions.iter().map(exchange).collect::<Result<_>>()?;
        let choices = scene.questions.iter().enumerate().flat_map(|(at, question)| choices(at, question)).collect();
        Ok(Sample { image: scene.image, regions: scene.regions, conversations, facts, choices })
    }

    fn heads(&self) -> Heads {
        Heads { facts: FACTS.to_vec(), claims: CLAIMS.map(|(head, _)| head).to_vec() }
    }
}

/// The options of a question, which is asked in a conversation.
fn choices(conversation: usize, question: &Question) -> impl Iterator<Item = Choice> {
    let (right, asked) = (question.right_choice(), question.truth.iter().filter_map(answer).collect::<Vec<_>>());
    question.choices.iter().zip(&question.claims).enumerate().map(move |(place, (text, claims))| Choice {
        about: question.category.name(),
        conversation,
        place,
        text: text.clone(),
        right: right == Some(place),
        asked: asked.clone(),
        stated: claims.iter().filter_map(answer).collect(),
    })
}

/// A claim as a class of one of [`CLAIMS`]; nothing where no head learns it.
fn answer(claim: &Claim) -> Option<Answer> {
    let (kind, class) = match claim.says {
        Says::Color(color) => ("color", color.index()),
        Says::Shape(shape) => ("shape", shape.index()),
        Says::Texture(texture) => ("texture", texture.index()),
        Says::Material(material) => ("material", material.index()),
        Says::Nature(nature) => ("nature", nature.index()),
        Says::Row(row) => ("row", row),
        Says::FromLeft(count) => ("from-left", count),
        Says::FromRight(count) => ("from-right", count),
        Says::Relation(relation) => ("relation", relation as usize),
        Says::Stands(stands) => ("stands", usize::from(stands)),
    };
    let head = CLAIMS.iter().position(|(head, of)| head.name.starts_with(kind) && *of == claim.of)?;
    Some(Answer { head, class: class as u32 })
}

/// What is known of a scene's regions.
fn facts(scene: &Scene) -> Vec<Fact> {
    let side = scene.image.width().max(1);
    let slots = scene.regions.slots();
    let each = slots.iter().filter_map(|&slot| Some((slot, scene.object(slot)?)));
    each.flat_map(|(slot, object)| {
        let classes = classes(object, side, scene.is_in_front(slot));
        FACTS.iter().enumerate().filter_map(move |(head, _)| Some(Fact { slot, head, class: classes[head]? as u32 }))
    })
    .collect()
}

/// The class of an object by each of [`FACTS`], where it has one.
fn classes(object: &Object, side: usize, front: Option<bool>) -> [Option<usize>; FACTS.len()] {
    let look = object.kind.look();
    let shape = match object.kind {
        Kind::Thing(look) => look.shape.index(),
        Kind::Table => Shape::ALL.len(),
        Kind::Box => Shape::ALL.len() + 1,
    };
    let bin = |low: usize, high: usize| ((low + high) * BINS / (2 * side)).min(BINS - 1);
    let place = object.mask.bounds().map(|b| (bin(b.x_min, b.x_max), bin(b.y_min, b.y_max)));
    let cell = object.cell;
    [
        look.map(|l| l.color.index()),
        Some(shape),
        look.map(|l| l.texture.index()),
        look.map(|l| l.material.index()),
        look.map(|l| l.size.index()),
        Some(object.nature.index()),
        place.map(|(x, _)| x),
        place.map(|(_, y)| y),
        cell.map(|c| c.row),
        cell.map(|c| c.column),
        cell.map(|c| c.columns - 1 - c.column),
        Some(usize::from(object.is_hidden())),
        front.map(usize::from),
    ]
}

impl From<gar_data::Error> for Error {
    fn from(error: gar_data::Error) -> Self {
        Self::Data(error)
    }
}
