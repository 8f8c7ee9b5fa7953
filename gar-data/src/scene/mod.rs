//! Drawn scenes: pictures of simple things with exact masks and true answers, from a seed.
//!
//! A scene is one picture, a few regions in prompt slots, the truth about every object, and questions about the regions
//! in the categories of GAR-Bench. Scene `i` of a seed and split is a function of these numbers and the configuration
//! alone, to the last bit and on every platform (see `shape.rs` for how). [`Split::Train`] and [`Split::HeldOut`] draw
//! from streams of numbers that are keyed by the split, so no seed or index of one is one of the other.
//!
//! ```
//! use gar_data::scene::{SceneConfig, SceneGenerator, Split};
//!
//! let generator = SceneGenerator::new(SceneConfig::default(), 7, Split::Train)?;
//! let scene = generator.scene(0)?;
//! assert_eq!((scene.image.width(), scene.image.height()), (112, 112));
//! let question = &scene.questions[0];
//! println!("{} {}", question.text(), question.answer);
//! # Ok::<(), gar_data::Error>(())
//! ```

mod attributes;
mod backdrop;
mod canvas;
mod caption;
mod item;
mod layout;
mod question;
mod relation;
mod select;
mod shape;
mod surface;
pub mod vocabulary;

use gar_prompt::{Mask, PixelBox, RegionSet};
use gar_vision::Image;
use ndarray::Array2;

pub use attributes::{Cell, Color, Look, Material, Nature, Shape, Size, Texture};
pub use caption::{CaptionVerdict, judge_caption, judge_relation};
pub use item::Kind;
pub use layout::SceneKind;
pub use question::{Category, Claim, Form, Question, Says};
pub use relation::{Relation, Relations};

use crate::rng::Rng;
use crate::{Error, Result};
use canvas::Canvas;

/// Which scenes to draw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SceneConfig {
    /// Side of the square picture in pixels, 56 to 1024. Default: 112, the size everything is planned in.
    pub size: usize,
    /// Prompt slots of the model, at least 1. Default: 5, as released.
    pub prompt_slots: usize,
    /// Whether regions stand in slots drawn at random (training, SPEC §10) or in slots 0, 1, 2, … (benchmarks).
    /// Default: at random.
    pub shuffle_slots: bool,
    /// How often each of [`SceneKind::ALL`] is drawn, as weights.
    pub kinds: [u32; 3],
    /// How often a scene has 1, 2, 3, 4 or 5 regions, as weights. A scene with too few objects has fewer.
    pub regions: [u32; 5],
    /// Questions a scene, at most. Default: 10.
    pub questions: usize,
    /// How many of a hundred questions that may have either form are multiple choice. Default: 60.
    pub choice_percent: u32,
    /// Categories that are asked once more in each turn for every time they stand here, where the scene has them. Default:
    /// none.
    pub again: Vec<Category>,
    /// How many of a hundred scenes with several regions ask about a slot that is empty. Default: 5, as in the paper.
    pub absent_percent: u32,
    /// How many of a hundred mirrors and screens show things on the room's own wall, as they look in the room. There only
    /// the frame around a thing tells that it is not real; any other pane has its own colour, which a crop of the thing
    /// shows too. Default: none.
    pub clear_percent: u32,
    /// How many of a hundred rooms hold up to three pairs of things, one in front of the other, and else only what is missing of
    /// the regions; any other room has one such pair at most. Default: none.
    pub pairs_percent: u32,
}

impl Default for SceneConfig {
    fn default() -> Self {
        Self {
            size: 112,
            prompt_slots: 5,
            shuffle_slots: true,
            kinds: [45, 25, 30],
            regions: [25, 25, 20, 15, 15],
            questions: 10,
            choice_percent: 60,
            again: Vec::new(),
            absent_percent: 5,
            clear_percent: 0,
            pairs_percent: 0,
        }
    }
}

/// Two sets of scenes that have nothing in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Split {
    /// To learn from.
    Train,
    /// To be judged by.
    HeldOut,
}

impl Split {
    /// The domain of the random streams: ASCII, so that it is seen in a debugger.
    const fn domain(self) -> u64 {
        u64::from_le_bytes(match self {
            Self::Train => *b"gar-tr-1",
            Self::HeldOut => *b"gar-ho-1",
        })
    }
}

/// One object of a scene: the truth about it.
#[derive(Debug, Clone)]
pub struct Object {
    /// What it is.
    pub kind: Kind,
    /// Whether it is there or only seen in a mirror or on a screen.
    pub nature: Nature,
    /// Its place, in a scene that is a grid.
    pub cell: Option<Cell>,
    /// Its visible pixels [S, S]. Masks of different objects share none.
    pub mask: Mask,
    /// All its pixels [S, S], also those that later objects hide.
    pub full: Mask,
    /// Index of the object whose reflection it is.
    pub reflects: Option<usize>,
    /// Boxes of `mask` and `full`, which relations are read from.
    seen: Option<PixelBox>,
    whole: Option<PixelBox>,
}

impl Object {
    /// Whether something stands in front of it, hiding as much as [`Relation::Behind`] takes.
    pub fn is_hidden(&self) -> bool {
        let covered = self.full.area().saturating_sub(self.mask.area());
        relation::hides(covered, self.mask.width() as f32 / layout::SIDE)
    }
}

/// A picture with regions, truth and questions.
#[derive(Debug, Clone)]
pub struct Scene {
    /// What kind of scene it is.
    pub kind: SceneKind,
    /// The picture [S, S, 3].
    pub image: Image,
    /// The masks of the regions, in ascending order of slots.
    pub regions: RegionSet,
    /// The object of each region, in the order of `regions`.
    pub shown: Vec<usize>,
    /// All objects, back to front.
    pub objects: Vec<Object>,
    /// The mirror or screen in the picture, if any.
    pub window: Option<Nature>,
    /// Questions about the regions.
    pub questions: Vec<Question>,
}

impl Scene {
    /// The object in a prompt slot.
    pub fn object(&self, slot: usize) -> Option<&Object> {
        self.index(slot).and_then(|index| self.objects.get(index))
    }

    /// How the object in slot `subject` stands to that in slot `object`; `None` where a slot is empty.
    pub fn relations(&self, subject: usize, object: usize) -> Option<Relations> {
        let unit = self.image.width() as f32 / layout::SIDE;
        Some(relation::relate(&self.objects, self.index(subject)?, self.index(object)?, unit))
    }

    /// Whether the object in a slot stands in front of another, or behind one; `None` where neither is so, or both.
    pub fn is_in_front(&self, slot: usize) -> Option<bool> {
        let (own, unit) = (self.index(slot)?, self.image.width() as f32 / layout::SIDE);
        let others = (0..self.objects.len()).filter(|&other| other != own);
        let known: Vec<Relations> = others.map(|other| relation::relate(&self.objects, own, other, unit)).collect();
        let [front, behind] = [Relation::InFrontOf, Relation::Behind].map(|r| known.iter().any(|k| k.holds(r)));
        (front != behind).then_some(front)
    }

    fn index(&self, slot: usize) -> Option<usize> {
        let at = self.regions.iter().position(|region| region.slot() == slot)?;
        self.shown.get(at).copied()
    }
}

/// Draws scenes.
#[derive(Debug, Clone)]
pub struct SceneGenerator {
    config: SceneConfig,
    seed: u64,
    split: Split,
}

impl SceneGenerator {
    /// A generator of the scenes of `seed` in `split`.
    ///
    /// # Errors
    /// [`Error::SceneConfig`] where a size, a slot count or the weights are out of range.
    pub fn new(config: SceneConfig, seed: u64, split: Split) -> Result<Self> {
        let refuse = |key, expected, found: String| Err(Error::SceneConfig { key, expected, found });
        if !(56..=1024).contains(&config.size) {
            return refuse("size", "56 to 1024 pixels", config.size.to_string());
        }
        if !(1..=255).contains(&config.prompt_slots) {
            return refuse("prompt_slots", "1 to 255", config.prompt_slots.to_string());
        }
        let weights_ok =
            |weights: &[u32]| (1..=1_000_000).contains(&weights.iter().map(|&w| u64::from(w)).sum::<u64>());
        if !weights_ok(&config.kinds) {
            return refuse("kinds", "weights with a sum of 1 to 1,000,000", format!("{:?}", config.kinds));
        }
        if !weights_ok(&config.regions[..config.prompt_slots.min(5)]) {
            return refuse(
                "regions",
                "weights with a sum of 1 to 1,000,000 up to the prompt slots",
                format!("{:?}", config.regions),
            );
        }
        for (key, percent) in [
            ("choice_percent", config.choice_percent),
            ("absent_percent", config.absent_percent),
            ("clear_percent", config.clear_percent),
            ("pairs_percent", config.pairs_percent),
        ] {
            if percent > 100 {
                return refuse(key, "0 to 100", percent.to_string());
            }
        }
        Ok(Self { config, seed, split })
    }

    /// The configuration.
    pub fn config(&self) -> &SceneConfig {
        &self.config
    }

    /// Scene `index`.
    ///
    /// # Errors
    /// None that a valid configuration can cause; those of the image and mask types are passed on.
    pub fn scene(&self, index: u64) -> Result<Scene> {
        let config = &self.config;
        let mut rng = Rng::new(self.seed, self.split.domain(), index);
        let kind = SceneKind::ALL[rng.weighted(&config.kinds)];
        let wanted = 1 + rng.weighted(&config.regions[..config.prompt_slots.min(5)]);
        let (mut canvas, mut objects, mut window);
        let mut tries = 0;
        // Now and then a layout finds no room for enough things; it is then planned again from further numbers.
        let shown = loop {
            let plan = layout::plan(kind, wanted, config, &mut rng);
            window = plan.windows.first().map(|w| w.nature);
            (canvas, objects) = paint(&plan, config.size, &mut rng);
            let shown = select::select(&objects, kind, wanted, canvas.unit, &mut rng);
            tries += 1;
            if shown.len() == wanted || (tries >= 20 && !shown.is_empty()) {
                break shown;
            }
        };
        let mut slots: Vec<usize> = (0..config.prompt_slots).collect();
        if config.shuffle_slots {
            rng.shuffle(&mut slots);
            slots[..shown.len()].sort_unstable();
        }
        let mut regions = RegionSet::new();
        for (&slot, &object) in slots.iter().zip(&shown) {
            regions.push(slot, objects[object].mask.clone())?;
        }
        let image = Image::from_rgb(canvas.picture())?;
        let mut scene = Scene { kind, image, regions, shown, objects, window, questions: Vec::new() };
        scene.questions = question::ask(&scene, config, &slots[scene.shown.len()..], &mut rng);
        Ok(scene)
    }
}

/// Paints a plan back to front.
fn paint(plan: &layout::Plan, size: usize, rng: &mut Rng) -> (Canvas, Vec<Object>) {
    let mut canvas = Canvas::new(size);
    backdrop::paint(&mut canvas, plan.horizon, rng);
    for window in &plan.windows {
        window.paint(&mut canvas);
    }
    let full: Vec<Array2<bool>> =
        plan.items.iter().enumerate().map(|(i, item)| item.paint(i, &plan.windows, &mut canvas)).collect();
    let objects = plan.items.iter().zip(full).enumerate().map(|(i, (item, full))| {
        let (mask, full) = (Mask::from_array(canvas.visible(i)), Mask::from_array(full));
        let (seen, whole) = (mask.bounds(), full.bounds());
        let (kind, nature, cell, reflects) = (item.kind, item.nature, item.cell, item.reflects);
        Object { kind, nature, cell, mask, full, reflects, seen, whole }
    });
    let objects = objects.collect();
    (canvas, objects)
}
