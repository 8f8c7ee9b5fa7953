//! Where a judge is asked.
use serde_json::{Map, Value};

use super::{ApiKey, JudgeError};

/// An OpenAI-compatible chat endpoint and a model of it.
#[derive(Clone, Debug)]
pub struct Endpoint {
    url: String,
    model: String,
    key: Option<ApiKey>,
    extra: Map<String, Value>,
}

impl Endpoint {
    /// The endpoint whose paths begin with `base_url`, such as `http://localhost:8000/v1`; `/chat/completions` is
    /// appended. A local server may need no key.
    ///
    /// # Errors
    /// [`JudgeError::BaseUrl`] for what is not http or https, for an URL that holds a password (URLs are shown in
    /// messages), a query or a fragment. [`JudgeError::Setting`] for an empty model name.
    pub fn new(base_url: &str, model: &str, key: Option<ApiKey>) -> Result<Self, JudgeError> {
        let wrong = |expected, found: &str| JudgeError::BaseUrl { expected, found: found.into() };
        let host = base_url.strip_prefix("http://").or_else(|| base_url.strip_prefix("https://"));
        let Some(host) = host.filter(|rest| !rest.is_empty() && !rest.starts_with('/')) else {
            return Err(wrong("http://… or https://…", base_url));
        };
        if host.split('/').next().is_some_and(|authority| authority.contains('@')) {
            return Err(wrong("no user name or password in it", "one"));
        }
        if host.contains(['?', '#']) || !host.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(wrong("neither query, fragment nor white space", base_url));
        }
        if model.trim().is_empty() {
            return Err(JudgeError::Setting { field: "model", expected: "a name", found: "nothing".into() });
        }
        let url = format!("{}/chat/completions", base_url.trim_end_matches('/'));
        Ok(Self { url, model: model.into(), key, extra: Map::new() })
    }

    /// Adds fields to every request's body, for models that want others than `temperature` and `max_tokens`; `null` leaves
    /// a field out.
    #[must_use]
    pub fn with_extra(self, extra: Map<String, Value>) -> Self {
        Self { extra, ..self }
    }

    /// The whole address of a request.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The model's name.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Fields beside those that every request has.
    pub fn extra(&self) -> &Map<String, Value> {
        &self.extra
    }

    pub(super) fn key(&self) -> Option<&ApiKey> {
        self.key.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_appended_to_the_base() {
        for base in ["http://localhost:8000/v1", "http://localhost:8000/v1/"] {
            assert_eq!(Endpoint::new(base, "m", None).unwrap().url(), "http://localhost:8000/v1/chat/completions");
        }
    }

    #[test]
    fn addresses_that_are_none_are_refused() {
        for base in ["localhost:8000", "ftp://a", "http://", "http:///v1", "http://a/v1?key=1", "http://a b"] {
            assert!(matches!(Endpoint::new(base, "m", None), Err(JudgeError::BaseUrl { .. })), "{base}");
        }
        let error = Endpoint::new("https://user:secret@a/v1", "m", None).unwrap_err().to_string();
        assert_eq!(error, "base URL: expected no user name or password in it, found one");
        assert!(matches!(Endpoint::new("http://a", " ", None), Err(JudgeError::Setting { .. })));
    }
}
