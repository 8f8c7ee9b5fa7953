//! A file of annotations and its hash.
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// A file that a benchmark was read from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The file's name, without its folder: data may move between two runs, their content may not change.
    pub file: String,
    /// SHA-256 of its bytes, in lower-case hexadecimal.
    pub sha256: String,
}

impl Source {
    /// Reads a file and gives its bytes and what identifies them.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn read(path: &Path) -> Result<(Vec<u8>, Self)> {
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        let file = path.file_name().map(PathBuf::from).unwrap_or_default().to_string_lossy().into_owned();
        let sha256 = sha256(&bytes);
        Ok((bytes, Self { file, sha256 }))
    }
}

/// SHA-256 in lower-case hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write;
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    /// The test vector of FIPS 180-2, appendix B.1.
    #[test]
    fn hashes_are_those_of_the_standard() {
        assert_eq!(super::sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
