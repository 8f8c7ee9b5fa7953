//! A file that grows by a line an answer and survives being killed at any moment.
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::AnswerRecord;
use crate::{Error, Result};

/// `answers.jsonl`, open for appending.
#[derive(Debug)]
pub(super) struct AnswerLog {
    path: PathBuf,
    file: File,
}

impl AnswerLog {
    /// Opens the file, made where it is missing, and reads what it holds.
    ///
    /// A write that was cut off leaves a last line without its end; after a loss of power it may also end in bytes that
    /// were never written. Either is cut away, and its item will be asked again.
    pub(super) fn open(path: &Path) -> Result<(Self, Vec<AnswerRecord>)> {
        let io = || Error::io(path);
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(io())?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io())?;
        let (records, whole) = parse(path, &bytes)?;
        if whole < bytes.len() {
            file.set_len(whole as u64).and_then(|()| file.sync_data()).map_err(io())?;
            file.seek(SeekFrom::End(0)).map_err(io())?;
        }
        Ok((Self { path: path.to_owned(), file }, records))
    }

    /// Appends a line for each record and waits, once for all, until they are on the disk.
    pub(super) fn append(&mut self, records: &[AnswerRecord]) -> Result<()> {
        let mut lines = Vec::new();
        for record in records {
            serde_json::to_writer(&mut lines, record).map_err(std::io::Error::from).map_err(Error::io(&self.path))?;
            lines.push(b'\n');
        }
        self.file.write_all(&lines).and_then(|()| self.file.sync_data()).map_err(Error::io(&self.path))
    }
}

/// The records, and how many bytes their lines take.
fn parse(path: &Path, bytes: &[u8]) -> Result<(Vec<AnswerRecord>, usize)> {
    let (mut records, mut whole) = (Vec::new(), 0);
    let mut lines = bytes.split_inclusive(|&byte| byte == b'\n').enumerate().peekable();
    while let Some((at, line)) = lines.next() {
        let last = lines.peek().is_none();
        match serde_json::from_slice(line) {
            _ if last && !line.ends_with(b"\n") => break,
            Ok(record) => records.push(record),
            Err(_) if last => break,
            Err(error) => {
                return Err(Error::Log { path: path.to_owned(), line: at + 1, reason: error.to_string() });
            }
        }
        whole += line.len();
    }
    Ok((records, whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str) -> AnswerRecord {
        AnswerRecord { id: id.into(), answer: "ja \"ü\"\n".into(), prompt_tokens: 1, new_tokens: 2, refused: None }
    }

    /// Cuts a log of three lines at every byte: what was whole before the cut is kept, and the log goes on from there.
    #[test]
    fn a_log_cut_anywhere_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("answers.jsonl");
        let ids = ["a", "b", "c"];
        let (mut log, found) = AnswerLog::open(&path).unwrap();
        assert_eq!(found, []);
        ids.iter().for_each(|id| log.append(&[record(id)]).unwrap());
        drop(log);
        let bytes = std::fs::read(&path).unwrap();
        for cut in 0..=bytes.len() {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            let (mut log, found) = AnswerLog::open(&path).unwrap();
            assert_eq!(found.len(), bytes[..cut].iter().filter(|&&b| b == b'\n').count(), "cut at {cut}");
            log.append(&ids[found.len()..].iter().map(|id| record(id)).collect::<Vec<_>>()).unwrap();
            assert!(std::fs::read(&path).unwrap() == bytes, "cut at {cut}");
        }
    }

    #[test]
    fn damage_is_cut_at_the_end_and_refused_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("answers.jsonl");
        let line = serde_json::to_string(&record("a")).unwrap() + "\n";
        std::fs::write(&path, format!("{line}\0\0\0\n")).unwrap();
        assert_eq!(AnswerLog::open(&path).unwrap().1, [record("a")]);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), line);
        std::fs::write(&path, format!("{{\"id\": 3}}\n{line}")).unwrap();
        let error = AnswerLog::open(&path).unwrap_err().to_string();
        assert!(error.contains("answers.jsonl: line 1: invalid type"), "{error}");
    }
}
