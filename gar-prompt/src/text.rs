//! The user's turn: an opening that shows each region, then the question.
//!
//! A region appears as its name followed by copies of its crop token, which the model replaces by the region's replayed
//! features (Grasp Any Region, §3.2). The wording is that of the released code, spaces and line ends included.

use crate::{Error, Result};

/// The question about a single region that the released code asks in a form of its own.
pub const DESCRIBE: &str = "Describe this masked region in detail.";

const OPENING: &str = "There are some objects I am curious about:";

/// The name of the region in a slot: `<Prompt{slot}>`.
pub fn prompt_name(slot: usize) -> String {
    format!("<Prompt{slot}>")
}

/// The crop token of a slot in the published tokenizers: `<|reserved_special_token_{slot + 2}|>`.
pub fn crop_token_name(slot: usize) -> String {
    format!("<|reserved_special_token_{}|>", slot as u128 + 2)
}

/// The user's turn, without the image.
///
/// `slots` are the regions in prompt order, each shown with `crop_tokens_per_region` copies of its crop token.
/// With one region and the question [`DESCRIBE`] it is
/// ```text
/// There are some objects I am curious about: <Prompt1>;
/// <Prompt1>: {crop…}Describe this masked region in detail.
/// ```
/// and for any other question or number of regions (the first line ends in a space)
/// ```text
/// There are some objects I am curious about: <Prompt0>; <Prompt1>;
/// <Prompt0>: {crop…}
/// <Prompt1>: {crop…}
///
/// {question}
/// ```
/// Without regions it is the question alone. A region that the question never names is allowed; redundant regions are
/// part of the task.
///
/// # Errors
/// [`Error::UnknownPrompt`] where the question names a `<PromptK>` that is none of the regions.
pub fn user_text(
    slots: &[usize],
    question: &str,
    crop_tokens_per_region: usize,
    crop_token: impl Fn(usize) -> String,
) -> Result<String> {
    check_names(slots, question)?;
    let crop = |slot| crop_token(slot).repeat(crop_tokens_per_region);
    let text = match *slots {
        [] => question.to_owned(),
        [slot] if question == DESCRIBE => {
            let name = prompt_name(slot);
            format!("{OPENING} {name};\n{name}: {}{question}", crop(slot))
        }
        _ => {
            let names: String = slots.iter().map(|&slot| prompt_name(slot) + "; ").collect();
            let crops: String = slots.iter().map(|&slot| format!("{}: {}\n", prompt_name(slot), crop(slot))).collect();
            format!("{OPENING} {names}\n{crops}\n{question}")
        }
    };
    Ok(text)
}

/// A multiple-choice question as GAR-Bench-VQA words it. Each option brings its own letter: `A. a cat`.
///
/// ```
/// let question = gar_prompt::multiple_choice("What is <Prompt0>?", &["A. a cat", "B. a dog"]);
/// assert_eq!(
///     question,
///     "Question: What is <Prompt0>?\nOptions:\nA. a cat\nB. a dog\n\
///      Answer with the correct option's letter directly."
/// );
/// ```
pub fn multiple_choice<S: AsRef<str>>(question: &str, options: &[S]) -> String {
    let mut text = format!("Question: {question}\nOptions:\n");
    for option in options {
        text.push_str(option.as_ref());
        text.push('\n');
    }
    text.push_str("Answer with the correct option's letter directly.");
    text
}

/// The request for a detailed caption of one region in its relation to others, as GAR-Bench-Cap words it for slots 0
/// and 1. Further regions are listed with commas and a final "and"; without any, the relation is left out.
///
/// ```
/// assert_eq!(
///     gar_prompt::relation_caption(0, &[1]),
///     "Describe <Prompt0> in detail, including the relationship with <Prompt1>."
/// );
/// ```
pub fn relation_caption(subject: usize, others: &[usize]) -> String {
    let mut text = format!("Describe {} in detail", prompt_name(subject));
    for (i, &other) in others.iter().enumerate() {
        let joint = match i {
            0 => ", including the relationship with ",
            _ if i + 1 < others.len() => ", ",
            1 => " and ",
            _ => ", and ",
        };
        text.push_str(joint);
        text.push_str(&prompt_name(other));
    }
    text + "."
}

/// Refuses a question that names a region which is not there.
fn check_names(slots: &[usize], question: &str) -> Result<()> {
    for (at, start) in question.match_indices("<Prompt") {
        let rest = &question[at + start.len()..];
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if digits == 0 || !rest[digits..].starts_with('>') {
            continue;
        }
        let name = &question[at..=at + start.len() + digits];
        if !slots.iter().any(|&slot| prompt_name(slot) == name) {
            return Err(Error::UnknownPrompt { name: name.to_owned(), slots: slots.to_vec() });
        }
    }
    Ok(())
}
