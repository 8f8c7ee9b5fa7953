//! Which option an answer to a multiple-choice question means.

/// Whether an answer is the letter, as the published scoring has it: equal once surrounding white space and the
/// difference of upper and lower case are taken away. `A.` is not `A`.
///
/// ```
/// use gar_eval::score::exact;
/// assert!(exact(" b\n", "B") && !exact("B.", "B") && !exact("", "B"));
/// ```
pub fn exact(output: &str, answer: &str) -> bool {
    output.trim().to_lowercase() == answer.trim().to_lowercase()
}

/// The letter that an answer means, where a person would have no doubt, in upper case: a letter that stands alone or
/// before `.`, `:`, `)` at the answer's start, in brackets or not, the letter after "answer is" or "option", or the whole
/// text of exactly one option, with or without its letter. None where that fits no option or more than one.
///
/// ```
/// use gar_eval::score::lenient;
/// let options = ["A. White.", "B. Black."];
/// for answer in ["b", "(B)", "B. Black.", "**B**", "The answer is B.", "black", "B) it is dark"] {
///     assert_eq!(lenient(answer, &options), Some('B'), "{answer}");
/// }
/// for answer in ["", "E", "A black dog", "Both A and B", "A or B", "grey"] {
///     assert_eq!(lenient(answer, &options), None, "{answer}");
/// }
/// ```
pub fn lenient<S: AsRef<str>>(output: &str, options: &[S]) -> Option<char> {
    let options: Vec<(char, String)> = options.iter().filter_map(|option| lettered(option.as_ref())).collect();
    let known = |letter: char| options.iter().any(|(l, _)| *l == letter).then_some(letter);
    let text = folded(output);
    let marked = |rest: &str| leading(rest).and_then(known);
    let named = ["answer is", "answer:", "option"]
        .iter()
        .filter_map(|phrase| text.find(phrase).and_then(|at| marked(text[at + phrase.len()..].trim_start())));
    let spelled = options.iter().filter(|(_, words)| !words.is_empty() && *words == strip(&text)).map(|(l, _)| *l);
    let mut found: Vec<char> = marked(&text).into_iter().chain(named).chain(spelled).collect();
    found.sort_unstable();
    found.dedup();
    match found[..] {
        [letter] => Some(letter),
        _ => None,
    }
}

/// `A. White.` as its letter and its folded words.
fn lettered(option: &str) -> Option<(char, String)> {
    let text = folded(option);
    let letter = leading(&text)?;
    let words = text.trim_start_matches('(').chars().skip(1).collect::<String>();
    Some((letter, strip(words.trim_start_matches(['.', ':', ')'])).to_owned()))
}

/// Lower case, without the marks of Markdown's emphasis and special tokens such as `<|eot_id|>`.
fn folded(text: &str) -> String {
    let mut rest = text.to_lowercase().replace(['*', '`', '"'], "");
    while let (Some(start), Some(length)) = (rest.find("<|"), rest.find("|>")) {
        if length < start {
            break;
        }
        rest.replace_range(start..length + 2, "");
    }
    rest.trim().to_owned()
}

/// Without the white space and the full stop around it.
fn strip(text: &str) -> &str {
    text.trim().trim_end_matches('.').trim()
}

/// The letter at the start of folded text, in upper case, if it is marked as one: alone, in brackets, or followed by a
/// full stop, a colon or a bracket. An "a" before a word is an article.
fn leading(text: &str) -> Option<char> {
    let bracketed = text.starts_with('(');
    let mut rest = text.trim_start_matches('(').chars();
    let letter = rest.next().filter(char::is_ascii_lowercase)?;
    let marked = match rest.next() {
        None => true,
        Some(')') => true,
        Some('.' | ':' | ',') => !bracketed,
        Some(_) => false,
    };
    marked.then(|| letter.to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: [&str; 3] = ["A. <Prompt0>", "B. <Prompt1>", "C. Neither <Prompt0> nor <Prompt1>."];

    #[test]
    fn option_texts_count_only_as_a_whole() {
        assert_eq!(lenient("<Prompt1>.", &OPTIONS), Some('B'));
        assert_eq!(lenient("neither <prompt0> nor <prompt1>", &OPTIONS), Some('C'));
        assert_eq!(lenient("<Prompt0> and <Prompt1>", &OPTIONS), None);
        assert_eq!(lenient("A. <Prompt1>", &OPTIONS), Some('A'), "the letter is what was asked for");
        assert_eq!(lenient("a<|eot_id|>", &OPTIONS), Some('A'));
        assert_eq!(lenient("<|", &OPTIONS), None);
        assert_eq!(lenient("|><|", &OPTIONS), None);
    }

    #[test]
    fn contradictions_are_no_answer() {
        assert_eq!(lenient("A. No, the answer is B", &OPTIONS), None);
        assert_eq!(lenient("D", &OPTIONS), None, "there is no such option");
        assert_eq!(lenient("Option C", &OPTIONS), Some('C'));
    }
}
