//! What options claim, told apart from their words.

use super::Category;
use crate::scene::attributes::{Cell, Color, Look, Material, Nature, Shape, Texture};
use crate::scene::relation::Relation;

/// Something that is said of a region or of a pair.
///
/// An option of a multiple-choice question makes [`claims`](super::Question::claims), the scene decides what is
/// [`true`](super::Question::truth): the right option is the one whose claims are all true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Whom it is about: an index of the question's slots.
    pub of: usize,
    /// What is said.
    pub says: Says,
}

/// What a [`Claim`] says of the region `of`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// Its colour.
    Color(Color),
    /// Its shape.
    Shape(Shape),
    /// Its texture.
    Texture(Texture),
    /// Its material.
    Material(Material),
    /// What it is.
    Nature(Nature),
    /// Its row in a grid, from the top, 0 being the first.
    Row(usize),
    /// Its place in its row from the left, 0 being the outermost.
    FromLeft(usize),
    /// Its place in its row from the right, 0 being the outermost.
    FromRight(usize),
    /// How the question's first region stands to it.
    Relation(Relation),
    /// Whether it stands to the question's last region as the question says.
    Stands(bool),
}

impl Says {
    /// What a look says where a category asks.
    pub(super) fn of_look(look: &Look, category: Category) -> Option<Self> {
        Some(match category {
            Category::Color => Self::Color(look.color),
            Category::Shape => Self::Shape(look.shape),
            Category::Texture => Self::Texture(look.texture),
            Category::Material => Self::Material(look.material),
            _ => return None,
        })
    }

    /// All that can be said where a category asks.
    pub(super) fn all(category: Category) -> Vec<Self> {
        match category {
            Category::Color => Color::ALL.map(Self::Color).to_vec(),
            Category::Shape => Shape::ALL.map(Self::Shape).to_vec(),
            Category::Texture => Texture::ALL.map(Self::Texture).to_vec(),
            Category::Material => Material::ALL.map(Self::Material).to_vec(),
            _ => Vec::new(),
        }
    }

    /// The word for it, where one word says it.
    pub(super) fn word(self) -> Option<&'static str> {
        Some(match self {
            Self::Color(color) => color.word(),
            Self::Shape(shape) => shape.word(),
            Self::Texture(texture) => texture.word(),
            Self::Material(material) => material.word(),
            _ => return None,
        })
    }

    /// All that is true of a place in a grid.
    pub(super) fn of_cell(cell: Cell) -> [Self; 3] {
        [Self::Row(cell.row), Self::FromLeft(cell.column), Self::FromRight(cell.columns - 1 - cell.column)]
    }

    /// As a claim about a slot of the question.
    pub(super) const fn about(self, of: usize) -> Claim {
        Claim { of, says: self }
    }
}

/// An option that is being written: its text and what it claims.
pub(super) struct Offer {
    pub(super) text: String,
    pub(super) claims: Vec<Claim>,
}

impl Offer {
    pub(super) fn new(text: impl Into<String>, claims: impl Into<Vec<Claim>>) -> Self {
        Self { text: text.into(), claims: claims.into() }
    }
}
