//! Colour, shape, texture and material of one region.

use gar_prompt::prompt_name;

use super::{Asker, Category, Form, Question, formed};
use crate::scene::attributes::{Color, Look, Material, Shape, Texture};

impl Asker<'_> {
    pub(super) fn attribute(&mut self, category: Category, form: Form) -> Option<Question> {
        let slot = self.thing()?;
        let look = *self.scene.object(slot)?.kind.look()?;
        let right = word(&look, category)?;
        let name = prompt_name(slot);
        let noun = match category {
            Category::Texture => "texture",
            other => other.name(),
        };
        let stem = match category {
            Category::Material if self.rng.percent(50) => format!("What is {name} made of?"),
            _ if self.rng.percent(50) => format!("Which {noun} does {name} have?"),
            _ => format!("What is the {noun} of {name}?"),
        };
        // The other regions' words come first: who mixes up regions finds a wrong answer to give.
        let mut wrong: Vec<&str> = Vec::new();
        let others = self.slots.iter().filter(|&&other| other != slot);
        wrong.extend(others.filter_map(|&other| word(self.scene.object(other)?.kind.look()?, category)));
        self.rng.shuffle(&mut wrong);
        wrong.truncate(2);
        let mut rest = words(category);
        self.rng.shuffle(&mut rest);
        wrong.extend(rest);
        let mut options: Vec<String> = Vec::new();
        for option in wrong {
            if option != right && !options.iter().any(|o| o == option) && options.len() < 3 {
                options.push(option.to_owned());
            }
        }
        Some(formed(category, form, stem, right.to_owned(), options, vec![slot], self.rng))
    }
}

/// The word of a look that a category asks for.
fn word(look: &Look, category: Category) -> Option<&'static str> {
    Some(match category {
        Category::Color => look.color.word(),
        Category::Shape => look.shape.word(),
        Category::Texture => look.texture.word(),
        Category::Material => look.material.word(),
        _ => return None,
    })
}

/// All words that a category can ask for.
fn words(category: Category) -> Vec<&'static str> {
    match category {
        Category::Color => Color::ALL.map(Color::word).to_vec(),
        Category::Shape => Shape::ALL.map(Shape::word).to_vec(),
        Category::Texture => Texture::ALL.map(Texture::word).to_vec(),
        Category::Material => Material::ALL.map(Material::word).to_vec(),
        _ => Vec::new(),
    }
}
