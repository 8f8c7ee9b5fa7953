//! The tensors of a BERT's file.
use std::path::{Path, PathBuf};

use gar_core::kernels::{Error, Tensor};
use safetensors::{Dtype, SafeTensors};

/// A safetensors file in memory, for its f32 tensors.
///
/// [`Weights`](gar_core::kernels::Weights) refuses a file that also holds whole numbers, as BERT's do: `position_ids`.
pub(super) struct Stored {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Stored {
    /// Reads a file. Its header is judged with the first tensor.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let bytes = std::fs::read(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), bytes })
    }

    /// The tensor `name` on the host, of this shape and with finite entries.
    ///
    /// # Errors
    /// [`Error::MissingTensor`]; [`Error::Checkpoint`] for a header that does not hold, another shape or element type, an
    /// entry that is NaN or infinite.
    pub(super) fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, Error> {
        let wrong = |what: String, expected: String, found: String| Error::Checkpoint {
            path: self.path.clone(),
            what,
            expected,
            found,
        };
        let file = SafeTensors::deserialize(&self.bytes)
            .map_err(|e| wrong("header".into(), "a safetensors header".into(), e.to_string()))?;
        let missing = |_| Error::MissingTensor { name: name.into(), path: self.path.clone() };
        let view = file.tensor(name).map_err(missing)?;
        let what = format!("tensor {name:?}");
        if view.dtype() != Dtype::F32 {
            return Err(wrong(what, "f32".into(), format!("{:?}", view.dtype())));
        }
        if view.shape() != shape {
            return Err(wrong(what, format!("{shape:?}"), format!("{:?}", view.shape())));
        }
        let bytes = view.data().chunks_exact(4);
        let values: Vec<f32> = bytes.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        match values.iter().position(|value| !value.is_finite()) {
            Some(at) => Err(wrong(what, "finite entries".into(), format!("NaN or infinity at entry {at}"))),
            None => Tensor::from_vec(values, shape),
        }
    }
}
