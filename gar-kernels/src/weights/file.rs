//! One safetensors file: header, tensors.
use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use half::{bf16, f16};
use rayon::prelude::*;
use safetensors::{Dtype, SafeTensors};

use crate::{
    DType, Error, Result, Tensor,
    host::{HostStorage, MappedFile},
};

/// Where a tensor lies.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) file: Arc<MappedFile>,
    pub(super) dtype: DType,
    pub(super) shape: Vec<usize>,
    /// Bytes from the start of the file.
    start: usize,
    len: usize,
}

impl Entry {
    /// The tensor, mapped where its bytes are aligned for its type, else copied.
    pub(super) fn tensor(&self) -> Result<Tensor> {
        let bytes = self.file.bytes().get(self.start..self.start + self.len).unwrap_or_default();
        let aligned = bytes.as_ptr().addr() % self.dtype.size() == 0;
        if aligned {
            let storage = HostStorage::Mapped { file: self.file.clone(), start: self.start, len: self.len };
            return Tensor::from_storage(Arc::new(storage), self.dtype, &self.shape);
        }
        match self.dtype {
            DType::F32 => Tensor::from_vec(bytemuck::pod_collect_to_vec::<u8, f32>(bytes), &self.shape),
            DType::F16 => Tensor::from_vec(bytemuck::pod_collect_to_vec::<u8, f16>(bytes), &self.shape),
            DType::BF16 => Tensor::from_vec(bytemuck::pod_collect_to_vec::<u8, bf16>(bytes), &self.shape),
            DType::I8 => Tensor::from_vec(bytemuck::pod_collect_to_vec::<u8, i8>(bytes), &self.shape),
            DType::U8 => Tensor::from_vec(bytes.to_vec(), &self.shape),
            DType::U32 => Tensor::from_vec(bytemuck::pod_collect_to_vec::<u8, u32>(bytes), &self.shape),
        }
    }
}

/// A tensor of elements that no operation takes, 64-bit `position_ids` say. It troubles only who asks for it.
#[derive(Clone, Debug)]
pub(super) struct Foreign {
    file: Arc<MappedFile>,
    dtype: Dtype,
}

impl Foreign {
    pub(super) fn refuse(&self, name: &str) -> Error {
        Error::Checkpoint {
            path: self.file.path().to_path_buf(),
            what: format!("tensor {name:?}"),
            expected: "f32, f16, bf16, i8, u8 or u32".into(),
            found: format!("{:?}", self.dtype),
        }
    }
}

/// The tensors of a file by name.
pub(super) type Entries = BTreeMap<String, std::result::Result<Entry, Foreign>>;

/// Reads the header of one file.
pub(super) fn read(path: &Path) -> Result<Entries> {
    let file = Arc::new(MappedFile::open(path)?);
    let wrong = |what: &str, expected: &str, found: String| Error::Checkpoint {
        path: path.to_path_buf(),
        what: what.into(),
        expected: expected.into(),
        found,
    };
    let (header, metadata) =
        SafeTensors::read_metadata(file.bytes()).map_err(|e| wrong("header", "a safetensors header", e.to_string()))?;
    let data = header + 8;
    let mut entries = BTreeMap::new();
    for (name, info) in metadata.tensors() {
        let dtype = match info.dtype {
            Dtype::F32 => Some(DType::F32),
            Dtype::F16 => Some(DType::F16),
            Dtype::BF16 => Some(DType::BF16),
            Dtype::I8 => Some(DType::I8),
            Dtype::U8 => Some(DType::U8),
            Dtype::U32 => Some(DType::U32),
            _ => None,
        };
        let (from, to) = info.data_offsets;
        let end = data.checked_add(to).filter(|&end| end <= file.bytes().len());
        if from > to || end.is_none() {
            let found = format!("bytes {from}..{to} of {} behind the header", file.bytes().len().saturating_sub(data));
            return Err(wrong(&format!("tensor {name:?}"), "data inside the file", found));
        }
        let file = file.clone();
        entries.insert(
            name,
            match dtype {
                Some(dtype) => Ok(Entry { file, dtype, shape: info.shape.clone(), start: data + from, len: to - from }),
                None => Err(Foreign { file, dtype: info.dtype }),
            },
        );
    }
    Ok(entries)
}

/// Reads an index and the headers of all shards it names.
pub(super) fn read_sharded(directory: &Path, index: &Path) -> Result<Entries> {
    let wrong = |what: String, expected: &str, found: String| Error::Checkpoint {
        path: index.to_path_buf(),
        what,
        expected: expected.into(),
        found,
    };
    let text = fs::read(index).map_err(|source| Error::Io { path: index.to_path_buf(), source })?;
    let json: serde_json::Value =
        serde_json::from_slice(&text).map_err(|e| wrong("index".into(), "JSON", e.to_string()))?;
    let map = json
        .get("weight_map")
        .and_then(|m| m.as_object())
        .ok_or_else(|| wrong("weight_map".into(), "an object", "none".into()))?;
    let mut shards: BTreeMap<&str, Entries> = BTreeMap::new();
    let mut entries = BTreeMap::new();
    for (name, shard) in map {
        let shard =
            shard.as_str().ok_or_else(|| wrong(format!("tensor {name:?}"), "a file name", shard.to_string()))?;
        if Path::new(shard).file_name().is_none_or(|file| file != shard) {
            return Err(wrong(format!("tensor {name:?}"), "a file name without folders", format!("{shard:?}")));
        }
        if !shards.contains_key(shard) {
            shards.insert(shard, read(&directory.join(shard))?);
        }
        let entry = shards.get(shard).and_then(|s| s.get(name)).cloned();
        let missing = || Error::MissingTensor { name: name.clone(), path: directory.join(shard) };
        entries.insert(name.clone(), entry.ok_or_else(missing)?);
    }
    Ok(entries)
}

/// Index of the first entry that is NaN or infinite.
pub(super) fn first_not_finite(tensor: &Tensor) -> Result<Option<usize>> {
    // An entry is finite unless all bits of its exponent are set; compared as integers, this runs at memory speed.
    fn find<T: Copy + Sync>(data: &[T], bad: impl Fn(T) -> bool + Sync) -> Option<usize> {
        const CHUNK: usize = 1 << 16;
        let chunk = data.par_chunks(CHUNK).position_first(|c| c.iter().fold(false, |any, &v| any | bad(v)))?;
        data[chunk * CHUNK..].iter().position(|&v| bad(v)).map(|at| chunk * CHUNK + at)
    }
    Ok(match tensor.dtype() {
        DType::F32 => find(tensor.host::<f32>()?, |v| v.to_bits() & 0x7f80_0000 == 0x7f80_0000),
        DType::F16 => find(tensor.host::<f16>()?, |v| v.to_bits() & 0x7c00 == 0x7c00),
        DType::BF16 => find(tensor.host::<bf16>()?, |v| v.to_bits() & 0x7f80 == 0x7f80),
        DType::I8 | DType::U8 | DType::U32 => None,
    })
}
