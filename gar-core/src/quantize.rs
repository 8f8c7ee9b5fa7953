//! A checkpoint rewritten with its matrices in 8 bits.
use std::{fs, path::Path};

use gar_kernels::{
    Progress, Weights,
    weights::{SCALE, Stored},
};
use gar_llm::LlamaNames;

use crate::{Error, GarConfig, Result};

/// The token table: its rows are looked up, not multiplied, and stay as they are.
const EMBEDDING: &str = "embed_tokens.weight";

/// Writes the checkpoint `input` to the directory `output`, every matrix of the tower, the projector and the decoder in
/// 8 bits ([`SCALE`] says how), all else as it is: about half the size of bf16 weights. It computes what `input` computes
/// with [`WeightFormat::Int8`](gar_kernels::cpu::WeightFormat), to the bit.
///
/// Where the output head is tied to the token table, the new checkpoint holds a head of its own.
///
/// # Errors
/// A checkpoint that does not hold together, or is quantised already; an `output` that has files in it or cannot be written.
pub fn quantize(input: &Path, output: &Path, progress: &dyn Progress) -> Result<()> {
    let config = GarConfig::read(input)?;
    let weights = Weights::open(input)?;
    let io = |path: &Path| {
        let path = path.to_path_buf();
        move |source| Error::Io { path, source }
    };
    let mut tensors = Vec::new();
    for tensor in weights.tensors() {
        if tensor.name.ends_with(SCALE) && weights.is_quantized(tensor.name.trim_end_matches(SCALE)) {
            let found = gar_kernels::Error::Checkpoint {
                path: input.to_path_buf(),
                what: format!("tensor {:?}", tensor.name),
                expected: "a checkpoint that is not quantised".into(),
                found: "the steps of a quantised matrix".into(),
            };
            return Err(found.into());
        }
        let int8 = tensor.shape.len() == 2 && tensor.name.ends_with(".weight") && !tensor.name.ends_with(EMBEDDING);
        tensors.push(Stored { name: tensor.name.clone(), from: tensor.name, int8 });
    }
    let names = LlamaNames::gar();
    let head = format!("{}.weight", names.head);
    if config.llama()?.tie_word_embeddings {
        tensors.retain(|tensor| tensor.name != head);
        tensors.push(Stored { name: head, from: format!("{}.{EMBEDDING}", names.backbone), int8: true });
    }
    fs::create_dir_all(output).map_err(io(output))?;
    if fs::read_dir(output).map_err(io(output))?.next().is_some() {
        return Err(io(output)(std::io::ErrorKind::DirectoryNotEmpty.into()));
    }
    for file in fs::read_dir(input).map_err(io(input))? {
        let path = file.map_err(io(input))?.path();
        let is_weights = |name: &str| name.contains(".safetensors");
        if let Some(name) = path.file_name().filter(|name| path.is_file() && !name.to_str().is_some_and(is_weights)) {
            fs::copy(&path, output.join(name)).map_err(io(&path))?;
        }
    }
    Ok(weights.write(&output.join("model.safetensors"), &tensors, progress)?)
}
