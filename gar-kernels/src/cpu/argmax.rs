//! Greedy choice on the CPU.
use super::{Cpu, activation};
use crate::{Error, Result, Tensor, ops::ArgMax};

impl ArgMax for Cpu {
    fn argmax(&self, x: &Tensor) -> Result<Vec<u32>> {
        let [_, v] = x.dims("argmax", "x")?;
        if v == 0 {
            return Err(Error::shape("argmax", "x", "[B, V] with V > 0", x.shape()));
        }
        let best = |row: &[f32]| {
            let first = (0, f32::NEG_INFINITY);
            row.iter().enumerate().fold(first, |best, (i, &s)| if s > best.1 { (i, s) } else { best }).0 as u32
        };
        Ok(activation("argmax", "x", x)?.chunks_exact(v).map(best).collect())
    }
}
