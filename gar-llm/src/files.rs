//! Reading small JSON files with errors that name them.

use std::io::ErrorKind;
use std::path::Path;

use serde_json::Value;

use crate::{Error, Result};

/// The JSON value in the file.
pub(crate) fn read_json(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.into(), source })?;
    serde_json::from_str(&text).map_err(|error| Error::Json { path: path.into(), reason: error.to_string() })
}

/// The JSON value in the file, or `None` where there is no such file.
pub(crate) fn read_json_if_there(path: &Path) -> Result<Option<Value>> {
    match read_json(path) {
        Err(Error::Read { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// The text in the file, or `None` where there is no such file.
pub(crate) fn read_text_if_there(path: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Err(source) if source.kind() == ErrorKind::NotFound => Ok(None),
        other => other.map(Some).map_err(|source| Error::Read { path: path.into(), source }),
    }
}
