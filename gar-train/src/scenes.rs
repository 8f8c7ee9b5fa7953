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

const HEADS: [Head; 12] = [
    Head { name: "color", classes: Color::ALL.len() },
    // And a table and a box.
    Head { name: "shape", classes: Shape::ALL.len() + 2 },
    Head { name: "texture", classes: Texture::ALL.len() },
    Head { name: "material", classes: Material::ALL.len() },
    Head { name: "size", classes: Size::ALL.len() },
    Head { name: "nature", classes: Nature::ALL.len() },
    Head { name: "x", classes: BINS },
    Head { name: "y", classes: BINS },
    Head { name: "row", classes: CELLS },
    Head { name: "from-left", classes: CELLS },
    Head { name: "from-right", classes: CELLS },
    // Whether something covers a part of it.
    Head { name: "hidden", classes: 2 },
];

/// What options claim. Questions may be about three regions, and those that relate them about two pairs: of a kind of claim
/// with several heads, the first is for the first region or pair, and so on.
const CLAIMS: [Head; 14] = [
    Head { name: "color", classes: Color::ALL.len() },
    Head { name: "shape", classes: Shape::ALL.len() },
    Head { name: "texture", classes: Texture::ALL.len() },
    Head { name: "material", classes: Material::ALL.len() },
    Head { name: "row", classes: CELLS },
    Head { name: "from-left", classes: CELLS },
    Head { name: "from-right", classes: CELLS },
    Head { name: "nature", classes: Nature::ALL.len() },
    Head { name: "nature-2", classes: Nature::ALL.len() },
    Head { name: "nature-3", classes: Nature::ALL.len() },
    Head { name: "relation", classes: Relation::ALL.len() },
    Head { name: "relation-2", classes: Relation::ALL.len() },
    Head { name: "stands", classes: 2 },
    Head { name: "stands-2", classes: 2 },
];

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
        Heads { facts: HEADS.to_vec(), claims: CLAIMS.to_vec() }
    }
}

/// The options of a question, which is asked in a conversation.
fn choices(conversation: usize, question: &Question) -> impl Iterator<Item = Choice> {
    question.choices.iter().zip(&question.claims).enumerate().map(move |(place, (text, claims))| Choice {
        about: question.category.name(),
        conversation,
        place,
        text: text.clone(),
        right: question.right_choice() == Some(place),
        asked: question.truth.iter().map(answer).collect(),
        stated: claims.iter().map(answer).collect(),
    })
}

/// A claim as a class of one of [`CLAIMS`].
fn answer(claim: &Claim) -> Answer {
    let (head, class) = match claim.says {
        Says::Color(color) => (0, color.index()),
        Says::Shape(shape) => (1, shape.index()),
        Says::Texture(texture) => (2, texture.index()),
        Says::Material(material) => (3, material.index()),
        Says::Row(row) => (4, row),
        Says::FromLeft(count) => (5, count),
        Says::FromRight(count) => (6, count),
        Says::Nature(nature) => (7 + claim.of, nature.index()),
        // The pair of the first region and another.
        Says::Relation(relation) => (9 + claim.of, relation as usize),
        Says::Stands(stands) => (12 + claim.of, usize::from(stands)),
    };
    Answer { head, class: class as u32 }
}

/// What is known of a scene's regions.
fn facts(scene: &Scene) -> Vec<Fact> {
    let side = scene.image.width().max(1);
    let slots = scene.regions.slots();
    let each = slots.iter().filter_map(|&slot| Some((slot, scene.object(slot)?)));
    each.flat_map(|(slot, object)| {
        let classes = classes(object, side);
        HEADS.iter().enumerate().filter_map(move |(head, _)| Some(Fact { slot, head, class: classes[head]? as u32 }))
    })
    .collect()
}

/// The class of an object by each of [`HEADS`], where it has one.
fn classes(object: &Object, side: usize) -> [Option<usize>; HEADS.len()] {
    let look = object.kind.look();
    let shape = match object.kind {
        Kind::Thing(look) => look.shape.index(),
        Kind::Table => Shape::ALL.len(),
        Kind::Box => Shape::ALL.len() + 1,
    };
    let bin = |low: usize, high: usize| ((low + high) * BINS / (2 * side)).min(BINS - 1);
    let place = object.mask.bounds().map(|b| (bin(b.x_min, b.x_max), bin(b.y_min, b.y_max)));
    let cell = object.cell;
    // As many pixels as make one thing stand in front of another: 25 where the picture has 112 a side.
    let covered = object.full.area().saturating_sub(object.mask.area());
    let hidden = covered * 112 * 112 >= 25 * side * side;
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
        Some(usize::from(hidden)),
    ]
}

impl From<gar_data::Error> for Error {
    fn from(error: gar_data::Error) -> Self {
        Self::Data(error)
    }
}
