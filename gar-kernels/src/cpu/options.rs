//! How the CPU computes.
use super::InstructionSet;

/// What products are rounded to. Activations between operations are f32 in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Everything in f32: the exact path.
    #[default]
    F32,
    /// Operands of matrix products and of attention rounded to bf16, sums in f32; the key/value cache in bf16.
    Bf16,
}

/// How weights of matrix products are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WeightFormat {
    /// As they are stored: bf16, f32, or 8-bit where the checkpoint was quantised. With [`Precision::Bf16`] floats become
    /// bf16.
    #[default]
    Stored,
    /// Matrices in 8 bits, each row w of a weight as levels −127 … 127 of its own step max|w|/127; rows of x are quantised
    /// likewise when they are multiplied. Convolutions stay as they are.
    Int8,
}

/// Options of [`Kernels::cpu_with`](crate::Kernels::cpu_with). The default is [`Kernels::cpu`](crate::Kernels::cpu).
///
/// Work runs on the rayon pool that it is called in; results do not depend on how many threads that has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuOptions {
    /// What products are rounded to.
    pub precision: Precision,
    /// How weights of matrix products are kept.
    pub weights: WeightFormat,
    /// Which instructions to use; none chooses the best that this CPU has.
    pub instructions: Option<InstructionSet>,
}
