//! MMStar: questions that cannot be answered without the picture, in six categories (Chen et al.).
//!
//! ```text
//! MMStar.tsv    the published table, pictures within
//! ```
use std::path::Path;

use super::table;
use crate::Result;
use crate::benchmarks::{Benchmark, in_folder};

/// The categories.
pub const CATEGORIES: [&str; 6] = [
    "coarse perception",
    "fine-grained perception",
    "instance reasoning",
    "logical reasoning",
    "math",
    "science & technology",
];

/// Loads `MMStar.tsv`, or the table of another name that `annotations` is; pictures are unpacked into the folder
/// `pictures`.
///
/// # Errors
/// A table without the columns `index`, `question`, `answer`, `category`, `image`; an unknown category; two rows of one
/// index; pictures that are none.
pub fn load(annotations: &Path, pictures: &Path) -> Result<Benchmark> {
    table::load("mmstar", &in_folder(annotations, "MMStar.tsv"), pictures, Some(&CATEGORIES))
}
