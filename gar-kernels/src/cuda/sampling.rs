//! The choice of tokens on CUDA.
use std::collections::HashSet;

use super::{
    Argument, Cuda, Kernel, Pointer, Source,
    launch::{WARP, typed, typed_all},
};
use crate::{
    DType, Error, Result, Tensor,
    ops::{Draw, Sample},
};

const OP: &str = "sample";
/// Most entries of a row: as many weights of 1 have a sum of 64 bits.
const MOST: usize = 1 << 19;
/// Most threads of a block.
const THREADS: usize = 1024;
/// Most threads of a block of `sample_parts`, and the entries that it takes: two vectors of 8 a thread.
const PART_THREADS: u32 = 256;
const PART: usize = 16 * PART_THREADS as usize;
/// What the kernel writes where a row is in order, and where it has no finite entry.
const NO_FAULT: u32 = u32::MAX;
const NOT_FINITE: u32 = u32::MAX - 1;
static SOURCE: Source = Source { name: "sampling", text: include_str!("sampling.cu") };

pub(super) fn kernels() -> Vec<Kernel> {
    typed_all(&SOURCE, &["sample", "sample_parts", "sample_greedy"])
}

impl Sample for Cuda {
    fn sample(&self, logits: &Tensor, draws: &[Draw<'_>]) -> Result<Vec<u32>> {
        let [rows, width] = Draw::check(logits, draws)?;
        if width > MOST {
            return Err(Error::shape(OP, "logits", format!("[B, V] with V at most {MOST}"), logits.shape()));
        }
        let from = self.activation(OP, "logits", logits)?;
        if rows == 0 {
            return Ok(Vec::new());
        }
        let (_chosen, to) = self.device.empty(&[rows, 2], DType::U32)?;
        // Short rows need no more threads than they have entries.
        let threads = width.next_multiple_of(32).min(THREADS) as u32;
        let greedy = |draw: &Draw<'_>| draw.temperature == 0.0 && draw.repetition_penalty == 1.0;
        if !self.plain && draws.iter().all(greedy) {
            let parts = width.div_ceil(PART);
            let (_met, met) = self.device.empty(&[rows, parts, 3], DType::U32)?;
            let arguments = [from.into(), met.into(), Argument::U32(width as u32), Argument::U32(parts as u32)];
            let threads = threads.min(PART_THREADS);
            self.launch_blocks(&typed(&SOURCE, "sample_parts", logits.dtype()), rows * parts, threads, &arguments)?;
            let arguments = [met.into(), to.into(), Argument::U32(parts as u32)];
            self.launch_blocks(&typed(&SOURCE, "sample_greedy", logits.dtype()), rows, WARP as u32, &arguments)?;
            return self.chosen(to, rows);
        }
        let (mut seen, mut asked) = (Vec::<u32>::new(), Vec::with_capacity(rows));
        for draw in draws {
            let start = seen.len();
            if draw.repetition_penalty != 1.0 {
                let mut once = HashSet::new();
                seen.extend(draw.seen.iter().filter(|&&token| (token as usize) < width && once.insert(token)));
            }
            asked.push(packed(draw, start, seen.len() - start)?);
        }
        let (_asked, asked) = self.device.values(&asked)?;
        let (_seen, seen) = self.device.values(&seen)?;
        let (_keys, keys) = self.device.empty(&[rows, width], DType::U32)?;
        let (_numbers, numbers) = self.device.empty(&[rows, width], DType::U32)?;
        let (_weights, weights) = self.device.empty(&[rows, width, 2], DType::U32)?;
        let [keys, numbers, weights, chosen] = [keys, numbers, weights, to].map(Argument::from);
        let arguments = [from.into(), asked, seen, keys, numbers, weights, chosen, Argument::U32(width as u32)];
        self.launch_blocks(&typed(&SOURCE, "sample", logits.dtype()), rows, threads, &arguments)?;
        self.chosen(to, rows)
    }
}

impl Cuda {
    /// Reads what a kernel chose for each row.
    fn chosen(&self, to: Pointer, rows: usize) -> Result<Vec<u32>> {
        let mut chosen = vec![[0_u32; 2]; rows];
        self.runtime().read(to, bytemuck::cast_slice_mut(&mut chosen))?;
        let token = |(row, &[token, fault]): (usize, &[u32; 2])| match fault {
            NO_FAULT => Ok(token),
            NOT_FINITE => Err(Draw::refuse(row, None)),
            at => Err(Draw::refuse(row, Some(at as usize))),
        };
        chosen.iter().enumerate().map(token).collect()
    }
}

/// A draw as the kernel's `Draw`; its seen tokens are `count` from `start` on.
fn packed(draw: &Draw<'_>, start: usize, count: usize) -> Result<[u32; 10]> {
    let Draw { temperature, top_k, top_p, min_p, repetition_penalty, at, .. } = *draw;
    let small = |v: usize| u32::try_from(v).map_err(|_| Error::value(OP, "seen", "at most 2³² − 1 tokens", v));
    let [start, count] = [small(start)?, small(count)?];
    let [low, high] = [at.to_bits() as u32, (at.to_bits() >> 32) as u32];
    let [temperature, top_p, min_p, penalty] = [temperature, top_p, min_p, repetition_penalty].map(f32::to_bits);
    // More than a row has is all of it.
    let top_k = u32::try_from(top_k).unwrap_or(0);
    Ok([low, high, temperature, top_p, min_p, penalty, top_k, start, count, 0])
}
