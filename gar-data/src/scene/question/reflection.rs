//! Real objects and what a mirror or a screen shows of them (GAR-Bench calls these non-entities).

use super::{Asker, Category, Claim, Draft, Form, Offer, Question, Says, listed};
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
        let window = self.scene.window?;
        match (form, self.slots.len()) {
            (Form::Open, _) => self.what_it_is(form),
            (_, 1) => {
                // One region is unreal three times in five; asked so, yes is as frequent as no, and each of the three
                // beings as the others.
                let real = self.slots.iter().all(|&slot| self.nature(slot) == Nature::Real);
                if self.rng.below(6) < if real { 3 } else { 2 } {
                    self.is_it_there(window)
                } else {
                    self.what_it_is(form)
                }
            }
            (_, 2) => self.both_or_one(window),
            _ if self.rng.percent(35) => self.both_or_one(window),
            _ => self.which_one(window),
        }
    }

    fn what_it_is(&mut self, form: Form) -> Option<Question> {
        let real = self.rng.below(3) == 0;
        let of_kind: Vec<usize> =
            self.slots.iter().copied().filter(|&slot| (self.nature(slot) == Nature::Real) == real).collect();
        let slot = self.rng.pick(&of_kind).copied().or_else(|| self.thing())?;
        let right = self.nature(slot);
        let stem = format!("Is {} a real object, a reflection in a mirror or an image on a screen?", prompt_name(slot));
        let natures = std::iter::once(right).chain(Nature::ALL.into_iter().filter(|&n| n != right));
        let offers = natures.map(|n| Offer::new(being(n), [Says::Nature(n).about(0)])).collect();
        Some(self.seen(stem, offers, vec![slot]).formed(form, self.rng))
    }

    fn is_it_there(&mut self, window: Nature) -> Option<Question> {
        let slot = self.thing()?;
        let place = place(window);
        let mut offers = vec![
            Offer::new("Yes", [Says::Nature(window).about(0)]),
            Offer::new("No", [Says::Nature(Nature::Real).about(0)]),
        ];
        if self.nature(slot) == Nature::Real {
            offers.swap(0, 1);
        }
        let stem = format!("Is {} visible {place}?", prompt_name(slot));
        Some(self.seen(stem, offers, vec![slot]).choose(self.rng))
    }

    fn both_or_one(&mut self, window: Nature) -> Option<Question> {
        let (one, two) = self.pair()?;
        let place = place(window);
        let seen = (self.nature(one) != Nature::Real, self.nature(two) != Nature::Real);
        let (a, b) = (prompt_name(one), prompt_name(two));
        let both = |one: Nature, two: Nature| [Says::Nature(one).about(0), Says::Nature(two).about(1)];
        let mut offers = vec![
            Offer::new(format!("{a} and {b} are both {place}"), both(window, window)),
            Offer::new(format!("Only {a} is {place}"), both(window, Nature::Real)),
            Offer::new(format!("Only {b} is {place}"), both(Nature::Real, window)),
            Offer::new(format!("Neither {a} nor {b} is {place}"), both(Nature::Real, Nature::Real)),
        ];
        let right = match seen {
            (true, true) => 0,
            (true, false) => 1,
            (false, true) => 2,
            (false, false) => 3,
        };
        offers.swap(0, right);
        let stem = format!("Are {a} and {b} {place}?");
        Some(self.seen(stem, offers, vec![one, two]).choose(self.rng))
    }

    /// One region among several, or none of them: each answer equally likely where the scene allows it.
    fn which_one(&mut self, window: Nature) -> Option<Question> {
        let place = place(window);
        let mut slots = self.slots.clone();
        self.rng.shuffle(&mut slots);
        let (seen, real): (Vec<usize>, Vec<usize>) = slots.iter().partition(|&&slot| self.nature(slot) != Nature::Real);
        let count = 3;
        let wants_none = self.rng.below(count as u32 + 1) == 0;
        let (mut asked, right) = if wants_none && real.len() >= count {
            (real[..count].to_vec(), None)
        } else {
            let (&one, others) = (seen.first()?, real.get(..count - 1)?);
            (std::iter::once(one).chain(others.iter().copied()).collect(), Some(one))
        };
        self.rng.shuffle(&mut asked);
        let there = |(of, &slot): (usize, &usize)| Offer::new(prompt_name(slot), [Says::Nature(window).about(of)]);
        let mut offers: Vec<Offer> = asked.iter().enumerate().map(there).collect();
        let none: Vec<Claim> = (0..asked.len()).map(|of| Says::Nature(Nature::Real).about(of)).collect();
        offers.push(Offer::new(format!("None of the above are {place}"), none));
        let right = right.map_or(asked.len(), |slot| asked.iter().position(|&s| s == slot).unwrap_or(0));
        offers.swap(0, right);
        let stem = format!("Which one among {} is {place}?", listed(&asked));
        Some(self.seen(stem, offers, asked).choose(self.rng))
    }

    /// A question about what regions are.
    fn seen(&self, stem: String, offers: Vec<Offer>, slots: Vec<usize>) -> Draft {
        let truth = slots.iter().enumerate().map(|(of, &slot)| Says::Nature(self.nature(slot)).about(of)).collect();
        Draft { category: Category::Mirror, stem, offers, truth, slots }
    }
}
