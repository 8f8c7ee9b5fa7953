//! Attention on the CPU, tiled with an online softmax (Milakov & Gimelshein, 2018; FlashAttention, Dao et al., 2022).
//!
//! A task takes up to [`ROWS`] queries of the heads that share one key/value head and walks the keys block by block, with
//! the tile loop of the matrix products. It holds the scores of one tile and one block; no L×S matrix exists. The softmax is
//! in f32. Blocks begin at multiples of their size and each row's sums run in the same order whatever other rows stand
//! beside it, so cutting a prompt into chunks changes no bit.
//!
//! Two tiles of GAR-1B (1,025 tokens, 16 heads of 64, bf16), two threads of a Zen 5 that does 1,018 GFLOP/s of `vdpbf16ps`:
//!
//! | version | GFLOP/s |
//! |---|---:|
//! | shares packed group by group, softmax on AVX2, results in fresh memory | 278 |
//! | shares in runs, softmax on AVX-512, memory used again | 347 |
//! | softmax and shares tile by tile; lanes folded by halves, not one by one | 425 |
//! | tasks of a head one behind the other, one call a tile, all its maxima before the exponentials | 460 |
//! | keys and values transposed by blocks, no scores beyond the last panel of keys | 500 |
//! | sums moved to a new base only where scores rise far above the old one | 515 |
//!
//! The last two rows were measured on another day, beside the row above them, which gave 470.
//!
//! Alone, before the maxima came first, 42 % of its time were products, at 85 % of what the CPU does, 26 % the softmax, 7 % packing
//! keys and values.
use rayon::prelude::*;

use super::{
    Cpu, activation,
    dot::{FloatDot, FloatWork},
    key_block::{BLOCK, Block, Heads},
    math,
    panels::{Matrix, Rows},
    product::{height, strip},
    result, vectorize,
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
        let values = activation(OP, "q", q)?;
        let mut out = self.memory.room(values.len());
        self.attention_product().run(FullAttention { q: values, k, v, dims, spec: *spec, out: &mut out });
        result(out, q.shape())
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
    /// As `q`.
    out: &'a mut [f32],
}

impl FloatWork for FullAttention<'_> {
    type Output = ();

    fn run<D: FloatDot>(self, dot: D) {
        let Self { q, k, v, dims, spec, out } = self;
        let heads = Heads { count: dims.kv_heads, dim: dims.head_dim };
        let row = heads.count * heads.dim;
        let per_sequence = dims.keys.div_ceil(BLOCK);
        let block = |i: usize| {
            let (b, first) = (i / per_sequence, i % per_sequence * BLOCK);
            let mut block = Block::new::<D>(heads);
            let (from, len) = (b * dims.keys + first, (dims.keys - first).min(BLOCK));
            let rows = from * row..(from + len) * row;
            block.write::<D>(heads, 0, &k[rows.clone()], &v[rows]);
            block
        };
        let blocks: Vec<Block> = match row {
            0 => Vec::new(),
            _ => (0..dims.batch * per_sequence).into_par_iter().map(block).collect(),
        };
        let specs = vec![spec; dims.batch];
        let of = |b: usize, i: usize| if i < per_sequence { blocks.get(b * per_sequence + i) } else { None };
        attend(dot, q, dims, &specs, of, out);
    }
}

/// Attends with every query of `q` [B, L, H, d] and writes to `out`, shaped alike; `block(sequence, i)` holds keys and
/// values from position i · [`BLOCK`] on.
pub(super) fn attend<'a, D: FloatDot>(
    dot: D,
    q: &[f32],
    dims: AttentionDims,
    specs: &[AttentionSpec],
    block: impl Fn(usize, usize) -> Option<&'a Block> + Sync,
    out: &mut [f32],
) {
    let AttentionDims { batch, queries, heads, kv_heads, head_dim, .. } = dims;
    if out.is_empty() {
        return;
    }
    let group = heads / kv_heads;
    let step = (ROWS / group).max(1);
    let sequence = queries * heads * head_dim;
    let parts = queries.div_ceil(step);
    // Parts of one head follow each other, so that its keys and values stay in the cache.
    let results: Vec<Vec<f32>> = (0..batch * kv_heads * parts)
        .into_par_iter()
        .map(|task| {
            let (b, kv_head, start) = (task / parts / kv_heads, task / parts % kv_heads, task % parts * step);
            let q = &q[b * sequence..(b + 1) * sequence];
            let len = (queries - start).min(step);
            Queries { q, dims, kv_head, start, len, spec: specs[b] }.attend(dot, |i| block(b, i))
        })
        .collect();
    let row = heads * head_dim;
    let places: Vec<&mut [f32]> = out.chunks_mut(sequence).flat_map(|b| b.chunks_mut(step * row)).collect();
    places.into_par_iter().enumerate().for_each(|(i, place)| {
        for kv_head in 0..kv_heads {
            let result = &results[(i / parts * kv_heads + kv_head) * parts + i % parts];
            for (row, rows) in place.chunks_exact_mut(row).zip(result.chunks_exact(group * head_dim)) {
                row[kv_head * group * head_dim..][..rows.len()].copy_from_slice(rows);
            }
        }
    });
}

/// The softmax of one query over the keys so far.
#[derive(Clone, Copy)]
struct Running {
    /// What scores are taken relative to: one that was the largest when it was set.
    base: f32,
    /// What sums so far must be multiplied with before the block at hand is added.
    shrink: f32,
    /// Σ e^(score − base).
    sum: f32,
}

/// How far scores may rise above their base before it is moved, and sums with it. Most blocks then leave sums as they are; no
/// share overflows, and none loses a digit.
const RISE: f32 = 8.0;

impl Default for Running {
    fn default() -> Self {
        Self { base: f32::NEG_INFINITY, shrink: 1.0, sum: 0.0 }
    }
}

impl Running {
    /// Takes note of the scores of a further block, of which `seen` count.
    #[inline(always)]
    fn meet(&mut self, scores: &mut [f32], seen: usize) {
        scores[seen..].fill(f32::NEG_INFINITY);
        let top = math::max(scores);
        self.shrink = 1.0;
        if top > self.base + RISE {
            self.shrink = math::exp(self.base - top);
            self.base = top;
        }
    }

    /// Turns the block's scores into shares e^(score − base), and scales the values summed so far to a new base.
    #[inline(always)]
    fn share(&mut self, scores: &mut [f32], out: &mut [f32]) {
        let Self { base, shrink, .. } = *self;
        if base == f32::NEG_INFINITY {
            scores.fill(0.0);
            return;
        }
        if shrink != 1.0 {
            self.sum *= shrink;
            out.iter_mut().for_each(|o| *o *= shrink);
        }
        self.sum += math::exp_shifted(scores, base);
    }
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
        let (mut scores, mut shares) = (vec![0_f32; height * BLOCK], Rows::zeroed(height, BLOCK, height));
        let mut running = vec![Running::default(); rows];
        for i in 0.. {
            // The last query sees the most.
            let positions = self.visible(self.len - 1).saturating_sub(i * BLOCK).min(BLOCK);
            let Some(block) = block(i).filter(|_| positions > 0) else { break };
            let (keys, values) = (block.keys::<D>(own, self.kv_head, positions), block.values::<D>(own, self.kv_head));
            // Scores of whole panels.
            let span = positions.next_multiple_of(D::PANEL);
            // Keys, values and all of one tile stay in the level-1 cache.
            let tiles = out.chunks_exact_mut(height * width).zip(running.chunks_mut(height)).enumerate();
            for (tile, (out, running)) in tiles {
                strip(dot, height, q.part(tile, &(0..depth)), keys, depth, &mut scores, BLOCK, false);
                vectorize(
                    #[inline(always)]
                    || {
                        // All maxima first: the exponentials of a row would wait for its maximum alone.
                        for (r, (scores, running)) in scores.chunks_exact_mut(BLOCK).zip(&mut *running).enumerate() {
                            let visible = self.visible((tile * height + r) / group);
                            running.meet(&mut scores[..span], visible.saturating_sub(i * BLOCK).min(span));
                        }
                        let rows = scores.chunks_exact_mut(BLOCK).zip(out.chunks_exact_mut(width));
                        for ((scores, out), running) in rows.zip(&mut *running) {
                            running.share(&mut scores[..span], out);
                        }
                    },
                );
                shares.fill(dot, &scores[..running.len() * BLOCK]);
                let seen = positions.div_ceil(D::GROUP);
                strip(dot, height, shares.part(0, &(0..seen)), values, seen, out, width, true);
            }
        }
        let mut result = Vec::with_capacity(rows * d);
        for (out, Running { sum, .. }) in out.chunks_exact(width.max(1)).zip(running) {
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
    #[inline(always)]
    fn visible(&self, l: usize) -> usize {
        match self.spec.mask {
            Mask::Full => self.dims.keys,
            Mask::Causal { offset } => offset + self.start + l + 1,
        }
    }
}
