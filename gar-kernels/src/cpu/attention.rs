//! Attention on the CPU, tiled with an online softmax (Milakov & Gimelshein, 2018; FlashAttention, Dao et al., 2022).
//!
//! A task takes up to [`ROWS`] queries of the heads that share one key/value head and walks the keys tile by tile. It
//! holds one [ROWS, tile] block of scores; no L×S matrix exists. Rows are padded to a multiple of [`PAD`] and each row's
//! sums run in the same order whatever other rows stand beside it, so cutting a prompt into chunks changes no bit.
use rayon::prelude::*;

use super::{
    Cpu, activation,
    gemm::{Matrix, multiply},
    math,
};
use crate::{
    Result, Tensor,
    ops::{Attention, AttentionDims, AttentionSpec, Mask},
};

const OP: &str = "attention";
/// Query rows of one task, counted over the heads of a group.
const ROWS: usize = 128;
/// Keys of one tile.
const KEYS: usize = 256;
/// Fewer rows take another path through `gemm`, with another order of additions.
const PAD: usize = 8;

/// Keys and values of one head at consecutive positions.
pub(super) struct Tile<'a> {
    /// [keys, d], rows `stride` apart.
    pub(super) k: &'a [f32],
    pub(super) v: &'a [f32],
    pub(super) stride: usize,
    pub(super) keys: usize,
    /// Position of the first key.
    pub(super) first: usize,
}

/// Queries of one sequence, of the `group` heads that share key/value head `kv_head`.
pub(super) struct Queries<'a> {
    /// [L, H, d] of this sequence.
    pub(super) q: &'a [f32],
    pub(super) dims: AttentionDims,
    pub(super) kv_head: usize,
    /// Queries `start .. start + len`.
    pub(super) start: usize,
    pub(super) len: usize,
    pub(super) spec: AttentionSpec,
}

impl Attention for Cpu {
    fn attention(&self, q: &Tensor, k: &Tensor, v: &Tensor, spec: &AttentionSpec) -> Result<Tensor> {
        let dims = spec.check(q, k, v)?;
        let (kt, vt) = (activation(OP, "k", k)?, activation(OP, "v", v)?);
        let stride = dims.kv_heads * dims.head_dim;
        let out = run(activation(OP, "q", q)?, dims, &vec![*spec; dims.batch], |b, kv_head, tile| {
            let first = tile * KEYS;
            let from = (b * dims.keys + first) * stride + kv_head * dims.head_dim;
            (first < dims.keys).then(|| Tile {
                k: &kt[from..],
                v: &vt[from..],
                stride,
                keys: (dims.keys - first).min(KEYS),
                first,
            })
        });
        Tensor::from_vec(out, q.shape())
    }
}

/// Attends with every query of `q` [B, L, H, d]; `tile(sequence, key/value head, i)` is the i-th tile of keys.
pub(super) fn run<'a>(
    q: &[f32],
    dims: AttentionDims,
    specs: &[AttentionSpec],
    tile: impl Fn(usize, usize, usize) -> Option<Tile<'a>> + Sync,
) -> Vec<f32> {
    let AttentionDims { batch, queries, heads, kv_heads, head_dim, .. } = dims;
    let mut out = vec![0_f32; q.len()];
    if out.is_empty() {
        return out;
    }
    let group = heads / kv_heads;
    let step = (ROWS / group).max(1);
    let sequence = queries * heads * head_dim;
    let tasks: Vec<[usize; 3]> = (0..batch)
        .flat_map(|b| (0..queries).step_by(step).flat_map(move |start| (0..kv_heads).map(move |g| [b, start, g])))
        .collect();
    let blocks: Vec<Vec<f32>> = tasks
        .par_iter()
        .map(|&[b, start, kv_head]| {
            let q = &q[b * sequence..(b + 1) * sequence];
            let len = (queries - start).min(step);
            Queries { q, dims, kv_head, start, len, spec: specs[b] }.attend(|i| tile(b, kv_head, i))
        })
        .collect();
    for (block, &[b, start, kv_head]) in blocks.iter().zip(&tasks) {
        for (l, rows) in block.chunks_exact(group * head_dim).enumerate() {
            let at = b * sequence + ((start + l) * heads + kv_head * group) * head_dim;
            out[at..at + rows.len()].copy_from_slice(rows);
        }
    }
    out
}

impl Queries<'_> {
    /// The attended values [len, group, d].
    fn attend<'t>(&self, tile: impl Fn(usize) -> Option<Tile<'t>>) -> Vec<f32> {
        let AttentionDims { heads, kv_heads, head_dim: d, .. } = self.dims;
        let group = heads / kv_heads;
        let rows = self.len * group;
        let padded = rows.next_multiple_of(PAD);
        let mut q = vec![0_f32; padded * d];
        for (l, to) in q[..rows * d].chunks_exact_mut(group * d).enumerate() {
            let from = ((self.start + l) * heads + self.kv_head * group) * d;
            to.iter_mut().zip(&self.q[from..from + group * d]).for_each(|(to, q)| *to = q * self.spec.scale);
        }
        let mut out = vec![0_f32; padded * d];
        let (mut top, mut sum) = (vec![f32::NEG_INFINITY; rows], vec![0_f32; rows]);
        let mut scores = Vec::new();
        for tile in (0..).map_while(tile) {
            if self.visible(self.len - 1) <= tile.first {
                break;
            }
            scores.resize(padded * tile.keys, 0.0);
            let (k, v) = (Matrix::rows(tile.k, tile.stride), Matrix::rows(tile.v, tile.stride));
            multiply(Matrix::rows(&q, d), k.transposed(), &mut scores, [padded, tile.keys, d], false);
            for (r, scores) in scores.chunks_exact_mut(tile.keys).take(rows).enumerate() {
                let seen = self.visible(r / group).saturating_sub(tile.first).min(tile.keys);
                scores[seen..].fill(f32::NEG_INFINITY);
                let new_top = top[r].max(math::max(&scores[..seen]));
                if new_top == f32::NEG_INFINITY {
                    scores.fill(0.0);
                    continue;
                }
                let shrink = (top[r] - new_top).exp();
                sum[r] = sum[r] * shrink + math::exp_shifted(scores, new_top);
                top[r] = new_top;
                out[r * d..(r + 1) * d].iter_mut().for_each(|o| *o *= shrink);
            }
            multiply(Matrix::rows(&scores, tile.keys), v, &mut out, [padded, d, tile.keys], true);
        }
        out.truncate(rows * d);
        for (out, sum) in out.chunks_exact_mut(d.max(1)).zip(sum) {
            let inverse = if sum > 0.0 { 1.0 / sum } else { 0.0 };
            out.iter_mut().for_each(|o| *o *= inverse);
        }
        out
    }

    /// How many keys query `start + l` sees.
    fn visible(&self, l: usize) -> usize {
        match self.spec.mask {
            Mask::Full => self.dims.keys,
            Mask::Causal { offset } => offset + self.start + l + 1,
        }
    }
}
