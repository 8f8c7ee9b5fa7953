//! Checkpoints in the Hugging Face layout: one `model.safetensors`, or shards with an index, memory-mapped.
//!
//! [`Weights`] is a checkpoint seen from a name prefix. Loading code takes a scope and asks for its own tensors, with the
//! shape that it needs; what is missing, misshapen or not finite is an error that names the tensor and its file.
mod file;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use file::Entry;
pub(crate) use file::MappedFile;

use crate::{DType, Error, Result, Tensor};

/// A tensor of a checkpoint.
#[derive(Clone, Debug)]
enum Stored {
    File(Entry),
    Memory(Tensor),
}

impl Stored {
    fn shape(&self) -> &[usize] {
        match self {
            Self::File(entry) => &entry.shape,
            Self::Memory(tensor) => tensor.shape(),
        }
    }

    fn dtype(&self) -> DType {
        match self {
            Self::File(entry) => entry.dtype,
            Self::Memory(tensor) => tensor.dtype(),
        }
    }

    fn tensor(&self) -> Result<Tensor> {
        match self {
            Self::File(entry) => entry.tensor(),
            Self::Memory(tensor) => Ok(tensor.clone()),
        }
    }
}

/// The tensors of a checkpoint whose names begin with a prefix.
///
/// ```no_run
/// use gar_kernels::Weights;
/// let weights = Weights::open("GAR-1B".as_ref())?;
/// let norm = weights.scope("mllm.model.language_model").tensor("norm.weight", &[2048])?;
/// # Ok::<(), gar_kernels::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Weights {
    index: Arc<BTreeMap<String, Stored>>,
    /// The directory or file, for messages.
    path: Arc<PathBuf>,
    prefix: String,
}

/// Name, element type and shape of a stored tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Full name.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Extents, outermost first.
    pub shape: Vec<usize>,
}

impl Weights {
    /// Opens a checkpoint directory (`model.safetensors`, else `model.safetensors.index.json` and its shards) or a single
    /// safetensors file. Only headers are read.
    ///
    /// # Errors
    /// [`Error::Io`] for files that are not there, [`Error::Checkpoint`] for a header or an index that does not hold.
    pub fn open(path: &Path) -> Result<Self> {
        let (single, index) = (path.join("model.safetensors"), path.join("model.safetensors.index.json"));
        let entries = if !path.is_dir() {
            file::read(path)?
        } else if single.exists() || !index.exists() {
            file::read(&single)?
        } else {
            file::read_sharded(path, &index)?
        };
        let index = entries.into_iter().map(|(name, entry)| (name, Stored::File(entry))).collect();
        Ok(Self { index: Arc::new(index), path: Arc::new(path.to_path_buf()), prefix: String::new() })
    }

    /// A checkpoint whose tensors are in memory, on the host: loading shares their storage. `path` is for messages.
    pub fn from_tensors(tensors: impl IntoIterator<Item = (String, Tensor)>, path: &Path) -> Self {
        let index = tensors.into_iter().map(|(name, tensor)| (name, Stored::Memory(tensor))).collect();
        Self { index: Arc::new(index), path: Arc::new(path.to_path_buf()), prefix: String::new() }
    }

    /// The tensors under `prefix.`; an empty prefix is this scope itself.
    #[must_use]
    pub fn scope(&self, prefix: &str) -> Self {
        let prefix = if prefix.is_empty() { self.prefix.clone() } else { format!("{}{prefix}.", self.prefix) };
        Self { prefix, ..self.clone() }
    }

    /// Whether `name` is there.
    pub fn contains(&self, name: &str) -> bool {
        self.index.contains_key(&self.full_name(name))
    }

    /// The floating-point tensor `name`, on the host and mapped, of exactly this shape and with finite entries.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], or [`Error::Checkpoint`] for another shape, another kind of element, or an entry that is
    /// NaN or infinite.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let entry = self.entry(name)?;
        let wrong = |expected: String, found: String| Error::Checkpoint {
            path: match entry {
                Stored::File(entry) => entry.file.path().to_path_buf(),
                Stored::Memory(_) => self.path.to_path_buf(),
            },
            what: format!("tensor {:?}", self.full_name(name)),
            expected,
            found,
        };
        if entry.shape() != shape {
            return Err(wrong(format!("{shape:?}"), format!("{:?}", entry.shape())));
        }
        if !entry.dtype().is_float() {
            return Err(wrong("f32, f16 or bf16".into(), entry.dtype().to_string()));
        }
        let tensor = entry.tensor()?;
        match file::first_not_finite(&tensor)? {
            Some(at) => Err(wrong("finite entries".into(), format!("NaN or infinity at entry {at}"))),
            None => Ok(tensor),
        }
    }

    /// The shape of tensor `name`.
    ///
    /// # Errors
    /// [`Error::MissingTensor`].
    pub fn shape(&self, name: &str) -> Result<&[usize]> {
        Ok(self.entry(name)?.shape())
    }

    /// Every tensor of this scope, by name.
    pub fn tensors(&self) -> impl Iterator<Item = TensorInfo> + '_ {
        self.index
            .range(self.prefix.clone()..)
            .take_while(|(name, _)| name.starts_with(&self.prefix))
            .map(|(name, entry)| TensorInfo { name: name.clone(), dtype: entry.dtype(), shape: entry.shape().to_vec() })
    }

    /// The checkpoint's directory or file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn full_name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn entry(&self, name: &str) -> Result<&Stored> {
        let name = self.full_name(name);
        self.index.get(&name).ok_or_else(|| Error::MissingTensor { name, path: self.path.to_path_buf() })
    }
}
