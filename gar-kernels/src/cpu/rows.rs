//! Rows gathered and scattered on the CPU.
use rayon::prelude::*;

use super::{Cpu, activation, convert::Floats, result};
use crate::{
    Error, Result, Tensor,
    ops::{Rows, check_gather},
};

/// Rows that a task copies, at least.
const ROWS: usize = 64;

impl Rows for Cpu {
    fn gather(&self, table: &Tensor, index: &[u32]) -> Result<Tensor> {
        let [_, d] = check_gather("gather", table, index)?;
        let table = Floats::of("gather", "table", table)?;
        let mut out = self.memory.room(index.len() * d);
        let rows = out.par_chunks_mut(d.max(1)).zip(index).with_min_len(ROWS);
        rows.for_each_init(Vec::new, |scratch, (out, &i)| {
            out.copy_from_slice(table.widen(i as usize * d..(i as usize + 1) * d, scratch));
        });
        result(out, &[index.len(), d])
    }

    fn scatter(&self, base: &Tensor, index: &[u32], rows: &Tensor) -> Result<Tensor> {
        const OP: &str = "scatter";
        let [len, d] = base.dims(OP, "base")?;
        rows.expect_shape(OP, "rows", &[index.len(), d])?;
        let base = activation(OP, "base", base)?;
        let mut out = self.memory.room(base.len());
        let part = (ROWS * d).max(1);
        out.par_chunks_mut(part).zip(base.par_chunks(part)).for_each(|(out, base)| out.copy_from_slice(base));
        let rows = activation(OP, "rows", rows)?;
        for (n, &i) in index.iter().enumerate() {
            let i = i as usize;
            if i >= len {
                return Err(Error::value(OP, "index", format!("less than {len}"), i));
            }
            out[i * d..(i + 1) * d].copy_from_slice(&rows[n * d..(n + 1) * d]);
        }
        result(out, &[len, d])
    }
}
