//! The place of a region among rows and columns of like things.

use super::{Asker, Category, Draft, Form, Offer, Question, Says};
use crate::scene::attributes::Cell;
use gar_prompt::prompt_name;

const NUMBERS: [&str; 4] = ["first", "second", "third", "fourth"];

/// A place as one may call it: a count from one side in a row.
#[derive(Clone, Copy, PartialEq)]
struct Place {
    /// Places from the side, 0 being the outermost.
    count: usize,
    from_left: bool,
    row: usize,
}

impl Place {
    fn of(cell: Cell, from_left: bool) -> Self {
        let count = if from_left { cell.column } else { cell.columns - 1 - cell.column };
        Self { count, from_left, row: cell.row }
    }

    fn is(self, cell: Cell) -> bool {
        self == Self::of(cell, self.from_left)
    }

    fn words(self, rows: usize) -> String {
        let number = |n: usize| NUMBERS.get(n).copied().unwrap_or("last");
        let side = if self.from_left { "left" } else { "right" };
        let row = if rows > 1 { format!(" in the {} row", number(self.row)) } else { String::new() };
        format!("The {} one from the {side}{row}.", number(self.count))
    }

    fn offer(self, rows: usize) -> Offer {
        let count = if self.from_left { Says::FromLeft(self.count) } else { Says::FromRight(self.count) };
        Offer::new(self.words(rows), [Says::Row(self.row).about(0), count.about(0)])
    }
}

impl Asker<'_> {
    pub(super) fn ordering(&mut self, form: Form) -> Option<Question> {
        let slot = self.thing()?;
        let cell = self.scene.object(slot)?.cell?;
        let stem = format!("Which row and which position is {} in the full image?", prompt_name(slot));
        // Open answers count from the left, so that there is one right text.
        let from_left = form == Form::Open || self.rng.percent(50);
        let right = Place::of(cell, from_left);
        // All false places are equally likely: nothing that the options share tells the true one.
        let mut wrong = Vec::new();
        for row in 0..cell.rows {
            for count in 0..cell.columns {
                for from_left in [true, false] {
                    let place = Place { count, from_left, row };
                    if !place.is(cell) {
                        wrong.push(place);
                    }
                }
            }
        }
        self.rng.shuffle(&mut wrong);
        wrong.truncate(3);
        let offers = std::iter::once(right).chain(wrong).map(|place| place.offer(cell.rows)).collect();
        let truth = Says::of_cell(cell).map(|says| says.about(0)).to_vec();
        Some(Draft { category: Category::Ordering, stem, offers, truth, slots: vec![slot] }.formed(form, self.rng))
    }
}
