//! The closed vocabulary of drawn scenes, for a word-level tokenizer.
//!
//! Text is cut into [`pieces`]: special tokens, words, single punctuation marks and line ends; spaces between them are
//! dropped and come back by the usual rules of detokenizing (none before `.` and `,` and after an opening bracket).

use gar_prompt::prompt_name;
use serde_json::{Map, Value, json};

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

/// Special tokens before those of the slots, in the order of their ids, which begin behind [`WORDS`]: what a prompt of
/// the released layout is made of, and a word for all that is not known.
pub const SPECIAL: [&str; 9] = [
    "<unk>",
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|image|>",
    "<|video|>",
    "<|user|>",
    "<|assistant|>",
    "<|eot_id|>",
    "<NO_Prompt>",
];

/// The token that stands for one feature of the region in a slot, named as in the released tokenizer.
pub fn crop_token(slot: usize) -> String {
    format!("<|reserved_special_token_{}|>", slot + 2)
}

/// A `tokenizer.json` for Hugging Face `tokenizers` that cuts text as [`pieces`] does: [`WORDS`], then [`SPECIAL`], then
/// for each slot its name and its [`crop_token`].
///
/// ```
/// let json = gar_data::scene::vocabulary::tokenizer(5);
/// assert_eq!(json["model"]["vocab"]["red"], 96);
/// assert_eq!(json["added_tokens"].as_array().map(Vec::len), Some(9 + 2 * 5));
/// ```
pub fn tokenizer(prompt_slots: usize) -> Value {
    let slots = (0..prompt_slots).map(prompt_name).chain((0..prompt_slots).map(crop_token));
    let special: Vec<String> = SPECIAL.map(str::to_owned).into_iter().chain(slots).collect();
    let words = WORDS.iter().map(|&word| word.to_owned());
    let vocabulary: Map<String, Value> =
        words.chain(special.iter().cloned()).enumerate().map(|(id, word)| (word, id.into())).collect();
    // Names of regions are words of an answer; the others never are.
    let added: Vec<Value> = special
        .iter()
        .map(|token| {
            json!({
                "id": vocabulary[token], "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": !token.starts_with("<Prompt"),
            })
        })
        .collect();
    let split = |pattern: &str, behavior: &str| json!({ "type": "Split", "pattern": { "Regex": pattern }, "behavior": behavior, "invert": false });
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [split(" +", "Removed"), split("[\\p{L}\\p{N}']+|[^\\p{L}\\p{N}']", "Isolated")],
        },
        "post_processor": null,
        // Joins words by spaces, and takes those before punctuation away.
        "decoder": { "type": "WordPiece", "prefix": "##", "cleanup": true },
        "model": { "type": "WordLevel", "vocab": vocabulary, "unk_token": SPECIAL[0] },
    })
}

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
