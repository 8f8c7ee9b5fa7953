//! `gar eval` as a user drives it, and as `kill -9` does: with a fixture's weights and pictures drawn here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use image::{Rgb, RgbImage};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A folder with GAR-Bench-VQA of `questions` questions about one picture.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new(questions: usize) -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        let entries: Vec<Value> = (0..questions)
            .map(|i| {
                let picture = format!("{i}.png");
                let photo = RgbImage::from_fn(60, 40, |x, y| Rgb([(x * 4) as u8, (y * 6) as u8, (x * y + 7 * i as u32) as u8]));
                photo.save(place.path(&picture)).unwrap();
                let mask = json!({"size": [40, 60], "counts": [40 * (i % 50) + 5, 30, 2400 - 35 - 40 * (i % 50)]});
                json!({
                    "mask_rles": [mask], "question": format!("What is <Prompt0> in {i}?"),
                    "choices": ["A. one", "B. two"], "answer": "B", "type": (if i % 2 == 0 { "color" } else { "relation" }),
                    "image": picture,
                })
            })
            .collect();
        std::fs::write(place.path("GAR-Bench-VQA.json"), json!(entries).to_string()).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn gar(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gar"));
        command.current_dir(self.folder.path()).args(args).stdin(Stdio::null());
        command
    }

    /// A run with the smallest fixture and few tokens.
    fn run(&self, out: &str, more: &[&str]) -> Command {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/tile42");
        let mut command =
            self.gar(&["eval", "gar-bench", "--annotations", ".", "--max-new-tokens", "6", "--threads", "1"]);
        command.arg("--model").arg(model).arg("--out").arg(out).args(more);
        command
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }
}

fn done(output: &Output) -> &str {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::str::from_utf8(&output.stdout).unwrap()
}

/// Twenty times: begin or go on, and SIGKILL at a random moment. Then the run ends with the bytes of an undisturbed one.
#[test]
fn a_run_that_is_killed_twenty_times_ends_as_an_undisturbed_one() {
    const KILLS: u32 = 20;
    let place = Place::new(60);
    let begun = Instant::now();
    done(&place.run("whole", &[]).output().unwrap());
    let whole = begun.elapsed();
    // A linear congruential generator (Knuth) is random enough to spread the moments; the seed changes from run to run.
    let mut random = std::process::id();
    // Within a seventh of the whole run's time, so that twenty strokes seldom reach its end. Where they do, because that run
    // was slower than these, another run begins and is struck earlier.
    let mut within = whole / 7;
    let (mut struck, mut torn) = (0, 0);
    while struck < KILLS {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let moment = within.mul_f64(f64::from(random >> 8) / f64::from(1 << 24));
        let mut child = place.run("parts", &[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(moment);
        let running = child.try_wait().unwrap().is_none();
        child.kill().unwrap();
        child.wait().unwrap();
        if !running {
            assert!(within > whole / 200, "strokes within {within:?} find no running process");
            within /= 2;
            struck = 0;
            std::fs::remove_dir_all(place.path("parts")).unwrap();
            continue;
        }
        struck += 1;
        if let Ok(log) = std::fs::read(place.path("parts/answers.jsonl")) {
            torn += u32::from(log.last().is_some_and(|&byte| byte != b'\n'));
        }
    }
    println!("{KILLS} strokes within {within:?} of {whole:?}, {torn} left a torn line");
    done(&place.run("parts", &[]).output().unwrap());
    for file in ["output.json", "answers.jsonl"] {
        assert!(place.read(&format!("whole/{file}")) == place.read(&format!("parts/{file}")), "{file}");
    }
}

#[test]
fn a_run_is_scored_and_looked_at() {
    let place = Place::new(4);
    let said = place.run("run", &["--as-published"]).output().unwrap();
    done(&said);
    assert!(String::from_utf8_lossy(&said.stderr).contains("4 questions asked: run/output.json"), "{said:?}");
    let manifest: Value = serde_json::from_slice(&place.read("run/manifest.json")).unwrap();
    let all = json!({"last_mask_boxes": true, "unpainted_slots": true, "second_bos": true});
    assert_eq!((&manifest["benchmark"], &manifest["options"]["as_published"]), (&json!("gar-bench-vqa"), &all));

    let scores = place.gar(&["eval", "score", "gar-bench-vqa", "run", "--json"]).output().unwrap();
    let scores: Value = serde_json::from_str(done(&scores)).unwrap();
    assert_eq!((&scores["categories"]["color"]["total"], &scores["overall"]["total"]), (&json!(2), &json!(4)));
    let both = place.gar(&["eval", "score", "gar-bench-vqa", "run", "run/output.json"]).output().unwrap();
    assert!(done(&both).contains("0 better, 0 worse, McNemar p = 1.0000"));

    done(&place.gar(&["eval", "view", "run"]).output().unwrap());
    let page = String::from_utf8(place.read("run/view/index.html")).unwrap();
    assert!(page.contains("\\u003cPrompt0>") && page.contains("\"pictured\":true") && !page.contains("/*DATA*/"));
    assert!(image::open(place.path("run/view/pictures/3.jpg")).unwrap().width() == 60);

    let stats = place.gar(&["eval", "stats", "GAR-Bench-VQA.json", "--json", "--plot", "areas.svg"]).output().unwrap();
    let stats: Value = serde_json::from_str(done(&stats)).unwrap();
    assert_eq!((&stats["prompts"], &stats["area_per_question"]["mean"]), (&json!({"1": 4}), &json!(1.25)));
    assert!(String::from_utf8(place.read("areas.svg")).unwrap().contains(">Prompts per question</text>"));
    done(&place.gar(&["eval", "stats", "GAR-Bench-VQA.json", "--plot", "areas.png"]).output().unwrap());
    assert_eq!(image::open(place.path("areas.png")).unwrap().width(), 1920);
}

#[test]
fn other_runs_and_wrong_usage_are_refused() {
    let place = Place::new(2);
    done(&place.run("run", &[]).output().unwrap());
    let refused = |command: &mut Command, code: i32, says: &str| {
        let output = command.output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(code) && told.contains(says), "{says:?} in {told}");
    };
    refused(&mut place.run("run", &["--as-published=second-bos"]), 1, "`options`: expected");
    refused(&mut place.run("run", &["--as-published=third-bos"]), 2, "last-mask-boxes");
    refused(&mut place.run("run", &["--task", "simple"]), 1, "GAR-Bench-Caption-Simple.json");
    refused(&mut place.gar(&["eval", "score", "no-bench", "run"]), 2, "gar-bench-vqa");
    refused(&mut place.gar(&["eval", "stats", "GAR-Bench-VQA.json", "--plot", "a.gif"]), 2, ".svg or .png");
    std::fs::remove_file(place.path("1.png")).unwrap();
    refused(&mut place.run("new", &[]), 1, "1.png: expected a picture at");
    let kept = place.run("new", &["--skip-missing"]).output().unwrap();
    done(&kept);
    assert!(String::from_utf8_lossy(&kept.stderr).contains("1 questions left out"), "{kept:?}");
}
