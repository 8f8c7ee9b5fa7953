//! How two objects stand to each other, read from their masks.
//!
//! A relation either *holds* (nobody would call it wrong), is *possible* (somebody might call it right) or is *false*. Right
//! answers are relations that hold, wrong answers are false ones, and what lies between is never asked about.

use gar_prompt::PixelBox;

use super::Object;
use super::attributes::Nature;
use super::item::Kind;

/// A relation of a subject to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Relation {
    /// The subject ends before the object begins, and is at least twice as far to the left as up or down.
    LeftOf,
    /// The reverse of [`LeftOf`](Self::LeftOf).
    RightOf,
    /// The subject ends above where the object begins, and is at least twice as far up as left or right.
    Above,
    /// The reverse of [`Above`](Self::Above).
    Below,
    /// The subject hides a part of the object.
    InFrontOf,
    /// The object hides a part of the subject.
    Behind,
    /// The object is a box and the subject lies in it.
    Inside,
    /// The reverse of [`Inside`](Self::Inside).
    Enclosing,
    /// The object is a table and the subject stands on it.
    On,
    /// The reverse of [`On`](Self::On).
    Under,
    /// The subject is what a mirror shows of the object.
    ReflectionOf,
}

impl Relation {
    /// All relations.
    pub const ALL: [Self; 11] = [
        Self::LeftOf,
        Self::RightOf,
        Self::Above,
        Self::Below,
        Self::InFrontOf,
        Self::Behind,
        Self::Inside,
        Self::Enclosing,
        Self::On,
        Self::Under,
        Self::ReflectionOf,
    ];

    /// The words between subject and object, as in `<Prompt0> is left of <Prompt1>.`
    pub const fn words(self) -> &'static str {
        match self {
            Self::LeftOf => "left of",
            Self::RightOf => "right of",
            Self::Above => "above",
            Self::Below => "below",
            Self::InFrontOf => "in front of",
            Self::Behind => "behind",
            Self::Inside => "inside",
            Self::Enclosing => "enclosing",
            Self::On => "on",
            Self::Under => "under",
            Self::ReflectionOf => "a reflection of",
        }
    }

    /// The relation of the object to the subject; [`ReflectionOf`](Self::ReflectionOf) has no name in that direction.
    pub const fn reverse(self) -> Option<Self> {
        Some(match self {
            Self::LeftOf => Self::RightOf,
            Self::RightOf => Self::LeftOf,
            Self::Above => Self::Below,
            Self::Below => Self::Above,
            Self::InFrontOf => Self::Behind,
            Self::Behind => Self::InFrontOf,
            Self::Inside => Self::Enclosing,
            Self::Enclosing => Self::Inside,
            Self::On => Self::Under,
            Self::Under => Self::On,
            Self::ReflectionOf => return None,
        })
    }
}

/// What is known of an ordered pair.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Relations {
    holds: Vec<Relation>,
    possible: Vec<Relation>,
}

impl Relations {
    /// Whether the relation is true beyond doubt.
    pub fn holds(&self, relation: Relation) -> bool {
        self.holds.contains(&relation)
    }

    /// Whether the relation is false beyond doubt.
    pub fn is_false(&self, relation: Relation) -> bool {
        !self.holds(relation) && !self.possible.contains(&relation)
    }

    /// The relation one would name first: what binds the two, else their direction. `None` where all is doubtful.
    pub fn first(&self) -> Option<Relation> {
        self.holds.first().copied()
    }

    /// Whether more than a direction ties the two together.
    pub(super) fn binds(&self) -> bool {
        use Relation as R;
        self.first().is_some_and(|first| !matches!(first, R::LeftOf | R::RightOf | R::Above | R::Below))
    }

    /// The relations that are false.
    pub fn falsehoods(&self) -> Vec<Relation> {
        Relation::ALL.into_iter().filter(|&r| self.is_false(r)).collect()
    }
}

/// How object `a` of a scene stands to object `b`. `unit` is pixels per 112th of the picture's side.
pub(super) fn relate(objects: &[Object], a: usize, b: usize, unit: f32) -> Relations {
    let (Some(from), Some(to)) = (objects[a].seen, objects[b].seen) else {
        return Relations::default();
    };
    let mut known = Relations::default();
    let (dx, dy) = (
        middle(to.x_min, to.x_max) - middle(from.x_min, from.x_max),
        middle(to.y_min, to.y_max) - middle(from.y_min, from.y_max),
    );
    if let Some(binding) = binding(objects, a, b, unit) {
        known.holds.push(binding);
        // A thing in a box also covers it; one on a table is above it.
        known.possible.extend(match binding {
            Relation::Inside | Relation::On => [Relation::InFrontOf, Relation::On],
            Relation::Enclosing | Relation::Under => [Relation::Behind, Relation::Under],
            _ => [binding, binding],
        });
    }
    match direction(&from, &to, dx, dy, unit) {
        Some(direction) => known.holds.push(direction),
        None => {
            let slight = 2.0 * unit;
            for (is, relation) in [
                (dx > slight, Relation::LeftOf),
                (dx < -slight, Relation::RightOf),
                (dy > slight, Relation::Above),
                (dy < -slight, Relation::Below),
            ] {
                if is {
                    known.possible.push(relation);
                }
            }
        }
    }
    known
}

/// The one direction that dominates, for boxes that are apart in it.
fn direction(from: &PixelBox, to: &PixelBox, dx: f32, dy: f32, unit: f32) -> Option<Relation> {
    let apart = |a_max: usize, b_min: usize| b_min as f32 - a_max as f32 > unit;
    if dx.abs() >= 2.0 * dy.abs() {
        if apart(from.x_max, to.x_min) {
            return Some(Relation::LeftOf);
        }
        return apart(to.x_max, from.x_min).then_some(Relation::RightOf);
    }
    if dy.abs() >= 2.0 * dx.abs() {
        if apart(from.y_max, to.y_min) {
            return Some(Relation::Above);
        }
        return apart(to.y_max, from.y_min).then_some(Relation::Below);
    }
    None
}

/// What ties the two together, if anything does.
fn binding(objects: &[Object], a: usize, b: usize, unit: f32) -> Option<Relation> {
    if objects[a].reflects == Some(b) {
        return Some(Relation::ReflectionOf);
    }
    if rests(&objects[a], &objects[b], unit) {
        return Some(if objects[b].kind == Kind::Box { Relation::Inside } else { Relation::On });
    }
    if rests(&objects[b], &objects[a], unit) {
        return Some(if objects[a].kind == Kind::Box { Relation::Enclosing } else { Relation::Under });
    }
    // What is only shown stands behind nothing but its own frame.
    if objects[a].nature != Nature::Real || objects[b].nature != Nature::Real {
        return None;
    }
    hides(shared(&objects[a], &objects[b]), unit).then_some(if a > b { Relation::InFrontOf } else { Relation::Behind })
}

/// Whether something stands in front of what it covers so many pixels of; fewer are a touch. `unit` is pixels a 112th of
/// the picture's side.
pub(super) fn hides(covered: usize, unit: f32) -> bool {
    covered as f32 >= 25.0 * unit * unit
}

/// Whether a thing lies in a box or stands on a table.
fn rests(thing: &Object, furniture: &Object, unit: f32) -> bool {
    let (Some(inner), Some(outer)) = (thing.whole, furniture.whole) else { return false };
    let within = inner.x_min >= outer.x_min && inner.x_max <= outer.x_max;
    match (&thing.kind, &furniture.kind) {
        (Kind::Thing(_), Kind::Box) => within && inner.y_min >= outer.y_min && inner.y_max <= outer.y_max,
        (Kind::Thing(_), Kind::Table) => {
            let middle = (inner.x_min + inner.x_max) / 2;
            let gap = outer.y_min as f32 - inner.y_max as f32;
            (outer.x_min..=outer.x_max).contains(&middle) && gap.abs() <= 1.0 + unit
        }
        _ => false,
    }
}

/// Pixels that both objects cover.
fn shared(a: &Object, b: &Object) -> usize {
    let (Some(p), Some(q)) = (a.whole, b.whole) else { return 0 };
    let (left, right) = (p.x_min.max(q.x_min), p.x_max.min(q.x_max) + 1);
    let (top, bottom) = (p.y_min.max(q.y_min), p.y_max.min(q.y_max) + 1);
    let (a, b) = (a.full.view(), b.full.view());
    (top..bottom).map(|y| (left..right).filter(|&x| a[[y, x]] && b[[y, x]]).count()).sum()
}

fn middle(low: usize, high: usize) -> f32 {
    (low + high) as f32 * 0.5
}
