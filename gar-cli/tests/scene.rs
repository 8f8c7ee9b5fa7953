//! `gar scene` writes what it says: a picture, a mask for each region, and answers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn gar(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gar")).current_dir(folder).arg("scene").args(args).output().unwrap()
}

#[test]
fn a_scene_is_written_with_its_masks() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["one.png", "--seed", "7", "--index", "3", "--regions", "3", "--kind", "grid", "--size", "80", "--json"];
    let output = gar(folder.path(), &args);
    assert!(output.status.success(), "{output:?}");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&found["seed"], &found["index"], &found["held_out"]), (&7.into(), &3.into(), &false.into()));
    let picture = image::open(folder.path().join("one.png")).unwrap();
    assert_eq!((picture.width(), picture.height()), (80, 80));
    let regions = found["regions"].as_array().unwrap();
    assert_eq!(regions.len(), 3);
    for (slot, region) in regions.iter().enumerate() {
        assert_eq!(region["slot"], slot);
        assert_eq!(region["mask"], format!("one-{slot}.png"));
        assert_eq!(region["mask_rle"]["size"], serde_json::json!([80, 80]));
        let mask = image::open(folder.path().join(format!("one-{slot}.png"))).unwrap().into_luma8();
        assert!(mask.pixels().any(|pixel| pixel.0[0] == 255) && mask.pixels().any(|pixel| pixel.0[0] == 0));
    }
    let questions = found["questions"].as_array().unwrap();
    assert!(questions.len() == 10 && questions.iter().all(|question| question["answer"].is_string()));
    let instruction = "\nAnswer with the correct option's letter directly.";
    let is_whole = |q: &Value| q["text"].as_str().unwrap().ends_with(instruction) == q.get("choices").is_some();
    assert!(questions.iter().all(is_whole));

    // The same seed draws the same picture; the held-out scene of that number is another.
    let first = std::fs::read(folder.path().join("one.png")).unwrap();
    for (extra, same) in [("--quiet", true), ("--clear-panes", true), ("--held-out", false)] {
        assert!(gar(folder.path(), &[&args[..], &[extra]].concat()).status.success());
        assert_eq!(std::fs::read(folder.path().join("one.png")).unwrap() == first, same);
    }
}

#[test]
fn text_is_for_people_and_errors_name_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let output = gar(folder.path(), &["scene.png"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("<Prompt0> scene-0.png: ") && text.contains("\n→ "), "{text}");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("wrote scene.png") && told.contains("\ntry: gar ask scene.png \""), "{told}");
    assert!(told.contains("--mask scene-0.png") && told.ends_with("--overlay overlay.png\n"), "{told}");
    let quoted = gar(folder.path(), &["a scene.png"]);
    assert!(quoted.status.success() && !String::from_utf8(quoted.stderr).unwrap().contains("try:"));
    for (args, code) in [
        (["scene.png", "--size=55"].as_slice(), 2),
        (&["scene.png", "--regions=6"], 2),
        (&["scene.png", "--kind=sea"], 2),
        (&["nowhere/scene.png"], 1),
    ] {
        assert_eq!(gar(folder.path(), args).status.code(), Some(code), "{args:?}");
    }
}
