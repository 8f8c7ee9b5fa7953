//! Greedy choice on CUDA.
use super::{
    Cuda, Kernel, Source,
    launch::{int, typed, typed_all},
};
use crate::{DType, Error, Result, Tensor, ops::ArgMax};

const OP: &str = "argmax";
/// Threads of a block that scans a row.
const THREADS: u32 = 1024;
static SOURCE: Source = Source { name: OP, text: include_str!("argmax.cu") };

pub(super) fn kernels() -> Vec<Kernel> {
    typed_all(&SOURCE, &["argmax", "argmax_plain"])
}

impl ArgMax for Cuda {
    fn argmax(&self, x: &Tensor) -> Result<Vec<u32>> {
        let [rows, width] = x.dims(OP, "x")?;
        if width == 0 {
            return Err(Error::shape(OP, "x", "[B, V] with V > 0", x.shape()));
        }
        let from = self.activation(OP, "x", x)?;
        let (y, to) = self.device.empty(&[rows], DType::U32)?;
        if self.plain {
            let arguments = [from.into(), to.into(), int(OP, "x", rows)?, int(OP, "x", width)?];
            self.launch_items(&typed(&SOURCE, "argmax_plain", x.dtype()), rows, &arguments)?;
        } else {
            // Short rows need no more threads than they have vectors.
            let threads = (width.div_ceil(8).next_multiple_of(32)).min(THREADS as usize) as u32;
            let arguments = [from.into(), to.into(), int(OP, "x", width)?];
            self.launch_blocks(&typed(&SOURCE, "argmax", x.dtype()), rows, threads, &arguments)?;
        }
        let mut found = vec![0_u32; rows];
        if !y.is_empty() {
            self.runtime().read(to, bytemuck::cast_slice_mut(&mut found))?;
        }
        Ok(found)
    }
}
