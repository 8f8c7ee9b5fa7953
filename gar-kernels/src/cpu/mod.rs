//! Every operation on the CPU: f32 activations, weights in f32, f16, bf16 or 8 bits, all cores.
//!
//! [`Precision`] says what matrix products and attention round their operands to. However work is shared out, every
//! number is computed in one order, so results do not depend on the number of threads.
mod argmax;
mod attention;
mod buffer;
mod cached_attention;
mod convert;
mod dot;
mod epilogue;
mod few_rows;
mod gated;
mod key_block;
mod math;
mod matmul;
mod norm;
mod options;
mod outcome;
mod packed;
mod panels;
mod patch_embed;
mod pointwise;
mod pool;
mod prefetch;
mod product;
mod roi_align;
mod rotary;
mod rows;
mod sampling;
mod softmax;
mod strip;
mod tasks;
mod transpose;
mod vectorize;

pub use dot::InstructionSet;
pub use options::{CpuOptions, Precision, WeightFormat};
pub use vectorize::vectorize;

pub(crate) use crate::host::NAME;

use crate::{
    DType, Device, Error, Result, Tensor,
    host::{HostStorage, Memory, Room},
};
use dot::{FloatProduct, Products};

/// The CPU as a [`Device`], and every operation on it.
///
/// What it computes with is fixed when it is made: [`CpuOptions`]. The default is the exact path on the best instructions.
/// Up to 128 MiB of memory of results that nobody holds any more is kept for the next; clones share it.
#[derive(Clone, Debug)]
pub struct Cpu {
    precision: Precision,
    weights: WeightFormat,
    instructions: InstructionSet,
    products: Products,
    memory: Memory,
}

impl Cpu {
    /// The CPU with options.
    ///
    /// # Errors
    /// [`Error::Value`] for instructions that this CPU lacks.
    pub fn new(options: CpuOptions) -> Result<Self> {
        let CpuOptions { precision, weights, instructions } = options;
        let instructions = instructions.unwrap_or_else(InstructionSet::best);
        let products = instructions.products().ok_or_else(|| {
            let expected = InstructionSet::available().map(|set| set.to_string()).collect::<Vec<_>>().join(", ");
            Error::value(NAME, "instructions", format!("one of {expected}"), instructions)
        })?;
        Ok(Self { precision, weights, instructions, products, memory: Memory::default() })
    }

    /// What attention multiplies with.
    fn attention_product(&self) -> FloatProduct {
        match self.precision {
            Precision::F32 => self.products.single,
            Precision::Bf16 => self.products.half,
        }
    }

    /// The instructions that products are computed with.
    pub fn instructions(&self) -> InstructionSet {
        self.instructions
    }
}

impl Default for Cpu {
    fn default() -> Self {
        let (instructions, products) = InstructionSet::best_products();
        let CpuOptions { precision, weights, .. } = CpuOptions::default();
        Self { precision, weights, instructions, products, memory: Memory::default() }
    }
}

impl Device for Cpu {
    fn name(&self) -> &str {
        NAME
    }

    fn upload(&self, host: &Tensor) -> Result<Tensor> {
        on_host("upload", "host", host)
    }

    fn download(&self, tensor: &Tensor) -> Result<Tensor> {
        on_host("download", "tensor", tensor)
    }

    fn zeros(&self, shape: &[usize], dtype: DType) -> Result<Tensor> {
        let n = shape.iter().product();
        match dtype {
            DType::F32 => Tensor::from_vec(vec![0_f32; n], shape),
            DType::F16 => Tensor::from_vec(vec![half::f16::ZERO; n], shape),
            DType::BF16 => Tensor::from_vec(vec![half::bf16::ZERO; n], shape),
            DType::I8 => Tensor::from_vec(vec![0_i8; n], shape),
            DType::U8 => Tensor::from_vec(vec![0_u8; n], shape),
            DType::U32 => Tensor::from_vec(vec![0_u32; n], shape),
        }
    }

    /// On one of the workers: from elsewhere every parallel operation of a step would wake them and sleep until they are done.
    fn repeat(&self, _: u64, work: &mut (dyn FnMut() + Send)) -> Result<()> {
        rayon::scope(|_| work());
        Ok(())
    }

    fn synchronize(&self) -> Result<()> {
        Ok(())
    }
}

fn on_host(op: &'static str, what: &'static str, tensor: &Tensor) -> Result<Tensor> {
    if tensor.device() == NAME {
        return Ok(tensor.clone());
    }
    Err(Error::Device { op, what, expected: NAME.into(), found: tensor.device().into() })
}

/// A tensor of results.
fn result(room: Room, shape: &[usize]) -> Result<Tensor> {
    result_in(room, DType::F32, shape)
}

/// A tensor of results of another type.
fn result_in(room: Room, dtype: DType, shape: &[usize]) -> Result<Tensor> {
    Tensor::from_storage(std::sync::Arc::new(HostStorage::Room(room)), dtype, shape)
}

/// The f32 elements of an activation, or an error that names operation and argument.
fn activation<'a>(op: &'static str, what: &'static str, tensor: &'a Tensor) -> Result<&'a [f32]> {
    on_host(op, what, tensor)?;
    if tensor.dtype() != DType::F32 {
        return Err(Error::DType { op, what, expected: "f32", found: tensor.dtype() });
    }
    tensor.host()
}

/// A small parameter in any floating-point type, widened to f32.
fn parameter(op: &'static str, what: &'static str, tensor: &Tensor) -> Result<Vec<f32>> {
    on_host(op, what, tensor)?;
    if !tensor.dtype().is_float() {
        return Err(Error::DType { op, what, expected: "f32, f16 or bf16", found: tensor.dtype() });
    }
    tensor.to_f32_vec()
}
