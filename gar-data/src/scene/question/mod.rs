//! Questions about a scene's regions, with answers that are true.
//!
//! A wrong option is false beyond doubt, and is drawn so that the options alone do not give the right one away: the
//! letter is uniform, and what can be right is as often wrong.

mod attribute;
mod claim;
mod ordering;
mod reflection;
mod relation;

use claim::Offer;
pub use claim::{Claim, Says};
use gar_prompt::{multiple_choice, prompt_name, user_text};

use super::attributes::Nature;
use super::{Kind, Relations, Scene, SceneConfig, SceneKind, caption};
use crate::rng::Rng;

/// What a question is about. The first seven are the categories of GAR-Bench-VQA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Category {
    /// The colour of a region.
    Color,
    /// Its shape.
    Shape,
    /// Its texture.
    Texture,
    /// Its material.
    Material,
    /// Its place in a grid.
    Ordering,
    /// Whether it is a real object, or seen in a mirror or on a screen.
    Mirror,
    /// How regions stand to each other.
    Relation,
    /// A detailed caption of one region.
    Caption,
    /// A relation in one sentence, as in GAR-Bench-Caption-Simple.
    SimpleCaption,
    /// A detailed caption with a relation, as in GAR-Bench-Caption-Detailed.
    RelationCaption,
    /// A region that is not there (SPEC §10).
    Absent,
}

impl Category {
    /// The category of a [`name`](Self::name).
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|category| category.name() == name)
    }

    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Color,
        Self::Shape,
        Self::Texture,
        Self::Material,
        Self::Ordering,
        Self::Mirror,
        Self::Relation,
        Self::Caption,
        Self::SimpleCaption,
        Self::RelationCaption,
        Self::Absent,
    ];

    /// GAR-Bench's `type` of a VQA category; a name in the same style for the others.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Color => "color",
            Self::Shape => "shape",
            Self::Texture => "texture/pattern",
            Self::Material => "material",
            Self::Ordering => "ordering",
            Self::Mirror => "mirror",
            Self::Relation => "relation",
            Self::Caption => "caption",
            Self::SimpleCaption => "caption-simple",
            Self::RelationCaption => "caption-detailed",
            Self::Absent => "absent",
        }
    }
}

/// How an answer is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// One letter.
    MultipleChoice,
    /// A word or a sentence.
    Open,
}

/// A question with its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// What it is about.
    pub category: Category,
    /// How the answer is wanted.
    pub form: Form,
    /// The question, without options.
    pub stem: String,
    /// The options, each with its letter: `A. red`. Empty for an open question.
    pub choices: Vec<String>,
    /// What each of [`choices`](Self::choices) claims.
    pub claims: Vec<Vec<Claim>>,
    /// What is true where a multiple-choice question asks: every claim of the right option is among it, and of each other
    /// option at least one is not.
    pub truth: Vec<Claim>,
    /// The right answer: a letter, or the text.
    pub answer: String,
    /// The slots it names in the order that matters: subject first. Other regions of the scene are redundant.
    pub slots: Vec<usize>,
}

impl Question {
    /// What the model is asked: the stem, with options and instruction as GAR-Bench-VQA words them.
    pub fn text(&self) -> String {
        match self.form {
            Form::MultipleChoice => multiple_choice(&self.stem, &self.choices),
            Form::Open => self.stem.clone(),
        }
    }

    /// The whole user's turn: the regions in `slots`, each with `crop_tokens` copies of its token, then the question.
    ///
    /// # Errors
    /// Those of [`user_text`], which refuses a question that names a slot without a region. An [`Category::Absent`]
    /// question does that on purpose and is let through.
    pub fn user_text(
        &self,
        slots: &[usize],
        crop_tokens: usize,
        crop_token: impl Fn(usize) -> String,
    ) -> gar_prompt::Result<String> {
        if self.category == Category::Absent {
            return Ok(user_text(slots, "", crop_tokens, crop_token)? + &self.text());
        }
        user_text(slots, &self.text(), crop_tokens, crop_token)
    }

    /// The text of the right option, or of the open answer.
    pub fn meaning(&self) -> &str {
        let right = self.right_choice().and_then(|place| self.choices[place].split_once(". "));
        right.map_or(self.answer.as_str(), |(_, text)| text)
    }

    /// The place of the right option among [`choices`](Self::choices); `None` for an open question.
    pub fn right_choice(&self) -> Option<usize> {
        let letter = |choice: &String| choice.split_once(". ").is_some_and(|(letter, _)| letter == self.answer);
        self.choices.iter().position(letter)
    }
}

/// A scene that is being asked about.
struct Asker<'a> {
    scene: &'a Scene,
    /// The regions' slots, ascending.
    slots: Vec<usize>,
    choice_percent: u32,
    rng: &'a mut Rng,
}

/// Questions about `scene`, categories in turn. `absent` are the slots without a region.
pub(super) fn ask(scene: &Scene, config: &SceneConfig, absent: &[usize], rng: &mut Rng) -> Vec<Question> {
    let mut asker = Asker { scene, slots: scene.regions.slots(), choice_percent: config.choice_percent, rng };
    let mut categories = asker.categories();
    let again: Vec<Category> = config.again.iter().copied().filter(|again| categories.contains(again)).collect();
    categories.extend(again);
    asker.rng.shuffle(&mut categories);
    let mut questions: Vec<Question> = Vec::with_capacity(config.questions);
    // Not every draw gives a new question; a scene of one region has few.
    for turn in 0..config.questions * 4 {
        if questions.len() == config.questions {
            break;
        }
        let Some(question) = asker.question(categories[turn % categories.len()]) else { continue };
        if !questions.iter().any(|q| q.stem == question.stem && q.form == question.form) {
            questions.push(question);
        }
    }
    if asker.slots.len() > 1
        && asker.rng.percent(config.absent_percent)
        && let (Some(&slot), Some(last)) = (asker.rng.pick(absent), questions.last_mut())
    {
        *last = asker.absent(slot);
    }
    questions
}

impl Asker<'_> {
    /// What can be asked about this scene.
    fn categories(&self) -> Vec<Category> {
        use Category as C;
        let mut categories = vec![C::Color, C::Shape, C::Texture, C::Material, C::Caption];
        if self.scene.kind == SceneKind::Grid {
            categories.push(C::Ordering);
        }
        if self.scene.window.is_some() {
            // Asked twice as often: one scene in three has a window.
            categories.extend([C::Mirror, C::Mirror]);
        }
        if self.slots.len() > 1 {
            categories.extend([C::Relation, C::Relation, C::SimpleCaption, C::RelationCaption]);
        }
        categories
    }

    /// A question of a category; `None` where this draw gave none.
    fn question(&mut self, category: Category) -> Option<Question> {
        let form = if self.rng.percent(self.choice_percent) { Form::MultipleChoice } else { Form::Open };
        match category {
            Category::Color | Category::Shape | Category::Texture | Category::Material => {
                self.attribute(category, form)
            }
            Category::Ordering => self.ordering(form),
            Category::Mirror => self.mirror(form),
            Category::Relation => self.relation(form),
            Category::Caption => self.caption(),
            Category::SimpleCaption => self.simple_caption(),
            Category::RelationCaption => self.relation_caption(),
            Category::Absent => None,
        }
    }

    /// A region in a slot drawn at random that is a thing.
    fn thing(&mut self) -> Option<usize> {
        let is_thing = |&slot: &usize| matches!(self.scene.object(slot).map(|o| o.kind), Some(Kind::Thing(_)));
        let things: Vec<usize> = self.slots.iter().copied().filter(is_thing).collect();
        self.rng.pick(&things).copied()
    }

    /// Two different regions, in an order drawn at random.
    fn pair(&mut self) -> Option<(usize, usize)> {
        let mut slots = self.slots.clone();
        self.rng.shuffle(&mut slots);
        (slots.len() > 1).then(|| (slots[0], slots[1]))
    }

    /// Two regions that a relation is known of, subject first: bound by more than their direction half of the time.
    fn related(&mut self) -> Option<(usize, usize, Relations)> {
        let (mut bound, mut directed) = (Vec::new(), Vec::new());
        for &subject in &self.slots {
            for &object in self.slots.iter().filter(|&&object| object != subject) {
                let known = self.relations(subject, object);
                if known.binds() {
                    bound.push((subject, object, known));
                } else if known.first().is_some() {
                    directed.push((subject, object, known));
                }
            }
        }
        let from = if directed.is_empty() || (!bound.is_empty() && self.rng.percent(50)) { bound } else { directed };
        self.rng.pick(&from).cloned()
    }

    /// How two regions stand to each other; nothing is known of a region that is not there.
    fn relations(&self, subject: usize, object: usize) -> Relations {
        self.scene.relations(subject, object).unwrap_or_default()
    }

    fn nature(&self, slot: usize) -> Nature {
        self.scene.object(slot).map_or(Nature::Real, |object| object.nature)
    }

    /// A caption of one region.
    fn caption(&mut self) -> Option<Question> {
        let slot = self.thing()?;
        let answer = caption::describe(self.scene.object(slot)?)?;
        let name = prompt_name(slot);
        let stem =
            if self.slots.len() == 1 { gar_prompt::DESCRIBE.to_owned() } else { format!("Describe {name} in detail.") };
        Some(open(Category::Caption, stem, answer, vec![slot]))
    }

    /// A caption of one region and of how it stands to another.
    fn relation_caption(&mut self) -> Option<Question> {
        let (subject, object, known) = self.related()?;
        let relation = known.first()?;
        let answer = caption::relate(self.scene.object(subject)?, relation, object, self.scene.object(object)?)?;
        let stem = gar_prompt::relation_caption(subject, &[object]);
        Some(open(Category::RelationCaption, stem, answer, vec![subject, object]))
    }

    /// A question about a slot without a region.
    fn absent(&mut self, slot: usize) -> Question {
        let name = prompt_name(slot);
        let what = self.rng.one(["color", "shape", "texture", "material"]);
        open(
            Category::Absent,
            format!("What is the {what} of {name}?"),
            format!("{name} is not in the image."),
            vec![slot],
        )
    }
}

/// An open question.
fn open(category: Category, stem: String, answer: String, slots: Vec<usize>) -> Question {
    let (choices, claims, truth) = Default::default();
    Question { category, form: Form::Open, stem, choices, claims, truth, answer, slots }
}

/// A question that is being written.
struct Draft {
    category: Category,
    stem: String,
    /// The right one first.
    offers: Vec<Offer>,
    truth: Vec<Claim>,
    slots: Vec<usize>,
}

impl Draft {
    /// In the wanted form: the right option among the others, or alone.
    fn formed(self, form: Form, rng: &mut Rng) -> Question {
        match form {
            Form::Open => {
                let answer = self.offers.into_iter().next().map(|offer| offer.text).unwrap_or_default();
                open(self.category, self.stem, answer, self.slots)
            }
            Form::MultipleChoice => self.choose(rng),
        }
    }

    /// As multiple choice, with shuffled options.
    fn choose(self, rng: &mut Rng) -> Question {
        let Self { category, stem, offers, truth, slots } = self;
        let mut order: Vec<usize> = (0..offers.len()).collect();
        rng.shuffle(&mut order);
        let letter = |place: usize| char::from(b'A' + place as u8);
        let options = order.iter().enumerate().map(|(place, &from)| {
            let Offer { text, claims } = &offers[from];
            (format!("{}. {text}", letter(place)), claims.clone())
        });
        let (choices, claims) = options.unzip();
        let right = order.iter().position(|&from| from == 0).unwrap_or(0);
        let answer = letter(right).to_string();
        Question { category, form: Form::MultipleChoice, stem, choices, claims, truth, answer, slots }
    }
}

/// `a, b and c`.
fn listed(slots: &[usize]) -> String {
    let names: Vec<String> = slots.iter().map(|&slot| prompt_name(slot)).collect();
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => names.concat(),
    }
}
