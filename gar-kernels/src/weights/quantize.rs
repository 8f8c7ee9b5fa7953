//! Checkpoints with matrices in 8 bits.
use std::{borrow::Cow, path::Path};

use safetensors::{Dtype, View};

use super::Weights;
use crate::{DType, Error, Progress, Result, Tensor};

/// What the name of a quantised matrix is followed by in the name of its steps.
///
/// `X` is then i8, [N, K], and `X_scale` f32, `[N]`: entry (n, k) of the matrix is `X[n, k] · X_scale[n]`, levels lie in
/// −127 … 127.
pub const SCALE: &str = "_scale";

/// A tensor of a checkpoint to be written.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its name in the new checkpoint.
    pub name: String,
    /// Its full name in the old one.
    pub from: String,
    /// Whether to write it in 8 bits; it must be a matrix.
    pub int8: bool,
}

/// One entry of the file. Levels are computed when they are written, so that memory stays small.
struct Entry<'a> {
    tensor: Tensor,
    part: Part,
    shape: Vec<usize>,
    progress: &'a dyn Progress,
}

#[derive(Clone, Copy, PartialEq)]
enum Part {
    Whole,
    Levels,
    Steps,
}

impl Weights {
    /// Writes tensors of this checkpoint to one safetensors file, some in 8 bits.
    ///
    /// # Errors
    /// [`Error::MissingTensor`] for a name that is not there, [`Error::Checkpoint`] for a tensor that is not floating point
    /// or not finite, [`Error::Shape`] for one that is to be quantised and is no matrix, [`Error::Io`].
    pub fn write(&self, path: &Path, tensors: &[Stored], progress: &dyn Progress) -> Result<()> {
        let all = Self { prefix: String::new(), ..self.clone() };
        let mut entries: Vec<(String, Entry<'_>)> = Vec::with_capacity(2 * tensors.len());
        for Stored { name, from, int8 } in tensors {
            let tensor = all.tensor(from, all.shape(from)?)?;
            let shape = tensor.shape().to_vec();
            let entry = |part, shape| Entry { tensor: tensor.clone(), part, shape, progress };
            if *int8 {
                let [n, _] = tensor.dims("quantize", "w")?;
                entries.push((format!("{name}{SCALE}"), entry(Part::Steps, vec![n])));
                entries.push((name.clone(), entry(Part::Levels, shape)));
            } else {
                entries.push((name.clone(), entry(Part::Whole, shape)));
            }
        }
        progress.start("writing weights", entries.iter().map(|(_, entry)| entry.data_len() as u64).sum());
        let metadata = [("format".to_owned(), "pt".to_owned())].into();
        let written = safetensors::serialize_to_file(entries, Some(metadata), path);
        progress.finish();
        written.map_err(|error| Error::Io { path: path.to_path_buf(), source: std::io::Error::other(error) })
    }
}

impl View for Entry<'_> {
    fn dtype(&self) -> Dtype {
        match (self.part, self.tensor.dtype()) {
            (Part::Levels, _) => Dtype::I8,
            (Part::Whole, DType::F16) => Dtype::F16,
            (Part::Whole, DType::BF16) => Dtype::BF16,
            _ => Dtype::F32,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        // Nothing can fail here: `Weights::write` has seen that the tensor is a floating-point host tensor, and a matrix
        // where it is quantised.
        let bytes = match (self.part, self.tensor.dtype()) {
            (Part::Whole, DType::F16) => self.tensor.host::<half::f16>().map(|v| bytemuck::cast_slice(v).into()),
            (Part::Whole, DType::BF16) => self.tensor.host::<half::bf16>().map(|v| bytemuck::cast_slice(v).into()),
            (Part::Whole, _) => self.tensor.host::<f32>().map(|v| bytemuck::cast_slice(v).into()),
            (Part::Levels, _) => self.tensor.quantized().map(|q| {
                let levels: &[i8] = q.host().unwrap_or_default();
                Cow::Owned(bytemuck::cast_slice(levels).to_vec())
            }),
            (Part::Steps, _) => self.tensor.quantized().map(|q| {
                let steps = q.steps().unwrap_or_default();
                Cow::Owned(bytemuck::cast_slice(steps).to_vec())
            }),
        };
        self.progress.advance(self.data_len() as u64);
        bytes.unwrap_or_default()
    }

    fn data_len(&self) -> usize {
        let size = match self.part {
            Part::Whole => self.tensor.dtype().size(),
            Part::Levels => DType::I8.size(),
            Part::Steps => DType::F32.size(),
        };
        self.shape.iter().product::<usize>() * size
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NoProgress;

    #[test]
    fn what_is_written_is_what_quantising_gives() {
        let folder = tempfile::tempdir().unwrap();
        let (plain, quantised) = (folder.path().join("a.safetensors"), folder.path().join("b.safetensors"));
        let values: Vec<f32> = (0..15).map(|i| (i as f32 * 1.7).sin()).collect();
        let view = |shape| {
            let bytes: &[u8] = bytemuck::cast_slice(&values);
            safetensors::tensor::TensorView::new(Dtype::F32, shape, bytes).unwrap()
        };
        let tensors = [("m.weight", view(vec![3, 5])), ("v", view(vec![15]))];
        safetensors::serialize_to_file(tensors, None, &plain).unwrap();
        let old = Weights::open(&plain).unwrap();
        let stored = |name: &str, from: &str, int8| Stored { name: name.into(), from: from.into(), int8 };
        let kept = [stored("m.weight", "m.weight", true), stored("v", "v", false), stored("n", "m.weight", false)];
        old.write(&quantised, &kept, &NoProgress).unwrap();
        let new = Weights::open(&quantised).unwrap();
        assert!(new.scope("m").is_quantized("weight") && !new.is_quantized("v"));
        let (found, expected) =
            (new.tensor("m.weight", &[3, 5]).unwrap(), old.tensor("m.weight", &[3, 5]).unwrap().quantized().unwrap());
        assert_eq!(found.host::<i8>().unwrap(), expected.host::<i8>().unwrap());
        assert_eq!(found.steps(), expected.steps());
        for (name, shape) in [("v", &[15][..]), ("n", &[3, 5])] {
            assert_eq!(new.tensor(name, shape).unwrap().host::<f32>().unwrap(), values);
        }
        assert!(new.tensor("m.weight", &[5, 3]).is_err());
        assert!(old.write(&quantised, &[stored("v", "v", true)], &NoProgress).is_err());
    }
}
