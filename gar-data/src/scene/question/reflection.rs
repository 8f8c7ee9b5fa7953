//! Real objects and what a mirror or a screen shows of them (GAR-Bench calls these non-entities).

use super::{Asker, Category, Form, Question, choose, formed, listed};
use crate::scene::attributes::Nature;
use gar_prompt::prompt_name;

/// What a region can be, as an answer.
fn being(nature: Nature) -> &'static str {
    match nature {
        Nature::Real => "a real object",
        Nature::Mirror => "a reflection in a mirror",
        Nature::Screen => "an image on a screen",
    }
}

/// Where what is not real is seen.
fn place(window: Nature) -> &'static str {
    match window {
        Nature::Screen => "on the screen",
        Nature::Mirror | Nature::Real => "in the mirror",
    }
}

impl Asker<'_> {
    pub(super) fn mirror(&mut self, form: Form) -> Option<Question> {
        let place = place(self.scene.window?);
        match (form, self.slots.len()) {
            (Form::Open, _) => self.what_it_is(form),
            (_, 1) => {
                // One region is unreal three times in five; asked so, yes is as frequent as no, and each of the three
                // beings as the others.
                let real = self.slots.iter().all(|&slot| self.nature(slot) == Nature::Real);
                if self.rng.below(6) < if real { 3 } else { 2 } {
                    self.is_it_there(place)
                } else {
                    self.what_it_is(form)
                }
            }
            (_, 2) => self.both_or_one(place),
            _ if self.rng.percent(35) => self.both_or_one(place),
            _ => self.which_one(place),
        }
    }

    fn what_it_is(&mut self, form: Form) -> Option<Question> {
        let real = self.rng.below(3) == 0;
        let of_kind: Vec<usize> =
            self.slots.iter().copied().filter(|&slot| (self.nature(slot) == Nature::Real) == real).collect();
        let slot = self.rng.pick(&of_kind).copied().or_else(|| self.thing())?;
        let right = self.nature(slot);
        let stem = format!("Is {} a real object, a reflection in a mirror or an image on a screen?", prompt_name(slot));
        let wrong = Nature::ALL.into_iter().filter(|&n| n != right).map(|n| being(n).to_owned()).collect();
        Some(formed(Category::Mirror, form, stem, being(right).to_owned(), wrong, vec![slot], self.rng))
    }

    fn is_it_there(&mut self, place: &str) -> Option<Question> {
        let slot = self.thing()?;
        let options = if self.nature(slot) == Nature::Real { ["No", "Yes"] } else { ["Yes", "No"] };
        let stem = format!("Is {} visible {place}?", prompt_name(slot));
        Some(choose(Category::Mirror, stem, options.map(String::from).to_vec(), vec![slot], self.rng))
    }

    fn both_or_one(&mut self, place: &str) -> Option<Question> {
        let (one, two) = self.pair()?;
        let seen = (self.nature(one) != Nature::Real, self.nature(two) != Nature::Real);
        let (a, b) = (prompt_name(one), prompt_name(two));
        let mut options = vec![
            format!("{a} and {b} are both {place}"),
            format!("Only {a} is {place}"),
            format!("Only {b} is {place}"),
            format!("Neither {a} nor {b} is {place}"),
        ];
        let right = match seen {
            (true, true) => 0,
            (true, false) => 1,
            (false, true) => 2,
            (false, false) => 3,
        };
        options.swap(0, right);
        let stem = format!("Are {a} and {b} {place}?");
        Some(choose(Category::Mirror, stem, options, vec![one, two], self.rng))
    }

    /// One region among several, or none of them: each answer equally likely where the scene allows it.
    fn which_one(&mut self, place: &str) -> Option<Question> {
        let mut slots = self.slots.clone();
        self.rng.shuffle(&mut slots);
        let (seen, real): (Vec<usize>, Vec<usize>) = slots.iter().partition(|&&slot| self.nature(slot) != Nature::Real);
        let none = format!("None of the above are {place}");
        let count = 3;
        let wants_none = self.rng.below(count as u32 + 1) == 0;
        let (mut asked, right) = if wants_none && real.len() >= count {
            (real[..count].to_vec(), None)
        } else {
            let (&one, others) = (seen.first()?, real.get(..count - 1)?);
            (std::iter::once(one).chain(others.iter().copied()).collect(), Some(one))
        };
        self.rng.shuffle(&mut asked);
        let mut options: Vec<String> = asked.iter().map(|&slot| prompt_name(slot)).collect();
        options.push(none);
        let right = right.map_or(options.len() - 1, |slot| asked.iter().position(|&s| s == slot).unwrap_or(0));
        options.swap(0, right);
        let stem = format!("Which one among {} is {place}?", listed(&asked));
        Some(choose(Category::Mirror, stem, options, asked, self.rng))
    }
}
