//! Tokenizer, streaming and chat templates.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::time::{Duration, UNIX_EPOCH};

use common::{copy_of, fixture};
use gar_llm::{ChatTemplate, Error, Message, Part, Tokenizer, stop_tokens};
use proptest::prelude::*;

fn tokenizer() -> Tokenizer {
    Tokenizer::open(fixture("tied")).unwrap()
}

fn streamed(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    let mut stream = tokenizer.stream();
    let mut out = String::new();
    for &id in ids {
        out.push_str(&stream.push(id).unwrap());
    }
    out + &stream.finish().unwrap()
}

#[test]
fn tokens_and_names() {
    let tokenizer = tokenizer();
    let bos = tokenizer.id_of("<|begin_of_text|>").unwrap();
    assert_eq!(tokenizer.encode("A dog", true).unwrap()[0], bos);
    assert!(!tokenizer.encode("A dog", false).unwrap().contains(&bos));
    assert_eq!(tokenizer.encode("<|begin_of_text|>", false).unwrap(), [bos]);
    assert_eq!(tokenizer.token_of(bos).unwrap(), "<|begin_of_text|>");
    assert_eq!(tokenizer.decode(&tokenizer.encode("Ein Bär, 👋🏽!", true).unwrap()).unwrap(), "Ein Bär, 👋🏽!");
    assert_eq!(tokenizer.decode(&[9999]).unwrap(), "");
    let error = tokenizer.id_of("<|image|>").unwrap_err().to_string();
    assert!(error.contains("<|image|>") && error.contains("300") && error.contains("tokenizer.json"), "{error}");
    assert!(matches!(tokenizer.token_of(9999), Err(Error::UnknownId { id: 9999, vocabulary: 300 })));
    let named: Vec<_> = tokenizer.named_tokens().collect();
    assert_eq!(named, [("bos_token", "<|begin_of_text|>"), ("eos_token", "<|eot_id|>")]);
}

#[test]
fn a_character_comes_whole_with_its_last_token() {
    let tokenizer = tokenizer();
    let ids = tokenizer.encode("👋🏽é", false).unwrap();
    assert!(ids.len() > 3, "the characters are spread over tokens");
    let mut stream = tokenizer.stream();
    for id in ids {
        let piece = stream.push(id).unwrap();
        assert!(!piece.contains('\u{FFFD}'), "{piece:?}");
    }
    assert_eq!(stream.finish().unwrap(), "");
}

/// A small SentencePiece-style vocabulary: raw bytes, a leading space that the decoder strips.
fn byte_fallback() -> Tokenizer {
    let mut vocab = serde_json::Map::new();
    let words = ["<unk>", "<s>", "▁", "▁a", "b", "▁▁", "é"].map(String::from);
    for (id, token) in words.into_iter().chain((0..=255).map(|b| format!("<0x{b:02X}>"))).enumerate() {
        vocab.insert(token, id.into());
    }
    let file = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "pre_tokenizer": null,
        "post_processor": null,
        "added_tokens": [{"id": 1, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true}],
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
            {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "unk_token": "<unk>", "byte_fallback": true, "vocab": vocab, "merges": []}
    });
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("tokenizer.json"), file.to_string()).unwrap();
    Tokenizer::open(dir.path()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn streaming_equals_decoding_whole(ids in prop::collection::vec(0_u32..302, 0..150)) {
        let tokenizer = tokenizer();
        prop_assert_eq!(streamed(&tokenizer, &ids), tokenizer.decode(&ids).unwrap());
    }

    #[test]
    fn streaming_text_gives_it_back(text in "[a-z .,'👋🏽é好\n]{0,80}") {
        let dir = copy_of("tied");
        std::fs::write(dir.path().join("tokenizer_config.json"), "{}").unwrap();
        let opened = Tokenizer::open(dir.path()).unwrap();
        prop_assert_eq!(streamed(&opened, &opened.encode(&text, true).unwrap()), text);
    }

    #[test]
    fn streaming_raw_bytes_equals_decoding_whole(
        ids in prop::collection::vec(prop_oneof![0_u32..7, Just(7 + 0xF0), Just(7 + 0x9F), 0x80_u32 + 7..=255 + 7], 0..120),
    ) {
        let tokenizer = byte_fallback();
        prop_assert_eq!(streamed(&tokenizer, &ids), tokenizer.decode(&ids).unwrap());
    }
}

#[test]
fn bad_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let missing = Tokenizer::open(dir.path()).unwrap_err();
    assert!(matches!(&missing, Error::Read { .. }) && missing.to_string().contains("tokenizer.json"), "{missing}");
    std::fs::write(dir.path().join("tokenizer.json"), "{\"version\": ").unwrap();
    assert!(matches!(Tokenizer::open(dir.path()), Err(Error::TokenizerFile { .. })));

    let dir = copy_of("tied");
    let settings = dir.path().join("tokenizer_config.json");
    for (text, field) in [("[1]", "expected an object"), ("{\"clean_up_tokenization_spaces\": 3}", "clean_up")] {
        std::fs::write(&settings, text).unwrap();
        let error = Tokenizer::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains(field) && error.contains("tokenizer_config.json"), "{error}");
    }
    std::fs::write(dir.path().join("generation_config.json"), "{\"eos_token_id\": \"end\"}").unwrap();
    assert!(stop_tokens(dir.path(), &[]).unwrap_err().to_string().contains("eos_token_id"));
    std::fs::write(dir.path().join("generation_config.json"), "{\"eos_token_id\": [3, 4]}").unwrap();
    assert_eq!(stop_tokens(dir.path(), &[9]).unwrap(), [3, 4]);
    std::fs::remove_file(dir.path().join("generation_config.json")).unwrap();
    assert_eq!(stop_tokens(dir.path(), &[9]).unwrap(), [9]);
}

const NO_TOKENS: [(&str, &str); 0] = [];

#[test]
fn templates_behave_as_in_transformers() {
    let render = |source: &str, messages: &[Message]| {
        ChatTemplate::new(source, [("bos_token", "<s>")]).unwrap().render(messages, true)
    };
    let hello = [Message::text("user", " Hi <there> ")];
    // Block tags take their own line away, as trim_blocks and lstrip_blocks ask for; one newline at the end goes too.
    assert_eq!(render("a\n  {% if true %}\nb\n  {% endif %}\nc\n", &hello).unwrap(), "a\nb\nc");
    assert_eq!(render("{{ bos_token }}{{ messages[0].content.strip().upper() }}", &hello).unwrap(), "<s>HI <THERE>");
    assert_eq!(render("{{ messages[0].content | tojson }}", &hello).unwrap(), "\" Hi <there> \"");
    let looping =
        "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m.content }}{% break %}{% endfor %}";
    let three = ["a", "b", "c"].map(|text| Message::text("user", text));
    assert_eq!(render(looping, &three).unwrap(), "b");
    assert_eq!(render("{% generation %}x{% endgeneration %}{{ tools is none }}", &hello).unwrap(), "xTrue");
    let error = render("line\n{{ raise_exception('roles must alternate') }}", &hello).unwrap_err().to_string();
    assert!(error.contains("roles must alternate") && error.contains("line 2"), "{error}");
    assert!(matches!(ChatTemplate::new("{% for %}", NO_TOKENS), Err(Error::Template { .. })));
    let dated = ChatTemplate::new("{{ strftime_now('%d %b %Y') }}", NO_TOKENS).unwrap();
    let dated = dated.at(UNIX_EPOCH + Duration::from_secs(1_721_952_000));
    assert_eq!(dated.render(&hello, true).unwrap(), "26 Jul 2024");
}

#[test]
fn parts_and_texts() {
    let multimodal = "{% for m in messages %}{% for c in m.content | selectattr('type', 'equalto', 'image') %}<img>\
        {% endfor %}{% for c in m.content | selectattr('type', 'equalto', 'text') %}{{ c.text }}{% endfor %}{% endfor %}";
    let multimodal = ChatTemplate::new(multimodal, NO_TOKENS).unwrap();
    let message = Message::parts("user", [Part::Text("What is it?".into()), Part::Image]);
    assert_eq!(multimodal.render(&[message], true).unwrap(), "<img>What is it?");
    assert_eq!(multimodal.user("Hi"), Message::parts("user", [Part::Text("Hi".into())]));
    let plain = ChatTemplate::new("{{ messages[0].content }}", NO_TOKENS).unwrap();
    assert_eq!(plain.user("Hi"), Message::text("user", "Hi"));
}

#[test]
fn templates_are_found_where_checkpoints_keep_them() {
    let dir = copy_of("plain");
    let open = || {
        let tokenizer = Tokenizer::open(dir.path()).unwrap();
        Ok::<_, Error>(ChatTemplate::open(dir.path(), &tokenizer)?.map(|t| t.render(&[], true).unwrap()))
    };
    let settings = |text: &str| std::fs::write(dir.path().join("tokenizer_config.json"), text).unwrap();
    assert_eq!(open().unwrap(), None);
    settings(r#"{"bos_token": {"content": "<b>"}, "chat_template": "one {{ bos_token }}"}"#);
    assert_eq!(open().unwrap().unwrap(), "one <b>");
    settings(r#"{"chat_template": [{"name": "tool", "template": "t"}, {"name": "default", "template": "two"}]}"#);
    assert_eq!(open().unwrap().unwrap(), "two");
    settings(r#"{"chat_template": [{"name": "tool", "template": "t"}]}"#);
    assert!(matches!(open(), Err(Error::Config { field, .. }) if field == "chat_template"));
    std::fs::write(dir.path().join("chat_template.jinja"), "three").unwrap();
    assert_eq!(open().unwrap().unwrap(), "three");
}

/// The template and the tokens of the golden data.
#[test]
fn golden_prompts() {
    let Some(golden) = std::env::var_os("GAR_GOLDEN").map(std::path::PathBuf::from) else {
        println!("SKIPPED: GAR_GOLDEN is not set");
        return;
    };
    let mut checked = 0;
    for name in ["tiny-l", "tiny-g"] {
        let tokenizer = Tokenizer::open(golden.join(name)).unwrap();
        let template = ChatTemplate::open(golden.join(name), &tokenizer).unwrap().unwrap();
        let message = Message::parts("user", [Part::Image, Part::Text(" What is <Prompt0>?\n".into())]);
        let text = template.render(&[message], true).unwrap();
        let expected = "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nYou are a helpful language and \
            vision assistant. You are able to understand the visual content that the user provides, and assist the user \
            with a variety of tasks using natural language.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n\
            <|image|>What is <Prompt0>?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n";
        assert_eq!(text, expected);
        let ids = tokenizer.encode(&text, false).unwrap();
        let bos = tokenizer.id_of("<|begin_of_text|>").unwrap();
        assert_eq!(ids.iter().filter(|&&id| id == bos).count(), 1);
        for case in std::fs::read_dir(golden.join(name).join("cases")).unwrap() {
            let path = case.unwrap().path();
            if path.extension().is_some_and(|e| e == "json") {
                let case: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
                for rule in ["released", "paper"] {
                    let greedy = &case["greedy"][rule];
                    let ids: Vec<u32> = serde_json::from_value(greedy["tokens"].clone()).unwrap();
                    assert_eq!(streamed(&tokenizer, &ids), greedy["text"].as_str().unwrap(), "{}", path.display());
                    checked += 1;
                }
            }
        }
    }
    assert!(checked >= 28);
}
