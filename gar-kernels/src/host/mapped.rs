//! Files mapped into memory.
use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{Error, Result};

/// A file mapped read-only into memory.
#[derive(Debug)]
pub(crate) struct MappedFile {
    path: PathBuf,
    map: memmap2::Mmap,
}

impl MappedFile {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let io = |source| Error::Io { path: path.to_path_buf(), source };
        let file = fs::File::open(path).map_err(io)?;
        if file.metadata().map_err(io)?.is_dir() {
            return Err(io(std::io::ErrorKind::IsADirectory.into()));
        }
        // SAFETY: the map is private and read-only. As with every mapped checkpoint, nobody may truncate the file while
        // it is open; overwriting it changes numbers, not memory safety, since every bit pattern is a valid element.
        let map = unsafe { memmap2::MmapOptions::new().map_copy_read_only(&file) }.map_err(io)?;
        Ok(Self { path: path.to_path_buf(), map })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Gives the pages of `bytes` back to the system; they are read again when they are touched.
    pub(crate) fn release(&self, bytes: std::ops::Range<usize>) {
        #[cfg(unix)]
        {
            use memmap2::UncheckedAdvice::DontNeed;
            // SAFETY: the map is read-only, so a page that is dropped holds nothing but what the file holds. A refusal is of no
            // concern: the memory stays where it is.
            let _ = unsafe { self.map.unchecked_advise_range(DontNeed, bytes.start, bytes.len()) };
        }
        #[cfg(not(unix))]
        let _ = bytes;
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}
