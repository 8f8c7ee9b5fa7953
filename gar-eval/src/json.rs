//! JSON as benchmarks have it: reading that names file, entry and field; writing that gives the published bytes.
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{Error, Result};

/// One entry of a file, for reading its fields with errors that say where they are.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The file.
    pub path: &'a Path,
    /// The entry's name in messages: its id, or `#3`.
    pub name: &'a str,
    /// Its fields.
    pub fields: &'a Map<String, Value>,
}

/// The list of objects that a file holds.
///
/// # Errors
/// [`Error::Json`] where it is something else.
pub fn objects(path: &Path, bytes: &[u8]) -> Result<Vec<Map<String, Value>>> {
    parse(path, bytes, "a list of objects")
}

/// A file of one JSON object a line; empty lines are passed over.
///
/// # Errors
/// [`Error::Json`] with the number of the line.
pub fn object_lines(path: &Path, bytes: &[u8]) -> Result<Vec<Map<String, Value>>> {
    let lines = bytes.split(|&b| b == b'\n').enumerate().filter(|(_, line)| !line.trim_ascii().is_empty());
    lines.map(|(at, line)| parse(path, line, &format!("an object in line {}", at + 1))).collect()
}

/// A whole file as one value.
///
/// # Errors
/// [`Error::Json`], which says that `expected` was.
pub fn parse<T: DeserializeOwned>(path: &Path, bytes: &[u8], expected: &str) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|e| Error::Json {
        path: path.to_owned(),
        expected: expected.into(),
        found: e.to_string(),
    })
}

impl<'a> Entry<'a> {
    /// A field of any type.
    ///
    /// # Errors
    /// [`Error::Field`] where it is missing or of another type; `expected` says what it should be.
    pub fn get<T: DeserializeOwned>(&self, field: &str, expected: &str) -> Result<T> {
        let value = self.fields.get(field).ok_or_else(|| self.wrong(field, expected, "nothing"))?;
        T::deserialize(value).map_err(|_| self.wrong(field, expected, &brief(value)))
    }

    /// A field that holds text.
    ///
    /// # Errors
    /// [`Error::Field`].
    pub fn text(&self, field: &str) -> Result<&'a str> {
        match self.fields.get(field) {
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(self.wrong(field, "text", &brief(other))),
            None => Err(self.wrong(field, "text", "nothing")),
        }
    }

    /// An error about one of its fields.
    pub fn wrong(&self, field: &str, expected: &str, found: &str) -> Error {
        Error::Field {
            path: self.path.to_owned(),
            item: self.name.to_owned(),
            field: field.to_owned(),
            expected: expected.to_owned(),
            found: found.to_owned(),
        }
    }
}

/// A value for a message: its JSON, shortened.
fn brief(value: &Value) -> String {
    const MOST: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// A document as Python's `json.dump(…, indent=indent, ensure_ascii=False)` writes it, as the published outputs have it:
/// no line end after the last bracket.
///
/// # Errors
/// [`Error::Json`] for what JSON cannot hold.
pub fn pretty(value: &impl serde::Serialize, indent: usize) -> Result<String> {
    let spaces = vec![b' '; indent];
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(&spaces);
    let written = value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, formatter));
    text(written, bytes)
}

/// A document in one line with its end, as Python's `json.dumps` writes it.
///
/// # Errors
/// As [`pretty`].
pub fn line(value: &impl serde::Serialize) -> Result<String> {
    let mut bytes = Vec::new();
    let written = value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, OneLine));
    Ok(text(written, bytes)? + "\n")
}

/// What was written, unless it could not be.
fn text(written: serde_json::Result<()>, bytes: Vec<u8>) -> Result<String> {
    let text = written.map_err(|e| e.to_string()).and_then(|()| String::from_utf8(bytes).map_err(|e| e.to_string()));
    text.map_err(|found| Error::Json { path: "output".into(), expected: "values that JSON can hold".into(), found })
}

/// JSON in one line, with a space after each comma and colon.
struct OneLine;

impl serde_json::ser::Formatter for OneLine {
    fn begin_array_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn documents_are_written_as_python_does() {
        let value = json!({"a": [1, [], {}], "b": "61°F 🐈 \n\u{1f}", "c": 0.5});
        let expected = "{\n    \"a\": [\n        1,\n        [],\n        {}\n    ],\n    \
                        \"b\": \"61°F 🐈 \\n\\u001f\",\n    \"c\": 0.5\n}";
        assert_eq!(pretty(&value, 4).unwrap(), expected);
    }

    #[test]
    fn errors_name_file_entry_and_field() {
        let fields = json!({"answer": 3}).as_object().cloned().unwrap();
        let entry = Entry { path: Path::new("a.json"), name: "#3", fields: &fields };
        assert_eq!(entry.text("answer").unwrap_err().to_string(), "a.json: #3: `answer`: expected text, found 3");
        assert_eq!(entry.text("type").unwrap_err().to_string(), "a.json: #3: `type`: expected text, found nothing");
        let lines = object_lines(Path::new("a.jsonl"), b"{}\n\n{\"a\": 1").unwrap_err().to_string();
        assert!(lines.starts_with("a.jsonl: expected an object in line 3, found: EOF"), "{lines}");
    }
}
