//! Rows gathered and scattered on the CPU.
use super::{Cpu, activation, convert::Floats};
use crate::{
    Error, Result, Tensor,
    ops::{Rows, check_gather},
};

impl Rows for Cpu {
    fn gather(&self, table: &Tensor, index: &[u32]) -> Result<Tensor> {
        let [_, d] = check_gather("gather", table, index)?;
        let table = Floats::of("gather", "table", table)?;
        let (mut out, mut scratch) = (Vec::with_capacity(index.len() * d), Vec::new());
        for &i in index {
            out.extend_from_slice(table.widen(i as usize * d..(i as usize + 1) * d, &mut scratch));
        }
        Tensor::from_vec(out, &[index.len(), d])
    }

    fn scatter(&self, base: &Tensor, index: &[u32], rows: &Tensor) -> Result<Tensor> {
        const OP: &str = "scatter";
        let [len, d] = base.dims(OP, "base")?;
        rows.expect_shape(OP, "rows", &[index.len(), d])?;
        let mut out = activation(OP, "base", base)?.to_vec();
        let rows = activation(OP, "rows", rows)?;
        for (n, &i) in index.iter().enumerate() {
            let i = i as usize;
            if i >= len {
                return Err(Error::value(OP, "index", format!("less than {len}"), i));
            }
            out[i * d..(i + 1) * d].copy_from_slice(&rows[n * d..(n + 1) * d]);
        }
        Tensor::from_vec(out, &[len, d])
    }
}
