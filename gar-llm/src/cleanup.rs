//! The English clean-up that transformers applies after decoding, whole and streamed.

use std::borrow::Cow;

/// The replacements of `PreTrainedTokenizerBase.clean_up_tokenization`, applied one after the other.
const REPLACEMENTS: [(&str, &str); 10] = [
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
];

/// Removes the spaces before punctuation and English contractions.
pub(crate) fn clean_up(text: &str) -> Cow<'_, str> {
    let mut out = Cow::Borrowed(text);
    for (from, to) in REPLACEMENTS {
        if out.contains(from) {
            out = Cow::Owned(out.replace(from, to));
        }
    }
    out
}

/// [`clean_up`] for text that arrives in pieces: the outputs joined are the clean-up of the inputs joined.
#[derive(Debug, Default, Clone)]
pub(crate) struct CleanUpStream {
    held: String,
}

impl CleanUpStream {
    /// Takes more text and gives what no later text can change.
    pub(crate) fn push(&mut self, text: &str) -> String {
        self.held.push_str(text);
        let cut = safe_cut(&self.held);
        let rest = self.held.split_off(cut);
        clean_up(&std::mem::replace(&mut self.held, rest)).into_owned()
    }

    /// Gives what was held back.
    pub(crate) fn finish(&mut self) -> String {
        clean_up(&std::mem::take(&mut self.held)).into_owned()
    }
}

/// The byte position up to which `text` can be cleaned on its own.
///
/// Every pattern starts with a space, and its characters before the last are among `" 'nvr"`. So a match that crosses
/// the end of the text starts at a space of the last run of these characters. No replacement adds or changes any other
/// character, so this holds at every stage of the chain.
fn safe_cut(text: &str) -> usize {
    let run = text.trim_end_matches([' ', '\'', 'n', 'v', 'r']).len();
    text[run..].find(' ').map_or(text.len(), |space| run + space)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn replaces_in_order() {
        assert_eq!(clean_up("do n't , it 's  ."), "don't, it's .");
        assert_eq!(clean_up("a  ' s b"), "a's b", "a later replacement may see the result of an earlier one");
        assert!(matches!(clean_up("nothing to do."), Cow::Borrowed(_)));
    }

    #[test]
    fn holds_back_only_what_may_change() {
        let mut stream = CleanUpStream::default();
        assert_eq!(stream.push("man"), "man");
        assert_eq!(stream.push(" n"), "");
        assert_eq!(stream.push("o"), " no");
        assert_eq!(stream.push(" "), "");
        assert_eq!(stream.push("."), ".");
        assert_eq!(stream.push(" "), "");
        assert_eq!(stream.finish(), " ");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn streamed_equals_whole(pieces in prop::collection::vec("[ .?!,'ntmsverxé]{0,4}", 0..12)) {
            let mut stream = CleanUpStream::default();
            let mut out: String = pieces.iter().map(|piece| stream.push(piece)).collect();
            out.push_str(&stream.finish());
            let whole = pieces.concat();
            prop_assert_eq!(out, clean_up(&whole));
        }
    }
}
