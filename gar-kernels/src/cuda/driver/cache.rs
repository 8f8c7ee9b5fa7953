//! Compiled kernels on disk.
//!
//! An entry holds the whole key that it was compiled from, not only a name derived from it, and a checksum over everything.
//! An entry that does not hold (cut off, overwritten, from another version) is compiled anew. Entries are written beside their
//! place and moved there in one step, so processes that compile the same kernel at once do not see half of one; where the
//! folder cannot be written, nothing is kept and nothing fails.
//!
//! Whoever can write to the folder can make this process run kernels of theirs.
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use crate::Result;

/// First bytes of an entry; the number counts layouts.
const MAGIC: &[u8; 8] = b"garkern1";
/// Bytes of a SHA-256.
const SUM: usize = 32;

/// Everything that a compiled program depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheKey(Vec<u8>);

impl CacheKey {
    /// The same with one more part. Parts keep their borders: `ab`, `c` is another key than `a`, `bc`.
    #[must_use]
    pub fn with(mut self, part: impl AsRef<[u8]>) -> Self {
        let part = part.as_ref();
        self.0.extend_from_slice(&(part.len() as u64).to_le_bytes());
        self.0.extend_from_slice(part);
        self
    }

    fn file_name(&self) -> String {
        Sha256::digest(&self.0).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A folder of compiled kernels.
#[derive(Clone, Debug)]
pub struct KernelCache {
    folder: Option<PathBuf>,
}

impl KernelCache {
    /// The folder that `GAR_KERNEL_CACHE` names (empty: none), else `gar/kernels` in the user's cache folder.
    pub fn of_user() -> Self {
        let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let folder = match std::env::var_os("GAR_KERNEL_CACHE") {
            Some(folder) => Some(PathBuf::from(folder)).filter(|folder| !folder.as_os_str().is_empty()),
            None => named("XDG_CACHE_HOME")
                .or_else(|| named("HOME").map(|home| home.join(".cache")))
                .or_else(|| named("LOCALAPPDATA"))
                .map(|caches| caches.join("gar").join("kernels")),
        };
        Self { folder }
    }

    /// A given folder, made when the first entry is written.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Self { folder: Some(folder.into()) }
    }

    /// The image compiled from `key`: read, or built by `build` and kept.
    ///
    /// # Errors
    /// Those of `build`. An entry that cannot be read or written is none.
    pub fn get(&self, key: &CacheKey, build: impl FnOnce() -> Result<Vec<u8>>) -> Result<Vec<u8>> {
        let Some(folder) = &self.folder else { return build() };
        let place = folder.join(key.file_name());
        if let Some(image) = fs::read(&place).ok().and_then(|entry| open(&entry, key)) {
            return Ok(image);
        }
        let image = build()?;
        // Not being able to keep it costs time the next run and nothing else.
        let _ = keep(folder, &place, &seal(key, &image));
        Ok(image)
    }
}

/// The bytes of an entry: magic, key and image with their lengths, and the checksum of all that.
fn seal(CacheKey(key): &CacheKey, image: &[u8]) -> Vec<u8> {
    let mut entry = MAGIC.to_vec();
    for part in [key.as_slice(), image] {
        entry.extend_from_slice(&(part.len() as u64).to_le_bytes());
        entry.extend_from_slice(part);
    }
    let sum = Sha256::digest(&entry);
    entry.extend_from_slice(&sum);
    entry
}

/// The image in an entry, where the entry is whole and made from `key`.
fn open(entry: &[u8], CacheKey(key): &CacheKey) -> Option<Vec<u8>> {
    let (body, sum) = entry.split_at_checked(entry.len().checked_sub(SUM)?)?;
    if Sha256::digest(body)[..] != *sum {
        return None;
    }
    let part = |bytes: &mut &[u8]| -> Option<Vec<u8>> {
        let (len, rest) = bytes.split_first_chunk::<8>()?;
        let (part, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*len)).ok()?)?;
        *bytes = rest;
        Some(part.to_vec())
    };
    let mut rest = body.strip_prefix(MAGIC)?;
    let found = part(&mut rest)?;
    let image = part(&mut rest)?;
    (found == *key && rest.is_empty()).then_some(image)
}

fn keep(folder: &Path, place: &Path, entry: &[u8]) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(entry)?;
    file.persist(place)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn key(parts: &[&str]) -> CacheKey {
        parts.iter().fold(CacheKey::default(), CacheKey::with)
    }

    /// What the cache gives for `parts`, and whether it had to build.
    fn get(cache: &KernelCache, parts: &[&str]) -> (Vec<u8>, bool) {
        let mut built = false;
        let image = cache.get(&key(parts), || {
            built = true;
            Ok(parts.concat().into_bytes())
        });
        (image.unwrap(), built)
    }

    #[test]
    fn builds_once_for_each_key() {
        let folder = tempfile::tempdir().unwrap();
        let cache = KernelCache::in_folder(folder.path().join("new"));
        assert_eq!(get(&cache, &["ab", "c"]), (b"abc".to_vec(), true));
        assert_eq!(get(&cache, &["ab", "c"]), (b"abc".to_vec(), false));
        assert!(get(&cache, &["a", "bc"]).1, "borders of parts count");
        assert!(get(&cache, &["ab", "c", ""]).1, "an empty part counts");
        let failing = cache.get(&key(&["x"]), || Err(crate::Error::value("test", "x", "y", "z")));
        assert!(failing.is_err());
        assert!(get(&cache, &["x"]).1, "a failure is not kept");
    }

    #[test]
    fn broken_and_foreign_entries_are_built_anew() {
        let folder = tempfile::tempdir().unwrap();
        let cache = KernelCache::in_folder(folder.path());
        let place = folder.path().join(key(&["k"]).file_name());
        get(&cache, &["k"]);
        let whole = fs::read(&place).unwrap();
        for at in 0..whole.len() {
            let mut broken = whole.clone();
            broken[at] ^= 1;
            assert_eq!(open(&broken, &key(&["k"])), None, "byte {at} changed");
            assert_eq!(open(&whole[..at], &key(&["k"])), None, "cut off at {at}");
        }
        let others = [Vec::new(), b"no entry".to_vec(), seal(&key(&["other"]), b"image"), [&whole[..], b"x"].concat()];
        for entry in others {
            fs::write(&place, entry).unwrap();
            assert_eq!(get(&cache, &["k"]), (b"k".to_vec(), true));
            assert_eq!(get(&cache, &["k"]), (b"k".to_vec(), false), "mended");
        }
        fs::remove_file(&place).unwrap();
        fs::create_dir(&place).unwrap();
        assert_eq!(get(&cache, &["k"]), (b"k".to_vec(), true), "a folder stands in its place");
    }

    #[test]
    fn works_where_nothing_can_be_kept() {
        let folder = tempfile::tempdir().unwrap();
        // A file where the folder should be refuses writing whoever asks, root included.
        let file = folder.path().join("file");
        fs::write(&file, b"").unwrap();
        for cache in
            [KernelCache::in_folder(&file), KernelCache::in_folder(file.join("below")), KernelCache { folder: None }]
        {
            assert_eq!(get(&cache, &["k"]), (b"k".to_vec(), true));
            assert_eq!(get(&cache, &["k"]), (b"k".to_vec(), true));
        }
    }

    #[test]
    fn many_at_once_see_whole_entries() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, built) = (KernelCache::in_folder(folder.path()), AtomicUsize::new(0));
        let image = vec![7; 1 << 16];
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for i in 0..20 {
                        let found = cache.get(&key(&[&i.to_string()]), || {
                            built.fetch_add(1, Ordering::Relaxed);
                            Ok(image.clone())
                        });
                        assert_eq!(found.unwrap(), image);
                    }
                });
            }
        });
        assert!((20..=160).contains(&built.into_inner()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 20, "nothing is left beside the entries");
    }
}
