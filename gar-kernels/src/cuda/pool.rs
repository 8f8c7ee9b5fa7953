//! Average pooling on CUDA.
use super::{
    Argument, Cuda, Kernel, Source,
    launch::{int, is_aligned, typed, typed_all},
};
use crate::{
    Result, Tensor,
    ops::{Pool, PoolDims, PoolSpec},
};

const OP: &str = "average_pool";
static SOURCE: Source = Source { name: "pool", text: include_str!("pool.cu") };

pub(super) fn kernels() -> Vec<Kernel> {
    typed_all(&SOURCE, &["average_pool", "average_pool_plain"])
}

impl Pool for Cuda {
    fn average_pool(&self, x: &Tensor, spec: &PoolSpec) -> Result<Tensor> {
        let PoolDims { batch, channels, output: [rows, columns] } = spec.check(x)?;
        let from = self.activation(OP, "x", x)?;
        let (y, to) = self.device.empty(&[batch, rows * columns, channels], x.dtype())?;
        if y.is_empty() {
            return Ok(y);
        }
        let mut arguments = vec![from.into(), to.into(), int(OP, "grid", rows)?, int(OP, "grid", columns)?];
        arguments.extend([int(OP, "window", spec.window)?, int(OP, "x", channels)?]);
        let vectors =
            u32::try_from(y.len() / 8).ok().filter(|_| channels.is_multiple_of(8) && is_aligned(from) && !self.plain);
        match vectors {
            Some(items) => {
                arguments.push(Argument::U32(items));
                self.launch_items(&typed(&SOURCE, "average_pool", x.dtype()), items as usize, &arguments)?;
            }
            None => {
                arguments.push(Argument::U64(y.len() as u64));
                self.launch_items(&typed(&SOURCE, "average_pool_plain", x.dtype()), y.len(), &arguments)?;
            }
        }
        Ok(y)
    }
}
