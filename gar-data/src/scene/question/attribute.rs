//! Colour, shape, texture and material of one region.

use gar_prompt::prompt_name;

use super::{Asker, Category, Draft, Form, Offer, Question, Says};

impl Asker<'_> {
    pub(super) fn attribute(&mut self, category: Category, form: Form) -> Option<Question> {
        let slot = self.thing()?;
        let look = *self.scene.object(slot)?.kind.look()?;
        let right = Says::of_look(&look, category)?;
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
        // What is true of other regions comes first: who mixes up regions finds a wrong answer to give.
        let mut wrong: Vec<Says> = Vec::new();
        let others = self.slots.iter().filter(|&&other| other != slot);
        wrong.extend(others.filter_map(|&other| Says::of_look(self.scene.object(other)?.kind.look()?, category)));
        self.rng.shuffle(&mut wrong);
        wrong.truncate(2);
        let mut rest = Says::all(category);
        self.rng.shuffle(&mut rest);
        wrong.extend(rest);
        let mut options = vec![right];
        for option in wrong {
            if !options.contains(&option) && options.len() < 4 {
                options.push(option);
            }
        }
        let offer = |says: Says| Some(Offer::new(says.word()?, [says.about(0)]));
        let offers = options.into_iter().filter_map(offer).collect();
        Some(Draft { category, stem, offers, truth: vec![right.about(0)], slots: vec![slot] }.formed(form, self.rng))
    }
}
