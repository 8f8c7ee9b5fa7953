//! `gar train` on a fixture: the loss falls, an interrupted run goes on, and the result answers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::process::{Command, Output};

fn gar(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gar")).current_dir(folder).args(args).output().unwrap()
}

/// Losses of the lines `step N/M: loss L, …` and of `step N: evaluation loss L`.
fn losses(output: &Output, of: &str) -> Vec<f64> {
    let text = std::str::from_utf8(&output.stderr).unwrap();
    let value = |line: &str| line.split(of).nth(1)?.split(',').next()?.trim().parse().ok();
    text.lines().filter_map(value).collect()
}

#[test]
fn a_checkpoint_is_fine_tuned_on_json_lines() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").canonicalize().unwrap();
    let place = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(place.path().join(name), text).unwrap();
    let line = |left: usize, answer: &str| {
        // Columns left … left + 1 of a picture 5×4, whose runs go down the columns.
        let counts = [4 * left, 8, 20 - 4 * left - 8];
        let image = fixtures.join("images/tiny.png");
        let said = |from: &str, value: &str| serde_json::json!({"from": from, "value": value});
        serde_json::json!({
            "image": image,
            "mask_rle": {"size": [4, 5], "counts": counts},
            "conversations": [said("human", "<image>\nWhere is <Prompt0>?"), said("gpt", answer)],
        })
        .to_string()
    };
    write("samples.jsonl", &[line(0, "On the left."), line(3, "On the right.")].join("\n"));
    let config = format!(
        "model = {:?}\ndata = 'samples.jsonl'\nout = 'run'\n[run]\nsteps = 30\nbatch = 2\ncheckpoint_every = 10\n\
         [run.optimizer]\nlr = 5e-3\n[evaluation]\ndata = 'samples.jsonl'\nevery = 30\n",
        fixtures.join("tile42"),
    );
    write("train.toml", &config);
    let output = gar(place.path(), &["train", "train.toml"]);
    assert!(output.status.success(), "{output:?}");
    let (training, evaluation) = (losses(&output, ": loss "), losses(&output, "evaluation loss "));
    assert_eq!((training.len(), evaluation.len()), (30, 1), "{output:?}");
    assert!(evaluation[0] < 0.5 * training[0], "loss {} → {}", training[0], evaluation[0]);
    let curve = std::fs::read_to_string(place.path().join("run/loss.svg")).unwrap();
    assert!(curve.contains("<polyline"));

    // A run that is over goes on from its last step, which is the end.
    let again = gar(place.path(), &["train", "train.toml"]);
    assert!(again.status.success() && losses(&again, ": loss ").is_empty(), "{again:?}");

    let asked = ["ask", "--model", "run/model", "--box", "0,0,2,4", "--max-new-tokens", "4", "--quiet"];
    let image = fixtures.join("images/tiny.png");
    let answer = gar(place.path(), &[&asked[..], &[image.to_str().unwrap(), "Where is <Prompt0>?"]].concat());
    assert!(answer.status.success(), "{answer:?}");

    write("bad.toml", &config.replace("batch", "bacth"));
    let refused = gar(place.path(), &["train", "bad.toml"]);
    let message = std::str::from_utf8(&refused.stderr).unwrap();
    assert!(refused.status.code() == Some(1) && message.contains("bacth"), "{message}");
}
