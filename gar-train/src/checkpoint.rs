//! Runs on disk. A checkpoint is a folder that appears whole or not at all.
//!
//! | file | holds |
//! |---|---|
//! | `weights.safetensors` | the trained weights, f32 |
//! | `moments.safetensors` | `mean.{name}` and `square.{name}` of AdamW, f32 |
//! | `state.json` | settings, steps done, losses |
//!
//! The stream of samples is entered by position and a position follows from the step, so no generator's state is kept.
use std::{
    fs,
    path::{Path, PathBuf},
};

use gar_core::kernels::{Tensor, Weights};
use safetensors::{Dtype, tensor::TensorView};
use serde::{Deserialize, Serialize};

use crate::{Error, Result, RunConfig, Trainer, probe::is_probe, trainer::History};

/// How many checkpoints of a run are kept.
const KEPT: usize = 2;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    run: RunConfig,
    step: u64,
    history: History,
}

impl Trainer {
    /// Saves everything that a resumed run needs to `out/step-…` and deletes all but the newest two. Gives the folder.
    ///
    /// # Errors
    /// [`Error::Io`], a full disk for one; older checkpoints then stand as they did.
    pub fn save(&self, out: &Path) -> Result<PathBuf> {
        let folder = out.join(format!("step-{:08}", self.step));
        let draft = out.join("step.draft");
        match fs::remove_dir_all(&draft) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(Error::io(&draft)(error)),
            _ => fs::create_dir_all(&draft).map_err(Error::io(&draft))?,
        }
        let written = self.write(&draft).and_then(|()| replace(&draft, &folder));
        if written.is_err() {
            // The first error is the one to tell; a draft that cannot be deleted is deleted by the next save.
            let _ = fs::remove_dir_all(&draft);
        }
        written?;
        for old in checkpoints(out)?.into_iter().rev().skip(KEPT) {
            fs::remove_dir_all(&old).map_err(Error::io(&old))?;
        }
        Ok(folder)
    }

    /// Goes on from the newest checkpoint of `out`; `false` where there is none.
    ///
    /// # Errors
    /// [`Error::File`] for a checkpoint of other settings or another model.
    pub fn resume(&mut self, out: &Path) -> Result<bool> {
        let Some(folder) = checkpoints(out)?.pop() else { return Ok(false) };
        let path = folder.join("state.json");
        let text = fs::read(&path).map_err(Error::io(&path))?;
        let wrong = |path: &Path, what: &str, expected: String, found: String| Error::File {
            path: path.to_path_buf(),
            what: what.into(),
            expected,
            found,
        };
        let state: State = serde_json::from_slice(&text)
            .map_err(|e| wrong(&path, "state", "what a run saves".into(), e.to_string()))?;
        if state.run != self.config {
            let [expected, found] = [&self.config, &state.run].map(|c| format!("{c:?}"));
            return Err(wrong(&path, "run", expected, found));
        }
        let (weights, moments) =
            (Weights::open(&folder.join("weights.safetensors"))?, Weights::open(&folder.join("moments.safetensors"))?);
        let (mut values, mut mean, mut square) = (Vec::new(), Vec::new(), Vec::new());
        for (name, tensor) in self.parameters.trained() {
            let read = |from: &Weights, name: &str| from.tensor(name, tensor.shape())?.to_f32_vec();
            values.push(read(&weights, name)?);
            mean.push(read(&moments, &format!("mean.{name}"))?);
            square.push(read(&moments, &format!("square.{name}"))?);
        }
        self.parameters.replace(values)?;
        (self.moments.mean, self.moments.square) = (mean, square);
        (self.step, self.history) = (state.step, state.history);
        Ok(true)
    }

    /// Writes the model as a checkpoint in the released layout, as it is: trained weights in f32, frozen ones as stored.
    /// All other files of `source`, the checkpoint that was trained, are copied.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn export(&self, source: &Path, folder: &Path) -> Result<()> {
        copy_all_but_weights(source, folder)?;
        let own = self.parameters.all().into_iter().filter(|(name, _)| !is_probe(name));
        let tensors: Vec<_> = own.map(|(name, t)| (name.to_owned(), t)).collect();
        let draft = folder.join("model.safetensors.draft");
        write_tensors(&draft, &tensors)?;
        replace(&draft, &folder.join("model.safetensors"))
    }

    fn write(&self, folder: &Path) -> Result<()> {
        let weights: Vec<_> = self.parameters.trained().map(|(name, t)| (name.to_owned(), t)).collect();
        write_tensors(&folder.join("weights.safetensors"), &weights)?;
        let named = |kind: &'static str, vectors: &[Vec<f32>]| {
            let each = self.parameters.trained().zip(vectors.to_vec());
            each.map(|((name, like), v)| Ok((format!("{kind}.{name}"), Tensor::from_vec(v, like.shape())?)))
                .collect::<Result<Vec<_>>>()
        };
        let moments = [named("mean", &self.moments.mean)?, named("square", &self.moments.square)?].concat();
        let moments: Vec<_> = moments.iter().map(|(name, t)| (name.clone(), t)).collect();
        write_tensors(&folder.join("moments.safetensors"), &moments)?;
        let state = State { run: self.config.clone(), step: self.step, history: self.history.clone() };
        let path = folder.join("state.json");
        let text = serde_json::to_vec_pretty(&state).map_err(|e| Error::io(&path)(e.into()))?;
        fs::write(&path, text).map_err(Error::io(&path))?;
        sync(&path)
    }
}

/// Copies the files of a checkpoint directory that hold no weights.
pub(crate) fn copy_all_but_weights(source: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(Error::io(folder))?;
    for entry in fs::read_dir(source).map_err(Error::io(source))? {
        let path = entry.map_err(Error::io(source))?.path();
        let name = path.file_name().unwrap_or_default();
        let weights = name.to_string_lossy().contains(".safetensors");
        if path.is_file() && !weights {
            fs::copy(&path, folder.join(name)).map_err(Error::io(folder.join(name)))?;
        }
    }
    Ok(())
}

/// The complete checkpoints of a run, oldest first.
fn checkpoints(out: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(out) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io(out)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::io(out))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.strip_prefix("step-").is_some_and(|step| step.parse::<u64>().is_ok()) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Writes tensors of the host to one file and waits until they are on the disk.
pub(crate) fn write_tensors(path: &Path, tensors: &[(String, &Tensor)]) -> Result<()> {
    let other = |e: safetensors::SafeTensorError| match e {
        safetensors::SafeTensorError::IoError(e) => Error::io(path)(e),
        e => Error::io(path)(std::io::Error::other(e)),
    };
    let mut bytes = Vec::with_capacity(tensors.len());
    for (_, tensor) in tensors {
        use gar_core::kernels::DType;
        bytes.push(match tensor.dtype() {
            DType::F16 => (Dtype::F16, little_endian(tensor.host::<gar_core::kernels::f16>()?, |v| v.to_le_bytes())),
            DType::BF16 => (Dtype::BF16, little_endian(tensor.host::<gar_core::kernels::bf16>()?, |v| v.to_le_bytes())),
            _ => (Dtype::F32, little_endian(tensor.host::<f32>()?, |v| v.to_le_bytes())),
        });
    }
    let mut views = Vec::with_capacity(tensors.len());
    for ((name, tensor), (dtype, bytes)) in tensors.iter().zip(&bytes) {
        views.push((name.as_str(), TensorView::new(*dtype, tensor.shape().to_vec(), bytes).map_err(other)?));
    }
    safetensors::serialize_to_file(views, None, path).map_err(other)?;
    sync(path)
}

fn little_endian<T: Copy, const N: usize>(values: &[T], bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|&v| bytes(v)).collect()
}

fn sync(path: &Path) -> Result<()> {
    fs::File::open(path).and_then(|file| file.sync_all()).map_err(Error::io(path))
}

/// Moves a finished draft to its place, where nothing or an older version stands.
fn replace(draft: &Path, place: &Path) -> Result<()> {
    if place.is_dir() {
        fs::remove_dir_all(place).map_err(Error::io(place))?;
    }
    fs::rename(draft, place).map_err(Error::io(place))
}
