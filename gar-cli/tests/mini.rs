//! `gar eval mini`, and the model that answers where none is named: with a fixture's weights, whose answers are noise.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A checkpoint of three slots and tiles of 56 pixels, wherever the program lies.
fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/tile56")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn done(output: &Output) -> &str {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// Copies the fixture, with `"gar_domain": "drawn scenes"` in its `config.json`.
fn drawn_model(directory: &Path) {
    std::fs::create_dir_all(directory).unwrap();
    for entry in std::fs::read_dir(fixture()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, directory.join(path.file_name().unwrap())).unwrap();
        }
    }
    let path = directory.join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config["gar_domain"] = json!("drawn scenes");
    std::fs::write(&path, config.to_string()).unwrap();
}

fn mini(folder: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gar"));
    command.current_dir(folder).args(["eval", "mini", "--max-tiles", "1", "--threads", "1", "--model"]);
    command.arg(fixture()).args(more).output().unwrap()
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The README's first command.
#[test]
fn gar_mini_describes_the_scene_of_the_readme() {
    let folder = tempfile::tempdir().unwrap();
    let overlay = folder.path().join("overlay.png");
    let mut command = Command::new(env!("CARGO_BIN_EXE_gar"));
    command.current_dir(repository()).env_remove("GAR_MODEL").args(["ask", "fixtures/scene/scene.png"]);
    command.args(["--mask", "fixtures/scene/scene-0.png", "--mask", "fixtures/scene/scene-1.png"]);
    command.arg("--overlay").arg(&overlay);
    let output =
        command.arg("Describe <Prompt1> in detail, including the relationship with <Prompt0>.").output().unwrap();
    let truth = "A small pink triangle made of stone with a ringed texture. It is left of <Prompt0>, a blue star.";
    assert_eq!(done(&output).trim(), truth);
    assert!(text(&output.stderr).contains("no --model: gar-mini"), "{}", text(&output.stderr));
    assert!(overlay.exists());
}

/// What the card says gar-mini knows, on other held-out scenes than the card's. 40 questions of each category: the bounds lie
/// at most three standard deviations below the card's scores, or three wrong answers below where there are none to reckon with.
#[test]
fn gar_mini_tells_looks_places_and_relations() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gar"));
    command.args(["eval", "mini", "--questions", "360", "--seed", "9", "--json", "--quiet", "--model"]);
    let output = command.arg(repository().join("models/gar-mini")).output().unwrap();
    let found: Value = serde_json::from_str(done(&output)).unwrap();
    let score = |table: &str, row: &str| found[table][row]["score"].as_f64().unwrap();
    let looks = [("color", 92.0), ("shape", 92.0), ("texture", 92.0), ("material", 92.0)];
    let others = [("position", 92.0), ("non-entity", 92.0), ("relation", 90.0), ("simple caption", 90.0)];
    let captions = [("detailed caption", 87.0)];
    let parts = [("color", 92.0), ("shape", 92.0), ("texture", 92.0), ("material", 92.0), ("relation", 90.0)];
    let tables =
        [("categories", &looks[..]), ("categories", &others), ("categories", &captions), ("caption_parts", &parts)];
    for (table, bounds) in tables {
        for (row, bound) in bounds {
            assert!(score(table, row) >= *bound, "{row}: {}", found[table][row]);
        }
    }
}

#[test]
fn scores_are_a_table_or_a_document() {
    let folder = tempfile::tempdir().unwrap();
    let output = mini(folder.path(), &["--questions", "27"]);
    let table = done(&output);
    assert!(table.starts_with("mini GAR-Bench    N = 1") && table.contains("\nposition "), "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
    assert!(text(&output.stderr).contains("questions were refused and count as wrong"), "three slots, five regions");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is kept unless it is wanted");

    let more = ["--questions", "27", "--seed", "4", "--json", "--quiet", "--batch", "5"];
    let found: Value = serde_json::from_str(done(&mini(folder.path(), &more))).unwrap();
    assert_eq!((&found["benchmark"], &found["model"]), (&json!("mini-gar-bench"), &json!("tile56")));
    assert_eq!((&found["seed"], &found["questions"], &found["overall"]["total"]), (&json!(4), &json!(27), &json!(27)));
    assert!(found["refused"].as_u64().unwrap() > 0);
    assert_eq!(found["categories"].as_object().unwrap().len(), 9);
    assert_eq!(found["caption_parts"]["relation"]["several"]["total"], 3);
}

#[test]
fn a_run_is_kept_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["--questions", "18", "--out", "run", "--json"];
    let first = done(&mini(folder.path(), &args)).to_owned();
    let file = |name: &str| folder.path().join("run").join(name);
    let answers = std::fs::read_to_string(file("vqa/answers.jsonl")).unwrap();
    assert_eq!(answers.lines().count(), 14);

    // As if it had been killed: half of the answers, no output, and the questions written anew.
    let half: String = answers.lines().take(7).map(|line| format!("{line}\n")).collect();
    std::fs::write(file("vqa/answers.jsonl"), half + "{\"id\": \"ima").unwrap();
    std::fs::remove_file(file("vqa/output.json")).unwrap();
    assert_eq!(done(&mini(folder.path(), &args)), first);
    assert_eq!(std::fs::read_to_string(file("vqa/answers.jsonl")).unwrap(), answers);
    let view = Command::new(env!("CARGO_BIN_EXE_gar")).args(["eval", "view"]).arg(file("vqa")).output().unwrap();
    done(&view);

    std::fs::create_dir(folder.path().join("full")).unwrap();
    std::fs::write(folder.path().join("full/thesis.txt"), "").unwrap();
    for (args, code, says) in [
        (&["--questions", "18", "--out", "run", "--seed", "2"][..], 1, "`seed`: expected 2, found 1"),
        (&["--questions", "9", "--out", "run"], 1, "`questions`: expected 9, found 18"),
        (&["--questions", "18", "--out", "run", "--replay", "paper"], 1, "`options`: expected"),
        (&["--questions", "9", "--out", "full"], 1, "full: expected an empty directory or none"),
        (&["--questions", "0"], 2, "--questions"),
    ] {
        let output = mini(folder.path(), args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
        assert!(text(&output.stderr).contains(says), "{says} in {}", text(&output.stderr));
    }
}

/// A program far from any checkout, a user without data, and a scene to ask about.
struct Abroad(TempDir);

impl Abroad {
    fn new() -> Self {
        let abroad = Self(tempfile::tempdir().unwrap());
        let program = env!("CARGO_BIN_EXE_gar");
        ["bin", "work", "home"].iter().for_each(|name| std::fs::create_dir(abroad.path(name)).unwrap());
        // A link shares the file; between file systems it has to be copied.
        std::fs::hard_link(program, abroad.path("bin/gar"))
            .or_else(|_| std::fs::copy(program, abroad.path("bin/gar")).map(drop))
            .unwrap();
        done(&abroad.gar(&["scene", "scene.png", "--size", "56", "--regions", "2", "--held-out"]));
        abroad
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.path("bin/gar"));
        command.current_dir(self.path("work")).args(args).stdin(Stdio::null());
        command.env("HOME", self.path("home")).env_remove("XDG_DATA_HOME").env_remove("GAR_MODEL");
        command
    }

    fn gar(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }
}

const ASK: [&str; 9] = [
    "ask",
    "scene.png",
    "What is <Prompt0>?",
    "--mask",
    "scene-0.png",
    "--mask",
    "scene-1.png",
    "--max-new-tokens",
    "2",
];

#[test]
fn the_bundled_model_is_found_named_and_announced() {
    let abroad = Abroad::new();
    // Without weights it is no model.
    drawn_model(&abroad.path("models/gar-mini"));
    std::fs::remove_file(abroad.path("models/gar-mini/model.safetensors")).unwrap();
    let none = abroad.gar(&ASK);
    assert_eq!(none.status.code(), Some(2), "{none:?}");
    for part in ["--model", "GAR_MODEL", "work and the folders above it", "home/.local/share/gar/gar-mini"] {
        assert!(text(&none.stderr).contains(part), "{part} in {}", text(&none.stderr));
    }
    let note = "no --model: gar-mini, which knows drawn scenes only (";
    for place in ["home/.local/share/gar/gar-mini", "models/gar-mini", "work/models/gar-mini"] {
        drawn_model(&abroad.path(place));
        let output = abroad.gar(&ASK);
        done(&output);
        let told = text(&output.stderr);
        assert!(told.starts_with(note) && told.contains(&format!("{place})")), "{told}");
        assert_eq!(told.lines().count(), 1, "a drawn scene is no surprise: {told}");
    }
    let named = abroad.command(&ASK).env("GAR_MODEL", fixture()).output().unwrap();
    done(&named);
    assert!(text(&named.stderr).contains("tile56, as GAR_MODEL says"), "{named:?}");
    let named = abroad.command(&ASK).env("GAR_MODEL", "nowhere").output().unwrap();
    assert!(named.status.code() == Some(1) && text(&named.stderr).contains("nowhere/config.json"), "{named:?}");
    let quiet = abroad.gar(&[&ASK[..], &["--quiet"]].concat());
    assert_eq!((done(&quiet).is_empty(), text(&quiet.stderr)), (false, ""));
}

#[test]
fn a_photograph_is_warned_about() {
    let abroad = Abroad::new();
    drawn_model(&abroad.path("work/models/gar-mini"));
    let photo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/photo/chelsea.png");
    image::open(&photo).unwrap().thumbnail_exact(56, 56).save(abroad.path("work/small.png")).unwrap();
    let ask = |picture: &str| abroad.gar(&["describe", picture, "--box", "10,10,40,40", "--max-new-tokens", "2"]);
    for (picture, says) in [
        (
            photo.to_str().unwrap(),
            "warning: the model knows drawn scenes of 56×56 pixels only, and this picture has 451×300",
        ),
        ("small.png", "this picture is more colourful: expect wrong answers"),
    ] {
        let output = ask(picture);
        done(&output);
        assert!(text(&output.stderr).contains(says), "{}", text(&output.stderr));
    }
    assert!(!text(&ask("scene.png").stderr).contains("warning"));
    let mut other =
        abroad.command(&["describe", "small.png", "--box", "10,10,40,40", "--max-new-tokens", "2", "--model"]);
    assert!(!text(&other.arg(fixture()).output().unwrap().stderr).contains("warning"), "it may know any picture");
}
