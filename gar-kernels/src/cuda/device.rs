//! A runtime as a [`Device`]: tensors up, tensors down, and what operations need to read their arguments.
use std::sync::Arc;

use super::{Argument, Buffer, Pointer, Runtime};
use crate::{DType, Device, Error, Result, Tensor, bf16, cpu, f16};

/// Rows that fill a large card many times over: every multiprocessor gets several tiles of 128 rows of even the narrowest
/// product. The 17 tiles of a large picture are 17 425 rows and go together.
const ROWS_AT_ONCE: usize = 1 << 15;

/// The device that a [`Runtime`] is.
#[derive(Clone, Debug)]
pub struct CudaDevice {
    runtime: Arc<dyn Runtime>,
    weights: Option<DType>,
}

impl CudaDevice {
    /// Wraps a runtime; weights are bf16.
    pub fn new(runtime: Arc<dyn Runtime>) -> Self {
        Self { runtime, weights: Some(DType::BF16) }
    }

    /// The same memory for weights of another type, or of any.
    #[must_use]
    pub(super) fn with_weights(&self, weights: Option<DType>) -> Self {
        Self { runtime: self.runtime.clone(), weights }
    }

    /// The runtime.
    pub fn runtime(&self) -> &dyn Runtime {
        &*self.runtime
    }

    /// An uninitialised tensor, and where it starts.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn empty(&self, shape: &[usize], dtype: DType) -> Result<(Tensor, Pointer)> {
        let bytes = shape.iter().product::<usize>() * dtype.size();
        // An empty tensor has an address like any other.
        let buffer = self.runtime.allocate(bytes.max(1))?;
        let pointer = buffer.pointer();
        Ok((Tensor::from_storage(buffer, dtype, shape)?, pointer))
    }

    /// Where a tensor of this device starts.
    ///
    /// # Errors
    /// [`Error::Device`] for a tensor of another device, [`Error::DType`] for an element type that is not in `accepted`.
    pub fn pointer(
        &self,
        op: &'static str,
        what: &'static str,
        tensor: &Tensor,
        accepted: &[DType],
        names: &'static str,
    ) -> Result<Pointer> {
        let (_, offset) = tensor.storage();
        let buffer = buffer(tensor).filter(|_| tensor.device() == self.runtime.name());
        let buffer = buffer.ok_or_else(|| Error::Device {
            op,
            what,
            expected: self.runtime.name().into(),
            found: tensor.device().into(),
        })?;
        if !accepted.contains(&tensor.dtype()) {
            return Err(Error::DType { op, what, expected: names, found: tensor.dtype() });
        }
        Ok(buffer.pointer().offset(offset * tensor.dtype().size()))
    }

    /// Plain values as device memory: indices, boxes, positions. The buffer must live until the launch that reads it.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn values<T: bytemuck::NoUninit>(&self, values: &[T]) -> Result<(Arc<Buffer>, Argument)> {
        let buffer = self.runtime.values(bytemuck::cast_slice(values))?;
        let argument = buffer.pointer().into();
        Ok((buffer, argument))
    }
}

impl Device for CudaDevice {
    fn name(&self) -> &str {
        self.runtime.name()
    }

    fn weight_type(&self) -> Option<DType> {
        self.weights
    }

    fn rows_at_once(&self) -> usize {
        ROWS_AT_ONCE
    }

    fn upload(&self, host: &Tensor) -> Result<Tensor> {
        if host.device() == self.name() {
            return Ok(host.clone());
        }
        let (tensor, pointer) = self.empty(host.shape(), host.dtype())?;
        self.runtime.write(pointer, bytes_of(host)?)?;
        if let Some(buffer) = buffer(&tensor) {
            buffer.set_uploaded();
        }
        Ok(tensor)
    }

    fn download(&self, tensor: &Tensor) -> Result<Tensor> {
        const ALL: &[DType] = &[DType::F32, DType::F16, DType::BF16, DType::I8, DType::U8, DType::U32];
        let from = self.pointer("download", "tensor", tensor, ALL, "any")?;
        let mut bytes = vec![0_u8; tensor.len() * tensor.dtype().size()];
        self.runtime.read(from, &mut bytes)?;
        let shape = tensor.shape();
        match tensor.dtype() {
            DType::F32 => Tensor::from_vec(bytemuck::pod_collect_to_vec::<u8, f32>(&bytes), shape),
            DType::F16 => Tensor::from_vec(bytemuck::pod_collect_to_vec::<u8, f16>(&bytes), shape),
            DType::BF16 => Tensor::from_vec(bytemuck::pod_collect_to_vec::<u8, bf16>(&bytes), shape),
            DType::I8 => Tensor::from_vec(bytemuck::pod_collect_to_vec::<u8, i8>(&bytes), shape),
            DType::U8 => Tensor::from_vec(bytes, shape),
            DType::U32 => Tensor::from_vec(bytemuck::pod_collect_to_vec::<u8, u32>(&bytes), shape),
        }
    }

    fn zeros(&self, shape: &[usize], dtype: DType) -> Result<Tensor> {
        let (tensor, pointer) = self.empty(shape, dtype)?;
        self.runtime.zero(pointer, tensor.len() * dtype.size())?;
        Ok(tensor)
    }

    fn synchronize(&self) -> Result<()> {
        self.runtime.synchronize()
    }

    fn repeat(&self, key: u64, work: &mut (dyn FnMut() + Send)) -> Result<()> {
        self.runtime.repeat(key, work)
    }
}

/// Where a tensor lies, if that is on a device like this.
fn buffer(tensor: &Tensor) -> Option<&Buffer> {
    tensor.storage().0.as_any().downcast_ref()
}

/// Whether a tensor came from the host as it is: no kernel that is on its way writes it.
pub(super) fn is_uploaded(tensor: &Tensor) -> bool {
    buffer(tensor).is_some_and(Buffer::is_uploaded)
}

/// The bytes of a host tensor.
fn bytes_of(host: &Tensor) -> Result<&[u8]> {
    debug_assert_eq!(host.device(), cpu::NAME);
    Ok(match host.dtype() {
        DType::F32 => bytemuck::cast_slice(host.host::<f32>()?),
        DType::F16 => bytemuck::cast_slice(host.host::<f16>()?),
        DType::BF16 => bytemuck::cast_slice(host.host::<bf16>()?),
        // Levels of a quantised weight would lose their steps on the way.
        DType::I8 if host.steps().is_some() => {
            return Err(Error::DType {
                op: "upload",
                what: "host",
                expected: "a weight that is not quantised",
                found: DType::I8,
            });
        }
        DType::I8 => bytemuck::cast_slice(host.host::<i8>()?),
        DType::U8 => host.host::<u8>()?,
        DType::U32 => bytemuck::cast_slice(host.host::<u32>()?),
    })
}
