//! The closed vocabulary of drawn scenes, for a word-level tokenizer.
//!
//! Text is cut into [`pieces`]: special tokens, words, single punctuation marks and line ends; spaces between them are
//! dropped and come back by the usual rules of detokenizing (none before `.` and `,` and after an opening bracket).

/// Every word and mark that questions, answers and the prompt around them use, beside special tokens (`<Prompt0>`,
/// `<|…|>`). Sorted; upper and lower case are different words.
pub const WORDS: [&str; 126] = [
    "\n",
    ",",
    ".",
    ":",
    ";",
    "?",
    "A",
    "Answer",
    "Are",
    "B",
    "Both",
    "C",
    "D",
    "Describe",
    "I",
    "Is",
    "It",
    "Neither",
    "No",
    "None",
    "Only",
    "Options",
    "Question",
    "The",
    "There",
    "What",
    "Which",
    "Yes",
    "a",
    "about",
    "above",
    "am",
    "among",
    "an",
    "and",
    "are",
    "behind",
    "below",
    "between",
    "blue",
    "both",
    "box",
    "checkered",
    "circle",
    "color",
    "correct",
    "correctly",
    "cross",
    "curious",
    "cyan",
    "describes",
    "detail",
    "diamond",
    "directly",
    "does",
    "dotted",
    "enclosing",
    "first",
    "fourth",
    "from",
    "front",
    "full",
    "glass",
    "green",
    "have",
    "heart",
    "image",
    "in",
    "including",
    "inside",
    "is",
    "large",
    "left",
    "letter",
    "made",
    "masked",
    "material",
    "metal",
    "mirror",
    "nor",
    "not",
    "object",
    "objects",
    "of",
    "on",
    "one",
    "option's",
    "or",
    "orange",
    "paper",
    "pink",
    "plain",
    "plastic",
    "position",
    "purple",
    "real",
    "red",
    "reflection",
    "region",
    "relationship",
    "right",
    "ring",
    "ringed",
    "row",
    "screen",
    "second",
    "shape",
    "small",
    "some",
    "spatial",
    "square",
    "star",
    "statement",
    "stone",
    "striped",
    "table",
    "texture",
    "the",
    "third",
    "this",
    "triangle",
    "under",
    "visible",
    "which",
    "with",
    "yellow",
];

/// Cuts text into special tokens, words, punctuation marks and line ends.
///
/// ```
/// use gar_data::scene::vocabulary::pieces;
///
/// let cut: Vec<&str> = pieces("Is <Prompt1> red?\nA. Yes").collect();
/// assert_eq!(cut, ["Is", "<Prompt1>", "red", "?", "\n", "A", ".", "Yes"]);
/// ```
pub fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(' ');
        let length = piece_length(rest);
        let (piece, after) = rest.split_at(length);
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Bytes of the piece that `text` starts with; 0 for no text.
fn piece_length(text: &str) -> usize {
    let Some(first) = text.chars().next() else { return 0 };
    if first == '<' {
        let inner = text[1..].find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '|');
        if let Some(end) = inner.filter(|&end| end > 0 && text[1 + end..].starts_with('>')) {
            return end + 2;
        }
    }
    let word = |c: char| c.is_alphanumeric() || c == '\'';
    if word(first) { text.find(|c| !word(c)).unwrap_or(text.len()) } else { first.len_utf8() }
}
