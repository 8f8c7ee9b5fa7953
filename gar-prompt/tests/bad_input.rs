//! What is wrong gets its own error, naming what, where, expected and found.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use gar_prompt::{
    Counts, DESCRIBE, Error, Mask, Region, RegionSet, Rle, TokenLayout, crop_token_name, relation_caption, tokens_on,
    user_text,
};
use ndarray::Array3;

fn full(width: usize, height: usize) -> Mask {
    Mask::from_box(width, height, [0.0, 0.0, width as f64, height as f64]).unwrap()
}

fn read(h: usize, w: usize, text: &str) -> Result<Mask, Error> {
    Rle { size: [h, w], counts: Counts::Compressed(text.into()) }.to_mask()
}

#[test]
fn run_lengths() {
    assert!(matches!(read(2, 3, "1!1"), Err(Error::RleByte { at: 1, found: b'!' })));
    assert!(matches!(read(2, 3, "1p"), Err(Error::RleByte { at: 1, found: b'p' })));
    assert!(matches!(read(2, 3, "é"), Err(Error::RleByte { at: 0, .. })));
    assert!(matches!(read(2, 3, "15Q"), Err(Error::RleTruncated { run: 2 })));
    assert!(matches!(read(2, 3, "1O"), Err(Error::RleRun { run: 1, found: -1 })));
    assert!(matches!(read(2, 3, &"P".repeat(40)), Err(Error::RleRun { run: 0, .. })));
    assert!(matches!(read(2, 3, "oooooooo0"), Err(Error::RleRun { run: 0, .. })));
    assert!(matches!(read(2, 3, "14"), Err(Error::RleLength { expected: 6, found: 5, .. })));
    assert!(matches!(read(2, 3, "16"), Err(Error::RleLength { expected: 6, found: 7, .. })));
    assert!(matches!(read(2, 3, ""), Err(Error::RleLength { found: 0, .. })));
    assert!(matches!(read(1 << 20, 1 << 20, "1"), Err(Error::TooLarge { .. })));
    assert!(matches!(read(usize::MAX, usize::MAX, "1"), Err(Error::TooLarge { .. })));
    for (h, w) in [(0, 0), (0, 7), (7, 0)] {
        let mask = read(h, w, "0").unwrap();
        assert_eq!((mask.height(), mask.width(), mask.area()), (h, w, 0));
        assert_eq!(Rle::encode(&mask).counts, Counts::Compressed("0".into()));
    }
    for json in
        ["", "{}", r#"{"size":[1],"counts":"1"}"#, r#"{"size":[1,1],"counts":[-1]}"#, r#"{"size":[1,-1],"counts":"1"}"#]
    {
        assert!(matches!(Rle::from_json(json), Err(Error::RleJson { .. })), "{json}");
    }
}

#[test]
fn polygons_boxes_scribbles() {
    let polygon = |p: &[f64]| Mask::from_polygons(9, 9, &[p]);
    assert!(matches!(polygon(&[0.0; 7]), Err(Error::PolygonLength { index: 0, found: 7 })));
    assert!(matches!(polygon(&[0.0; 4]), Err(Error::PolygonLength { found: 4, .. })));
    assert!(matches!(polygon(&[0.0, 1.0, 2.0, f64::NAN, 3.0, 4.0]), Err(Error::Coordinate { at: 3, .. })));
    assert!(matches!(polygon(&[0.0, 1.0, 2.0, 1e7, 3.0, 4.0]), Err(Error::Coordinate { at: 3, .. })));
    let outside = polygon(&[20.0, 1.0, 30.0, 1.0, 30.0, 8.0, 20.0, 8.0]).unwrap();
    assert!(matches!(Region::new(2, outside), Err(Error::EmptyMask { slot: 2, width: 9, height: 9 })));
    assert!(matches!(Mask::from_box(9, 9, [3.0, 1.0, 3.0, 2.0]), Err(Error::BoxOrder { .. })));
    assert!(matches!(Mask::from_box(9, 9, [3.0, f64::NAN, 4.0, 2.0]), Err(Error::Coordinate { at: 1, .. })));
    assert!(Mask::from_box(9, 9, [90.0, 1.0, 99.0, 2.0]).unwrap().is_empty());
    assert!(matches!(Mask::from_scribble(9, 9, &[], 2.0), Err(Error::NoPoints)));
    for pen in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(Mask::from_scribble(9, 9, &[(1.0, 1.0)], pen), Err(Error::ScribbleWidth { .. })));
    }
}

#[test]
fn regions() {
    let mut set = RegionSet::numbered([full(4, 3), full(4, 3)]).unwrap();
    assert!(matches!(set.push(1, full(4, 3)), Err(Error::SlotTaken { slot: 1, .. })));
    assert!(matches!(set.push(7, full(3, 4)), Err(Error::MaskSize { slot: 7, expected: (4, 3), found: (3, 4) })));
    assert!(matches!(set.push(7, Mask::empty(4, 3).unwrap()), Err(Error::EmptyMask { slot: 7, .. })));
    assert!(matches!(set.check_image(5, 3), Err(Error::MaskSize { slot: 0, expected: (5, 3), found: (4, 3) })));
    assert!(matches!(set.label_map(1), Err(Error::TooManyRegions { slots: 1, found: 2 })));
    assert!(matches!(set.label_map(256), Err(Error::TooManySlots { found: 256 })));
    set.push(7, full(4, 3)).unwrap();
    assert!(matches!(set.label_map(5), Err(Error::SlotOutOfRange { slot: 7, slots: 5 })));
    assert!(matches!(RegionSet::new().label_map(5), Err(Error::NoRegions { .. })));
    assert_eq!(set.slots(), [0, 1, 7]);
    assert!(Mask::empty(0, 0).unwrap().normalized_box().is_err());
}

#[test]
fn text() {
    let ask = |slots: &[usize], question: &str| user_text(slots, question, 1, |slot| format!("[{slot}]"));
    for (question, wrong) in [
        ("<Prompt3>?", "<Prompt3>"),
        ("<Prompt0> <Prompt01>", "<Prompt01>"),
        ("<Prompt99999999999999999999999>", "<Prompt99999999999999999999999>"),
    ] {
        assert!(
            matches!(ask(&[0, 1], question), Err(Error::UnknownPrompt { name, slots }) if name == wrong && slots == [0, 1])
        );
    }
    assert!(matches!(ask(&[], "<Prompt0>"), Err(Error::UnknownPrompt { .. })));
    let opening = "There are some objects I am curious about:";
    assert_eq!(ask(&[2], DESCRIBE).unwrap(), format!("{opening} <Prompt2>;\n<Prompt2>: [2]{DESCRIBE}"));
    assert_eq!(ask(&[2], "Why?").unwrap(), format!("{opening} <Prompt2>; \n<Prompt2>: [2]\n\nWhy?"));
    assert_eq!(
        ask(&[0, 2], DESCRIBE).unwrap(),
        format!("{opening} <Prompt0>; <Prompt2>; \n<Prompt0>: [0]\n<Prompt2>: [2]\n\n{DESCRIBE}")
    );
    assert_eq!(ask(&[], "What is <Prompt> or <Promptx>?").unwrap(), "What is <Prompt> or <Promptx>?");
    assert_eq!(crop_token_name(0), "<|reserved_special_token_2|>");
    assert_eq!(relation_caption(0, &[]), "Describe <Prompt0> in detail.");
    assert!(relation_caption(0, &[1, 2]).ends_with("with <Prompt1> and <Prompt2>."));
    assert!(relation_caption(0, &[1, 2, 3]).ends_with("with <Prompt1>, <Prompt2>, and <Prompt3>."));
}

#[test]
fn layout_and_tiles() {
    let ids = [1, 9, 9, 2, 9, 7];
    assert!(matches!(
        TokenLayout::find(&ids, 9, 3, &[], 0),
        Err(Error::TokenRun { expected: 3, found: 3, runs: 2, .. })
    ));
    assert!(matches!(
        TokenLayout::find(&ids, 7, 1, &[(0, 8)], 4),
        Err(Error::TokenRun { token: 8, expected: 4, found: 0, .. })
    ));
    assert!(matches!(TokenLayout::find(&ids, 7, 1, &[(0, 7)], 1), Err(Error::SharedToken { token: 7, .. })));
    assert!(matches!(TokenLayout::find(&ids, 1, 1, &[(0, 7), (1, 7)], 1), Err(Error::SharedToken { token: 7, .. })));
    assert_eq!(TokenLayout::find(&ids, 8, 0, &[], 0).unwrap().image, 0..0);
    for (shape, patch) in [((1, 4, 6), 2), ((1, 5, 5), 2), ((1, 4, 4), 0)] {
        assert!(matches!(tokens_on(Array3::zeros(shape).view(), 1, patch), Err(Error::Tiles { .. })));
    }
    assert_eq!(tokens_on(Array3::zeros((1, 32, 32)).view(), 1, 16).unwrap()[[0, 0, 0]], 255);
}
