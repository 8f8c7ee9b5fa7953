//! Samples from Arrow shards, as Hugging Face `datasets` writes them: Arrow IPC streams in files.
//!
//! ```text
//! image:         struct<bytes: binary, path: string>          or string
//! mask_rle:      struct<size: list<int64>, counts: string>    or a list of them
//! conversations: list<struct<from: string, value: string>>
//! ```
//! Other columns are passed over. `counts` may also be a list of run lengths.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use arrow_array::{Array, RecordBatch, StructArray};
use arrow_ipc::reader::StreamReader;
use gar_prompt::{Counts, Rle};

use crate::columns::{Column, field};
use crate::sample::{self, Picture, Sample, Speaker, Turn};
use crate::{Error, Result};

/// A continuation marker and a length of 0: how a stream says that it is complete.
const END_OF_STREAM: [u8; 8] = [0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0];

/// A stream of the samples of one shard; one record batch is in memory at a time.
///
/// A row that is no sample is an error in its place and the rows after it are read all the same. An error of the shard
/// itself ends the stream.
#[derive(Debug)]
pub struct ArrowShard {
    path: PathBuf,
    reader: Option<StreamReader<BufReader<File>>>,
    batch: Option<StructArray>,
    row: usize,
    index: u64,
}

impl ArrowShard {
    /// Opens a shard and reads its schema.
    ///
    /// # Errors
    /// [`Error::InFile`] with [`Error::Io`]; [`Error::ShardTruncated`] for a file without an end-of-stream marker;
    /// [`Error::Shard`] for what is not an Arrow stream; [`Error::MissingColumn`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let reader = open(&path).map_err(Error::in_file(&path))?;
        Ok(Self { path, reader: Some(reader), batch: None, row: 0, index: 0 })
    }

    /// The next batch that has rows; `None` at the end.
    fn next_batch(&mut self) -> Result<Option<StructArray>> {
        loop {
            let Some(reader) = self.reader.as_mut() else { return Ok(None) };
            let Some(batch) = guarded(|| reader.next().transpose())? else { return Ok(None) };
            if batch.num_rows() > 0 {
                return Ok(Some(batch.into()));
            }
        }
    }
}

impl Iterator for ArrowShard {
    type Item = Result<Sample>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.batch.as_ref().is_none_or(|batch| self.row >= batch.len()) {
            self.row = 0;
            self.batch = match self.next_batch() {
                Ok(batch) => batch,
                Err(error) => {
                    self.reader = None;
                    self.batch = None;
                    return Some(Err(Error::in_file(&self.path)(error)));
                }
            };
        }
        let batch = self.batch.as_ref()?;
        let sample = sample(batch, self.row).map_err(Error::in_sample(self.index)).map_err(Error::in_file(&self.path));
        self.row += 1;
        self.index += 1;
        Some(sample)
    }
}

fn open(path: &Path) -> Result<StreamReader<BufReader<File>>> {
    let mut file = File::open(path)?;
    let bytes = file.metadata()?.len();
    // The reader takes a stream that stops between two messages for a complete one, so the marker is looked for here.
    let mut end = [0; END_OF_STREAM.len()];
    if bytes < end.len() as u64 {
        return Err(Error::ShardTruncated { bytes });
    }
    file.seek(SeekFrom::End(-(end.len() as i64)))?;
    file.read_exact(&mut end)?;
    if end != END_OF_STREAM {
        return Err(Error::ShardTruncated { bytes });
    }
    file.rewind()?;
    let reader = guarded(|| StreamReader::try_new(BufReader::new(file), None))?;
    let empty: StructArray = RecordBatch::new_empty(reader.schema()).into();
    for name in ["image", "mask_rle", "conversations"] {
        field(&empty, "", name)?;
    }
    Ok(reader)
}

/// Runs the Arrow reader. It checks offsets and lengths of a damaged file with assertions in places, and a panic on a
/// user's file must not take the program along; its state is thrown away after one.
fn guarded<T>(read: impl FnOnce() -> std::result::Result<T, arrow_schema::ArrowError>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Error::Shard { found: error.to_string() }),
        Err(_) => Err(Error::Shard { found: "offsets or lengths that lead out of the file".into() }),
    }
}

fn sample(batch: &StructArray, row: usize) -> Result<Sample> {
    let image = image(&field(batch, "", "image")?, row)?;
    let masks = masks(&field(batch, "", "mask_rle")?, row)?;
    let turns = field(batch, "", "conversations")?.list(row)?;
    let (from, value) = (turns.field("from")?, turns.field("value")?);
    let turn = |at| Ok(Turn { from: speaker(&from.text(at)?)?, value: value.text(at)? });
    let conversations = (0..turns.array.len()).map(turn).collect::<Result<_>>()?;
    Ok(Sample { image, masks, conversations })
}

/// Bytes where there are any, else the path.
fn image(column: &Column, row: usize) -> Result<Picture> {
    if !column.is_struct() {
        return sample::picture_from_text(&column.text(row)?);
    }
    if column.is_null(row) {
        return Err(Error::NullValue { name: column.name.clone() });
    }
    let bytes = column.field("bytes")?;
    if bytes.is_null(row) {
        return Ok(Picture::Path(column.field("path")?.text(row)?.into()));
    }
    Ok(Picture::Encoded(bytes.bytes(row)?))
}

fn masks(column: &Column, row: usize) -> Result<Vec<Rle>> {
    if column.is_null(row) {
        return Err(Error::NoMasks);
    }
    if !column.is_list() {
        return Ok(vec![rle(column, row)?]);
    }
    let list = column.list(row)?;
    if list.array.is_empty() {
        return Err(Error::NoMasks);
    }
    (0..list.array.len()).map(|at| rle(&list, at)).collect()
}

fn rle(column: &Column, row: usize) -> Result<Rle> {
    if column.is_null(row) {
        return Err(Error::NoMasks);
    }
    let (size, counts) = (column.field("size")?.list(row)?, column.field("counts")?);
    if size.array.len() != 2 {
        return Err(size.mismatch("two numbers, height and width"));
    }
    let size = [size.number(0)?, size.number(1)?];
    if !counts.is_list() {
        return Ok(Rle { size, counts: Counts::Compressed(counts.text(row)?) });
    }
    let runs = counts.list(row)?;
    let run = |at| u32::try_from(runs.number(at)?).map_err(|_| runs.mismatch("run lengths of 32 bits"));
    Ok(Rle { size, counts: Counts::Uncompressed((0..runs.array.len()).map(run).collect::<Result<_>>()?) })
}

fn speaker(name: &str) -> Result<Speaker> {
    match name {
        "human" | "user" => Ok(Speaker::Human),
        "gpt" | "assistant" => Ok(Speaker::Gpt),
        other => {
            Err(Error::Conversation { expected: "turns from `human` and `gpt`".into(), found: format!("`{other}`") })
        }
    }
}
