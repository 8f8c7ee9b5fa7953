//! Sends requests until they are answered.
use std::io;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use ureq::http::{HeaderValue, header};

use super::pace::Pace;
use super::retry::retry_after;
use super::{ApiKey, Backoff, Cache, ChatRequest, Endpoint, Fault, JudgeError};
use crate::{Error, Result};

/// The longest body that is read. A verdict takes a few kilobytes.
const LONGEST_BODY: u64 = 16 << 20;

/// How an endpoint is asked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The longest a request may take, the reading of a slow answer included.
    pub timeout: Duration,
    /// When a request is sent again.
    pub backoff: Backoff,
    /// Most requests a minute, those that are sent again included; unbounded by default.
    pub per_minute: Option<f64>,
    /// Most requests under way at one time.
    pub at_once: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(120), backoff: Backoff::default(), per_minute: None, at_once: 4 }
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// What the judge said.
    pub text: String,
    /// Whether it had said so before.
    pub cached: bool,
}

/// An endpoint with its cache. Threads share it.
#[derive(Debug)]
pub struct Client {
    agent: ureq::Agent,
    endpoint: Endpoint,
    settings: Settings,
    cache: Cache,
    pace: Pace,
}

impl Client {
    /// A client. Nothing is sent yet.
    ///
    /// # Errors
    /// [`JudgeError::Setting`] for a setting outside its range.
    pub fn new(endpoint: Endpoint, settings: Settings, cache: Cache) -> Result<Self, JudgeError> {
        let check = |holds: bool, field, expected, found: String| match holds {
            true => Ok(()),
            false => Err(JudgeError::Setting { field, expected, found }),
        };
        let Settings { timeout, backoff, per_minute, at_once } = &settings;
        check(!timeout.is_zero(), "timeout", "more than nothing", format!("{timeout:?}"))?;
        check(backoff.attempts > 0, "attempts", "at least 1", backoff.attempts.to_string())?;
        check(*at_once > 0, "at_once", "at least 1", at_once.to_string())?;
        // A day is the longest interval: one request.
        let rate = per_minute.unwrap_or(1.0);
        check(rate >= 1.0 / 1440.0 && rate.is_finite(), "per_minute", "a number from 1/1440", rate.to_string())?;
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(*timeout))
            .http_status_as_error(false)
            // A redirection would take the key to another place.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("gar-eval/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        let pace = Pace::new(settings.per_minute);
        Ok(Self { agent, endpoint, settings, cache, pace })
    }

    /// Where it asks.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// How it asks.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The answer to this request if it is known already.
    pub fn known(&self, request: &ChatRequest) -> Option<String> {
        self.cache.get(&Cache::name(self.endpoint.url(), &request.body(&self.endpoint)))
    }

    /// The answer to a request, from the cache or from the endpoint, where it is asked for again until it comes or the
    /// attempts are over.
    ///
    /// # Errors
    /// [`JudgeError::GaveUp`]; [`Error::Io`] where the answer cannot be kept.
    pub fn ask(&self, request: &ChatRequest) -> Result<Reply> {
        let body = request.body(&self.endpoint);
        let name = Cache::name(self.endpoint.url(), &body);
        if let Some(text) = self.cache.get(&name) {
            return Ok(Reply { text, cached: true });
        }
        let text = self.insist(&body)?;
        self.cache.put(&name, &text)?;
        Ok(Reply { text, cached: false })
    }

    /// Attempts with waits between them.
    fn insist(&self, body: &str) -> Result<String, JudgeError> {
        let mut attempts = 0;
        loop {
            self.pace.pass();
            attempts += 1;
            let fault = match self.attempt(body) {
                Ok(text) => return Ok(text),
                Err(fault) => fault,
            };
            let asked = match &fault {
                Fault::Status { retry_after, .. } => *retry_after,
                _ => None,
            };
            let wait = self.settings.backoff.wait(attempts, asked, fastrand::f64());
            let Some(wait) = wait.filter(|_| fault.is_passing()) else {
                return Err(JudgeError::GaveUp { attempts, fault });
            };
            if let Some(asked) = asked {
                self.pace.hold(asked);
            }
            sleep(wait);
        }
    }

    /// One request.
    fn attempt(&self, body: &str) -> Result<String, Fault> {
        let transport = |error| self.transport_fault(&error);
        let mut call = self.agent.post(self.endpoint.url()).content_type("application/json");
        if let Some(key) = self.endpoint.key() {
            call = call.header(header::AUTHORIZATION, authorization(key)?);
        }
        let mut response = call.send(body).map_err(transport)?;
        let status = response.status();
        let asked = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let asked = asked.and_then(|value| retry_after(value, SystemTime::now()));
        let bytes = response.body_mut().with_config().limit(LONGEST_BODY).read_to_vec();
        if !status.is_success() {
            // What it says is a courtesy; the status counts.
            let message = self.excerpt(&String::from_utf8_lossy(&bytes.unwrap_or_default()));
            return Err(Fault::Status { code: status.as_u16(), retry_after: asked, message });
        }
        self.content(&bytes.map_err(transport)?)
    }

    /// The text of an answer.
    fn content(&self, bytes: &[u8]) -> Result<String, Fault> {
        let value: Value = serde_json::from_slice(bytes)
            .map_err(|error| Fault::Json(format!("{error}: {}", self.excerpt(&String::from_utf8_lossy(bytes)))))?;
        match value.pointer("/choices/0/message/content") {
            Some(Value::String(text)) => Ok(self.redact(text)),
            Some(other) => Err(Fault::Schema(self.excerpt(&other.to_string()))),
            None => Err(Fault::Schema(format!("nothing in {}", self.excerpt(&value.to_string())))),
        }
    }

    fn transport_fault(&self, error: &ureq::Error) -> Fault {
        let text = self.redact(&error.to_string());
        match error {
            ureq::Error::Timeout(_) => Fault::Timeout(text),
            ureq::Error::Io(io) if io.kind() == io::ErrorKind::TimedOut => Fault::Timeout(text),
            _ => Fault::Connection(text),
        }
    }

    /// The beginning of a text, in one line.
    fn excerpt(&self, text: &str) -> String {
        const MOST: usize = 200;
        let text = self.redact(text).split_whitespace().collect::<Vec<_>>().join(" ");
        match text.char_indices().nth(MOST) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        }
    }

    fn redact(&self, text: &str) -> String {
        self.endpoint.key().map_or_else(|| text.to_owned(), |key| key.redact(text))
    }
}

/// The header that shows the key, marked so that nothing prints it.
fn authorization(key: &ApiKey) -> Result<HeaderValue, Fault> {
    let mut value = HeaderValue::from_str(&key.bearer()).map_err(|error| Fault::Connection(error.to_string()))?;
    value.set_sensitive(true);
    Ok(value)
}

impl From<JudgeError> for Error {
    fn from(error: JudgeError) -> Self {
        Self::Judge(Box::new(error))
    }
}
