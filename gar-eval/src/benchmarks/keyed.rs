//! Objects whose keys are ids.
use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::path::Path;

use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::{Error, Result, json};

/// Keys and values in the file's order, each key as often as it stands there.
struct Pairs<V>(Vec<(String, V)>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Pairs<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect<V>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for Collect<V> {
            type Value = Vec<(String, V)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object whose keys are ids")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(pairs)
            }
        }
        deserializer.deserialize_map(Collect(PhantomData)).map(Self)
    }
}

/// The entries of an object by id, in the file's order.
///
/// # Errors
/// [`Error::Json`], which says that `expected` was; [`Error::DuplicateId`], where an ordinary reader would keep the last.
pub(crate) fn keyed<V: DeserializeOwned>(path: &Path, bytes: &[u8], expected: &str) -> Result<Vec<(String, V)>> {
    let Pairs(pairs) = json::parse(path, bytes, expected)?;
    distinct(path, pairs.iter().map(|(id, _)| id.as_str()))?;
    Ok(pairs)
}

/// Refuses an id that stands twice.
///
/// # Errors
/// [`Error::DuplicateId`].
pub(crate) fn distinct<'a>(path: &Path, ids: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut seen = HashMap::new();
    for (second, id) in ids.enumerate() {
        if let Some(first) = seen.insert(id, second) {
            return Err(Error::DuplicateId { path: path.to_owned(), id: id.into(), first, second });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_stands_twice_is_an_error() {
        let path = Path::new("qa.json");
        let read = |text: &str| keyed::<i32>(path, text.as_bytes(), "numbers by id");
        assert_eq!(read(r#"{"b": 1, "a": 2}"#).unwrap(), [("b".into(), 1), ("a".into(), 2)]);
        let error = read(r#"{"b": 1, "a": 2, "b": 1}"#).unwrap_err().to_string();
        assert_eq!(error, "qa.json: expected distinct ids, found \"b\" twice (entries 0 and 2, counted from 0)");
        let error = read("[1]").unwrap_err().to_string();
        assert!(error.starts_with("qa.json: expected numbers by id, found: invalid type: sequence"), "{error}");
    }
}
