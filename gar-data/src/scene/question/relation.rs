//! How regions stand to each other, some of them redundant.

use super::{Asker, Category, Draft, Form, Offer, Question, Says, open};
use crate::rng::Rng;
use crate::scene::relation::{Relation, Relations};
use gar_prompt::prompt_name;

/// How often each of [`Relation::ALL`] stands among wrong answers, as weights: about as often as it is a right one, so
/// that a frequent relation is no better a guess than a rare one.
const WRONG: [u32; 11] = [30, 30, 30, 30, 6, 6, 8, 8, 10, 10, 8];

/// `<Prompt0> is left of <Prompt1>.`
fn statement(subject: usize, relation: Relation, object: usize) -> String {
    format!("{} is {} {}.", prompt_name(subject), relation.words(), prompt_name(object))
}

impl Asker<'_> {
    pub(super) fn relation(&mut self, form: Form) -> Option<Question> {
        match (form, self.slots.len()) {
            (Form::Open, _) | (_, 2) => self.between_two(form),
            _ => match self.rng.below(3) {
                0 => self.between_two(form),
                1 => self.which_object(),
                _ => self.two_of_one(),
            },
        }
    }

    pub(super) fn simple_caption(&mut self) -> Option<Question> {
        let (subject, object, known) = self.related()?;
        let relation = known.first()?;
        let (a, b) = (prompt_name(subject), prompt_name(object));
        let stem = format!("What is the spatial relationship between {a} and {b}?");
        Some(open(Category::SimpleCaption, stem, statement(subject, relation, object), vec![subject, object]))
    }

    fn between_two(&mut self, form: Form) -> Option<Question> {
        let (subject, object, known) = self.related()?;
        let right = known.first()?;
        let wrong = wrong_relations(&known, 3, self.rng)?;
        let (a, b) = (prompt_name(subject), prompt_name(object));
        let stem = format!("What is the relationship between {a} and {b}?");
        let offer = |relation| Offer::new(statement(subject, relation, object), [Says::Relation(relation).about(1)]);
        let offers = std::iter::once(right).chain(wrong).map(offer).collect();
        let (truth, slots) = (vec![Says::Relation(right).about(1)], vec![subject, object]);
        Some(Draft { category: Category::Relation, stem, offers, truth, slots }.formed(form, self.rng))
    }

    /// One, both or none of two regions: which of them stands so to a third?
    fn which_object(&mut self) -> Option<Question> {
        let mut slots = self.slots.clone();
        self.rng.shuffle(&mut slots);
        let &[first, second, object, ..] = slots.as_slice() else { return None };
        let known = [first, second].map(|subject| self.relations(subject, object));
        // Relations by the answer they give, so that every answer is equally likely where it can be right.
        let mut by_answer: [Vec<Relation>; 4] = Default::default();
        for relation in Relation::ALL {
            let sure = known.each_ref().map(|k| (k.holds(relation), k.is_false(relation)));
            match sure {
                [(true, _), (true, _)] => by_answer[0].push(relation),
                [(true, _), (_, true)] => by_answer[1].push(relation),
                [(_, true), (true, _)] => by_answer[2].push(relation),
                [(_, true), (_, true)] => by_answer[3].push(relation),
                _ => {}
            }
        }
        let answers: Vec<usize> = (0..4).filter(|&a| !by_answer[a].is_empty()).collect();
        let right = *self.rng.pick(&answers)?;
        let relation = weighted(&by_answer[right], self.rng)?;
        let (a, b) = (prompt_name(first), prompt_name(second));
        let stem = format!("Which one among {a} and {b} is {} {}?", relation.words(), prompt_name(object));
        let stand = |a: bool, b: bool| vec![Says::Stands(a).about(0), Says::Stands(b).about(1)];
        let mut offers = vec![
            Offer::new(format!("Both {a} and {b}"), stand(true, true)),
            Offer::new(a, stand(true, false)),
            Offer::new(b, stand(false, true)),
            Offer::new("None of the above", stand(false, false)),
        ];
        let truth = offers[right].claims.clone();
        offers.swap(0, right);
        let slots = vec![first, second, object];
        Some(Draft { category: Category::Relation, stem, offers, truth, slots }.choose(self.rng))
    }

    /// Two relations of one region, both to be right: of the four options each part stands in two.
    fn two_of_one(&mut self) -> Option<Question> {
        let mut slots = self.slots.clone();
        self.rng.shuffle(&mut slots);
        let &[subject, first, second, ..] = slots.as_slice() else { return None };
        let (mut parts, mut truth) = (Vec::new(), Vec::new());
        for (of, object) in [(1, first), (2, second)] {
            let known = self.relations(subject, object);
            let right = known.first()?;
            let wrong = *wrong_relations(&known, 1, self.rng)?.first()?;
            truth.push(Says::Relation(right).about(of));
            parts.push([right, wrong].map(|relation| {
                let text = format!("{} {}", relation.words(), prompt_name(object));
                (text, Says::Relation(relation).about(of))
            }));
        }
        let name = prompt_name(subject);
        let [one, two] = parts.as_slice() else { return None };
        let offer = |(i, j): (usize, usize)| {
            let [(a, of_first), (b, of_second)] = [&one[i], &two[j]];
            Offer::new(format!("{name} is {a} and {b}."), [*of_first, *of_second])
        };
        let offers = [(0, 0), (0, 1), (1, 0), (1, 1)].map(offer).into();
        let stem = format!("Which statement correctly describes the position of {name}?");
        let slots = vec![subject, first, second];
        Some(Draft { category: Category::Relation, stem, offers, truth, slots }.choose(self.rng))
    }
}

/// `count` different relations that are false.
fn wrong_relations(known: &Relations, count: usize, rng: &mut Rng) -> Option<Vec<Relation>> {
    let mut left = known.falsehoods();
    let mut wrong = Vec::with_capacity(count);
    while wrong.len() < count {
        let relation = weighted(&left, rng)?;
        left.retain(|&r| r != relation);
        wrong.push(relation);
    }
    Some(wrong)
}

/// One of `relations`, by the weights of [`WRONG`].
fn weighted(relations: &[Relation], rng: &mut Rng) -> Option<Relation> {
    let weights: Vec<u32> = relations.iter().map(|&r| WRONG[r as usize]).collect();
    relations.get(rng.weighted(&weights)).copied()
}
