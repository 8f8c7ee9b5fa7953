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
            let numbers = row.iter().enumerate().filter(|(_, s)| !s.is_nan());
            numbers.reduce(|best, next| if next.1 > best.1 { next } else { best }).map_or(0, |(i, _)| i as u32)
        };
        Ok(activation("argmax", "x", x)?.chunks_exact(v).map(best).collect())
    }
}
