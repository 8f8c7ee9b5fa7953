//! A tokenizer of the released form and size: byte-level BPE, 256 special tokens, the names of the prompt slots.
//!
//! The vocabulary of the published models is trained data and not at hand. Its place is taken by the 256 bytes, which
//! encode any text, the words that every prompt holds, which keep a prompt as long as it really is, and made-up words
//! up to the full number.
use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::CHAT_TEMPLATE;
use super::preset::{SLOTS, Text};

/// Words of every prompt beside those of the chat template.
const PROMPT_WORDS: &str = "There are some objects I am curious about Describe this masked region in detail \
                            What is the of and in to user assistant system";

/// How text is cut into words before they become tokens: that of Llama 3.
const WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Special tokens before the names of the slots.
const RESERVED: usize = 256;

/// Special tokens that have a name of their own, at their places after the base tokens; the places between and after
/// them are `<|reserved_special_token_2|>` and so on. Slots show regions by the first of those.
const NAMED: [(usize, &str); 7] = [
    (0, "<|begin_of_text|>"),
    (1, "<|end_of_text|>"),
    (2, "<|image|>"),
    (3, "<|video|>"),
    (6, "<|start_header_id|>"),
    (7, "<|end_header_id|>"),
    (9, "<|eot_id|>"),
];

/// The special tokens: those of the text, the names of the slots, `<NO_Prompt>`.
#[derive(Debug)]
pub(super) struct Specials {
    /// Id of the first.
    first: usize,
    texts: Vec<String>,
}

impl Specials {
    pub(super) fn of(text: &Text) -> Self {
        let mut reserved = 2..;
        let mut texts: Vec<String> = (0..RESERVED)
            .map(|place| match NAMED.iter().find(|(at, _)| *at == place) {
                Some((_, name)) => (*name).to_owned(),
                None => format!("<|reserved_special_token_{}|>", reserved.next().unwrap_or_default()),
            })
            .collect();
        texts.extend((0..SLOTS).map(|slot| format!("<Prompt{slot}>")));
        texts.push("<NO_Prompt>".into());
        Self { first: text.base_tokens, texts }
    }

    /// All tokens of the vocabulary.
    pub(super) fn vocabulary(&self) -> usize {
        self.first + self.texts.len()
    }

    pub(super) fn begin(&self) -> usize {
        self.first
    }

    pub(super) fn image(&self) -> usize {
        self.first + 2
    }

    pub(super) fn video(&self) -> usize {
        self.first + 3
    }

    /// `<|end_of_text|>` and `<|eot_id|>`.
    pub(super) fn stops(&self) -> [usize; 2] {
        [self.first + 1, self.first + 9]
    }

    /// The crop token of each slot.
    pub(super) fn crops(&self) -> Vec<usize> {
        let reserved = (0..).filter(|place| NAMED.iter().all(|(at, _)| at != place));
        reserved.take(SLOTS).map(|place| self.first + place).collect()
    }
}

/// The contents of `tokenizer.json`.
pub(super) fn tokenizer(text: &Text) -> Value {
    let specials = Specials::of(text);
    let begin = "<|begin_of_text|>";
    let added: Vec<Value> = (specials.first..)
        .zip(&specials.texts)
        .map(|(id, content)| {
            json!({
                "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true,
            })
        })
        .collect();
    let start = |type_id: usize| json!({ "SpecialToken": { "id": begin, "type_id": type_id } });
    let sequence = |id: &str, type_id: usize| json!({ "Sequence": { "id": id, "type_id": type_id } });
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [
            { "type": "Split", "pattern": { "Regex": WORDS }, "behavior": "Isolated", "invert": false },
            { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false },
        ] },
        "post_processor": { "type": "Sequence", "processors": [
            { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true },
            {
                "type": "TemplateProcessing",
                "single": [start(0), sequence("A", 0)],
                "pair": [start(0), sequence("A", 0), start(1), sequence("B", 1)],
                "special_tokens": { begin: { "id": begin, "ids": [specials.begin()], "tokens": [begin] } },
            },
        ] },
        "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            // A word that is a token as it stands needs no merges.
            "ignore_merges": true,
            "vocab": vocabulary(text.base_tokens),
            "merges": [],
        },
    })
}

/// `base_tokens` tokens and their ids: bytes, words of the prompts, made-up words.
fn vocabulary(base_tokens: usize) -> Map<String, Value> {
    let known = format!("{CHAT_TEMPLATE} {PROMPT_WORDS}");
    let known: BTreeSet<&str> = known.split(|c: char| !c.is_ascii_alphabetic()).filter(|w| w.len() > 1).collect();
    // `Ġ` is the space in front of a word, in the printable alphabet for bytes.
    let known = known.into_iter().flat_map(|word| [format!("Ġ{word}"), word.to_owned()]);
    let made_up = (0..).map(|n| format!("Ġ{}", made_up_word(n)));
    let mut vocabulary = Map::new();
    for token in byte_alphabet().map(String::from).chain(known).chain(made_up) {
        if vocabulary.len() == base_tokens {
            break;
        }
        let id = vocabulary.len();
        vocabulary.entry(token).or_insert_with(|| id.into());
    }
    vocabulary
}

/// The characters that stand for the 256 bytes in byte-level BPE, in the order of their code points: bytes that print
/// stand for themselves, the others for the characters from U+0100 on.
fn byte_alphabet() -> impl Iterator<Item = char> {
    let prints = |byte: &u8| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let hidden = (0..=u8::MAX).filter(move |byte| !prints(byte)).count() as u32;
    let others = (0x100..0x100 + hidden).filter_map(char::from_u32);
    (0..=u8::MAX).filter(prints).map(char::from).chain(others)
}

/// The `n`-th word of three or more syllables.
fn made_up_word(n: usize) -> String {
    const ONSETS: [char; 16] = ['b', 'd', 'f', 'g', 'h', 'j', 'k', 'l', 'm', 'n', 'p', 'r', 's', 't', 'v', 'z'];
    const VOWELS: [char; 5] = ['a', 'e', 'i', 'o', 'u'];
    const SYLLABLES: usize = ONSETS.len() * VOWELS.len();
    let mut word = String::new();
    let mut rest = n;
    while word.len() < 6 || rest > 0 {
        let syllable = rest % SYLLABLES;
        word.extend([ONSETS[syllable / VOWELS.len()], VOWELS[syllable % VOWELS.len()]]);
        rest /= SYLLABLES;
    }
    word
}

#[cfg(test)]
mod tests {
    use super::super::Preset;
    use super::*;

    #[test]
    fn sizes_and_places_are_those_of_the_released_tokenizer() {
        let specials = Specials::of(&Preset::Gar1b.architecture().text);
        assert_eq!(specials.vocabulary(), 128_262);
        assert_eq!(specials.crops(), [128_004, 128_005, 128_008, 128_010, 128_011]);
        assert_eq!((specials.image(), specials.stops()), (128_002, [128_001, 128_009]));
        for (slot, id) in specials.crops().into_iter().enumerate() {
            assert_eq!(specials.texts[id - 128_000], gar_core::prompt::crop_token_name(slot));
        }
        assert_eq!(specials.texts[255], "<|reserved_special_token_250|>");
        assert_eq!(
            specials.texts[RESERVED..],
            ["<Prompt0>", "<Prompt1>", "<Prompt2>", "<Prompt3>", "<Prompt4>", "<NO_Prompt>"]
        );
    }

    #[test]
    fn the_vocabulary_is_full_and_begins_with_the_bytes() {
        let vocabulary = vocabulary(128_000);
        assert_eq!(vocabulary.len(), 128_000);
        let mut ids: Vec<u64> = vocabulary.values().filter_map(Value::as_u64).collect();
        ids.sort_unstable();
        assert!(ids.iter().enumerate().all(|(i, &id)| i as u64 == id));
        for (token, id) in [("!", 0), ("~", 93), ("Ā", 188), ("Ġ", 220), ("Ń", 255)] {
            assert_eq!(vocabulary[token], id, "{token}");
        }
        assert!(vocabulary.contains_key("Ġassistant"));
    }
}
