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
//! | results written where they belong, memory kept from task to task | 556 |
//! | rows of queries and results, which lie far apart, asked for ahead | 563 |
//! | shares rounded while they are in registers | 595 |
//! | maxima looked at after the exponentials, sums of shares kept lane by lane | 623 |
//! | exponentials as exact as bf16 asks for | 657 |
//! | panels of keys and values in memory used again; shares from the registers that scores were summed in | 650, was 528 |
//!
//! Rows from 500 on were measured on another day, beside the row above them, which gave 470; rows from 556 on on a third, beside
//! the row above them, which gave 517; the last on a fourth, the operation alone again and again, where fresh memory cost the row
//! above it a tenth. A tower with it takes 1.5 % less time. Three quarters of the time are products; what else they bound is
//! the exponentials, whose multiplications go through the same two ports.
//!
//! Two threads of a Zen 4 that does 468 GFLOP/s, one tile, the operation alone in processes that alternate (medians of 60 calls;
//! beside a busy neighbour all of them take a seventh longer):
//!
//! | version | GFLOP/s |
//! |---|---:|
//! | as above | 307 |
//! | no branch between the rows of a tile whose shares are written: it had held registers back until the last row | 313 |
//! | rows asked for two at a time, between tiles, and those that this thread is likely to take next | 320 |
//! | keys and values put into panels row by row, not head by head | 326 |
//!
//! There a loop of its own that multiplies and takes exponentials as this one does, from the caches, reaches 390. Without gain:
//! blocks of 256 keys; a first block that finds its base in its first panel and so goes the same way as the others; keys and
//! values of the next head asked for ahead (1 %); exponentials by `vscalefps`, or by a table of sixteen, of scores in powers of two
//! (0 to 3 % of the fused tiles). Beside `vdpbf16ps` one row's exponentials, of 32 scores, take 14 cycles, of which their
//! multiplications are 8. Among the products of the next tile, in assembly, they take 13 at best, because operands from memory get in the
//! way of the products' own; in Rust they take more, because the compiler moves sums about.
//!
//! Values that come in bf16 and results that leave in it have the same bits and are half the bytes: the best of seven alternating
//! runs of a tower on a noisy Zen 3 took 10.3 seconds without and 9.9 with them.
//!
//! On AVX2 the same attention alone reaches 61 % of the rate of FMA in bf16 since rounded shares go to their tile in one pass
//! ([`softmax`](super::softmax)); with a pass each for the largest score, exponentials and rounding it was 51. In f32 it is 47,
//! and was 42 before tiles of six rows had a [transpose](super::transpose) of their own (noisy Zen 3, medians of five and four
//! alternating runs). Blocks of 64 keys, which would fit its level-1 cache, are slower in bf16 and no faster in f32.
use std::{any::Any, marker::PhantomData, ops::Range};

use rayon::prelude::*;

use super::{
    Cpu, Precision, activation,
    dot::{Dot, Factors, FloatDot, FloatWork},
    key_block::{BLOCK, Block, BlockMut, Heads, block_len},
    math,
    outcome::Results,
    panels::{Entries, Rows},
    prefetch::Lines,
    rotary::Angles,
    softmax::{LANES, Running, Scores},
    strip::{Ahead, Strip, height},
    tasks::in_turn,
    vectorize,
};
use crate::{
    DType, Result, Tensor,
    host::Memory,
    ops::{Attention, AttentionDims, AttentionSpec, Mask, Rotation},
};

const OP: &str = "attention";
/// Query rows of one task, counted over the heads of a group.
const ROWS: usize = 96;

impl Attention for Cpu {
    fn attention(&self, q: &Tensor, k: &Tensor, v: &Tensor, spec: &AttentionSpec) -> Result<Tensor> {
        self.full_attention([q, k, v], None, spec)
    }

    /// Queries and keys are turned as they are read, where the rotation is the CPU's.
    fn attention_rotated(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        rotation: Rotation<'_>,
        spec: &AttentionSpec,
    ) -> Result<Tensor> {
        if !(rotation.rotary as &dyn Any).is::<Self>() {
            return self.attention(&rotation.apply(q)?, &rotation.apply(k)?, v, spec);
        }
        rotation.spec.check(k)?;
        rotation.spec.check(q)?;
        self.full_attention([q, k, v], Some((Angles::of(&rotation.spec)?, rotation.spec.start)), spec)
    }

    fn rounding(&self) -> Option<DType> {
        (self.precision == Precision::Bf16).then_some(DType::BF16)
    }
}

impl Cpu {
    /// Attention, of queries and keys that are turned where there are angles.
    fn full_attention(&self, [q, k, v]: [&Tensor; 3], turn: Option<Turn<'_>>, spec: &AttentionSpec) -> Result<Tensor> {
        let dims = spec.check(q, k, v)?;
        let (k, v) = (activation(OP, "k", k)?, Entries::of(OP, "v", v)?);
        let values = activation(OP, "q", q)?;
        let mut out = self.outcome(values.len(), spec.to);
        let (memory, results) = (&self.memory, out.results());
        let work = FullAttention { q: values, k, v, turn, dims, spec: *spec, memory, out: results };
        self.attention_product().run(work);
        out.tensor(q.shape())
    }
}

/// Angles, and the position that each sequence begins at.
type Turn<'a> = (Angles<'a>, &'a [usize]);

struct FullAttention<'a> {
    /// [B, L, H, d].
    q: &'a [f32],
    /// [B, S, G, d].
    k: &'a [f32],
    v: Entries<'a>,
    turn: Option<Turn<'a>>,
    dims: AttentionDims,
    spec: AttentionSpec,
    /// Where panels of keys and values come from.
    memory: &'a Memory,
    /// As `q`.
    out: Results<'a>,
}

impl FloatWork for FullAttention<'_> {
    type Output = ();

    fn run<D: FloatDot>(self, dot: D) {
        let Self { q, k, v, turn, dims, spec, memory, out } = self;
        let heads = Heads { count: dims.kv_heads, dim: dims.head_dim };
        let (row, len) = (heads.count * heads.dim, block_len::<D>(heads));
        let per_sequence = if row > 0 { dims.keys.div_ceil(BLOCK) } else { 0 };
        let mut panels = memory.room(dims.batch * per_sequence * len * size_of::<D::Weight>() / size_of::<f32>());
        let panels: &mut [D::Weight] = bytemuck::cast_slice_mut(&mut panels);
        panels.par_chunks_exact_mut(len.max(1)).enumerate().for_each(|(i, entries)| {
            let (b, first) = (i / per_sequence, i % per_sequence * BLOCK);
            let (from, len) = (b * dims.keys + first, (dims.keys - first).min(BLOCK));
            let rows = from * row..(from + len) * row;
            let turn = turn.map(|(angles, start)| (angles, start[b] + first));
            BlockMut::<D>::over(entries, heads, len).write(0, &k[rows.clone()], v.part(rows), turn);
        });
        let panels = &*panels;
        let specs = vec![spec; dims.batch];
        let block = |b: usize, i: usize| {
            let at = (b * per_sequence + i) * len;
            (i < per_sequence).then(|| Block::of(&panels[at..at + len], heads))
        };
        attend(dot, (q, turn), dims, &specs, block, out);
    }
}

/// Attends with every query of `q` [B, L, H, d] and writes to `out`, shaped alike; `block(sequence, i)` holds keys and
/// values from position i · [`BLOCK`] on.
pub(super) fn attend<'a, D: FloatDot>(
    dot: D,
    (q, turn): (&[f32], Option<Turn<'_>>),
    dims: AttentionDims,
    specs: &[AttentionSpec],
    block: impl Fn(usize, usize) -> Option<Block<'a, D>> + Sync,
    out: Results<'_>,
) {
    match out {
        Results::F32(out) => attend_to(dot, (q, turn), dims, specs, block, out, |to, from, factor| {
            math::scaled(to, from, factor);
        }),
        Results::BF16(out) => attend_to(dot, (q, turn), dims, specs, block, out, |to, from, factor| {
            vectorize(
                #[inline(always)]
                || from.iter_mut().for_each(|v| *v *= factor),
            );
            dot.narrow(from, to);
        }),
    }
}

/// As [`attend`]; `write(to, from, factor)` writes numbers times a factor, and may write to both.
fn attend_to<'a, D: FloatDot, T: Send>(
    dot: D,
    (q, turn): (&[f32], Option<Turn<'_>>),
    dims: AttentionDims,
    specs: &[AttentionSpec],
    block: impl Fn(usize, usize) -> Option<Block<'a, D>> + Sync,
    out: &mut [T],
    write: impl Fn(&mut [T], &mut [f32], f32) + Sync,
) {
    let AttentionDims { batch, queries, heads, kv_heads, head_dim: d, .. } = dims;
    if out.is_empty() {
        return;
    }
    let group = heads / kv_heads;
    let step = (ROWS / group).clamp(1, queries);
    let sequence = queries * heads * d;
    let parts = queries.div_ceil(step);
    let places = Places::new(out);
    // Where the row of query l begins, of one sequence and key/value head.
    let row = |b: usize, kv_head: usize, l: usize| b * sequence + (l * heads + kv_head * group) * d;
    let part = |task: usize| {
        let start = task % parts * step;
        (task / parts / kv_heads, task / parts % kv_heads, start..(start + step).min(queries))
    };
    // Takes up to two queries away: where the first one's row begins, and how many they are.
    let two = |(b, kv_head, queries): &mut (usize, usize, Range<usize>)| {
        let (at, count) = (row(*b, *kv_head, queries.start), queries.len().min(2));
        queries.start += count;
        (at, count)
    };
    let (tasks, threads) = (batch * kv_heads * parts, rayon::current_num_threads());
    // Parts of one head follow each other, so that its keys and values stay in the cache.
    in_turn(
        0..tasks,
        || Scratch::<D>::new(step * group, d),
        |scratch, task| {
            let (b, kv_head, Range { start, end }) = part(task);
            // Rows lie so far apart that the CPU does not see them coming: every tile brings two. Which task comes next here
            // depends on the other threads, which are about as fast.
            let (mut written, mut read) = (part(task), part((task + threads).min(tasks - 1)));
            let ahead = || {
                let [(to, results), (from, next)] = [two(&mut written), two(&mut read)];
                let (columns, stride) = (group * d, heads * d);
                [
                    Lines::of(places.at.cast_const().wrapping_add(to), results, columns, stride),
                    Lines::of(q.as_ptr().wrapping_add(from), next, columns, stride),
                ]
            };
            let own = Queries {
                q: &q[b * sequence..(b + 1) * sequence],
                dims,
                kv_head,
                start,
                len: end - start,
                spec: specs[b],
                turn: turn.map(|(angles, first)| (angles, first[b] + start)),
            };
            own.attend(dot, scratch, |i| block(b, i), ahead);
            for l in 0..end - start {
                let at = row(b, kv_head, start + l);
                // SAFETY: a query and a key/value head belong to one task.
                let place = unsafe { places.place(at..at + group * d) };
                scratch.result(l * group..(l + 1) * group, place, &write);
            }
        },
    );
}

/// A result that tasks write to side by side.
struct Places<'a, T> {
    at: *mut T,
    len: usize,
    result: PhantomData<&'a mut [T]>,
}

// SAFETY: writing to it is left to the callers of `place`, who vouch that no two write to one number.
unsafe impl<T: Send> Sync for Places<'_, T> {}

impl<'a, T> Places<'a, T> {
    fn new(result: &'a mut [T]) -> Self {
        Self { at: result.as_mut_ptr(), len: result.len(), result: PhantomData }
    }

    /// Some of its numbers.
    ///
    /// # Safety
    /// Nothing else reads or writes them as long as they are held.
    #[allow(clippy::mut_from_ref, reason = "callers vouch for it")]
    unsafe fn place(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} of {}", self.len);
        // SAFETY: inside the result, which is borrowed as long as this; callers vouch that nobody else has it.
        unsafe { std::slice::from_raw_parts_mut(self.at.add(range.start), range.len()) }
    }
}

/// Memory of one task after the other.
struct Scratch<D: Dot> {
    height: usize,
    /// Entries of a head.
    d: usize,
    /// Queries times the scale, [rows, d].
    scaled: Vec<f32>,
    /// The same, in tiles.
    q: Rows<D>,
    /// Of one tile and block.
    scores: Vec<f32>,
    shares: Rows<D>,
    running: Vec<Running>,
    /// Values times shares, [tiles · height, width].
    sums: Vec<f32>,
    /// `d`, rounded up to whole panels.
    width: usize,
}

impl<D: Dot> Scratch<D> {
    /// For tasks of up to `rows` rows, heads of `d` entries.
    fn new(rows: usize, d: usize) -> Self {
        let (height, width) = (height::<D>(rows), d.next_multiple_of(D::PANEL));
        Self {
            height,
            d,
            scaled: Vec::with_capacity(rows * d),
            q: Rows::zeroed(rows, d, height),
            scores: vec![0.0; height * BLOCK],
            shares: Rows::zeroed(height, BLOCK, height),
            running: Vec::with_capacity(rows),
            sums: vec![0.0; rows.next_multiple_of(height) * width],
            width,
        }
    }

    /// The attended values of some rows [rows, d], once: `write(to, sums, factor)` for each.
    fn result<T>(&mut self, rows: Range<usize>, to: &mut [T], write: impl Fn(&mut [T], &mut [f32], f32)) {
        let sums = self.sums.chunks_exact_mut(self.width.max(1)).zip(&self.running);
        for ((sums, running), to) in sums.skip(rows.start).zip(to.chunks_exact_mut(self.d.max(1))) {
            write(to, &mut sums[..self.d], running.inverse());
        }
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
    /// Angles, and the position of the first query.
    turn: Option<(Angles<'a>, usize)>,
}

impl Queries<'_> {
    /// Leaves what [`Scratch::result`] needs, [len, group] rows; every tile of every block asks for what `ahead` gives.
    fn attend<'b, D: FloatDot>(
        &self,
        dot: D,
        scratch: &mut Scratch<D>,
        block: impl Fn(usize) -> Option<Block<'b, D>>,
        mut ahead: impl FnMut() -> [Lines; 2],
    ) {
        let AttentionDims { heads, kv_heads, .. } = self.dims;
        let group = heads / kv_heads;
        let rows = self.len * group;
        self.scale(group, &mut scratch.scaled);
        let &mut Scratch { height, d, ref scaled, ref mut q, ref mut scores, ref mut shares, .. } = scratch;
        let (running, sums, width) = (&mut scratch.running, &mut scratch.sums, scratch.width);
        q.fill(dot, scaled);
        running.clear();
        running.resize(rows, Running::default());
        // The first block writes them, if there is one.
        if self.visible(self.len - 1) == 0 {
            sums.fill(0.0);
        }
        let depth = d.div_ceil(D::GROUP);
        for i in 0.. {
            // The last query sees the most.
            let positions = self.visible(self.len - 1).saturating_sub(i * BLOCK).min(BLOCK);
            let Some(block) = block(i).filter(|_| positions > 0) else { break };
            let key_panels = block.keys(self.kv_head, positions);
            let value_panels = block.values(self.kv_head);
            let (span, met) = (positions.next_multiple_of(LANES), positions.div_ceil(D::GROUP));
            // Keys, values and all of one tile stay in the level-1 cache.
            let tiles = sums.chunks_exact_mut(height * width).zip(running.chunks_mut(height));
            for (tile, (values, running)) in tiles.enumerate() {
                let q = q.part(tile, &(0..depth));
                let seen = |r: usize| self.visible((tile * height + r) / group).saturating_sub(i * BLOCK);
                let (w, panel_stride) = (key_panels.entries, key_panels.stride);
                let factors = Factors { x: q, w, panel_stride, groups: depth, next: &[], rows: [Lines::NONE; 2] };
                if !dot.shares_of_products(factors, key_panels.count, seen, running, shares) {
                    dot.strip(Strip {
                        height,
                        x: q,
                        w: key_panels,
                        groups: depth,
                        sums: &mut *scores,
                        row_stride: BLOCK,
                        accumulate: false,
                        ahead: Ahead::default(),
                    });
                    let mut scored = Scores { scores, stride: BLOCK, span, running, values: &mut *values, width };
                    scored.hide(seen);
                    dot.shares(scored, shares);
                }
                dot.strip(Strip {
                    height,
                    x: shares.part(0, &(0..met)),
                    w: value_panels,
                    groups: met,
                    sums: values,
                    row_stride: width,
                    accumulate: i > 0,
                    ahead: Ahead { rows: ahead(), ..Ahead::default() },
                });
            }
        }
    }

    /// Writes the queries, turned, times the scale, [len, group, d].
    fn scale(&self, group: usize, to: &mut Vec<f32>) {
        let AttentionDims { heads, head_dim: d, .. } = self.dims;
        to.resize(self.len * group * d, 0.0);
        for (l, to) in to.chunks_exact_mut((group * d).max(1)).enumerate() {
            let from = &self.q[((self.start + l) * heads + self.kv_head * group) * d..][..group * d];
            let angle = self.turn.map(|(angles, first)| angles.at(first + l));
            let scale = self.spec.scale;
            vectorize(
                #[inline(always)]
                || match &angle {
                    None => to.iter_mut().zip(from).for_each(|(to, from)| *to = from * scale),
                    Some(angle) => {
                        for (to, from) in to.chunks_exact_mut(d).zip(from.chunks_exact(d)) {
                            angle.turn(to, from);
                        }
                        to.iter_mut().for_each(|to| *to *= scale);
                    }
                },
            );
        }
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
