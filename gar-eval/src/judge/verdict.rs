//! What a judge said, read strictly: whatever leaves a doubt is no verdict.

/// "True" or "False", in any case, with a full stop, quotes or emphasis around it.
///
/// ```
/// use gar_eval::judge::verdict::truth;
/// assert_eq!(truth(" **True**.\n"), Some(true));
/// assert_eq!(truth("True. But the second region is missing."), None);
/// ```
pub fn truth(answer: &str) -> Option<bool> {
    match bare(answer).to_ascii_lowercase().as_str() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// Which of the choices, lettered A, B, C, …, an answer names: by its letter, by its text, or by both where they agree;
/// beside a letter the text may be shortened.
///
/// ```
/// use gar_eval::judge::verdict::choice;
/// let choices = ["It is red.", "It is blue."];
/// assert_eq!(choice("B", &choices), Some(1));
/// assert_eq!(choice("a) It is red.", &choices), Some(0));
/// assert_eq!(choice("It is blue", &choices), Some(1));
/// assert_eq!(choice("A. It is blue.", &choices), None);
/// assert_eq!(choice("Either A or B", &choices), None);
/// ```
pub fn choice<S: AsRef<str>>(answer: &str, choices: &[S]) -> Option<usize> {
    let answer = bare(answer);
    let said = |text: &str| {
        let text = bare(text).to_lowercase();
        let mut places = choices.iter().enumerate().filter(|(_, c)| bare(c.as_ref()).to_lowercase() == text);
        // Two choices of one text cannot be told apart.
        places.next().map(|(at, _)| at).filter(|_| places.next().is_none())
    };
    if let Some(at) = said(answer) {
        return Some(at);
    }
    let (open, rest) = match answer.strip_prefix('(') {
        Some(rest) => (true, rest),
        None => (false, answer),
    };
    let mut characters = rest.chars();
    let letter = characters.next().filter(char::is_ascii_alphabetic)?;
    let at = (letter.to_ascii_uppercase() as usize) - ('A' as usize);
    if at >= choices.len() {
        return None;
    }
    let rest = characters.as_str();
    let text = match rest.strip_prefix(')').or_else(|| rest.strip_prefix(['.', ':']).filter(|_| !open)) {
        Some(text) => text.trim(),
        None if rest.is_empty() && !open => "",
        None => return None,
    };
    // A judge may shorten the text; it must still be that choice's and no other's.
    let shortened = |text: &str| {
        let text = bare(text).to_lowercase();
        let holds = |choice: &S| choice.as_ref().to_lowercase().contains(&text);
        let others = choices.iter().enumerate().any(|(other, choice)| other != at && holds(choice));
        text.contains(char::is_whitespace) && holds(&choices[at]) && !others
    };
    let same = |text: &str| bare(choices[at].as_ref()).to_lowercase() == bare(text).to_lowercase();
    let agrees = text.is_empty() || same(text) || shortened(text);
    agrees.then_some(at)
}

/// The two scores of 0 to 10 that the first line consists of, apart by white space or a comma.
///
/// ```
/// use gar_eval::judge::verdict::two_scores;
/// assert_eq!(two_scores("7 4.5\n\nAssistant 1 …"), Some([7.0, 4.5]));
/// assert_eq!(two_scores("Scores: 7 4"), None);
/// assert_eq!(two_scores("7 4 9"), None);
/// ```
pub fn two_scores(answer: &str) -> Option<[f64; 2]> {
    let line = answer.trim_start().lines().next()?;
    let numbers: Option<Vec<f64>> =
        bare(line).split(|c: char| c.is_whitespace() || c == ',').filter(|s| !s.is_empty()).map(number).collect();
    let scores = <[f64; 2]>::try_from(numbers?).ok()?;
    scores.iter().all(|s| (0.0..=10.0).contains(s)).then_some(scores)
}

/// One score of `0 … most` for each name, in lines `name: score` of any order; each name once, nothing else.
///
/// ```
/// use gar_eval::judge::verdict::named_scores;
/// assert_eq!(named_scores("size: 3\nColour: 4.5", &["colour", "size"], 5.0), Some(vec![4.5, 3.0]));
/// assert_eq!(named_scores("colour: 4", &["colour", "size"], 5.0), None);
/// ```
pub fn named_scores(answer: &str, names: &[&str], most: f64) -> Option<Vec<f64>> {
    let mut scores = vec![None; names.len()];
    for line in answer.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (name, score) = line.split_once(':')?;
        let at = names.iter().position(|n| n.eq_ignore_ascii_case(bare(name)))?;
        let score = number(bare(score)).filter(|score| (0.0..=most).contains(score))?;
        if scores[at].replace(score).is_some() {
            return None;
        }
    }
    scores.into_iter().collect()
}

/// A number in plain decimal digits.
fn number(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    text.parse().ok().filter(|_| plain)
}

/// The text without white space, quotes, emphasis and full stops around it.
fn bare(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '*' | '`' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truth_is_one_word() {
        for (answer, expected) in [
            ("True", Some(true)),
            ("false.", Some(false)),
            ("\"TRUE\"", Some(true)),
            ("", None),
            ("Yes", None),
            ("Not True", None),
            ("True or False", None),
        ] {
            assert_eq!(truth(answer), expected, "{answer:?}");
        }
    }

    #[test]
    fn choices_are_named_without_a_doubt() {
        let choices = ["The wing is not mentioned.", "The wing is red.", "It says \"A. B\"."];
        for (answer, expected) in [
            ("A", Some(0)),
            ("b.", Some(1)),
            ("(C)", Some(2)),
            ("C)", Some(2)),
            ("B. The wing is red.", Some(1)),
            ("B: the wing is RED", Some(1)),
            ("(B) The wing is red.", Some(1)),
            ("The wing is red.", Some(1)),
            ("  **A. The wing is not mentioned.**\n", Some(0)),
            ("A. wing is not mentioned", Some(0)),
            ("B. The wing is", None),
            ("A. B", None),
            ("D", None),
            ("B. The wing is not mentioned.", None),
            ("B. The wing is red. It is bright.", None),
            ("Answer: B", None),
            ("A and B", None),
            ("A wing is red", None),
            ("(B", None),
            ("É", None),
            ("", None),
        ] {
            assert_eq!(choice(answer, &choices), expected, "{answer:?}");
        }
        assert_eq!(choice("same", &["same", "same"]), None);
        assert_eq!(choice("B. same", &["same", "same"]), Some(1));
    }

    #[test]
    fn scores_are_plain_numbers_in_range() {
        for (answer, expected) in [
            ("7 4\nbecause", Some([7.0, 4.0])),
            ("\n8, 3.5", Some([8.0, 3.5])),
            ("**10 1**", Some([10.0, 1.0])),
            ("11 4", None),
            ("-1 -1", None),
            ("7", None),
            ("seven four", None),
            ("NaN 4", None),
            ("1e1 4", None),
            ("", None),
        ] {
            assert_eq!(two_scores(answer), expected, "{answer:?}");
        }
        let names = ["subject", "motion"];
        assert_eq!(named_scores("- subject: 3\nmotion: 4", &names, 5.0), None, "a list is not what was asked for");
        assert_eq!(named_scores("subject: 3\nsubject: 3\nmotion: 4", &names, 5.0), None);
        assert_eq!(named_scores("subject: 3\nmotion: 6", &names, 5.0), None);
        assert_eq!(named_scores("**Subject**: 3\n\nmotion: 4.", &names, 5.0), Some(vec![3.0, 4.0]));
    }
}
