//! Reading outputs, whoever wrote them: a list of objects, an object of objects by id, or one object a line.
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::json::Entry;
use crate::{Error, Result};

/// An output file, read.
#[derive(Clone, Debug)]
pub struct Output {
    /// The file.
    pub path: PathBuf,
    /// Id and fields of each entry, in the file's order. Ids are distinct.
    pub entries: Vec<(String, Map<String, Value>)>,
}

/// Name of the output file in a run's directory.
pub const OUTPUT_FILE: &str = "output.json";

/// Reads an output file, or the one of a run's directory.
///
/// A list's ids are what `id_field` says in each entry, and the entry's place (`#3`) where it says nothing; those of an
/// object of objects are its keys, beside which other values, such as stored averages, are passed over.
///
/// # Errors
/// [`Error::Io`]; [`Error::Json`] for another form, or no entry at all; [`Error::DuplicateId`].
pub fn read_output(path: &Path, id_field: &str) -> Result<Output> {
    let path = if path.is_dir() { path.join(OUTPUT_FILE) } else { path.to_owned() };
    let bytes = std::fs::read(&path).map_err(Error::io(&path))?;
    let wrong = |found: String| Error::Json {
        path: path.clone(),
        expected: "a list of objects, an object of objects, or an object a line".into(),
        found,
    };
    let entries = match serde_json::from_slice(&bytes) {
        Ok(Value::Array(list)) => numbered(list, id_field).map_err(wrong)?,
        Ok(Value::Object(fields)) => {
            let whole = fields.clone();
            let entries: Vec<_> = fields.into_iter().filter_map(|(id, value)| Some((id, object(value)?))).collect();
            match entries.is_empty() && whole.contains_key(id_field) {
                // One object a line, and only one line.
                true => numbered(vec![Value::Object(whole)], id_field).map_err(wrong)?,
                false => entries,
            }
        }
        Ok(other) => return Err(wrong(other.to_string())),
        Err(whole) => {
            let lines: Result<Vec<Value>, _> = bytes
                .split(|&b| b == b'\n')
                .filter(|line| !line.trim_ascii().is_empty())
                .map(serde_json::from_slice)
                .collect();
            // If not even the first line is a document, the complaint about the whole file says more.
            numbered(lines.map_err(|_| wrong(whole.to_string()))?, id_field).map_err(wrong)?
        }
    };
    if entries.is_empty() {
        return Err(wrong("no entry".into()));
    }
    let mut places = std::collections::HashMap::new();
    for (place, (id, _)) in entries.iter().enumerate() {
        if let Some(first) = places.insert(id, place) {
            return Err(Error::DuplicateId { path, id: id.clone(), first, second: place });
        }
    }
    Ok(Output { path, entries })
}

impl Output {
    /// The entries, for reading their fields.
    pub fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        self.entries.iter().map(|(name, fields)| Entry { path: &self.path, name, fields })
    }
}

/// An entry's id and fields.
type Named = (String, Map<String, Value>);

fn object(value: Value) -> Option<Map<String, Value>> {
    match value {
        Value::Object(fields) => Some(fields),
        _ => None,
    }
}

fn numbered(list: Vec<Value>, id_field: &str) -> Result<Vec<Named>, String> {
    let entry = |(place, value)| {
        let fields = object(value).ok_or_else(|| format!("something else in entry {place}, counted from 0"))?;
        let id = match fields.get(id_field) {
            Some(Value::String(id)) => id.clone(),
            Some(Value::Number(id)) => id.to_string(),
            _ => format!("#{place}"),
        };
        Ok((id, fields))
    };
    list.into_iter().enumerate().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("output.json");
        std::fs::write(&path, text).unwrap();
        let whole = read_output(&path, "id")?;
        assert_eq!(read_output(folder.path(), "id")?.entries, whole.entries, "a run's directory holds it");
        Ok(whole.entries.into_iter().map(|(id, _)| id).collect())
    }

    #[test]
    fn every_form_gives_ids() {
        for (text, ids) in [
            (r#"[{"id": "a"}, {"id": 7}, {}]"#, &["a", "7", "#2"][..]),
            (r#"{"x": {"id": "a"}, "average": 0.5, "y": {}}"#, &["x", "y"]),
            ("{\"id\": 1}\n\n{\"id\": 2}\n", &["1", "2"]),
            ("{\"id\": 1}\n", &["1"]),
        ] {
            assert_eq!(read(text).unwrap(), ids, "{text}");
        }
    }

    #[test]
    fn other_forms_are_refused() {
        for (text, says) in [
            ("[]", "no entry"),
            ("{\"average\": 1}", "no entry"),
            ("[1]", "entry 0"),
            ("3", "found: 3"),
            ("[{\"id\": 1}", "EOF"),
            ("{\"id\": 1}\n{\"id\": ", "trailing characters"),
            (r#"[{"id": "a"}, {"id": "a"}]"#, "\"a\" twice (entries 0 and 1"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains("output.json: ") && error.contains(says), "{text}: {error}");
        }
    }
}
