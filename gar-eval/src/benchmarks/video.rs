//! Videos as folders of frames.
//!
//! A benchmark of videos is loaded, checked and scored here. What is missing is a model that takes frames: GAR reads 16
//! of them, each one tile, as `<|video|>` tokens (Grasp Any Region, §4), but the released code does not show where the
//! replay of a mask that moves is taken from, and `gar-core` has no such input. So these benchmarks cannot be run yet
//! ([`Error::NoVideo`]); outputs that were made elsewhere can be scored.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gar_core::prompt::Rle;
use serde_json::{Map, Value};

use super::Source;
use crate::{Error, Result};

/// How many frames GAR sees of a video.
pub const FRAMES: usize = 16;

/// A benchmark whose questions are about videos.
#[derive(Debug)]
pub struct VideoBenchmark {
    /// Its name on the command line.
    pub name: &'static str,
    /// The files that it was read from.
    pub sources: Vec<Source>,
    /// What is asked; ids are distinct.
    pub items: Vec<VideoItem>,
}

/// A question about a video.
#[derive(Clone, Debug)]
pub struct VideoItem {
    /// Distinct within the benchmark.
    pub id: String,
    /// The folder of frames.
    pub video: PathBuf,
    /// The objects, `<Prompt0>`, `<Prompt1>`, …
    pub tracks: Vec<Track>,
    /// The frame whose masks alone are used in single-frame mode.
    pub frame: usize,
    /// The question.
    pub question: String,
    /// The category, where the benchmark has any.
    pub category: Option<String>,
    /// The entry, without its masks.
    pub entry: Map<String, Value>,
}

/// Where an object is: a mask in each frame that was annotated, by the frame's number from 0.
pub type Track = BTreeMap<usize, Rle>;

impl VideoItem {
    /// Frames of the video by name, [`FRAMES`] of them spread uniformly, with their numbers.
    ///
    /// # Errors
    /// [`Error::Io`] for a folder that cannot be read; [`Error::MissingPicture`] where it holds no picture or fewer frames
    /// than an annotation speaks of.
    pub fn frames(&self) -> Result<Vec<(usize, PathBuf)>> {
        let all = frame_files(&self.video)?;
        let last = self.tracks.iter().filter_map(|track| track.keys().next_back()).max().copied().unwrap_or(0);
        if all.len() <= last {
            let path = self.video.join(format!("frame {last}, counted from 0"));
            return Err(Error::MissingPicture { item: self.id.clone(), path });
        }
        Ok(uniform(all.len(), FRAMES).into_iter().map(|at| (at, all[at].clone())).collect())
    }
}

impl VideoBenchmark {
    /// Why it cannot be run.
    pub fn refusal(&self) -> Error {
        Error::NoVideo { benchmark: self.name }
    }
}

/// Numbers of `wanted` frames of `count`, both ends included, as `linspace(0, count − 1, wanted)` cut to whole numbers; all
/// of them where there are not more.
///
/// ```
/// use gar_eval::benchmarks::video::uniform;
/// assert_eq!(uniform(100, 4), [0, 33, 66, 99]);
/// assert_eq!(uniform(3, 16), [0, 1, 2]);
/// assert_eq!(uniform(9, 1), [0]);
/// ```
pub fn uniform(count: usize, wanted: usize) -> Vec<usize> {
    if count <= wanted {
        return (0..count).collect();
    }
    (0..wanted).map(|i| i * (count - 1) / (wanted - 1).max(1)).collect()
}

/// The pictures of a folder by name.
fn frame_files(folder: &Path) -> Result<Vec<PathBuf>> {
    const EXTENSIONS: [&str; 4] = ["jpg", "jpeg", "png", "webp"];
    let entries = std::fs::read_dir(folder).map_err(Error::io(folder))?;
    let files = entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<Vec<_>>>();
    let mut files = files.map_err(Error::io(folder))?;
    files.retain(|file| {
        let extension = file.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
        EXTENSIONS.contains(&extension.as_str())
    });
    files.sort();
    Ok(files)
}
