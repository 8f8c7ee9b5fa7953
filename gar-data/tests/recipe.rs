//! Samples are prepared as SPEC §10 says: slots at random, empty slots asked about, captions and questions alike.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::Path;

use gar_data::rng::Rng;
use gar_data::{Prepared, Recipe, Result, Sample, Speaker, Turn};
use gar_prompt::{Mask, Rle};

/// A sample of 8 × 4 pixels whose mask K is column K.
fn sample(masks: usize, conversations: Vec<Turn>) -> Sample {
    let image = gar_vision::Image::from_rgb(ndarray::Array3::zeros((4, 8, 3))).unwrap();
    let column = |x: usize| Mask::from_box(8, 4, [x as f64, 0.0, x as f64 + 1.0, 4.0]).unwrap();
    Sample {
        image: gar_data::Picture::Encoded(gar_data::png(&image).unwrap()),
        masks: (0..masks).map(|x| Rle::encode(&column(x))).collect(),
        conversations,
    }
}

fn captions(count: usize) -> Vec<Turn> {
    (0..count).flat_map(|n| [Turn::human("?"), Turn::gpt(format!("Caption {n}."))]).collect()
}

fn prepare(recipe: &Recipe, sample: &Sample, seed: u64) -> Result<Prepared> {
    recipe.prepare(sample, Path::new(""), |slot| format!("[{slot}]"), &mut Rng::new(seed, 0, 0))
}

#[test]
fn captions_stand_in_slots_drawn_at_random() {
    let recipe = Recipe { vary_instructions: false, absent_percent: 0, ..Recipe::new(5, 2) };
    let sample = sample(3, captions(3));
    let mut orders = BTreeSet::new();
    for seed in 0..200 {
        let prepared = prepare(&recipe, &sample, seed).unwrap();
        let slots = prepared.regions.slots();
        let [a, b, c] = slots[..] else { panic!("{slots:?}") };
        let ask = "Describe this masked region in detail.";
        let expected = [
            Turn::human(format!(
                "There are some objects I am curious about: <Prompt{a}>; <Prompt{b}>; <Prompt{c}>; \n<Prompt{a}>: [{a}][{a}]{ask}"
            )),
            Turn::gpt("Caption 0."),
            Turn::human(format!("<Prompt{b}>: [{b}][{b}]{ask}")),
            Turn::gpt("Caption 1."),
            Turn::human(format!("<Prompt{c}>: [{c}][{c}]{ask}")),
            Turn::gpt("Caption 2."),
        ];
        assert_eq!(prepared.turns, expected);
        // Caption K belongs to mask K, whatever the slot.
        for (x, region) in prepared.regions.iter().enumerate() {
            assert!(region.mask().view()[[0, x]]);
        }
        orders.insert(slots);
    }
    // All 60 ordered choices of 3 slots of 5 but a few.
    assert!(orders.len() > 50, "{}", orders.len());
}

#[test]
fn empty_slots_are_asked_about() {
    let recipe = Recipe::new(5, 1);
    let two = sample(2, captions(2));
    let mut asked = 0;
    for seed in 0..2000 {
        let prepared = prepare(&recipe, &two, seed).unwrap();
        if prepared.turns.len() == 6 {
            asked += 1;
            let answer = &prepared.turns[3].value;
            let name = answer.strip_suffix(" is not in the image.").unwrap();
            let slot: usize = name[7..8].parse().unwrap();
            assert!(!prepared.regions.slots().contains(&slot));
            assert!(
                prepared.turns[2].value.starts_with(&format!("{name}: ")) && !prepared.turns[2].value.contains('[')
            );
        }
    }
    // Five of a hundred; four standard deviations are 39.
    assert!((61..139).contains(&asked), "{asked}");
    // One region alone is never asked about so, and more regions than slots leave one slot empty.
    assert!((0..200).all(|seed| prepare(&recipe, &sample(1, captions(1)), seed).unwrap().turns.len() == 2));
    assert_eq!(prepare(&recipe, &sample(7, captions(7)), 0).unwrap().regions.len(), 4);
    assert_eq!(prepare(&Recipe::new(1, 1), &sample(1, captions(1)), 0).unwrap().regions.slots(), [0]);
}

#[test]
fn named_regions_keep_their_names() {
    let turns = vec![
        Turn::human("<image>\nWhat is <Prompt2> doing?"),
        Turn::gpt("Sitting beside <Prompt0>."),
        Turn::human("And <Prompt2>'s colour? <Prompt> <Promptx>"),
        Turn::gpt("Red."),
    ];
    let prepared = prepare(&Recipe::new(5, 2), &sample(3, turns.clone()), 1).unwrap();
    assert_eq!(prepared.regions.slots(), [0, 2]);
    let first = "There are some objects I am curious about: <Prompt0>; <Prompt2>; \n\
                 <Prompt0>: [0][0]\n<Prompt2>: [2][2]\n\nWhat is <Prompt2> doing?";
    assert_eq!(prepared.turns[0].value, first);
    assert_eq!(prepared.turns[1..], turns[1..]);
    assert!(prepared.turns.iter().enumerate().all(|(at, turn)| (turn.from == Speaker::Human) == (at % 2 == 0)));
}

#[test]
fn odd_conversations_are_refused() {
    let (human, gpt) = (|text: &str| Turn::human(text), |text: &str| Turn::gpt(text));
    for (turns, expected) in [
        (vec![], "found 0 turns"),
        (vec![human("a")], "found 1 turns"),
        (vec![gpt("a"), human("b")], "found Gpt in turn 0"),
        (vec![human("a"), human("b")], "found Human in turn 1"),
        (vec![human("a"), gpt("<image>")], "a second `<image>` in turn 1"),
        (captions(1), "a caption for each of 2 masks, found 1 captions"),
        (vec![human("<Prompt2>?"), gpt("a")], "names of 2 masks in 5 slots, found <Prompt2>"),
        (vec![human("<Prompt99999999999999999999>?"), gpt("a")], "found <Prompt99999999999999999999>"),
    ] {
        let error = prepare(&Recipe::new(5, 1), &sample(2, turns), 0).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}, not {expected}");
    }
    // A mask there is, but no slot for it.
    let turns = vec![human("<Prompt1>?"), gpt("a")];
    assert!(prepare(&Recipe::new(1, 1), &sample(2, turns), 0).unwrap_err().to_string().contains("in 1 slots"));
}
