//! What a run is a run of.
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::benchmarks::{Benchmark, Source};
use crate::{Error, Result, json};

/// `manifest.json` of a run's directory. Two manifests are of one run if all but `images` agree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The benchmark's name.
    pub benchmark: String,
    /// Its files and their hashes.
    pub sources: Vec<Source>,
    /// Items that are asked: fewer than the files hold where some were left out.
    pub items: usize,
    /// What identifies the model.
    pub model: Value,
    /// How it is asked.
    pub options: Value,
    /// The folder of pictures, for looking at the run later.
    pub images: String,
}

impl Manifest {
    /// The manifest of a run of `benchmark` with pictures from `images`.
    pub fn new(benchmark: &Benchmark, model: Value, options: Value, images: &Path) -> Self {
        Self {
            benchmark: benchmark.name.to_owned(),
            sources: benchmark.sources.clone(),
            items: benchmark.items.len(),
            model,
            options,
            images: images.to_string_lossy().into_owned(),
        }
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Json`].
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        json::parse(path, &bytes, "a run's manifest")
    }

    /// Refuses another run than `self`, found in `directory`.
    pub(super) fn check(&self, found: &Self, directory: &Path) -> Result<()> {
        fn text(value: &impl Serialize) -> String {
            serde_json::to_string(value).unwrap_or_default()
        }
        let fields = [
            ("benchmark", text(&self.benchmark), text(&found.benchmark)),
            ("sources", text(&self.sources), text(&found.sources)),
            ("items", text(&self.items), text(&found.items)),
            ("model", text(&self.model), text(&found.model)),
            ("options", text(&self.options), text(&found.options)),
        ];
        match fields.into_iter().find(|(_, expected, found)| expected != found) {
            None => Ok(()),
            Some((field, expected, found)) => {
                Err(Error::OtherRun { directory: directory.to_owned(), field, expected, found })
            }
        }
    }
}
