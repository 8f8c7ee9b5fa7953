//! Results in the type that they are asked for in.
use std::ops::Range;

use half::bf16;

use super::{Cpu, prefetch::Lines, result_in};
use crate::{DType, Result, Tensor, host::Room};

/// Memory that a result is written to.
pub(super) struct Outcome {
    room: Room,
    dtype: DType,
    /// Results, of which the room may hold one more.
    len: usize,
}

impl Cpu {
    /// Room for `len` results, in bf16 where that is asked for.
    pub(super) fn outcome(&self, len: usize, to: Option<DType>) -> Outcome {
        match to {
            Some(DType::BF16) => Outcome { room: self.memory.room(len.div_ceil(2)), dtype: DType::BF16, len },
            _ => Outcome { room: self.memory.room(len), dtype: DType::F32, len },
        }
    }
}

impl Outcome {
    pub(super) fn results(&mut self) -> Results<'_> {
        match self.dtype {
            DType::BF16 => Results::BF16(&mut bytemuck::cast_slice_mut(&mut self.room)[..self.len]),
            _ => Results::F32(&mut self.room),
        }
    }

    pub(super) fn tensor(self, shape: &[usize]) -> Result<Tensor> {
        result_in(self.room, self.dtype, shape)
    }
}

/// Results, in the type that they were asked for in.
pub(super) enum Results<'a> {
    F32(&'a mut [f32]),
    BF16(&'a mut [bf16]),
}

impl<'a> Results<'a> {
    /// Takes the first `len` away.
    pub(super) fn split_off(&mut self, len: usize) -> Self {
        match self {
            Self::F32(all) => Self::F32(split_off(all, len)),
            Self::BF16(all) => Self::BF16(split_off(all, len)),
        }
    }

    /// Some of them, for as long as they are borrowed.
    pub(super) fn part(&mut self, range: Range<usize>) -> Results<'_> {
        match self {
            Self::F32(all) => Results::F32(&mut all[range]),
            Self::BF16(all) => Results::BF16(&mut all[range]),
        }
    }

    /// Where `columns` of `rows`, rows of `n`, will be written to.
    pub(super) fn writes(&self, rows: Range<usize>, columns: Range<usize>, n: usize) -> Lines {
        let (from, rows, columns) = (rows.start * n + columns.start, rows.len(), columns.len());
        match self {
            Self::F32(all) => Lines::of(all[from..].as_ptr(), rows, columns, n),
            Self::BF16(all) => Lines::of(all[from..].as_ptr(), rows, columns, n),
        }
    }
}

fn split_off<'a, T>(all: &mut &'a mut [T], len: usize) -> &'a mut [T] {
    let (now, later) = std::mem::take(all).split_at_mut(len);
    *all = later;
    now
}
