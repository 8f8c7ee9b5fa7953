//! Where tensors live.
use std::fmt;

use crate::{DType, Result, Tensor};

/// A place with memory and, elsewhere than on the CPU, a queue of work. It owns its stream; nothing is global.
pub trait Device: Send + Sync + fmt::Debug {
    /// Name as users write it: `cpu`, `cuda:0`.
    fn name(&self) -> &str;

    /// The one floating-point type that weights must have here; nothing where operations take any. Checkpoints are then read
    /// through [`Weights::converted_to`](crate::Weights::converted_to).
    fn weight_type(&self) -> Option<DType> {
        None
    }

    /// Rows of a matrix that it takes to keep this device busy. Long work is cut into pieces of about so many, or of more.
    fn rows_at_once(&self) -> usize {
        1
    }

    /// Copies a host tensor to this device. On the CPU this is the tensor itself.
    ///
    /// # Errors
    /// When memory runs out or the element type is not supported.
    fn upload(&self, host: &Tensor) -> Result<Tensor>;

    /// Copies a tensor of this device to the host, after all work that produces it.
    ///
    /// # Errors
    /// When the tensor lives on another device.
    fn download(&self, tensor: &Tensor) -> Result<Tensor>;

    /// A tensor of zeros.
    ///
    /// # Errors
    /// When memory runs out or the element type is not supported.
    fn zeros(&self, shape: &[usize], dtype: DType) -> Result<Tensor>;

    /// Waits until all queued work is done.
    ///
    /// # Errors
    /// When the device is lost.
    fn synchronize(&self) -> Result<()>;

    /// Runs `work`, once and now.
    ///
    /// Work that is done again and again under one `key` and asks for the same operations on the same shapes, as the steps
    /// of a decoder do, may be recorded, so that it is started faster the next times. Results are the same either way.
    /// Work that asks for something else than last time is welcome; it is then recorded anew. It may run on another thread,
    /// while this one waits.
    ///
    /// # Errors
    /// A failure on the device that `work` itself did not see; its results are then void.
    fn repeat(&self, key: u64, work: &mut (dyn FnMut() + Send)) -> Result<()> {
        let _ = key;
        work();
        Ok(())
    }
}
