//! When an answer ends: stop tokens and stop strings.

use crate::{Error, Result};

/// What ends an answer. The default never does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StopRules {
    /// Any of these tokens ends the answer; it is not part of the text.
    pub tokens: Vec<u32>,
    /// Any of these strings ends the answer where it first occurs; neither it nor what follows is part of the text.
    pub strings: Vec<String>,
}

impl StopRules {
    /// Refuses an empty stop string, which would end every answer before it starts.
    pub fn validate(&self) -> Result<()> {
        match self.strings.iter().any(String::is_empty) {
            true => {
                Err(Error::Setting { field: "stop string", expected: "at least one character", found: "\"\"".into() })
            }
            false => Ok(()),
        }
    }
}

/// Looks for stop strings in text that arrives in pieces, and holds back what may become one.
#[derive(Debug, Clone)]
pub(crate) struct StopStrings {
    strings: Vec<String>,
    held: String,
}

/// Text that may be shown, and whether it ended at a stop string.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Released {
    pub(crate) text: String,
    pub(crate) stopped: bool,
}

impl StopStrings {
    pub(crate) fn new(strings: &[String]) -> Self {
        Self { strings: strings.to_vec(), held: String::new() }
    }

    /// Takes more text; gives what can no longer be the beginning of a stop string.
    pub(crate) fn push(&mut self, text: &str) -> Released {
        self.held.push_str(text);
        // The match that is complete first ends the answer, whichever way the text was cut into pieces; of several that
        // end together, the longest hides most.
        let first = self
            .strings
            .iter()
            .filter_map(|stop| self.held.find(stop.as_str()).map(|start| (start + stop.len(), start)))
            .min();
        if let Some((_, start)) = first {
            let mut text = std::mem::take(&mut self.held);
            text.truncate(start);
            return Released { text, stopped: true };
        }
        let keep = self.strings.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - keep);
        Released { text: std::mem::replace(&mut self.held, rest), stopped: false }
    }

    /// Gives what was held back, when no more text comes.
    pub(crate) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Length of the longest proper prefix of `stop` that `text` ends with, in bytes.
fn overlap(text: &str, stop: &str) -> usize {
    let prefixes = stop.char_indices().map(|(at, _)| at).rev();
    prefixes.into_iter().find(|&at| text.ends_with(&stop[..at])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(stops: &[&str], pieces: &[&str]) -> (Vec<String>, bool) {
        let stops: Vec<String> = stops.iter().map(|&s| s.into()).collect();
        let mut state = StopStrings::new(&stops);
        let mut out = Vec::new();
        for piece in pieces {
            let released = state.push(piece);
            out.push(released.text);
            if released.stopped {
                return (out, true);
            }
        }
        out.push(state.finish());
        (out, false)
    }

    #[test]
    fn straddles_pieces() {
        assert_eq!(
            run(&["\n\nQ:"], &["a\n", "\n", "Q", ": b"]),
            (vec!["a".into(), "".into(), "".into(), "".into()], true)
        );
        assert_eq!(run(&["\n\nQ:"], &["a\n", "\nx"]), (vec!["a".into(), "\n\nx".into(), "".into()], false));
        assert_eq!(run(&["aab"], &["aa", "ab!"]), (vec!["".into(), "a".into()], true), "the prefix may restart");
        assert_eq!(
            run(&["END"], &["the EN"]),
            (vec!["the ".into(), "EN".into()], false),
            "a prefix at the end is text"
        );
        assert_eq!(run(&["é!"], &["caf", "é", "s"]), (vec!["caf".into(), "".into(), "és".into(), "".into()], false));
        assert_eq!(run(&[], &["x", "y"]), (vec!["x".into(), "y".into(), "".into()], false));
        assert!(StopRules { strings: vec![String::new()], ..StopRules::default() }.validate().is_err());
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            pieces in prop::collection::vec("[abé]{0,3}", 0..8),
            stops in prop::collection::vec("[abé]{1,3}", 0..3),
        ) {
            let mut state = StopStrings::new(&stops);
            let (mut text, mut stopped) = (String::new(), false);
            for piece in &pieces {
                let released = state.push(piece);
                text.push_str(&released.text);
                stopped = released.stopped;
                if stopped { break; }
            }
            if !stopped {
                text.push_str(&state.finish());
            }
            let whole = pieces.concat();
            let expected = stops
                .iter()
                .filter_map(|s| whole.find(s.as_str()).map(|at| (at + s.len(), at)))
                .min();
            prop_assert_eq!(stopped, expected.is_some());
            prop_assert_eq!(text.as_str(), &whole[..expected.map_or(whole.len(), |(_, at)| at)]);
        }
    }
}
