//! Checkpoints in the Hugging Face layout: one `model.safetensors`, or shards with an index, memory-mapped.
//!
//! [`Weights`] is a checkpoint seen from a name prefix. Loading code takes a scope and asks for its own tensors, with the
//! shape that it needs; what is missing, misshapen or not finite is an error that names the tensor and its file.
mod file;
mod quantize;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use file::{Entry, Foreign};
pub use quantize::{SCALE, Stored};

use crate::{DType, Error, Result, Tensor, bf16, f16};

/// A tensor of a checkpoint.
#[derive(Clone, Debug)]
enum Held {
    File(Entry),
    Memory(Tensor),
}

impl Held {
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
    index: Arc<BTreeMap<String, std::result::Result<Held, Foreign>>>,
    /// The directory or file, for messages.
    path: Arc<PathBuf>,
    prefix: String,
    /// What tensors are converted to.
    dtype: Option<DType>,
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
    /// [`Error::Io`] for files that are not there, [`Error::Checkpoint`] for a header or an index that does not hold. Elements
    /// that no operation takes are refused when they are asked for.
    pub fn open(path: &Path) -> Result<Self> {
        let (single, index) = (path.join("model.safetensors"), path.join("model.safetensors.index.json"));
        let entries = if !path.is_dir() {
            file::read(path)?
        } else if single.exists() || !index.exists() {
            file::read(&single)?
        } else {
            file::read_sharded(path, &index)?
        };
        let index = entries.into_iter().map(|(name, entry)| (name, entry.map(Held::File))).collect();
        Ok(Self { index: Arc::new(index), path: Arc::new(path.to_path_buf()), prefix: String::new(), dtype: None })
    }

    /// A checkpoint whose tensors are in memory, on the host: loading shares their storage. `path` is for messages.
    pub fn from_tensors(tensors: impl IntoIterator<Item = (String, Tensor)>, path: &Path) -> Self {
        let index = tensors.into_iter().map(|(name, tensor)| (name, Ok(Held::Memory(tensor)))).collect();
        Self { index: Arc::new(index), path: Arc::new(path.to_path_buf()), prefix: String::new(), dtype: None }
    }

    /// The tensors under `prefix.`; an empty prefix is this scope itself.
    #[must_use]
    pub fn scope(&self, prefix: &str) -> Self {
        let prefix = if prefix.is_empty() { self.prefix.clone() } else { format!("{}{prefix}.", self.prefix) };
        Self { prefix, ..self.clone() }
    }

    /// The same tensors, each converted to `dtype` as it is taken, to the nearest value; with `None`, as they are stored.
    #[must_use]
    pub fn converted_to(self, dtype: Option<DType>) -> Self {
        Self { dtype, ..self }
    }

    /// Whether `name` is there.
    pub fn contains(&self, name: &str) -> bool {
        self.index.contains_key(&self.full_name(name))
    }

    /// The floating-point tensor `name`, on the host and mapped (unless it is converted), of exactly this shape and with finite entries.
    ///
    /// A matrix may be there in 8 bits ([`SCALE`]); it comes as [`Tensor::quantized`] would give it, or, where tensors are
    /// [converted](Self::converted_to), as steps times levels.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], or [`Error::Checkpoint`] for another shape, another kind of element, or an entry that is
    /// NaN or infinite, or becomes it as it is converted.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let entry = self.entry(name)?;
        let wrong = |expected: String, found: String| Error::Checkpoint {
            path: match entry {
                Held::File(entry) => entry.file.path().to_path_buf(),
                Held::Memory(_) => self.path.to_path_buf(),
            },
            what: format!("tensor {:?}", self.full_name(name)),
            expected,
            found,
        };
        if entry.shape() != shape {
            return Err(wrong(format!("{shape:?}"), format!("{:?}", entry.shape())));
        }
        if self.is_quantized(name) {
            let stored = self.clone().converted_to(None);
            let steps = stored.tensor(&format!("{name}{SCALE}"), &shape[..1])?.to_f32_vec()?;
            let levels = entry.tensor()?;
            return match self.dtype {
                None => Tensor::from_levels(levels, steps),
                Some(dtype) => convert(&widened(&levels, &steps)?, dtype),
            };
        }
        if !entry.dtype().is_float() {
            return Err(wrong("f32, f16 or bf16".into(), entry.dtype().to_string()));
        }
        let tensor = entry.tensor()?;
        if let Some(at) = file::first_not_finite(&tensor)? {
            return Err(wrong("finite entries".into(), format!("NaN or infinity at entry {at}")));
        }
        let Some(dtype) = self.dtype.filter(|dtype| *dtype != entry.dtype()) else { return Ok(tensor) };
        let converted = convert(&tensor, dtype)?;
        match file::first_not_finite(&converted)? {
            Some(at) => Err(wrong(format!("entries that {dtype} can hold"), format!("a larger one at entry {at}"))),
            None => Ok(converted),
        }
    }

    /// Whether `name` is a matrix in 8 bits.
    pub fn is_quantized(&self, name: &str) -> bool {
        let matrix = self.entry(name).is_ok_and(|entry| entry.dtype() == DType::I8 && entry.shape().len() == 2);
        matrix && self.contains(&format!("{name}{SCALE}"))
    }

    /// The shape of tensor `name`.
    ///
    /// # Errors
    /// [`Error::MissingTensor`]; [`Error::Checkpoint`] for elements that no operation takes.
    pub fn shape(&self, name: &str) -> Result<&[usize]> {
        Ok(self.entry(name)?.shape())
    }

    /// Every tensor of this scope, by name. Those of elements that no operation takes, 64-bit integers say, are left out.
    pub fn tensors(&self) -> impl Iterator<Item = TensorInfo> + '_ {
        self.index
            .range(self.prefix.clone()..)
            .take_while(|(name, _)| name.starts_with(&self.prefix))
            .filter_map(|(name, entry)| Some((name, entry.as_ref().ok()?)))
            .map(|(name, entry)| TensorInfo { name: name.clone(), dtype: entry.dtype(), shape: entry.shape().to_vec() })
    }

    /// The checkpoint's directory or file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn full_name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn entry(&self, name: &str) -> Result<&Held> {
        let name = self.full_name(name);
        match self.index.get(&name) {
            Some(entry) => entry.as_ref().map_err(|foreign| foreign.refuse(&name)),
            None => Err(Error::MissingTensor { name, path: self.path.to_path_buf() }),
        }
    }
}

/// Levels [N, K] times the step of each row, in f32.
fn widened(levels: &Tensor, steps: &[f32]) -> Result<Tensor> {
    let width = levels.as_rows().1.max(1);
    let rows = levels.host::<i8>()?.chunks_exact(width).zip(steps);
    Tensor::from_vec(
        rows.flat_map(|(row, step)| row.iter().map(move |&l| f32::from(l) * step)).collect(),
        levels.shape(),
    )
}

/// A floating-point tensor in another floating-point type, each entry rounded to nearest even.
fn convert(tensor: &Tensor, dtype: DType) -> Result<Tensor> {
    use half::slice::HalfFloatSliceExt;
    let values = tensor.to_f32_vec()?;
    match dtype {
        DType::F16 => {
            let mut halves = vec![f16::ZERO; values.len()];
            halves.convert_from_f32_slice(&values);
            Tensor::from_vec(halves, tensor.shape())
        }
        DType::BF16 => Tensor::from_vec(values.into_iter().map(bf16::from_f32).collect(), tensor.shape()),
        DType::F32 => Tensor::from_vec(values, tensor.shape()),
        DType::I8 | DType::U8 | DType::U32 => {
            Err(Error::DType { op: "weights", what: "converted_to", expected: "f32, f16 or bf16", found: dtype })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::{Dtype, tensor::TensorView};

    #[test]
    fn conversion_is_explicit_and_exact_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let (good, large) = ([1.0_f32, 1.001, -2.5], [f32::MAX]);
        let bytes: Vec<u8> = good.iter().chain(&large).flat_map(|v| v.to_le_bytes()).collect();
        let view =
            |range: std::ops::Range<usize>| TensorView::new(Dtype::F32, vec![range.len() / 4], &bytes[range]).unwrap();
        safetensors::serialize_to_file([("a.good", view(0..12)), ("a.large", view(12..16))], None, &path).unwrap();

        let stored = Weights::open(&path).unwrap().scope("a");
        assert_eq!(stored.tensor("good", &[3]).unwrap().host::<f32>().unwrap(), good);
        let narrow = Weights::open(&path).unwrap().converted_to(Some(DType::BF16)).scope("a");
        assert_eq!(narrow.tensor("good", &[3]).unwrap().host::<bf16>().unwrap(), good.map(bf16::from_f32));
        let refused = narrow.tensor("large", &[1]).unwrap_err().to_string();
        assert!(refused.contains("a.large") && refused.contains("bf16 can hold"), "{refused}");
        assert!(stored.converted_to(Some(DType::U8)).tensor("good", &[3]).is_err());
    }

    #[test]
    fn elements_that_nothing_takes_trouble_only_who_asks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let (ids, norm) = ([7_i64, 8].map(i64::to_le_bytes).concat(), [0.5_f32].map(f32::to_le_bytes).concat());
        let tensors = [
            ("position_ids", TensorView::new(Dtype::I64, vec![2], &ids).unwrap()),
            ("norm", TensorView::new(Dtype::F32, vec![1], &norm).unwrap()),
        ];
        safetensors::serialize_to_file(tensors, None, &path).unwrap();
        let weights = Weights::open(&path).unwrap();
        assert_eq!(weights.tensor("norm", &[1]).unwrap().host::<f32>().unwrap(), [0.5]);
        assert_eq!(weights.tensors().map(|info| info.name).collect::<Vec<_>>(), ["norm"]);
        let refused = weights.tensor("position_ids", &[2]).unwrap_err().to_string();
        assert!(refused.contains("\"position_ids\"") && refused.contains("I64"), "{refused}");
    }

    #[test]
    fn a_quantised_matrix_is_converted_to_steps_times_levels() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let (levels, steps) = ([1_u8, 0x81, 0, 127], [0.5_f32, 0.25].map(f32::to_le_bytes).concat());
        let tensors = [
            ("w".to_owned(), TensorView::new(Dtype::I8, vec![2, 2], &levels).unwrap()),
            (format!("w{SCALE}"), TensorView::new(Dtype::F32, vec![2], &steps).unwrap()),
        ];
        safetensors::serialize_to_file(tensors, None, &path).unwrap();
        let weights = Weights::open(&path).unwrap();
        assert_eq!(weights.tensor("w", &[2, 2]).unwrap().steps(), Some(&[0.5, 0.25][..]));
        let narrow = weights.converted_to(Some(DType::BF16)).tensor("w", &[2, 2]).unwrap();
        assert_eq!(narrow.host::<bf16>().unwrap(), [0.5, -63.5, 0.0, 31.75].map(bf16::from_f32));
    }
}
