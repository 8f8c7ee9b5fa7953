//! Answers on disk, under the hash of the request that they answer.
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::benchmarks::sha256;
use crate::files::write_whole;
use crate::{Error, Result};

/// A folder of answers, one file each. Files appear whole or not at all; one that is damaged counts as missing.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
}

/// A file of the cache.
#[derive(Serialize, Deserialize)]
struct Stored {
    /// Hash of the request; the file's name once more.
    request: String,
    /// Hash of the answer, which shows damage.
    answer_sha256: String,
    answer: String,
}

impl Cache {
    /// The cache in a folder, which is created with the first answer.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The name of a request: SHA-256 over its address and its whole body.
    pub fn name(url: &str, body: &str) -> String {
        sha256(format!("{url}\n{body}").as_bytes())
    }

    /// The answer to the request of this name, unless it is missing or damaged.
    pub fn get(&self, name: &str) -> Option<String> {
        let bytes = std::fs::read(self.path(name)).ok()?;
        let stored: Stored = serde_json::from_slice(&bytes).ok()?;
        let whole = stored.request == name && stored.answer_sha256 == sha256(stored.answer.as_bytes());
        whole.then_some(stored.answer)
    }

    /// Keeps an answer. It is on the disk when this returns.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn put(&self, name: &str, answer: &str) -> Result<()> {
        let path = self.path(name);
        let stored = Stored { request: name.into(), answer_sha256: sha256(answer.as_bytes()), answer: answer.into() };
        std::fs::create_dir_all(&self.folder).map_err(Error::io(&self.folder))?;
        let text = serde_json::to_string(&stored).map_err(|e| Error::io(&path)(e.into()))?;
        write_whole(&path, text.as_bytes())
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_back_and_damage_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().join("a/b"));
        let name = Cache::name("http://x", "{}");
        assert_ne!(name, Cache::name("http://y", "{}"));
        assert_eq!(cache.get(&name), None);
        cache.put(&name, "True – \"so\"").unwrap();
        assert_eq!(cache.get(&name).as_deref(), Some("True – \"so\""));

        let path = cache.path(&name);
        let whole = std::fs::read_to_string(&path).unwrap();
        for damaged in [&whole[..whole.len() / 2], &whole.replace("True", "Trve"), "", "null"] {
            std::fs::write(&path, damaged).unwrap();
            assert_eq!(cache.get(&name), None, "{damaged}");
        }
        std::fs::write(cache.path("other"), &whole).unwrap();
        assert_eq!(cache.get("other"), None, "the answer to another request");
        cache.put(&name, "again").unwrap();
        assert_eq!(cache.get(&name).as_deref(), Some("again"));
        assert_eq!(std::fs::read_dir(cache.folder()).unwrap().count(), 2, "no temporary file stays");
    }
}
