//! What each imitated quirk does to a prompt: tokens, painted masks and replayed features, against the plain prompt.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use gar_core::prompt::{Mask, Rle, tokens_on};
use gar_core::trace::{Case, Trace, trace};
use gar_core::{GarModel, ReplayBoxes, Result};
use gar_eval::AsPublished;
use serde_json::json;

/// Slots of the fixture `tile42`; its tokenizer knows one crop token more.
const SLOTS: usize = 2;

/// `<|begin_of_text|>`, and the crop token of slot 2, of the fixtures' tokenizers.
const BOS: i32 = 320;
const CROP_BEYOND: i32 = 328;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures")
}

/// A question about boxes x1, y1, x2, y2 on a picture, in slots 0, 1, ….
fn traced(quirks: AsPublished, boxes: &[[f64; 4]]) -> Result<Trace> {
    let (width, height) = image::image_dimensions(fixtures().join("images/shapes.png")).unwrap();
    let masks: Vec<Rle> = boxes
        .iter()
        .map(|corners| Rle::encode(&Mask::from_box(width as usize, height as usize, *corners).unwrap()))
        .collect();
    let names: Vec<String> = (0..boxes.len()).map(|slot| format!("<Prompt{slot}>")).collect();
    let case = json!({
        "image": "shapes.png",
        "prompts": (0..boxes.len()).collect::<Vec<_>>(),
        "masks": masks,
        "user_text": format!("How do {} relate?", names.join(" and ")),
    });
    let case = Case::from_json(case.to_string().as_bytes(), Path::new("case"))?;
    // Boxes as the paper has them: the released ones sample one corner, where regions may give the same features.
    let builder = GarModel::open(fixtures().join("tile42"))?.with_replay_boxes(ReplayBoxes::Paper);
    let model = quirks.apply(builder).load()?;
    trace(&model, &case, &fixtures().join("images"), 1)
}

const LEFT: [f64; 4] = [10.0, 10.0, 60.0, 60.0];
const RIGHT: [f64; 4] = [90.0, 20.0, 130.0, 65.0];

#[test]
fn the_last_mask_gives_every_box_and_is_painted_alone() {
    let plain = traced(AsPublished::default(), &[LEFT, RIGHT]).unwrap();
    let quirk = traced(AsPublished { last_mask_boxes: true, ..Default::default() }, &[LEFT, RIGHT]).unwrap();
    let replay = |trace: &Trace, slot: usize| trace.f32(&format!("replay.{slot}")).unwrap();
    assert_ne!(replay(&plain, 0), replay(&plain, 1), "the plain prompt tells them apart");
    assert_eq!(replay(&quirk, 0), replay(&plain, 1));
    assert_eq!(replay(&quirk, 1), replay(&plain, 1));
    for same in ["input_ids", "mask.tokens_on"] {
        assert_eq!((plain.i32(same), plain.u8(same)), (quirk.i32(same), quirk.u8(same)), "{same}");
    }
    assert_ne!(plain.f32("embeds"), quirk.f32("embeds"), "it reaches the decoder");
    // One region is its own last.
    let one = |quirks| traced(quirks, &[LEFT]).unwrap().f32("embeds");
    assert_eq!(one(AsPublished::default()), one(AsPublished { last_mask_boxes: true, ..Default::default() }));
}

#[test]
fn a_second_bos_stands_before_the_first() {
    let ids = |second_bos| {
        traced(AsPublished { second_bos, ..Default::default() }, &[LEFT]).unwrap().i32("input_ids").unwrap()
    };
    let (plain, quirk) = (ids(false), ids(true));
    assert_eq!((plain[0], plain.iter().filter(|&&id| id == BOS).count()), (BOS, 1));
    assert_eq!(quirk, [&[BOS][..], &plain].concat());
}

#[test]
fn regions_beyond_the_slots_are_refused_or_unpainted() {
    let boxes = [LEFT, RIGHT, [0.0, 70.0, 50.0, 100.0]];
    let refused = traced(AsPublished::default(), &boxes).unwrap_err().to_string();
    assert!(refused.contains('3') && refused.contains('2'), "{refused}");

    let quirk = traced(AsPublished { unpainted_slots: true, ..Default::default() }, &boxes).unwrap();
    let within = traced(AsPublished::default(), &boxes[..SLOTS]).unwrap();
    assert_eq!(quirk.u8("mask.tokens_on"), within.u8("mask.tokens_on"), "the third mask is not painted");
    for slot in ["replay.0", "replay.1"] {
        assert_eq!(quirk.f32(slot), within.f32(slot), "{slot}");
    }
    // Its crop token stands in the text as often as the others, but the decoder sees the token's own embedding: not what
    // would have been replayed.
    let ids = quirk.i32("input_ids").unwrap();
    let crops: Vec<usize> = ids.iter().enumerate().filter(|(_, id)| **id == CROP_BEYOND).map(|(at, _)| at).collect();
    let per_region = quirk.shape("replay.2").unwrap()[0];
    assert_eq!(crops.len(), per_region);
    let width = quirk.shape("embeds").unwrap()[1];
    let embeds = quirk.f32("embeds").unwrap();
    let row = &embeds[crops[0] * width..(crops[0] + 1) * width];
    assert_ne!(row, &quirk.f32("replay.2").unwrap()[..width]);
    assert!(!within.i32("input_ids").unwrap().contains(&CROP_BEYOND));
}

/// `tokens_on` counts nothing where every label is `<NO_Prompt>`; the test above would hold emptily if it always did.
#[test]
fn painted_masks_are_counted() {
    let plain = traced(AsPublished::default(), &[LEFT]).unwrap();
    assert!(plain.u8("mask.tokens_on").unwrap().iter().any(|&count| count > 0));
    let none = ndarray::Array3::from_elem((1, 42, 42), SLOTS as u8);
    assert!(tokens_on(none.view(), SLOTS as u8, 14).unwrap().iter().all(|&count| count == 0));
}
