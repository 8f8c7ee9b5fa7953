//! How a caption is asked for: the paper's variation of the instruction (SPEC §10), after *Describe Anything*.

use crate::rng::Rng;

/// Instructions with a place for how long or how detailed the caption is to be.
const WITH_LENGTH: [&str; 10] = [
    "Describe the masked region {}.",
    "Describe the masked object {}.",
    "Can you describe the masked region {}?",
    "What can you say about the masked region {}?",
    "What is seen in the masked region? Answer {}.",
    "Tell me {} what the masked region shows.",
    "Explain {} what is in the masked area.",
    "Please describe {} the area under the mask.",
    "Give a description of the masked area {}.",
    "How would you describe the masked object {}?",
];

/// Instructions that ask for detail in words of their own.
const DETAILED: [&str; 6] = [
    gar_prompt::DESCRIBE,
    "Give a detailed description of the masked object.",
    "Describe everything that can be seen in the masked region.",
    "What are the details of the masked object?",
    "Describe the masked area as exactly as you can.",
    "Which details does the masked region show?",
];

/// An instruction that `caption` answers: in detail (60 %), in so many words (20 %) or in so many sentences (20 %).
///
/// Words are counted as written below ten, to the nearest ten up to 200 (ties to the even ten, as the released code
/// rounds), and as "more than 200" beyond.
///
/// ```
/// use gar_data::{instruction, rng::Rng};
///
/// let caption = "A red bus at a stop. Its doors are open.";
/// let drawn: Vec<String> = (0..200).map(|i| instruction(caption, &mut Rng::new(1, 0, i))).collect();
/// assert!(drawn.iter().any(|text| text.contains("in detail")));
/// assert!(drawn.iter().any(|text| text.contains("in about 10 words")));
/// assert!(drawn.iter().any(|text| text.contains("in 2 sentences")));
/// ```
pub fn instruction(caption: &str, rng: &mut Rng) -> String {
    let length = match rng.below(10) {
        0..=5 => match rng.below(2) {
            0 => return rng.one(DETAILED).to_owned(),
            _ => "in detail".to_owned(),
        },
        6..=7 => words(caption, rng),
        _ => sentences(caption, rng),
    };
    rng.one(WITH_LENGTH).replace("{}", &length)
}

fn words(caption: &str, rng: &mut Rng) -> String {
    match caption.split_whitespace().count() {
        1 => "in 1 word".into(),
        count @ 0..10 => format!("in {count} words"),
        count @ 10..=200 => {
            let tens = (count as f64 / 10.0).round_ties_even() * 10.0;
            format!("in {} {tens} words", rng.one(["about", "around"]))
        }
        _ => "in more than 200 words".into(),
    }
}

fn sentences(caption: &str, rng: &mut Rng) -> String {
    match caption.split(['.', '!', '?']).filter(|part| !part.trim().is_empty()).count() {
        0 | 1 => rng.one(["in one sentence", "in a sentence", "in 1 sentence"]).to_owned(),
        count => format!("in {count} sentences"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_counted() {
        let mut rng = Rng::new(1, 0, 0);
        let text = |count: usize| vec!["word"; count].join(" ");
        for (count, found) in [(1, "in 1 word"), (9, "in 9 words"), (201, "in more than 200 words")] {
            assert_eq!(words(&text(count), &mut rng), found);
        }
        // Ties go to the even ten.
        for (count, tens) in [(10, 10), (14, 10), (15, 20), (25, 20), (200, 200)] {
            let found = words(&text(count), &mut rng);
            assert!(found.ends_with(&format!(" {tens} words")), "{count}: {found}");
        }
        assert_eq!(sentences("One. Two! Three? ", &mut rng), "in 3 sentences");
        assert!(sentences("One", &mut rng).ends_with("sentence"));
    }

    #[test]
    fn kinds_are_drawn_in_their_shares() {
        let caption = vec!["word"; 30].join(" ");
        let mut rng = Rng::new(2, 0, 0);
        let (mut words, mut sentences) = (0_i32, 0_i32);
        for _ in 0..10_000 {
            let text = instruction(&caption, &mut rng);
            words += i32::from(text.contains("30 words"));
            sentences += i32::from(text.contains("sentence"));
        }
        // Five standard deviations of a binomial (10,000, 0.2) are 200.
        assert!((words - 2000).abs() < 200 && (sentences - 2000).abs() < 200, "{words}, {sentences}");
    }
}
