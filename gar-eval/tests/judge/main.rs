//! The judge client against an endpoint on this machine that fails in every way: nothing lost, nothing counted twice, the
//! key nowhere.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod endpoint;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use endpoint::{Act, FakeEndpoint};
use gar_core::kernels::NoProgress;
use gar_eval::Error;
use gar_eval::judge::{
    ApiKey, Backoff, Cache, ChatRequest, Client, Endpoint, Fault, JudgeError, Judged, Message, Protocol, Question,
    Role, Settings, ask_all, dry_run,
};
use tempfile::TempDir;

const KEY: &str = "sk-very-secret-0123456789";

/// Long enough for an endpoint on a busy machine, short enough to wait for.
const TIMEOUT: Duration = Duration::from_millis(1500);

/// Numbered questions.
struct Numbers(usize);

impl Protocol for Numbers {
    fn len(&self) -> usize {
        self.0
    }

    fn question(&self, at: usize) -> gar_eval::Result<Question> {
        Ok(Question { name: format!("number {at}"), request: request(&format!("question {at}")) })
    }

    fn assemble(&self, answers: &[String]) -> gar_eval::Result<Judged> {
        Ok(Judged { text: answers.join("\n"), unparsed: Vec::new() })
    }
}

fn request(text: &str) -> ChatRequest {
    ChatRequest { messages: vec![Message::text(Role::User, text)], max_tokens: 8 }
}

/// Short waits, so that tests are.
fn settings(attempts: u32, at_once: usize) -> Settings {
    let backoff = Backoff {
        attempts,
        first: Duration::from_millis(4),
        most: Duration::from_millis(20),
        longest_asked: Duration::from_secs(2),
    };
    Settings { timeout: TIMEOUT, backoff, per_minute: None, at_once }
}

fn client(fake: &FakeEndpoint, folder: &Path, settings: Settings) -> Client {
    let endpoint = Endpoint::new(&fake.base_url, "judge-1", ApiKey::new(KEY)).unwrap();
    Client::new(endpoint, settings, Cache::new(folder)).unwrap()
}

fn gave_up(error: Error) -> (u32, Fault) {
    match error {
        Error::Judge(error) => match *error {
            JudgeError::GaveUp { attempts, fault } => (attempts, fault),
            other => panic!("{other}"),
        },
        other => panic!("{other}"),
    }
}

fn status(code: u16) -> Act {
    Act::Status(code, "", "{\"error\": {\"message\": \"no\"}}".into())
}

#[test]
fn every_passing_fault_is_survived() {
    let acts = [
        status(500),
        Act::Status(429, "retry-after: 1\r\n", "{}".into()),
        Act::Body("{\"choices\": [{\"message\": {\"cont".into()),
        Act::CutOff,
        Act::Body("{\"choices\": []}".into()),
        Act::Body("{\"choices\": [{\"message\": {\"content\": null, \"refusal\": \"no\"}}]}".into()),
        Act::Reset,
        Act::Silence(TIMEOUT * 2),
        status(503),
        Act::Slowly("True".into(), Duration::from_millis(5)),
    ];
    let count = acts.len();
    let fake = FakeEndpoint::start(move |place, _| acts[place].clone());
    let folder = TempDir::new().unwrap();
    let client = client(&fake, folder.path(), settings(count as u32, 1));
    let started = Instant::now();
    let reply = client.ask(&request("is it?")).unwrap();
    assert_eq!((reply.text.as_str(), reply.cached), ("True", false));
    assert_eq!(fake.requests().len(), count);
    assert!(started.elapsed() >= Duration::from_secs(1) + TIMEOUT, "a second was asked for, the silence took its time");
    assert!(client.ask(&request("is it?")).unwrap().cached);
    assert_eq!(fake.requests().len(), count, "an answer is asked for once");

    let first = &fake.requests()[0];
    assert!(first.head.starts_with("POST /v1/chat/completions HTTP/1.1"), "{}", first.head);
    assert!(first.head.to_lowercase().contains(&format!("authorization: bearer {KEY}")), "{}", first.head);
    assert_eq!(first.body["model"], "judge-1");
    assert_eq!(first.body["temperature"], 0.0);
}

#[test]
fn what_went_wrong_is_told() {
    let cases: [(Act, &str); 7] = [
        (Act::Silence(TIMEOUT * 2), "timed out: "),
        (Act::Slowly("x".repeat(300), TIMEOUT / 10), "timed out: "),
        (Act::Body("<html>".into()), "expected a JSON document, found: expected value at line 1 column 1: <html>"),
        (Act::Body("{\"choices\": {}}".into()), "`choices[0].message.content`: expected text, found nothing in {"),
        (Act::Body("{\"choices\": [{\"message\": {\"content\": 7}}]}".into()), "expected text, found 7"),
        (Act::CutOff, "connection: "),
        (Act::Reset, "connection: "),
    ];
    for (act, says) in cases {
        let shown = format!("{act:?}");
        let fake = FakeEndpoint::start(move |_, _| act.clone());
        let folder = TempDir::new().unwrap();
        let (attempts, fault) = gave_up(client(&fake, folder.path(), settings(1, 1)).ask(&request("q")).unwrap_err());
        assert_eq!(attempts, 1, "{shown}");
        assert!(fault.to_string().contains(says), "{shown}: {fault}");
        assert_eq!(fake.requests().len(), 1, "{shown}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{shown}: nothing is kept");
    }
}

#[test]
fn refusals_are_not_repeated_and_a_spent_quota_is_not_waited_for() {
    for (act, code) in
        [(status(400), 400), (status(401), 401), (Act::Status(429, "retry-after: 3600\r\n", String::new()), 429)]
    {
        let fake = FakeEndpoint::start(move |_, _| act.clone());
        let folder = TempDir::new().unwrap();
        let started = Instant::now();
        let (attempts, fault) = gave_up(client(&fake, folder.path(), settings(5, 1)).ask(&request("q")).unwrap_err());
        assert!(matches!(fault, Fault::Status { code: found, .. } if found == code), "{fault}");
        assert_eq!((attempts, fake.requests().len()), (1, 1));
        assert!(started.elapsed() < Duration::from_secs(2));
    }
}

#[test]
fn redirections_do_not_carry_the_key_elsewhere() {
    let other = FakeEndpoint::start(|_, _| Act::Say("stolen".into()));
    let location: &'static str =
        Box::leak(format!("location: {}/chat/completions\r\n", other.base_url).into_boxed_str());
    let fake = FakeEndpoint::start(move |_, _| Act::Status(307, location, String::new()));
    let folder = TempDir::new().unwrap();
    let (_, fault) = gave_up(client(&fake, folder.path(), settings(3, 1)).ask(&request("q")).unwrap_err());
    assert!(matches!(fault, Fault::Status { code: 307, .. }), "{fault}");
    assert_eq!(other.requests().len(), 0);
}

/// Every question fails in one way or another before it is answered; four threads ask.
#[test]
fn nothing_is_lost_and_nothing_counted_twice() {
    const QUESTIONS: usize = 40;
    let seen: Mutex<HashMap<String, usize>> = Mutex::default();
    let fake = FakeEndpoint::start(move |_, text| {
        let mut seen = seen.lock().unwrap();
        let times = seen.entry(text.into()).or_default();
        *times += 1;
        let number: usize = text.strip_prefix("question ").unwrap().parse().unwrap();
        match (*times, number % 5) {
            (1, 0) => status(500),
            (1, 1) => Act::Status(429, "retry-after: 0\r\n", String::new()),
            (1, 2) => Act::Body("{\"choices\"".into()),
            (1, 3) => Act::Reset,
            (1 | 2, 4) => Act::Body("[]".into()),
            _ => Act::Say(format!("answer {number}")),
        }
    });
    let folder = TempDir::new().unwrap();
    let client = client(&fake, folder.path(), settings(5, 4));
    let session = ask_all(&Numbers(QUESTIONS), &client, &NoProgress).unwrap();
    let expected: Vec<String> = (0..QUESTIONS).map(|n| format!("answer {n}")).collect();
    assert_eq!((session.answers, session.cached), (expected.clone(), 0));
    let sent = fake.requests().len();
    assert_eq!(sent, QUESTIONS * 2 + QUESTIONS / 5, "no more than the faults made necessary");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), QUESTIONS);

    let again = ask_all(&Numbers(QUESTIONS), &client, &NoProgress).unwrap();
    assert_eq!((again.answers, again.cached), (expected, QUESTIONS));
    assert_eq!(fake.requests().len(), sent);
}

#[test]
fn a_session_goes_on_where_it_stopped() {
    let fake = FakeEndpoint::start(|place, text| match place {
        0..15 => Act::Say(text.to_uppercase()),
        15..40 => status(503),
        _ => Act::Say(text.to_uppercase()),
    });
    let folder = TempDir::new().unwrap();
    let client = client(&fake, folder.path(), settings(1, 1));
    let error = ask_all(&Numbers(40), &client, &NoProgress).unwrap_err();
    let Error::Judge(error) = error else { panic!("{error}") };
    let said = error.to_string();
    assert_eq!(
        said,
        "25 of 40 judge questions got no answer; first number 15: no usable answer after 1 attempt(s); the last one: \
         status 503: {\"error\": {\"message\": \"no\"}}"
    );
    // One answer is damaged meanwhile: it is asked for again, and no other.
    let mut files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    std::fs::write(&files[3], "{\"answer\": ").unwrap();
    let session = ask_all(&Numbers(40), &client, &NoProgress).unwrap();
    assert_eq!(session.cached, 14);
    assert!(session.answers.iter().enumerate().all(|(n, answer)| *answer == format!("QUESTION {n}")));
    assert_eq!(fake.requests().len(), 40 + 26);
}

#[test]
fn a_refusal_that_concerns_all_ends_the_session() {
    let fake = FakeEndpoint::start(|_, _| status(401));
    let folder = TempDir::new().unwrap();
    let error = ask_all(&Numbers(40), &client(&fake, folder.path(), settings(3, 1)), &NoProgress).unwrap_err();
    assert!(error.to_string().starts_with("40 of 40 judge questions got no answer; first number 0: "), "{error}");
    assert_eq!(fake.requests().len(), 1);
}

#[test]
fn the_rate_is_kept_to_by_all_threads_together() {
    let fake = FakeEndpoint::start(|_, _| Act::Say("ok".into()));
    let folder = TempDir::new().unwrap();
    let settings = Settings { per_minute: Some(60.0 * 20.0), ..settings(1, 4) };
    let started = Instant::now();
    ask_all(&Numbers(9), &client(&fake, folder.path(), settings), &NoProgress).unwrap();
    assert!(started.elapsed() >= Duration::from_millis(400), "eight intervals of 50 ms");
}

#[test]
fn a_dry_run_sends_nothing() {
    let fake = FakeEndpoint::start(|_, _| Act::Say("ok".into()));
    let folder = TempDir::new().unwrap();
    let client = client(&fake, folder.path(), settings(1, 1));
    client.ask(&request("question 2")).unwrap();
    let run = dry_run(&Numbers(12), &client).unwrap();
    assert_eq!(fake.requests().len(), 1);
    assert_eq!((run.requests, run.cached), (12, 1));
    let bodies: Vec<u64> =
        (0..12).map(|n| request(&format!("question {n}")).body(client.endpoint()).len() as u64).collect();
    assert_eq!((run.bytes, run.longest), (bodies.iter().sum(), bodies[11]));
    assert!(
        run.first.contains("\"content\": \"question 0\"") && run.first.contains("\"model\": \"judge-1\""),
        "{}",
        run.first
    );
}

/// The endpoint repeats the key wherever it can.
#[test]
fn the_key_is_neither_written_nor_shown() {
    let fake = FakeEndpoint::start(|place, _| match place {
        0 => Act::Status(500, "", format!("key {KEY} is overloaded")),
        1 => Act::Body(format!("{{\"{KEY}\": ")),
        2 => Act::Body(format!("{{\"choices\": [\"{KEY}\"]}}")),
        3 => Act::Say(format!("True, says {KEY}")),
        _ => Act::Status(400, "", format!("Incorrect API key: {KEY}")),
    });
    let folder = TempDir::new().unwrap();
    let mut shown = String::new();
    let client = client(&fake, folder.path(), settings(1, 1));
    for text in ["a", "a", "a", "a", "b"] {
        match client.ask(&request(text)) {
            Ok(reply) => shown += &format!("{reply:?}"),
            Err(error) => shown += &format!("{error} {error:?}"),
        }
    }
    shown += &format!("{client:?} {:#?} {:?}", client.endpoint(), client.settings());
    shown += &dry_run(&Numbers(1), &client).unwrap().first;
    let mut written = Vec::new();
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let path = file.unwrap().path();
        written.extend(path.to_string_lossy().bytes());
        written.extend(std::fs::read(path).unwrap());
    }
    assert!(shown.contains("[key]") && String::from_utf8_lossy(&written).contains("True, says [key]"), "{shown}");
    for (what, bytes) in [("shown", shown.as_bytes()), ("written", &written)] {
        assert!(!bytes.windows(KEY.len()).any(|window| window == KEY.as_bytes()), "{what}");
    }
    assert!(fake.requests().iter().all(|request| request.head.contains(KEY)), "but it was sent");
}

#[test]
fn settings_outside_their_range_are_refused() {
    let fake = FakeEndpoint::start(|_, _| Act::Say("ok".into()));
    let folder = TempDir::new().unwrap();
    let refused = |settings: Settings| {
        let endpoint = Endpoint::new(&fake.base_url, "m", None).unwrap();
        Client::new(endpoint, settings, Cache::new(folder.path())).unwrap_err().to_string()
    };
    assert!(refused(settings(0, 1)).contains("`attempts`"));
    assert!(refused(settings(1, 0)).contains("`at_once`"));
    assert!(refused(Settings { timeout: Duration::ZERO, ..settings(1, 1) }).contains("`timeout`"));
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(refused(Settings { per_minute: Some(rate), ..settings(1, 1) }).contains("`per_minute`"), "{rate}");
    }
}
