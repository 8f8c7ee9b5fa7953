//! Captions that are true, and a judge of captions that knows the truth.

use gar_prompt::prompt_name;

use super::attributes::{Color, Material, Nature, Shape, Size, Texture};
use super::relation::Relation;
use super::{Kind, Object, Scene};

/// `A large red star made of metal with a striped texture.`, and where it is not real, a sentence that says so.
pub(super) fn describe(object: &Object) -> Option<String> {
    let mut text = format!("A {}.", object.kind.look()?.phrase());
    match object.nature {
        Nature::Real => {}
        Nature::Mirror => text.push_str(" It is a reflection in a mirror."),
        Nature::Screen => text.push_str(" It is an image on a screen."),
    }
    Some(text)
}

/// A caption of `subject`, then `It is left of <Prompt1>, a blue ring.`
pub(super) fn relate(subject: &Object, relation: Relation, slot: usize, object: &Object) -> Option<String> {
    let caption = describe(subject)?;
    let noun = match object.kind {
        // "a orange ring" would be wrong, and every colour but this one begins with a consonant.
        Kind::Thing(look) if look.color == Color::Orange => format!("an {} {}", look.color, look.shape),
        Kind::Thing(look) => format!("a {} {}", look.color, look.shape),
        Kind::Table | Kind::Box => format!("a {}", object.kind.word()),
    };
    Some(format!("{caption} It is {} {}, {noun}.", relation.words(), prompt_name(slot)))
}

/// What a caption got right. A part is right where the true word is named and no other word of its kind is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CaptionVerdict {
    /// The subject's shape.
    pub shape: bool,
    /// Its colour.
    pub color: bool,
    /// Its texture.
    pub texture: bool,
    /// Its material.
    pub material: bool,
    /// Its size.
    pub size: bool,
    /// Whether a relation to the object is stated that holds; `None` where none was asked for.
    pub relation: Option<bool>,
}

impl CaptionVerdict {
    /// Shape, colour and texture, and the relation where one was asked for.
    pub fn passes(&self) -> bool {
        self.shape && self.color && self.texture && self.relation != Some(false)
    }
}

/// Judges a caption of the region in slot `subject`, which was to be related to that in slot `object`, if given.
///
/// The subject's own words are looked for in the first sentence, the relation in those after it: the words before
/// the object's name. `None` where there is no thing with a look in slot `subject`.
///
/// ```
/// # use gar_data::scene::*;
/// # let scene = SceneGenerator::new(SceneConfig { regions: [0, 1, 0, 0, 0], ..SceneConfig::default() }, 1, Split::Train)?
/// #     .scene(0)?;
/// let asked = scene.questions.iter().find(|q| q.category == Category::RelationCaption).ok_or("none")?;
/// let verdict = judge_caption(&scene, asked.slots[0], Some(asked.slots[1]), &asked.answer).ok_or("no thing")?;
/// assert!(verdict.passes());
/// assert!(!judge_caption(&scene, asked.slots[0], Some(asked.slots[1]), "A cat.").ok_or("no thing")?.passes());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn judge_caption(scene: &Scene, subject: usize, object: Option<usize>, caption: &str) -> Option<CaptionVerdict> {
    let look = scene.object(subject)?.kind.look()?;
    let (first, rest) = caption.split_once('.').unwrap_or((caption, ""));
    let words: Vec<String> = first.split(|c: char| !c.is_ascii_alphanumeric()).map(str::to_ascii_lowercase).collect();
    let named = |all: &[&str], right: &str| {
        let mut found = all.iter().filter(|word| words.iter().any(|w| w == *word));
        found.next() == Some(&right) && found.next().is_none()
    };
    let relation = object.map(|object| {
        let known = scene.relations(subject, object).unwrap_or_default();
        // A model that forgets the full stop states the relation in its first sentence.
        let text = if rest.trim().is_empty() { first } else { rest };
        stated(text, &prompt_name(object)).is_some_and(|relation| known.holds(relation))
    });
    Some(CaptionVerdict {
        shape: named(&Shape::ALL.map(Shape::word), look.shape.word()),
        color: named(&Color::ALL.map(Color::word), look.color.word()),
        texture: named(&Texture::ALL.map(Texture::word), look.texture.word()),
        material: named(&Material::ALL.map(Material::word), look.material.word()),
        size: named(&Size::ALL.map(Size::word), look.size.word()),
        relation,
    })
}

/// Judges a short caption of how the regions in the two slots of `pair` stand to each other: whether each of its
/// sentences is `<PromptA> is left of <PromptB>.` or the like, over these two in either order, with a relation that holds.
///
/// ```
/// # use gar_data::scene::*;
/// # let scene = SceneGenerator::new(SceneConfig { regions: [0, 1, 0, 0, 0], ..SceneConfig::default() }, 1, Split::Train)?
/// #     .scene(0)?;
/// let asked = scene.questions.iter().find(|q| q.category == Category::SimpleCaption).ok_or("none")?;
/// assert!(judge_relation(&scene, [asked.slots[0], asked.slots[1]], &asked.answer));
/// assert!(!judge_relation(&scene, [asked.slots[0], asked.slots[1]], "They are near each other."));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn judge_relation(scene: &Scene, pair: [usize; 2], caption: &str) -> bool {
    let [a, b] = pair;
    let holds = |sentence: &str| {
        [(a, b), (b, a)].into_iter().any(|(subject, object)| {
            let relation = sentence
                .strip_prefix(&prompt_name(subject))
                .and_then(|rest| rest.trim_start().strip_prefix("is "))
                .and_then(|rest| rest.strip_suffix(&prompt_name(object)))
                .and_then(|words| Relation::ALL.into_iter().find(|relation| relation.words() == words.trim()));
            let known = scene.relations(subject, object).unwrap_or_default();
            relation.is_some_and(|relation| known.holds(relation))
        })
    };
    let mut sentences = caption.split('.').map(str::trim).filter(|sentence| !sentence.is_empty()).peekable();
    sentences.peek().is_some() && sentences.all(holds)
}

/// The relation whose words stand right before the object's name.
fn stated(text: &str, object: &str) -> Option<Relation> {
    let before = text.split_once(object)?.0.trim_end();
    let ends = |relation: &Relation| {
        let Some(rest) = before.strip_suffix(relation.words()) else { return false };
        rest.is_empty() || rest.ends_with(' ')
    };
    // "in front of" and its like end in no other relation's words.
    Relation::ALL.into_iter().find(ends)
}
