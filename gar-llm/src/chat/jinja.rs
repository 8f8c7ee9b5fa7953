//! The Jinja environment of transformers' chat templates.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Value};
use serde_json::Map;

/// An environment with the whitespace rules, filters and functions that chat templates rely on.
pub(super) fn environment() -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_filter("tojson", to_json);
    environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    set_now(&mut environment, SystemTime::now);
    Ok(environment)
}

/// Defines `strftime_now` over a clock.
pub(super) fn set_now(environment: &mut Environment<'static>, clock: impl Fn() -> SystemTime + Send + Sync + 'static) {
    environment.add_function("strftime_now", move |format: String| {
        let seconds = clock().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        strftime(&format, seconds)
    });
}

/// The template in `tokenizer_config.json`: a text, or the one named `default` of a list.
pub(super) fn template_in<'a>(
    settings: &'a Map<String, serde_json::Value>,
    place: &str,
) -> crate::Result<Option<&'a str>> {
    use serde_json::Value as Json;
    let refuse = |found: &str| crate::Error::Config {
        place: place.into(),
        field: "chat_template".into(),
        expected: "a text, or a list of {name, template} with one named \"default\"".into(),
        found: found.into(),
    };
    match settings.get("chat_template") {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(source)) => Ok(Some(source)),
        Some(Json::Array(named)) => named
            .iter()
            .find(|entry| entry.get("name").and_then(Json::as_str) == Some("default"))
            .and_then(|entry| entry.get("template").and_then(Json::as_str))
            .map(Some)
            .ok_or_else(|| refuse("a list without it")),
        Some(_) => Err(refuse("something else")),
    }
}

/// Replaces `{% generation %}` … `{% endgeneration %}`, which only mark the assistant's part for training, with a block
/// that renders its body.
pub(super) fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some((before, after)) = rest.split_once("{%") {
        let Some((tag, tail)) = after.split_once("%}") else { break };
        let name = tag.trim_matches(['-', '+']).trim();
        let tag = match name {
            "generation" => tag.replace("generation", "if true"),
            "endgeneration" => tag.replace("endgeneration", "endif"),
            _ => tag.to_owned(),
        };
        let _ = write!(out, "{before}{{%{tag}%}}");
        rest = tail;
    }
    out + rest
}

/// Python's `json.dumps(value, ensure_ascii=False, indent=indent)`.
fn to_json(value: &Value, kwargs: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = kwargs.get("indent")?;
    kwargs.assert_all_used()?;
    let mut out = String::new();
    write_json(&mut out, value, indent, 0)?;
    Ok(Value::from(out))
}

fn write_json(out: &mut String, value: &Value, indent: Option<usize>, depth: usize) -> Result<(), Error> {
    match value.kind() {
        ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => out.push_str(&value.to_string()),
        ValueKind::String => write_json_text(out, value.as_str().unwrap_or_default()),
        ValueKind::Seq | ValueKind::Iterable => {
            write_items(out, ['[', ']'], value.try_iter()?, indent, depth, |out, item| {
                write_json(out, &item, indent, depth + 1)
            })?;
        }
        ValueKind::Map => write_items(out, ['{', '}'], value.try_iter()?, indent, depth, |out, key| {
            write_json_text(out, &key.to_string());
            out.push_str(": ");
            write_json(out, &value.get_item(&key)?, indent, depth + 1)
        })?,
        kind => return Err(Error::new(ErrorKind::InvalidOperation, format!("tojson: a value that is {kind}"))),
    }
    Ok(())
}

fn write_items(
    out: &mut String,
    [open, close]: [char; 2],
    items: impl Iterator<Item = Value>,
    indent: Option<usize>,
    depth: usize,
    mut write: impl FnMut(&mut String, Value) -> Result<(), Error>,
) -> Result<(), Error> {
    let new_line = |out: &mut String, depth: usize| {
        if let Some(width) = indent {
            let _ = write!(out, "\n{:1$}", "", width * depth);
        }
    };
    out.push(open);
    let mut empty = true;
    for item in items {
        if !empty {
            out.push_str(if indent.is_some() { "," } else { ", " });
        }
        new_line(out, depth + 1);
        write(out, item)?;
        empty = false;
    }
    if !empty {
        new_line(out, depth);
    }
    out.push(close);
    Ok(())
}

fn write_json_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

/// `strftime` in the C locale, UTC, for the directives that templates use.
fn strftime(format: &str, seconds: u64) -> Result<String, Error> {
    let (days, second_of_day) = (seconds / 86_400, seconds % 86_400);
    let (hour, minute, second) = (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
    let (year, month, day) = civil(days);
    let month_name = MONTHS[month as usize - 1];
    // The epoch was a Thursday.
    let day_name = DAYS[(days % 7) as usize];
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let _ = match chars.next() {
            Some('Y') => write!(out, "{year}"),
            Some('y') => write!(out, "{:02}", year % 100),
            Some('m') => write!(out, "{month:02}"),
            Some('d') => write!(out, "{day:02}"),
            Some('B') => write!(out, "{month_name}"),
            Some('b') => write!(out, "{}", &month_name[..3]),
            Some('A') => write!(out, "{day_name}"),
            Some('a') => write!(out, "{}", &day_name[..3]),
            Some('H') => write!(out, "{hour:02}"),
            Some('I') => write!(out, "{:02}", (hour + 11) % 12 + 1),
            Some('p') => write!(out, "{}", if hour < 12 { "AM" } else { "PM" }),
            Some('M') => write!(out, "{minute:02}"),
            Some('S') => write!(out, "{second:02}"),
            Some('%') => write!(out, "%"),
            other => {
                let found = other.map_or_else(|| "a lone %".to_owned(), |c| format!("%{c}"));
                let reason =
                    format!("strftime_now: expected one of %Y %y %m %d %B %b %A %a %H %I %p %M %S, found {found}");
                return Err(Error::new(ErrorKind::InvalidOperation, reason));
            }
        };
    }
    Ok(out)
}

/// Year, month and day of a day since 1970-01-01 (Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(strftime("%d %b %Y", 0).unwrap(), "01 Jan 1970");
        assert_eq!(
            strftime("%A %d %B %y, %H:%M:%S %I%p 100%%", 951_827_696).unwrap(),
            "Tuesday 29 February 00, 12:34:56 12PM 100%"
        );
        assert_eq!(strftime("%Y-%m-%d", 1_721_952_000).unwrap(), "2024-07-26");
        assert!(strftime("%Q", 0).unwrap_err().to_string().contains("%Q"));
        assert!(strftime("%", 0).is_err());
    }

    #[test]
    fn json_as_python_writes_it() {
        let inner = Value::from_pairs([("b", Value::from("é\"\n<\u{1}")), ("c", Value::from(()))]);
        let value = Value::from(vec![inner, Value::from(true), Value::from(1.5), Value::from(Vec::<Value>::new())]);
        let mut flat = String::new();
        write_json(&mut flat, &value, None, 0).unwrap();
        assert_eq!(flat, r#"[{"b": "é\"\n<\u0001", "c": null}, true, 1.5, []]"#);
        let mut indented = String::new();
        write_json(&mut indented, &value, Some(2), 0).unwrap();
        assert_eq!(
            indented,
            "[\n  {\n    \"b\": \"é\\\"\\n<\\u0001\",\n    \"c\": null\n  },\n  true,\n  1.5,\n  []\n]"
        );
    }

    #[test]
    fn generation_tags_become_plain_blocks() {
        let source = "a{%- generation -%} b {% endgeneration %}c{% if x %}d{% endif %} {% lone";
        assert_eq!(without_generation_tags(source), "a{%- if true -%} b {% endif %}c{% if x %}d{% endif %} {% lone");
    }
}
