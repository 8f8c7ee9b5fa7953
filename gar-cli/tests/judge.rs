//! `gar eval judge` against an endpoint on this machine: what it writes is scored, and the key is nowhere.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use serde_json::{Value, json};

const KEY: &str = "sk-not-to-be-seen-42";

/// Answers "A" to every request but the first, which it refuses for a moment while repeating the key. Gives its base URL
/// and the number of requests.
fn endpoint() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    // Ends with the test's process.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let head = read(&mut stream);
            assert!(head.contains(&format!("Bearer {KEY}")));
            let (status, body) = match counted.fetch_add(1, SeqCst) {
                0 => (503, format!("{{\"error\": \"{KEY} is overloaded\"}}")),
                _ => (200, json!({"choices": [{"message": {"content": "A"}}]}).to_string()),
            };
            let length = body.len();
            let _ =
                write!(stream, "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
        }
    });
    (url, count)
}

/// A whole request; gives its head.
fn read(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    let mut piece = [0; 4096];
    loop {
        let count = stream.read(&mut piece).unwrap();
        text.push_str(&String::from_utf8_lossy(&piece[..count]));
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let lower = head.to_lowercase();
        let length = lower.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if body.len() >= length.parse().unwrap() {
            return head.to_owned();
        }
    }
}

fn gar(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gar"));
    command.current_dir(folder).args(args).env("JUDGE_KEY", KEY).env_remove("OPENAI_API_KEY");
    command.output().unwrap()
}

#[test]
fn captions_are_judged_once_and_scored() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    let write = |name: &str, value: Value| std::fs::write(folder.join(name), value.to_string()).unwrap();
    let question = |kind: &str| json!({"question": format!("Which {kind}?"), "type": kind, "choices": [["Red.", 1], ["Blue.", -1]]});
    write("qa.json", json!({"7": [question("positive"), question("negative")]}));
    write("class_names.json", json!({"7": "bird"}));
    write("said.json", json!({"7": "A red bird."}));
    let (url, count) = endpoint();
    let judge = |more: &[&str]| {
        let args =
            ["eval", "judge", "dlc-bench", "said.json", "--annotations", ".", "--base-url", &url, "--judge-model", "m"];
        gar(folder, &[&args, more].concat())
    };

    let dry = judge(&["--dry-run"]);
    let printed = String::from_utf8_lossy(&dry.stdout);
    assert!(
        dry.status.success() && printed.contains("3 requests, ") && printed.contains("\"model\": \"m\""),
        "{dry:?}"
    );
    assert!(!folder.join("said_eval.json.cache").exists(), "a dry run leaves nothing behind");
    let keyless = judge(&[]);
    assert!(
        String::from_utf8_lossy(&keyless.stderr).contains("OPENAI_API_KEY: expected the endpoint's key"),
        "{keyless:?}"
    );
    assert_eq!(count.load(SeqCst), 0);

    let failed = judge(&["--key-env", "JUDGE_KEY", "--attempts", "1", "--at-once", "1"]);
    let told = String::from_utf8_lossy(&failed.stderr);
    assert!(
        !failed.status.success() && told.contains("1 of 3 judge questions got no answer") && told.contains("[key]"),
        "{told}"
    );
    assert!(!folder.join("said_eval.json").exists());
    let done = judge(&["--key-env", "JUDGE_KEY"]);
    assert!(
        String::from_utf8_lossy(&done.stderr).contains("3 judge questions, 2 answered before, 0 answers not readable"),
        "{done:?}"
    );
    assert_eq!(count.load(SeqCst), 4);

    let scored = gar(folder, &["eval", "score", "dlc-bench", "said_eval.json", "--json"]);
    let scores: Value = serde_json::from_slice(&scored.stdout).unwrap();
    assert_eq!(scores["overall"]["score"], 100.0, "{scored:?}");

    let mut seen: Vec<u8> = [dry, keyless, failed, done, scored]
        .iter()
        .flat_map(|o| [o.stdout.clone(), o.stderr.clone()].concat())
        .collect();
    for entry in
        [folder.to_path_buf(), folder.join("said_eval.json.cache")].iter().flat_map(|f| std::fs::read_dir(f).unwrap())
    {
        let path = entry.unwrap().path();
        if path.is_file() {
            seen.extend(std::fs::read(path).unwrap());
        }
    }
    assert!(!seen.windows(KEY.len()).any(|window| window == KEY.as_bytes()));
}

#[test]
fn videos_are_refused_by_name() {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("VideoRefer-Bench-Q.json"), "[]").unwrap();
    let args =
        ["eval", "run", "videorefer-bench-q", "--annotations", ".", "--images", ".", "--model", "none", "--out", "run"];
    let refused = gar(place.path(), &args);
    assert!(!refused.status.success());
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("videorefer-bench-q: expected a model that takes frames")
    );
}
