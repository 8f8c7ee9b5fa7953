//! Drives the built program as a user does: checkpoints it wrote itself, pictures drawn here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use image::{GrayImage, Luma, Rgb, RgbImage};
use serde_json::Value;
use tempfile::TempDir;

/// A folder with `tiny` (a checkpoint), `photo.png` (96×64) and `mask.png` (of its size).
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        assert_eq!(exit(&place.gar(&["init", "--preset", "tiny", "tiny", "--quiet"])), 0);
        let photo = RgbImage::from_fn(96, 64, |x, y| Rgb([(x * 2) as u8, (y * 3) as u8, (x * y % 251) as u8]));
        photo.save(place.path("photo.png")).unwrap();
        place.mask("mask.png", 96, 64, |x, y| (20..50).contains(&x) && (10..40).contains(&y));
        place
    }

    fn path(&self, name: impl AsRef<Path>) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn mask(&self, name: impl AsRef<Path>, width: u32, height: u32, set: impl Fn(u32, u32) -> bool) {
        let mask = GrayImage::from_fn(width, height, |x, y| Luma([if set(x, y) { 255 } else { 0 }]));
        mask.save_with_format(self.path(name), image::ImageFormat::Png).unwrap();
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gar"));
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    fn gar(&self, args: &[&str]) -> Output {
        self.command().args(args).output().unwrap()
    }

    /// Runs with the tiny model, one tile and few tokens.
    fn with_model(&self, args: &[&str]) -> Output {
        let model = ["--model", "tiny", "--max-tiles", "1", "--max-new-tokens", "4"];
        self.command().args(args).args(model).output().unwrap()
    }
}

fn exit(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("killed: {output:?}"))
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

fn json(output: &Output) -> Value {
    assert_eq!(exit(output), 0, "{}", stderr(output));
    serde_json::from_str(stdout(output)).unwrap()
}

#[test]
fn init_writes_a_checkpoint_that_inspect_reads() {
    let place = Place::new();
    let found = json(&place.gar(&["inspect", "tiny", "--json"]));
    assert_eq!(found["decoder"]["vocabulary"], 1286);
    assert_eq!(found["tower"]["class_token"], true);
    let total = found["total_parameters"].as_u64().unwrap();
    assert_eq!(found["memory_bytes"]["f32"], 4 * total);
    assert_eq!(found["stored_bytes"], 2 * total, "stored as bf16");
    let header =
        8 + u64::from_le_bytes(std::fs::read(place.path("tiny/model.safetensors")).unwrap()[..8].try_into().unwrap());
    assert_eq!(std::fs::metadata(place.path("tiny/model.safetensors")).unwrap().len(), header + 2 * total);
    let text = place.gar(&["inspect", "tiny"]);
    assert!(stdout(&text).contains("vision tower    3 blocks, width 64"), "{}", stdout(&text));
}

#[test]
fn init_is_the_same_for_the_same_seed_and_refuses_a_full_directory() {
    let place = Place::new();
    let weights = |folder: &str| std::fs::read(place.path(folder).join("model.safetensors")).unwrap();
    for (folder, seed) in [("again", "0"), ("other", "1")] {
        assert_eq!(exit(&place.gar(&["init", "--preset", "tiny", folder, "--seed", seed])), 0);
    }
    assert!(weights("tiny") == weights("again"));
    assert!(weights("tiny") != weights("other"));
    let refused = place.gar(&["init", "--preset", "tiny", "tiny"]);
    assert_eq!(exit(&refused), 1);
    assert!(stderr(&refused).contains("tiny: expected an empty directory"), "{}", stderr(&refused));
}

#[test]
fn describe_streams_text_or_prints_one_document() {
    let place = Place::new();
    let plain = place.with_model(&["describe", "photo.png", "--box", "20,10,50,40", "--overlay", "out.png"]);
    assert_eq!(exit(&plain), 0, "{}", stderr(&plain));
    assert_eq!(stderr(&plain), "overlay: out.png\n");
    let overlay = image::open(place.path("out.png")).unwrap().into_rgb8();
    let photo = image::open(place.path("photo.png")).unwrap().into_rgb8();
    assert_eq!(overlay.dimensions(), photo.dimensions());
    assert_ne!(overlay.get_pixel(35, 30), photo.get_pixel(35, 30));
    assert_eq!(overlay.get_pixel(90, 60), photo.get_pixel(90, 60));

    let found = json(&place.with_model(&["describe", "photo.png", "--mask", "mask.png", "--json", "--quiet"]));
    assert_eq!(stdout(&plain), format!("{}\n", found["answer"].as_str().unwrap()), "a box and its mask are one region");
    assert_eq!(found["regions"], serde_json::json!([{ "slot": 1, "box": [20, 10, 49, 39], "area": 900 }]));
    assert_eq!(found["grid"], serde_json::json!([1, 1]));
    assert!(found["tokens"].as_array().unwrap().len() <= 4);
    // Two tiles and one region of 256 tokens each, and the text around them.
    assert!((768..900).contains(&found["prompt_tokens"].as_u64().unwrap()), "{found}");
    for stage in ["load", "preprocess", "vision", "prefill", "decode", "total"] {
        assert!(found["timings"][stage].as_f64().unwrap() > 0.0, "{stage}");
    }
}

#[test]
fn precision_is_named_and_a_quantised_checkpoint_answers_as_one_quantised_at_load() {
    let place = Place::new();
    let describe = |model: &str, flags: &[&str]| {
        let fixed = ["describe", "photo.png", "--mask", "mask.png", "--model", model, "--max-tiles", "1", "--json"];
        json(&place.command().args(fixed).args(["--max-new-tokens", "4"]).args(flags).output().unwrap())["tokens"]
            .clone()
    };
    assert_eq!(exit(&place.gar(&["quantize", "tiny", "small", "--quiet"])), 0);
    assert_eq!(describe("small", &[]), describe("tiny", &["--quantize", "int8"]));
    assert!(!describe("tiny", &["--precision", "bf16"]).as_array().unwrap().is_empty());
    let [stored, small] = ["tiny", "small"].map(|model| json(&place.gar(&["inspect", model, "--json"])));
    let bytes = |found: &Value| found["stored_bytes"].as_u64().unwrap();
    assert!(bytes(&small) < bytes(&stored), "{} and {}", bytes(&small), bytes(&stored));
    for args in [["quantize", "tiny", "small"], ["quantize", "small", "smaller"]] {
        assert_eq!(exit(&place.gar(&args)), 1, "{args:?}");
    }
    assert_eq!(exit(&place.with_model(&["describe", "photo.png", "--mask", "mask.png", "--precision", "f8"])), 2);
}

#[test]
fn ask_takes_regions_of_every_kind_in_order() {
    let place = Place::new();
    std::fs::write(
        place.path("two.json"),
        r#"[{"size":[64,96],"counts":[640,64,5440]},{"size":[64,96],"counts":[0,64,6080]}]"#,
    )
    .unwrap();
    std::fs::write(place.path("polygons.json"), "[[1,1,9,1,9,9],[20,20,30,20,30,30]]").unwrap();
    let regions =
        ["--rle", "two.json", "--polygon", "polygons.json", "--mask", "4=mask.png", "--scribble", "5,5,60,5:3"];
    let question = "What is <Prompt0> to <Prompt4>?";
    let args: Vec<&str> = ["ask", "photo.png", question, "--json"].into_iter().chain(regions).collect();
    let found = json(&place.with_model(&args));
    let slots: Vec<u64> = found["regions"].as_array().unwrap().iter().map(|r| r["slot"].as_u64().unwrap()).collect();
    assert_eq!(slots, [0, 1, 2, 4, 3]);
    assert_eq!(found["regions"][0]["box"], serde_json::json!([10, 0, 10, 63]));

    let alone: Value = json(&place.with_model(&["ask", "photo.png", "What is this?", "--json"]));
    assert_eq!(alone["regions"], serde_json::json!([]), "a question about the picture as a whole");
    let threads = |n| json(&place.with_model(&[args.as_slice(), &["--threads", n]].concat()))["answer"].clone();
    assert_eq!(threads("1"), threads("3"));
    // A JPEG is decoded on several threads, before the model is there.
    image::open(place.path("photo.png")).unwrap().save(place.path("photo.jpg")).unwrap();
    json(&place.with_model(&["ask", "photo.jpg", "What is this?", "--json", "--threads", "2"]));
}

#[test]
fn a_conversation_answers_line_by_line() {
    let place = Place::new();
    let converse = |lines: &str| {
        let mut child = place
            .command()
            .args(["ask", "photo.png", "--mask", "mask.png", "--json", "--model", "tiny", "--max-tiles", "1"])
            .args(["--max-new-tokens", "3"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let done = converse("What is <Prompt0>?\n\nAnd now?\n/reset\nWhat is <Prompt0>?\n/quit\nnever read\n");
    assert_eq!(exit(&done), 0, "{}", stderr(&done));
    let answers: Vec<Value> = stdout(&done).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let tokens: Vec<u64> = answers.iter().map(|a| a["prompt_tokens"].as_u64().unwrap()).collect();
    assert_eq!(tokens.len(), 3);
    assert!(tokens[1] > tokens[0], "a later turn holds the turns before");
    assert_eq!((tokens[2], &answers[2]["tokens"]), (tokens[0], &answers[0]["tokens"]), "a new conversation");

    let failed = converse("What is <Prompt3>?\nWhat is <Prompt0>?\n");
    assert_eq!(exit(&failed), 1);
    assert_eq!(stdout(&failed).lines().count(), 1, "the conversation goes on");
    assert!(stderr(&failed).contains("<Prompt3>") && stderr(&failed).contains("1 of 2 questions"));
}

#[test]
fn trace_writes_whole_tensors() {
    let place = Place::new();
    let case = r#"{"image":"photo.png","size":[96,64],"prompts":[1],"masks":[{"size":[64,96],"counts":[640,64,5440]}],
                  "user_text":"Describe this masked region in detail.","max_num_tiles":1}"#;
    std::fs::write(place.path("case.json"), case).unwrap();
    let args = ["trace", "--model", "tiny", "--case", "case.json", "--images", ".", "--replay", "paper"];
    let done = place.gar(&[&args[..], &["--steps", "2", "--out", "t.safetensors"]].concat());
    assert_eq!(exit(&done), 0, "{}", stderr(&done));
    let bytes = std::fs::read(place.path("t.safetensors")).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    assert_eq!(header["replay.1"]["shape"], serde_json::json!([256, 96]));
    assert_eq!(header["logits"]["shape"], serde_json::json!([1286]));
    assert_eq!(header["thumb_u8"]["dtype"], "U8");
}

#[test]
fn wrong_usage_exits_with_2_and_failures_with_1() {
    let place = Place::new();
    place.mask("empty.png", 96, 64, |_, _| false);
    place.mask("small.png", 10, 10, |_, _| true);
    std::fs::write(place.path("long.json"), r#"{"size":[64,96],"counts":[1,9999]}"#).unwrap();
    std::fs::write(place.path("torn.png"), &std::fs::read(place.path("photo.png")).unwrap()[..100]).unwrap();
    std::fs::create_dir(place.path("nothing")).unwrap();
    let describe = |args: &[&str]| place.with_model(&[&["describe", "photo.png"], args].concat());
    let ask = |args: &[&str]| place.with_model(&[&["ask", "photo.png"], args].concat());
    for (output, code, says) in [
        (place.gar(&[]), 2, &["Usage"][..]),
        (describe(&["--device", "gpu", "--mask", "mask.png"]), 2, &["gpu", "expected `cpu`, `cuda`"]),
        (describe(&["--box", "1,2,3"]), 2, &["--box", "expected 4 numbers, found 3"]),
        (describe(&[]), 2, &["expected one region, found 0"]),
        (describe(&["--mask", "mask.png", "--box", "0,0,9,9"]), 2, &["expected one region, found 2"]),
        (describe(&["--mask", "mask.png", "--top-k", "5"]), 2, &["top_k", "temperature"]),
        (describe(&["--mask", "missing.png"]), 1, &["--mask", "missing.png"]),
        (describe(&["--mask", "empty.png"]), 1, &["--mask", "region 1", "at least one set pixel"]),
        (describe(&["--mask", "small.png"]), 1, &["region 1", "96×64", "10×10"]),
        (describe(&["--rle", "long.json"]), 1, &["--rle long.json", "6144"]),
        (describe(&["--rle", "mask.png"]), 1, &["--rle mask.png", "expected {"]),
        (describe(&["--polygon", "900,900,950,900,950,950"]), 1, &["--polygon", "at least one set pixel"]),
        (describe(&["--mask", "7=mask.png"]), 1, &["7", "5"]),
        (describe(&["--mask", "mask.png", "--overlay", "nowhere/out.png"]), 1, &["--overlay nowhere/out.png"]),
        (ask(&["--mask", "mask.png", "What is <Prompt3>?"]), 1, &["<Prompt3>"]),
        (ask(&["--mask", "mask.png", "Say <|eot_id|>"]), 1, &["<|eot_id|>"]),
        (place.with_model(&["describe", "torn.png", "--box", "0,0,9,9"]), 1, &["torn.png"]),
        (place.with_model(&["describe", "gone.png", "--box", "0,0,9,9"]), 1, &["gone.png"]),
        (place.gar(&["describe", "photo.png", "--mask", "mask.png", "--model", "nothing"]), 1, &["config.json"]),
        (place.gar(&["inspect", "nothing"]), 1, &["config.json"]),
    ] {
        assert_eq!(exit(&output), code, "{says:?}: {}", stderr(&output));
        assert_eq!(stdout(&output), "", "{says:?}");
        for part in says {
            assert!(stderr(&output).contains(part), "{part:?} in {}", stderr(&output));
        }
    }
}

#[cfg(unix)]
#[test]
fn paths_need_not_be_utf8() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    let place = Place::new();
    let name = |text: &[u8]| OsString::from_vec(text.to_vec());
    let (photo, mask, missing) = (name(b"photo\xff.png"), name(b"mask\xff.png"), name(b"gone\xff.png"));
    std::fs::copy(place.path("photo.png"), place.path(&photo)).unwrap();
    std::fs::copy(place.path("mask.png"), place.path(&mask)).unwrap();
    let run = |photo: &OsString, mask: &OsString| {
        let mut command = place.command();
        command.arg("ask").arg(photo).arg("What is <Prompt2>?").arg("--mask").arg(mask);
        command.args(["--model", "tiny", "--max-tiles", "1", "--max-new-tokens", "1"]).output().unwrap()
    };
    let slotted = name(b"2=mask\xff.png");
    let done = run(&photo, &slotted);
    assert_eq!(exit(&done), 0, "{}", stderr(&done));
    let refused = run(&photo, &missing);
    assert_eq!(exit(&refused), 1);
    assert!(stderr(&refused).contains("--mask") && stderr(&refused).contains("gone"), "{}", stderr(&refused));
}

#[test]
fn help_states_exit_codes_and_completions_are_written() {
    let place = Place::new();
    for args in [&["--help"][..], &["describe", "--help"], &["ask", "--help"], &["trace", "--help"]] {
        let help = place.gar(args);
        assert_eq!(exit(&help), 0);
        assert!(stdout(&help).contains("Exit codes: 0 success, 1 failure at run time, 2 wrong usage."));
    }
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = place.gar(&["completions", shell]);
        assert!(exit(&script) == 0 && stdout(&script).contains("describe"), "{shell}");
    }
}
