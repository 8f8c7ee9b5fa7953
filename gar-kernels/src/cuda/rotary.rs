//! Rotary position embedding on CUDA.
use super::{
    Argument, Cuda, Kernel, Source,
    launch::{int, is_aligned, typed, typed_all},
};
use crate::{
    DType, Error, Result, Tensor,
    ops::{Pairing, Rotary, RotaryDims, RotarySpec},
};

const OP: &str = "rotary";
static SOURCE: Source = Source { name: OP, text: include_str!("rotary.cu") };

pub(super) fn kernels() -> Vec<Kernel> {
    typed_all(&SOURCE, &["rotary_interleaved", "rotary_half_split", "rotary_plain"])
}

impl Rotary for Cuda {
    fn rotary(&self, x: &Tensor, spec: &RotarySpec<'_>) -> Result<Tensor> {
        let RotaryDims { len, heads, head_dim, .. } = spec.check(x)?;
        let from = self.activation(OP, "x", x)?;
        let cos = self.operand(OP, "cos", spec.cos, DType::F32)?;
        let sin = self.operand(OP, "sin", spec.sin, DType::F32)?;
        let (y, to) = self.device.empty(x.shape(), x.dtype())?;
        if y.is_empty() {
            return Ok(y);
        }
        let too_far = |s| Error::value(OP, "start", "at most 2³² − 1", s);
        let start = spec.start.iter().map(|&s| u32::try_from(s).map_err(|_| too_far(s))).collect::<Result<Vec<_>>>()?;
        let (_start, start) = self.device.values(&start)?;
        let mut arguments = vec![from.into(), cos.into(), sin.into(), start, to.into()];
        arguments.extend([int(OP, "x", len)?, int(OP, "x", heads)?, int(OP, "x", head_dim)?]);
        // A thread's entries, all of one head; a half-split head has them in both halves.
        let (function, each) = match spec.pairing {
            Pairing::Interleaved => ("rotary_interleaved", 8),
            Pairing::HalfSplit => ("rotary_half_split", 16),
        };
        let aligned = [from, cos, sin].into_iter().all(is_aligned);
        let items = y.len() / each;
        if self.plain || !head_dim.is_multiple_of(each) || !aligned || u32::try_from(items).is_err() {
            let items = y.len() / 2;
            let interleaved = i32::from(spec.pairing == Pairing::Interleaved);
            arguments.extend([Argument::I32(interleaved), Argument::U64(items as u64)]);
            self.launch_items(&typed(&SOURCE, "rotary_plain", x.dtype()), items, &arguments)?;
            return Ok(y);
        }
        arguments.push(Argument::U32(items as u32));
        self.launch_items(&typed(&SOURCE, function, x.dtype()), items, &arguments)?;
        Ok(y)
    }
}
