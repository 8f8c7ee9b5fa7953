//! Attention on the CPU, tiled with an online softmax (Milakov & Gimelshein, 2018; FlashAttention, Dao et al., 2022).
//!
//! A task takes up to [`ROWS`] queries of the heads that share one key/value head and walks the keys block by block, with
//! the tile loop of the matrix products. It holds one [ROWS, BLOCK] matrix of scores; no L×S matrix exists. The softmax is
//! in f32. Blocks begin at multiples of their size and each row's sums run in the same order whatever other rows stand
//! beside it, so cutting a prompt into chunks changes no bit.
use rayon::prelude::*;

use super::{
    Cpu, activation,
    dot::{FloatDot, FloatWork},
    key_block::{BLOCK, Block, Heads},
    math,
    panels::{Matrix, Rows},
    product::{height, strip},
};
use crate::{
    Result, Tensor,
    ops::{Attention, AttentionDims, AttentionSpec, Mask},
};

const OP: &str = "attention";
/// Query rows of one task, counted over the heads of a group.
const ROWS: usize = 96;

impl Attention for Cpu {
    fn attention(&self, q: &Tensor, k: &Tensor, v: &Tensor, spec: &AttentionSpec) -> Result<Tensor> {
        let dims = spec.check(q, k, v)?;
        let (k, v) = (activation(OP, "k", k)?, activation(OP, "v", v)?);
        let work = FullAttention { q: activation(OP, "q", q)?, k, v, dims, spec: *spec };
        Tensor::from_vec(self.attention_product().run(work), q.shape())
    }
}

struct FullAttention<'a> {
    /// [B, L, H, d].
    q: &'a [f32],
    /// [B, S, G, d].
    k: &'a [f32],
    v: &'a [f32],
    dims: AttentionDims,
    spec: AttentionSpec,
}

impl FloatWork for FullAttention<'_> {
    type Output = Vec<f32>;

    fn run<D: FloatDot>(self, dot: D) -> Vec<f32> {
        let Self { q, k, v, dims, spec } = self;
        let heads = Heads { count: dims.kv_heads, dim: dims.head_dim };
        let row = heads.count * heads.dim;
        let per_sequence = dims.keys.div_ceil(BLOCK);
        let block = |i: usize| {
            let (b, first) = (i / per_sequence, i % per_sequence * BLOCK);
            let mut block = Block::new::<D>(heads);
            for at in 0..(dims.keys - first).min(BLOCK) {
                let from = (b * dims.keys + first + at) * row;
                block.write::<D>(heads, at, &k[from..from + row], &v[from..from + row]);
            }
            block
        };
        let blocks: Vec<Block> = match row {
            0 => Vec::new(),
            _ => (0..dims.batch * per_sequence).into_par_iter().map(block).collect(),
        };
        let specs = vec![spec; dims.batch];
        let of = |b: usize, i: usize| if i < per_sequence { blocks.get(b * per_sequence + i) } else { None };
        attend(dot, q, dims, &specs, of)
    }
}

/// Attends with every query of `q` [B, L, H, d]; `block(sequence, i)` holds keys and values from position i · [`BLOCK`] on.
pub(super) fn attend<'a, D: FloatDot>(
    dot: D,
    q: &[f32],
    dims: AttentionDims,
    specs: &[AttentionSpec],
    block: impl Fn(usize, usize) -> Option<&'a Block> + Sync,
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
    let results: Vec<Vec<f32>> = tasks
        .par_iter()
        .map(|&[b, start, kv_head]| {
            let q = &q[b * sequence..(b + 1) * sequence];
            let len = (queries - start).min(step);
            Queries { q, dims, kv_head, start, len, spec: specs[b] }.attend(dot, |i| block(b, i))
        })
        .collect();
    for (result, &[b, start, kv_head]) in results.iter().zip(&tasks) {
        for (l, rows) in result.chunks_exact(group * head_dim).enumerate() {
            let at = b * sequence + ((start + l) * heads + kv_head * group) * head_dim;
            out[at..at + rows.len()].copy_from_slice(rows);
        }
    }
    out
}

/// Queries of one sequence, of the heads that share key/value head `kv_head`.
struct Queries<'a> {
    /// [L, H, d] of this sequence.
    q: &'a [f32],
    dims: AttentionDims,
    kv_head: usize,
    /// Queries `start .. start + len`.
    start: usize,
    len: usize,
    spec: AttentionSpec,
}

impl Queries<'_> {
    /// The attended values [len, group, d].
    fn attend<'b, D: FloatDot>(&self, dot: D, block: impl Fn(usize) -> Option<&'b Block>) -> Vec<f32> {
        let AttentionDims { heads, kv_heads, head_dim: d, .. } = self.dims;
        let (group, own) = (heads / kv_heads, Heads { count: kv_heads, dim: d });
        let rows = self.len * group;
        let height = height::<D>(rows);
        let tiles = rows.div_ceil(height);
        let (depth, width) = (d.div_ceil(D::GROUP), d.next_multiple_of(D::PANEL));
        let scaled = Matrix { entries: &self.scaled(group), rows, k: d, transposed: false };
        let q = Rows::pack(dot, scaled, 0..rows, height);
        let mut out = vec![0_f32; tiles * height * width];
        let mut scores = vec![0_f32; tiles * height * BLOCK];
        let mut shares = Rows::zeroed(rows, BLOCK, height);
        let (mut top, mut sum) = (vec![f32::NEG_INFINITY; rows], vec![0_f32; rows]);
        for i in 0.. {
            // The last query sees the most.
            let positions = self.visible(self.len - 1).saturating_sub(i * BLOCK).min(BLOCK);
            let Some(block) = block(i).filter(|_| positions > 0) else { break };
            let keys = block.keys::<D>(own, self.kv_head, positions);
            for (q, scores) in q.tiles(depth, height).zip(scores.chunks_exact_mut(height * BLOCK)) {
                strip(dot, height, q, keys, depth, scores, BLOCK, false);
            }
            for (r, scores) in scores.chunks_exact_mut(BLOCK).take(rows).enumerate() {
                let seen = self.visible(r / group).saturating_sub(i * BLOCK).min(BLOCK);
                scores[seen..].fill(f32::NEG_INFINITY);
                let new_top = top[r].max(math::max(&scores[..seen]));
                if new_top == f32::NEG_INFINITY {
                    scores.fill(0.0);
                    continue;
                }
                let shrink = (top[r] - new_top).exp();
                sum[r] = sum[r] * shrink + math::exp_shifted(scores, new_top);
                top[r] = new_top;
                if shrink != 1.0 {
                    out[r * width..(r + 1) * width].iter_mut().for_each(|o| *o *= shrink);
                }
            }
            shares.fill(dot, &scores, rows, BLOCK, height);
            let (values, seen) = (block.values::<D>(own, self.kv_head), positions.div_ceil(D::GROUP));
            for (shares, out) in shares.tiles(BLOCK / D::GROUP, height).zip(out.chunks_exact_mut(height * width)) {
                strip(dot, height, shares, values, seen, out, width, true);
            }
        }
        let mut result = Vec::with_capacity(rows * d);
        for (out, sum) in out.chunks_exact(width.max(1)).zip(sum) {
            let inverse = if sum > 0.0 { 1.0 / sum } else { 0.0 };
            result.extend(out[..d].iter().map(|o| o * inverse));
        }
        result
    }

    /// The queries times the scale, [len, group, d].
    fn scaled(&self, group: usize) -> Vec<f32> {
        let AttentionDims { heads, head_dim: d, .. } = self.dims;
        let mut q = Vec::with_capacity(self.len * group * d);
        for l in self.start..self.start + self.len {
            let from = (l * heads + self.kv_head * group) * d;
            q.extend(self.q[from..from + group * d].iter().map(|q| q * self.spec.scale));
        }
        q
    }

    /// How many keys query `start + l` sees.
    fn visible(&self, l: usize) -> usize {
        match self.spec.mask {
            Mask::Full => self.dims.keys,
            Mask::Causal { offset } => offset + self.start + l + 1,
        }
    }
}
