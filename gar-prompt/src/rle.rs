//! Run-length masks in COCO's form, byte for byte as pycocotools writes them.
//!
//! The pixels are read column by column. Runs of clear and set pixels alternate, the first run being clear (and
//! possibly of length 0). *Uncompressed*, the runs are a list of numbers. *Compressed*, each run is written as a signed
//! number in groups of five bits, least significant first, one character a group: `'0'` + the bits, + 32 where another
//! group follows; a group's highest bit is the sign once no other follows. From the fourth run on, the number is the
//! difference to the run two before.

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use crate::mask::{Mask, check_size};
use crate::{Error, Result};

/// A run-length mask as it stands in a JSON file: `{"size": [height, width], "counts": …}`.
///
/// Reading keeps `counts` as written, so that writing gives the same text back even where pycocotools itself would
/// choose other runs for the same pixels.
///
/// ```
/// use gar_prompt::Rle;
///
/// let rle = Rle::from_json(r#"{"size": [2, 3], "counts": [1, 4, 1]}"#)?;
/// let mask = rle.to_mask()?;
/// assert_eq!(mask.area(), 4);
/// assert_eq!(Rle::encode(&mask), Rle::from_json(r#"{"size": [2, 3], "counts": "141"}"#)?);
/// # Ok::<(), gar_prompt::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rle {
    /// Height and width.
    pub size: [usize; 2],
    /// The runs.
    pub counts: Counts,
}

/// The two ways to write runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected counts as a string or as a list of whole numbers from 0 to 4294967295")]
pub enum Counts {
    /// pycocotools' string.
    Compressed(String),
    /// Plain run lengths.
    Uncompressed(Vec<u32>),
}

impl Rle {
    /// The runs of a mask, compressed.
    pub fn encode(mask: &Mask) -> Self {
        Self { size: [mask.height(), mask.width()], counts: Counts::Compressed(write_runs(&runs_of(mask))) }
    }

    /// The runs of a mask as a list.
    pub fn encode_uncompressed(mask: &Mask) -> Self {
        Self { size: [mask.height(), mask.width()], counts: Counts::Uncompressed(runs_of(mask)) }
    }

    /// Reads the JSON object. Its runs are judged by [`to_mask`](Self::to_mask).
    ///
    /// # Errors
    /// [`Error::RleJson`].
    pub fn from_json(text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|source| Error::RleJson { source })
    }

    /// The run lengths.
    ///
    /// # Errors
    /// [`Error::RleByte`], [`Error::RleTruncated`], [`Error::RleRun`] where a compressed string is malformed.
    pub fn runs(&self) -> Result<Vec<u32>> {
        match &self.counts {
            Counts::Compressed(text) => read_runs(text.as_bytes()),
            Counts::Uncompressed(runs) => Ok(runs.clone()),
        }
    }

    /// The mask. Its size may be zero; then the runs must all be zero.
    ///
    /// # Errors
    /// Those of [`runs`](Self::runs); [`Error::TooLarge`]; [`Error::RleLength`] where the runs do not add up to the
    /// size exactly.
    pub fn to_mask(&self) -> Result<Mask> {
        let [height, width] = self.size;
        check_size(width, height)?;
        let runs = self.runs()?;
        let expected = (width * height) as u64;
        let mut found = 0_u64;
        for &run in &runs {
            found += u64::from(run);
            if found > expected {
                break;
            }
        }
        if found != expected {
            return Err(Error::RleLength { width, height, expected, found });
        }

        let mut columns = Vec::with_capacity(width * height);
        for (i, &run) in runs.iter().enumerate() {
            columns.resize(columns.len() + run as usize, i % 2 == 1);
        }
        Ok(mask_from_columns(width, height, |i| columns.get(i).copied().unwrap_or(false)))
    }
}

/// A mask [height, width] from its pixels in column-major order.
pub(crate) fn mask_from_columns(width: usize, height: usize, pixel: impl Fn(usize) -> bool) -> Mask {
    Mask::from_array(Array2::from_shape_fn((height, width), |(y, x)| pixel(x * height + y)))
}

/// Alternating run lengths, clear first, column by column. A mask without pixels has one run of 0, as in pycocotools.
fn runs_of(mask: &Mask) -> Vec<u32> {
    let mut runs = Vec::new();
    let (mut run, mut value) = (0_u32, false);
    for &pixel in mask.view().t() {
        // A run longer than 32 bits is split by one of length 0.
        if pixel != value || run == u32::MAX {
            runs.push(run);
            if pixel == value {
                runs.push(0);
            }
            (run, value) = (0, pixel);
        }
        run += 1;
    }
    runs.push(run);
    runs
}

fn write_runs(runs: &[u32]) -> String {
    let mut text = String::with_capacity(runs.len() * 2);
    for (i, &run) in runs.iter().enumerate() {
        let mut rest = i64::from(run);
        if i > 2 {
            rest -= i64::from(runs[i - 2]);
        }
        loop {
            let bits = (rest & 0x1f) as u8;
            rest >>= 5;
            // The last group's highest bit is read as the sign, so it must agree with what is left.
            let more = if bits & 0x10 != 0 { rest != -1 } else { rest != 0 };
            text.push(char::from(b'0' + bits + if more { 0x20 } else { 0 }));
            if !more {
                break;
            }
        }
    }
    text
}

fn read_runs(text: &[u8]) -> Result<Vec<u32>> {
    /// Groups of five bits that an `i64` holds with room for the sign; a 32-bit run or difference needs seven.
    const MAX_GROUPS: u32 = 12;

    let mut runs: Vec<u32> = Vec::new();
    let mut bytes = text.iter().copied().enumerate();
    while let Some(mut next) = bytes.next() {
        let run = runs.len();
        let mut value = 0_i64;
        let mut groups = 0;
        loop {
            let (at, found) = next;
            let bits = found.checked_sub(b'0').filter(|bits| *bits < 64).ok_or(Error::RleByte { at, found })?;
            if groups == MAX_GROUPS {
                return Err(Error::RleRun { run, found: value });
            }
            value |= i64::from(bits & 0x1f) << (5 * groups);
            groups += 1;
            if bits & 0x20 == 0 {
                if bits & 0x10 != 0 {
                    value |= -1 << (5 * groups);
                }
                break;
            }
            next = bytes.next().ok_or(Error::RleTruncated { run })?;
        }
        if run > 2 {
            value += i64::from(runs[run - 2]);
        }
        runs.push(u32::try_from(value).map_err(|_| Error::RleRun { run, found: value })?);
    }
    Ok(runs)
}
