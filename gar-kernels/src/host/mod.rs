//! Storage in main memory: bytes that were computed, or bytes of a mapped checkpoint.
mod mapped;
mod memory;

use std::{any::Any, fmt, sync::Arc};

pub(crate) use mapped::MappedFile;
pub(crate) use memory::{Memory, Room};

use crate::{DType, Element, Result, Storage, Tensor};

/// Name of the device whose memory this is.
pub(crate) const NAME: &str = "cpu";

/// Bytes in main memory, aligned for their element type.
pub(crate) enum HostStorage {
    F32(Vec<f32>),
    /// Results in memory that is used again.
    Room(Room),
    F16(Vec<half::f16>),
    BF16(Vec<half::bf16>),
    I8(Vec<i8>),
    U8(Vec<u8>),
    U32(Vec<u32>),
    /// `len` bytes of a mapped file from `start`.
    Mapped {
        file: Arc<MappedFile>,
        start: usize,
        len: usize,
    },
    /// Levels of a quantised weight [N, K], i8, and the step of each of its rows.
    Quantized {
        levels: Arc<dyn Storage>,
        steps: Vec<f32>,
    },
}

impl HostStorage {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::F32(v) => bytemuck::cast_slice(v),
            Self::Room(v) => bytemuck::cast_slice(v),
            Self::F16(v) => bytemuck::cast_slice(v),
            Self::BF16(v) => bytemuck::cast_slice(v),
            Self::I8(v) => bytemuck::cast_slice(v),
            Self::U8(v) => v,
            Self::U32(v) => bytemuck::cast_slice(v),
            Self::Mapped { file, start, len } => file.bytes().get(*start..start + len).unwrap_or_default(),
            Self::Quantized { levels, .. } => {
                levels.as_any().downcast_ref::<Self>().map(Self::bytes).unwrap_or_default()
            }
        }
    }

    /// Lets go of the memory of `bytes` where it can be had again from a file. A hint: contents stay as they are.
    pub(crate) fn release(&self, bytes: std::ops::Range<usize>) {
        match self {
            Self::Mapped { file, start, .. } => file.release(start + bytes.start..start + bytes.end),
            Self::Quantized { levels, .. } => {
                if let Some(levels) = levels.as_any().downcast_ref::<Self>() {
                    levels.release(bytes);
                }
            }
            _ => (),
        }
    }

    /// Takes a vector of f32 out; nothing where this is none.
    pub(crate) fn take_f32(&mut self) -> Option<Vec<f32>> {
        match self {
            Self::F32(values) => Some(std::mem::take(values)),
            Self::Room(room) => Some(room.take()),
            _ => None,
        }
    }

    /// Storage that owns a vector, without copying it.
    pub(crate) fn own<T: Element>(data: Vec<T>) -> Self {
        // `allocation` casts keep the vector where the types agree; the element type decides which arm is taken.
        match T::DTYPE {
            DType::F32 => Self::F32(bytemuck::allocation::cast_vec(data)),
            DType::F16 => Self::F16(bytemuck::allocation::cast_vec(data)),
            DType::BF16 => Self::BF16(bytemuck::allocation::cast_vec(data)),
            DType::I8 => Self::I8(bytemuck::allocation::cast_vec(data)),
            DType::U8 => Self::U8(bytemuck::allocation::cast_vec(data)),
            DType::U32 => Self::U32(bytemuck::allocation::cast_vec(data)),
        }
    }
}

impl fmt::Debug for HostStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mapped = if matches!(self, Self::Mapped { .. }) { ", mapped" } else { "" };
        write!(f, "HostStorage({} bytes{mapped})", self.bytes().len())
    }
}

impl Storage for HostStorage {
    fn device(&self) -> &str {
        NAME
    }

    fn byte_len(&self) -> usize {
        self.bytes().len()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Copies a tensor's elements into f32, whatever its floating-point type.
pub(crate) fn to_f32(tensor: &Tensor) -> Result<Vec<f32>> {
    use half::slice::HalfFloatSliceExt;
    Ok(match tensor.dtype() {
        DType::F16 => tensor.host::<half::f16>()?.to_f32_vec(),
        DType::BF16 => tensor.host::<half::bf16>()?.iter().map(|v| v.to_f32()).collect(),
        _ => tensor.host::<f32>()?.to_vec(),
    })
}
