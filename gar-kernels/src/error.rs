//! The one error type of this crate.
use std::path::PathBuf;

use crate::DType;

/// What can go wrong in a tensor, an operation or a checkpoint.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor argument has the wrong shape.
    #[error("{op}: {what}: expected shape {expected}, found {found:?}")]
    Shape {
        /// The operation that refused.
        op: &'static str,
        /// The argument.
        what: &'static str,
        /// The shape that was expected, in symbols or numbers.
        expected: String,
        /// The shape that was found.
        found: Vec<usize>,
    },
    /// A tensor argument has an element type that this implementation does not support.
    #[error("{op}: {what}: expected dtype {expected}, found {found}")]
    DType {
        /// The operation that refused.
        op: &'static str,
        /// The argument.
        what: &'static str,
        /// The supported element types.
        expected: &'static str,
        /// The element type that was found.
        found: DType,
    },
    /// A tensor lives on another device than the operation.
    #[error("{op}: {what}: expected a tensor on {expected}, found one on {found}")]
    Device {
        /// The operation that refused.
        op: &'static str,
        /// The argument.
        what: &'static str,
        /// Where the tensor should live.
        expected: String,
        /// Where it lives.
        found: String,
    },
    /// A value in a spec or an argument lies outside what the operation is defined for.
    #[error("{op}: {what}: expected {expected}, found {found}")]
    Value {
        /// The operation that refused.
        op: &'static str,
        /// The argument or field.
        what: &'static str,
        /// The condition that must hold.
        expected: String,
        /// What was found.
        found: String,
    },
    /// A key/value cache has no room for the rows that should be appended.
    #[error("key/value cache: expected at most {capacity} positions, found {needed}")]
    Capacity {
        /// Positions that the cache can hold.
        capacity: usize,
        /// Positions that would be needed.
        needed: usize,
    },
    /// A device has not as much memory as was asked for. What was made before stays usable.
    #[error("{device}: expected {asked} bytes of free memory, found {free}")]
    OutOfMemory {
        /// The device.
        device: String,
        /// Bytes asked for.
        asked: usize,
        /// Bytes free.
        free: usize,
    },
    /// A kernel does not compile or load, or it failed as it ran.
    #[error("kernel {kernel}: {what}")]
    Kernel {
        /// Its function.
        kernel: String,
        /// What went wrong.
        what: String,
    },
    /// A device or one of its libraries refused a call.
    #[error("{device}: cannot {call}: {reason}")]
    Driver {
        /// The device.
        device: String,
        /// What was asked for.
        call: String,
        /// What it said.
        reason: String,
    },
    /// A device failed for good: it can be used again by another process only, or not at all.
    #[error("{device}: lost during \"{call}\": {reason}")]
    DeviceLost {
        /// The device.
        device: String,
        /// What was asked for when it showed; the cause may lie earlier.
        call: String,
        /// What it said.
        reason: String,
    },
    /// A device cannot be used on this machine.
    #[error("{device}: {why}")]
    Unavailable {
        /// The device.
        device: String,
        /// What is missing, and what to install.
        why: String,
    },
    /// A file could not be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A checkpoint file is not what it claims to be.
    #[error("{}: {what}: expected {expected}, found {found}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// The part of the file, or the tensor.
        what: String,
        /// What was expected.
        expected: String,
        /// What was found.
        found: String,
    },
    /// A checkpoint lacks a tensor.
    #[error("tensor {name:?}: expected in {}, found no such tensor", path.display())]
    MissingTensor {
        /// Full name of the tensor.
        name: String,
        /// The checkpoint, file or directory.
        path: PathBuf,
    },
}

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn shape(op: &'static str, what: &'static str, expected: impl Into<String>, found: &[usize]) -> Self {
        Self::Shape { op, what, expected: expected.into(), found: found.to_vec() }
    }

    pub(crate) fn value(
        op: &'static str,
        what: &'static str,
        expected: impl Into<String>,
        found: impl std::fmt::Display,
    ) -> Self {
        Self::Value { op, what, expected: expected.into(), found: found.to_string() }
    }
}
