//! The endpoint's key, which is never written.
use std::env::VarError;
use std::fmt;

use super::JudgeError;

/// The key of an endpoint. It can be sent, and nothing else: it prints as `…`, and
/// [`redact`](Self::redact) strikes it out of whatever an endpoint sends back.
#[derive(Clone)]
pub struct ApiKey(String);

impl ApiKey {
    /// The key in an environment variable, without white space around it.
    ///
    /// # Errors
    /// [`JudgeError::Key`] where the variable is unset, empty, or holds what an HTTP header cannot.
    pub fn from_env(name: &str) -> Result<Self, JudgeError> {
        let wrong = |found| JudgeError::Key { name: name.into(), found };
        match std::env::var(name) {
            Ok(value) => Self::new(&value).ok_or_else(|| wrong("nothing, or characters that are not printable ASCII")),
            Err(VarError::NotPresent) => Err(wrong("no such variable")),
            Err(VarError::NotUnicode(_)) => Err(wrong("bytes that are not UTF-8")),
        }
    }

    /// A key from text; `None` unless it is made of printable ASCII without spaces.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let fits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        fits.then(|| Self(text.to_owned()))
    }

    /// The value of the `Authorization` header.
    pub(super) fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// The text with every copy of the key replaced.
    pub fn redact(&self, text: &str) -> String {
        text.replace(&self.0, "[key]")
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_neither_shown_nor_passed_on() {
        let key = ApiKey::new(" sk-secret-1 \n").unwrap();
        assert_eq!(format!("{key:?} {:#?}", Some(&key)).matches("secret").count(), 0);
        assert_eq!(key.redact("Incorrect key sk-secret-1, sk-secret-1!"), "Incorrect key [key], [key]!");
        assert_eq!(key.bearer(), "Bearer sk-secret-1");
    }

    #[test]
    fn what_is_no_key_is_refused_without_being_shown() {
        for text in ["", "  ", "two words", "sk-\u{e9}", "a\nb"] {
            assert!(ApiKey::new(text).is_none(), "{text:?}");
        }
        let error = ApiKey::from_env("GAR_EVAL_NO_SUCH_KEY").unwrap_err().to_string();
        assert_eq!(
            error,
            "environment variable GAR_EVAL_NO_SUCH_KEY: expected the endpoint's key, found no such variable"
        );
    }
}
