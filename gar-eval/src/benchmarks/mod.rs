//! Benchmarks: a file of annotations becomes items that a model can be asked.
//!
//! Each benchmark is one module with a loader that gives a [`Benchmark`]. A loader is strict: what it lets through can be
//! asked and scored.
mod answer;
pub mod dlc;
pub mod ferret;
pub mod gar_bench;
mod item;
mod keyed;
pub mod mdvp;
pub mod open_class;
mod source;
pub mod video;
pub mod videorefer;
pub mod whole;

use std::path::Path;

pub use answer::{AnswerRecord, Answered};
pub use item::{Item, RegionShape, Shape};
pub use source::Source;
pub(crate) use source::sha256;

use crate::Result;

/// A benchmark, loaded.
#[derive(Debug)]
pub struct Benchmark {
    /// The name on the command line and in a run's manifest: `gar-bench-vqa`.
    pub name: &'static str,
    /// The files that it was read from; a run belongs to them by their hashes.
    pub sources: Vec<Source>,
    /// What is asked, in the files' order; ids are distinct.
    pub items: Vec<Item>,
    /// Writes all answers in the form that the published outputs of this benchmark have. Answers are in the order of
    /// the items.
    pub output: fn(&[Answered<'_>]) -> Result<String>,
}

impl Benchmark {
    /// Checks every item's picture: that it is there and that its masks are of its size. Reads headers only.
    ///
    /// # Errors
    /// [`Error::MissingPicture`](crate::Error::MissingPicture), [`Error::MaskSize`](crate::Error::MaskSize), a file that
    /// is no picture.
    pub fn check_pictures(&self) -> Result<()> {
        self.items.iter().try_for_each(Item::check_picture)
    }

    /// Keeps the items whose picture is there and says how many were left out.
    pub fn keep_present(&mut self) -> usize {
        let before = self.items.len();
        self.items.retain(|item| item.picture.is_file());
        before - self.items.len()
    }
}

/// The picture `name` of a benchmark in `folder`: below it as the annotations have it, or, where the folder holds the
/// pictures themselves, by its file name alone.
pub fn picture_path(folder: &Path, name: &str) -> std::path::PathBuf {
    let whole = folder.join(name);
    match Path::new(name).file_name() {
        Some(file) if !whole.is_file() && folder.join(file).is_file() => folder.join(file),
        _ => whole,
    }
}

/// The slot that a region which stands alone has in the released code, when it is to be described.
const SINGLE_SLOT: usize = 1;

/// A file of annotations, given itself or by the folder that holds it under its published name.
fn in_folder(path: &Path, name: &str) -> std::path::PathBuf {
    if path.is_dir() { path.join(name) } else { path.to_owned() }
}
