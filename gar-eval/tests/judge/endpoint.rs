//! An endpoint on this machine that misbehaves as it is told.
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// What the endpoint does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Answers.
    Say(String),
    /// Answers with a status, headers and a body.
    Status(u16, &'static str, String),
    /// Sends this body as a success.
    Body(String),
    /// Announces a longer body than it sends, then hangs up.
    CutOff,
    /// Sends an answer in pieces with this pause between them.
    Slowly(String, Duration),
    /// Reads, and says nothing for this long.
    Silence(Duration),
    /// Hangs up with the request unread, so that the connection is reset.
    Reset,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub head: String,
    pub body: Value,
}

/// The endpoint; it ends when it is dropped.
pub(crate) struct FakeEndpoint {
    pub base_url: String,
    requests: Arc<Mutex<Vec<Request>>>,
    stop: Arc<AtomicBool>,
}

impl FakeEndpoint {
    /// Starts one. `act` is given the request's place, from 0, and its last user text.
    pub(crate) fn start(act: impl Fn(usize, &str) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let (act, stop) = (Arc::new(act), Arc::new(AtomicBool::new(false)));
        let (log, stopped) = (Arc::clone(&requests), Arc::clone(&stop));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(SeqCst) {
                    return;
                }
                let (act, log) = (Arc::clone(&act), Arc::clone(&log));
                thread::spawn(move || serve(stream, &*act, &log));
            }
        });
        Self { base_url, requests, stop }
    }

    /// What came so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for FakeEndpoint {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        let _ = TcpStream::connect(self.base_url.trim_start_matches("http://").trim_end_matches("/v1"));
    }
}

fn serve(mut stream: TcpStream, act: &(dyn Fn(usize, &str) -> Act + Send + Sync), log: &Mutex<Vec<Request>>) {
    let Some((request, length)) = peek(&stream) else { return };
    let text = last_text(&request.body);
    let place = {
        let mut log = log.lock().unwrap();
        log.push(request);
        log.len() - 1
    };
    let act = act(place, &text);
    if matches!(act, Act::Reset) {
        // Closing with data unread resets the connection.
        return;
    }
    stream.read_exact(&mut vec![0; length]).unwrap();
    // A client that went away is no failure of the endpoint.
    let _ = answer(&mut stream, act);
}

/// A whole request and its length, left unread.
fn peek(stream: &TcpStream) -> Option<(Request, usize)> {
    let mut bytes = vec![0; 1 << 16];
    loop {
        let count = stream.peek(&mut bytes).ok().filter(|&count| count > 0)?;
        if let Some(end) = bytes[..count].windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
            });
            let whole = end + 4 + length.unwrap();
            if count >= whole {
                return Some((Request { head, body: serde_json::from_slice(&bytes[end + 4..whole]).unwrap() }, whole));
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn last_text(body: &Value) -> String {
    let content = &body["messages"].as_array().unwrap().last().unwrap()["content"];
    match content.as_str() {
        Some(text) => text.to_owned(),
        None => content.as_array().unwrap().iter().rev().find_map(|part| part["text"].as_str()).unwrap().to_owned(),
    }
}

pub(crate) fn completion(text: &str) -> String {
    json!({"id": "x", "choices": [{"index": 0, "message": {"role": "assistant", "content": text}}]}).to_string()
}

fn answer(stream: &mut TcpStream, act: Act) -> std::io::Result<()> {
    let head = |status: u16, headers: &str, length: usize| {
        format!(
            "HTTP/1.1 {status} X\r\n{headers}connection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    match act {
        Act::Say(text) => answer(stream, Act::Body(completion(&text))),
        Act::Body(body) => write!(stream, "{}{body}", head(200, "", body.len())),
        Act::Status(status, headers, body) => write!(stream, "{}{body}", head(status, headers, body.len())),
        Act::CutOff => {
            let body = completion("never seen");
            write!(stream, "{}{}", head(200, "", body.len()), &body[..body.len() / 2])
        }
        Act::Slowly(text, pause) => {
            let body = completion(&text);
            write!(stream, "{}", head(200, "", body.len()))?;
            for piece in body.as_bytes().chunks(16) {
                thread::sleep(pause);
                stream.write_all(piece)?;
                stream.flush()?;
            }
            Ok(())
        }
        Act::Silence(time) => {
            thread::sleep(time);
            Ok(())
        }
        Act::Reset => Ok(()),
    }
}
