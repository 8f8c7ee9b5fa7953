//! A run's directory: one writer at a time, and nothing half written that counts.
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use fs4::fs_std::FileExt;

use super::log::AnswerLog;
use super::{AnswerRecord, Answered, Manifest};
use crate::benchmarks::Item;
use crate::score::OUTPUT_FILE;
use crate::{Error, Result, json};

const MANIFEST: &str = "manifest.json";
const ANSWERS: &str = "answers.jsonl";
const LOCK: &str = "lock";

/// A run's directory, locked for this process until it is dropped.
#[derive(Debug)]
pub struct RunDirectory {
    path: PathBuf,
    log: AnswerLog,
    answers: HashMap<String, AnswerRecord>,
    /// The system gives the lock back when the process ends, however it ends.
    _lock: File,
}

impl RunDirectory {
    /// Opens a directory for the run that `manifest` describes: a new or empty one, or one that holds the same run, which
    /// then goes on. `items` are what may have been answered.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::OtherRun`], [`Error::NoRun`], [`Error::Log`] for answers to other or to the same items,
    /// [`Error::Io`].
    pub fn open(path: &Path, manifest: &Manifest, items: &[Item]) -> Result<Self> {
        std::fs::create_dir_all(path).map_err(Error::io(path))?;
        let lock_path = path.join(LOCK);
        let foreign = !path.join(MANIFEST).exists() && holds_files(path)?;
        if foreign {
            return Err(Error::NoRun { directory: path.to_owned() });
        }
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.map_err(Error::io(&lock_path))?;
        if !FileExt::try_lock_exclusive(&lock).map_err(Error::io(&lock_path))? {
            return Err(Error::InUse { directory: path.to_owned() });
        }
        match path.join(MANIFEST).exists() {
            true => manifest.check(&Manifest::read(&path.join(MANIFEST))?, path)?,
            false => write_whole(&path.join(MANIFEST), &(json::pretty(manifest, 2)? + "\n"))?,
        }
        let log_path = path.join(ANSWERS);
        let (log, records) = AnswerLog::open(&log_path)?;
        let mut answers = HashMap::with_capacity(records.len());
        for (at, record) in records.into_iter().enumerate() {
            let wrong = |reason: String| Error::Log { path: log_path.clone(), line: at + 1, reason };
            if !items.iter().any(|item| item.id == record.id) {
                return Err(wrong(format!("expected an item of the benchmark, found {:?}", record.id)));
            }
            let id = record.id.clone();
            if answers.insert(record.id.clone(), record).is_some() {
                return Err(wrong(format!("expected one answer an item, found another to {id:?}")));
            }
        }
        Ok(Self { path: path.to_owned(), log, answers, _lock: lock })
    }

    /// Whether an item was answered.
    pub fn has(&self, id: &str) -> bool {
        self.answers.contains_key(id)
    }

    /// Keeps answers: on the disk when this returns.
    pub(super) fn append(&mut self, records: Vec<AnswerRecord>) -> Result<()> {
        self.log.append(&records)?;
        self.answers.extend(records.into_iter().map(|record| (record.id.clone(), record)));
        Ok(())
    }

    /// Every item with its answer, in the items' order.
    pub(super) fn answers<'a>(&'a self, items: &'a [Item]) -> Result<Vec<Answered<'a>>> {
        let answered = |item: &'a Item| {
            let record = self.answers.get(&item.id).ok_or_else(|| Error::Log {
                path: self.path.join(ANSWERS),
                line: self.answers.len(),
                reason: format!("expected an answer to {:?}, found the end", item.id),
            })?;
            Ok(Answered { item, record })
        };
        items.iter().map(answered).collect()
    }

    /// Writes `output.json`.
    pub(super) fn write_output(&self, text: &str) -> Result<()> {
        write_whole(&self.path.join(OUTPUT_FILE), text)
    }
}

/// Whether a directory holds anything but what a run leaves that was killed before its manifest was there.
fn holds_files(path: &Path) -> Result<bool> {
    for entry in std::fs::read_dir(path).map_err(Error::io(path))? {
        let name = entry.map_err(Error::io(path))?.file_name();
        if name != LOCK && name != temporary(Path::new(MANIFEST)).as_os_str() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn temporary(path: &Path) -> PathBuf {
    path.with_extension("json.new")
}

/// Writes a file so that it is there as a whole or not at all: beside it first, then renamed.
fn write_whole(path: &Path, text: &str) -> Result<()> {
    let beside = temporary(path);
    let written = File::create(&beside).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(Error::io(&beside))?;
    std::fs::rename(&beside, path).map_err(Error::io(path))
}
