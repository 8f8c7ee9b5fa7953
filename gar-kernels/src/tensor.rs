//! The tensor: a value.
use std::{any::Any, fmt, sync::Arc};

use crate::{DType, Element, Error, Result, host::HostStorage};

/// Memory of some device that holds a tensor's elements.
///
/// A device crate implements it for its own buffers; its operations find them again through [`Storage::as_any`].
pub trait Storage: Any + Send + Sync + fmt::Debug {
    /// Name of the device that owns the memory, such as `cpu` or `cuda:0`.
    fn device(&self) -> &str;
    /// Size in bytes.
    fn byte_len(&self) -> usize;
    /// For the owning device to recover its own type.
    fn as_any(&self) -> &dyn Any;
}

/// A dense, row-major tensor: shape, element type and shared storage.
///
/// Cloning shares the storage. Nobody writes to a tensor after it was made: operations take `&Tensor` and return new
/// ones. [`rows`](Tensor::rows) and [`reshape`](Tensor::reshape) are views.
///
/// ```
/// use gar_kernels::Tensor;
/// let x = Tensor::from_vec(vec![1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0], &[3, 2])?;
/// assert_eq!(x.rows(1..3)?.host::<f32>()?, [3.0, 4.0, 5.0, 6.0]);
/// # Ok::<(), gar_kernels::Error>(())
/// ```
#[derive(Clone)]
pub struct Tensor {
    shape: Vec<usize>,
    dtype: DType,
    storage: Arc<dyn Storage>,
    /// First element, in elements from the start of the storage.
    offset: usize,
}

impl Tensor {
    /// A host tensor that owns `data`, row-major in `shape`.
    ///
    /// # Errors
    /// [`Error::Shape`] when the number of elements differs from the product of `shape`.
    pub fn from_vec<T: Element>(data: Vec<T>, shape: &[usize]) -> Result<Self> {
        if element_count(shape) != Some(data.len()) {
            return Err(Error::shape("tensor", "data", format!("{shape:?}"), &[data.len()]));
        }
        let storage = Arc::new(HostStorage::own(data));
        Ok(Self { shape: shape.to_vec(), dtype: T::DTYPE, storage, offset: 0 })
    }

    /// A tensor over a device's own storage, starting at its first byte. For device implementations.
    ///
    /// # Errors
    /// [`Error::Shape`] when the storage is smaller than the shape asks for.
    pub fn from_storage(storage: Arc<dyn Storage>, dtype: DType, shape: &[usize]) -> Result<Self> {
        match element_count(shape).and_then(|n| n.checked_mul(dtype.size())) {
            Some(bytes) if bytes <= storage.byte_len() => Ok(Self { shape: shape.to_vec(), dtype, storage, offset: 0 }),
            _ => Err(Error::shape("tensor", "storage bytes", format!("{shape:?} of {dtype}"), &[storage.byte_len()])),
        }
    }

    /// Extent of each axis, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Name of the device that holds the elements.
    pub fn device(&self) -> &str {
        self.storage.device()
    }

    /// The storage and the index of this tensor's first element in it. For device implementations.
    pub fn storage(&self) -> (&Arc<dyn Storage>, usize) {
        (&self.storage, self.offset)
    }

    /// The same elements in another shape.
    ///
    /// # Errors
    /// [`Error::Shape`] when the number of elements would change.
    pub fn reshape(&self, shape: &[usize]) -> Result<Self> {
        if element_count(shape) != Some(self.len()) {
            return Err(Error::shape("reshape", "tensor", format!("as many elements as {shape:?}"), &self.shape));
        }
        Ok(Self { shape: shape.to_vec(), ..self.clone() })
    }

    /// Entries `range` of the first axis, as a view.
    ///
    /// # Errors
    /// [`Error::Shape`] when the range does not lie inside the first axis.
    pub fn rows(&self, range: std::ops::Range<usize>) -> Result<Self> {
        let first = self.shape.first().copied().unwrap_or(0);
        if range.start > range.end || range.end > first {
            return Err(Error::shape("rows", "tensor", format!("at least {} rows", range.end), &self.shape));
        }
        let stride: usize = self.shape.iter().skip(1).product();
        let mut view = self.clone();
        view.offset += range.start * stride;
        view.shape[0] = range.len();
        Ok(view)
    }

    /// The elements of a host tensor.
    ///
    /// # Errors
    /// [`Error::Device`] when the tensor lives elsewhere ([`Device::download`](crate::Device::download) brings it),
    /// [`Error::Value`] when it is a weight that was prepared ([`MatMul::prepare`](crate::ops::MatMul::prepare)),
    /// [`Error::DType`] when `T` is not its element type.
    pub fn host<T: Element>(&self) -> Result<&[T]> {
        let storage = self.storage.as_any().downcast_ref::<HostStorage>().ok_or_else(|| {
            let (expected, found) = (crate::cpu::NAME.to_owned(), self.device().to_owned());
            match expected == found {
                true => Error::value("host", "tensor", "elements in row-major order", "a prepared weight"),
                false => Error::Device { op: "host", what: "tensor", expected, found },
            }
        })?;
        let wrong = || Error::DType { op: "host", what: "tensor", expected: dtype_name(T::DTYPE), found: self.dtype };
        if T::DTYPE != self.dtype {
            return Err(wrong());
        }
        let all: &[T] = bytemuck::try_cast_slice(storage.bytes()).map_err(|_| wrong())?;
        all.get(self.offset..self.offset + self.len())
            .ok_or_else(|| Error::shape("host", "storage", format!("{:?}", self.shape), &[all.len()]))
    }

    /// The elements of a host tensor of any floating-point type, copied into f32.
    ///
    /// # Errors
    /// As [`host`](Tensor::host).
    pub fn to_f32_vec(&self) -> Result<Vec<f32>> {
        crate::host::to_f32(self)
    }

    /// As [`to_f32_vec`](Tensor::to_f32_vec), without a copy where nobody else holds the elements.
    ///
    /// # Errors
    /// As [`host`](Tensor::host).
    pub fn into_f32_vec(mut self) -> Result<Vec<f32>> {
        let len = self.len();
        if self.offset == 0
            && len * size_of::<f32>() == self.storage.byte_len()
            && let Some(storage) = Arc::get_mut(&mut self.storage)
            && let Some(values) = (storage as &mut dyn Any).downcast_mut().and_then(HostStorage::take_f32)
        {
            return Ok(values);
        }
        self.to_f32_vec()
    }

    /// The shape as an array of `N` extents.
    ///
    /// # Errors
    /// [`Error::Shape`], naming `op` and `what`, when the tensor has another rank.
    pub fn dims<const N: usize>(&self, op: &'static str, what: &'static str) -> Result<[usize; N]> {
        <[usize; N]>::try_from(self.shape.as_slice())
            .map_err(|_| Error::shape(op, what, format!("{N} axes"), &self.shape))
    }

    /// All axes but the last multiplied together, and the last: a tensor seen as rows. A scalar shape is one row of one.
    pub fn as_rows(&self) -> (usize, usize) {
        match self.shape.split_last() {
            Some((&last, rest)) => (rest.iter().product(), last),
            None => (1, 1),
        }
    }

    /// Refuses any other shape than `expected`, naming `op` and `what`.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn expect_shape(&self, op: &'static str, what: &'static str, expected: &[usize]) -> Result<()> {
        if self.shape == expected {
            return Ok(());
        }
        Err(Error::shape(op, what, format!("{expected:?}"), &self.shape))
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({:?} {} on {})", self.shape, self.dtype, self.device())
    }
}

fn element_count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |n, &d| n.checked_mul(d))
}

pub(crate) fn dtype_name(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "f32",
        DType::F16 => "f16",
        DType::BF16 => "bf16",
        DType::I8 => "i8",
        DType::U8 => "u8",
        DType::U32 => "u32",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_share_and_check() {
        let x = Tensor::from_vec((0..24_u32).collect(), &[4, 3, 2]).unwrap();
        let tail = x.rows(2..4).unwrap().rows(1..2).unwrap();
        assert_eq!(tail.shape(), [1, 3, 2]);
        assert_eq!(tail.host::<u32>().unwrap(), [18, 19, 20, 21, 22, 23]);
        assert_eq!(x.rows(4..4).unwrap().len(), 0);
        assert!(matches!(x.rows(3..5), Err(Error::Shape { .. })));
        assert!(matches!(x.reshape(&[5, 5]), Err(Error::Shape { .. })));
        assert!(matches!(x.host::<f32>(), Err(Error::DType { .. })));
        let shared = Tensor::from_vec(vec![1.0_f32, 2.0, 3.0], &[3]).unwrap();
        assert_eq!(shared.rows(1..3).unwrap().into_f32_vec().unwrap(), [2.0, 3.0]);
        assert_eq!(shared.host::<f32>().unwrap(), [1.0, 2.0, 3.0]);
        let at = shared.host::<f32>().unwrap().as_ptr();
        let own = shared.into_f32_vec().unwrap();
        assert_eq!(own.as_ptr(), at, "nobody else holds it");
        assert!(matches!(Tensor::from_vec(vec![0_u8; 3], &[2, 2]), Err(Error::Shape { .. })));
        assert!(matches!(Tensor::from_vec(vec![0_u8; 3], &[usize::MAX, 2]), Err(Error::Shape { .. })));
    }
}
