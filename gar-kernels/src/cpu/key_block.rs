//! Keys and values of some consecutive positions, in the panels that attention multiplies with.
use bytemuck::Zeroable;

use super::{
    buffer::Buffer,
    dot::{Dot, Entry, FloatDot},
    panels::{Entries, interleave, narrow, panel_len},
    rotary::Angles,
    strip::Panels,
    vectorize,
};

/// Positions of a block: a multiple of every panel and group.
pub(super) const BLOCK: usize = 128;

/// Key/value heads and the entries of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heads {
    pub(super) count: usize,
    pub(super) dim: usize,
}

/// Keys and values at [`BLOCK`] positions, all heads, in memory of their own.
#[derive(Clone)]
pub(super) struct OwnedBlock(Buffer);

impl OwnedBlock {
    /// Zeros.
    pub(super) fn new<D: FloatDot>(heads: Heads) -> Self {
        Self(Buffer::zeroed::<D::Weight>(block_len::<D>(heads)))
    }

    /// The block, of the heads that it was made for.
    pub(super) fn block<D: Dot>(&self, heads: Heads) -> Block<'_, D> {
        Block::of(self.0.entries(), heads)
    }

    /// The same, to write to.
    pub(super) fn block_mut<D: Dot>(&mut self, heads: Heads) -> BlockMut<'_, D> {
        BlockMut { entries: self.0.entries_mut(), heads }
    }
}

/// Entries of a block: of the keys of every head, and of as many heads' values.
pub(super) fn block_len<D: Dot>(heads: Heads) -> usize {
    let (keys, values) = lens::<D>(heads.dim);
    heads.count * (keys + values)
}

/// Keys and values at [`BLOCK`] positions. Keys are a weight [BLOCK, d] for each head, values one [d, BLOCK].
pub(super) struct Block<'a, D: Dot> {
    keys: &'a [D::Weight],
    values: &'a [D::Weight],
    heads: Heads,
}

impl<'a, D: Dot> Block<'a, D> {
    /// A block that lies in `entries`, [`block_len`] of them.
    pub(super) fn of(entries: &'a [D::Weight], heads: Heads) -> Self {
        let (keys, values) = entries.split_at(heads.count * lens::<D>(heads.dim).0);
        Self { keys, values, heads }
    }

    /// The first `positions` keys of a head, rounded up to whole panels.
    pub(super) fn keys(&self, head: usize, positions: usize) -> Panels<'a, D> {
        let (len, _) = lens::<D>(self.heads.dim);
        let count = positions.div_ceil(D::PANEL);
        Panels { entries: &self.keys[head * len..], stride: panel_len::<D>(self.heads.dim), count }
    }

    /// The values of a head.
    pub(super) fn values(&self, head: usize) -> Panels<'a, D> {
        let (_, len) = lens::<D>(self.heads.dim);
        let count = self.heads.dim.div_ceil(D::PANEL);
        Panels { entries: &self.values[head * len..], stride: panel_len::<D>(BLOCK), count }
    }
}

/// A [`Block`] to write to.
pub(super) struct BlockMut<'a, D: Dot> {
    entries: &'a mut [D::Weight],
    heads: Heads,
}

impl<'a, D: FloatDot> BlockMut<'a, D> {
    /// A block in memory that may hold anything, of which `len` positions will be written from the first on.
    pub(super) fn over(entries: &'a mut [D::Weight], heads: Heads, len: usize) -> Self {
        // What is multiplied and not written is zero.
        if len < BLOCK || !heads.dim.is_multiple_of(D::PANEL) {
            entries.fill(D::Weight::zeroed());
        }
        Self { entries, heads }
    }

    /// Writes keys and values [L, heads, d] of positions `at ..`, no more than the block has left; keys are turned where there
    /// are angles, and a place in them for the first key.
    pub(super) fn write(&mut self, at: usize, k: &[f32], v: Entries<'_>, turn: Option<(Angles<'_>, usize)>) {
        match v {
            Entries::F32(v) => self.write_as(at, k, v, D::Weight::of, turn),
            Entries::BF16(v) => self.write_as(at, k, v, D::Weight::of_bf16, turn),
        }
    }

    #[inline(always)]
    fn write_as<T: Copy>(
        &mut self,
        at: usize,
        k: &[f32],
        v: &[T],
        weight: impl Fn(T) -> D::Weight,
        turn: Option<(Angles<'_>, usize)>,
    ) {
        let heads = self.heads;
        let row = heads.count * heads.dim;
        let (key_len, _) = lens::<D>(heads.dim);
        let (keys, values) = self.entries.split_at_mut(heads.count * key_len);
        let positions = k.len() / row;
        let mut scratch = vec![D::Weight::zeroed(); D::PANEL.min(positions) * row];
        let mut turned = vec![0_f32; if turn.is_some() { heads.dim } else { 0 }];
        let mut done = 0;
        // A panel of keys at a time, and rows from end to end: the entries of one head lie too far apart to be seen coming.
        while done < positions {
            let first = at + done;
            let count = (D::PANEL - first % D::PANEL).min(positions - done);
            let own = done * row..(done + count) * row;
            vectorize(
                #[inline(always)]
                || {
                    let rows = k[own.clone()].chunks_exact(row).zip(scratch.chunks_exact_mut(row));
                    for (i, (k, to)) in rows.enumerate() {
                        let Some((angles, start)) = turn else {
                            narrow::<D>(k, to);
                            continue;
                        };
                        let angle = angles.at(start + done + i);
                        for (k, to) in k.chunks_exact(heads.dim).zip(to.chunks_exact_mut(heads.dim)) {
                            angle.turn(&mut turned, k);
                            narrow::<D>(&turned, to);
                        }
                    }
                    write_values::<D, T>(values, first, &v[own.clone()], &weight, heads);
                },
            );
            for (head, keys) in keys.chunks_exact_mut(key_len).enumerate() {
                let panel = &mut keys[first / D::PANEL * panel_len::<D>(heads.dim)..];
                let rows = first % D::PANEL..first % D::PANEL + count;
                let end = (count - 1) * row + (head + 1) * heads.dim;
                interleave::<D>(&scratch[head * heads.dim..end], row, heads.dim, rows, 0, panel);
            }
            done += count;
        }
    }
}

/// Puts rows `v` [L, heads, d] in at position `at`: whole groups of positions where there are. For [`vectorize`].
#[inline(always)]
fn write_values<D: FloatDot, T: Copy>(
    values: &mut [D::Weight],
    mut at: usize,
    mut v: &[T],
    weight: impl Fn(T) -> D::Weight,
    heads: Heads,
) {
    let row = heads.count * heads.dim;
    let (_, value_len) = lens::<D>(heads.dim);
    while !v.is_empty() {
        let pair = D::GROUP == 2 && at.is_multiple_of(2) && v.len() > row;
        let (now, later) = v.split_at(if pair { 2 * row } else { row });
        for (head, values) in values.chunks_exact_mut(value_len).take(heads.count).enumerate() {
            let columns = head * heads.dim..(head + 1) * heads.dim;
            let panels = values.chunks_exact_mut(panel_len::<D>(BLOCK));
            for (panel, column) in panels.zip(columns.clone().step_by(D::PANEL)) {
                let columns = column..(column + D::PANEL).min(columns.end);
                let group = &mut panel[at / D::GROUP * D::PANEL * D::GROUP..][..D::PANEL * D::GROUP];
                if pair {
                    let lines = now[columns.clone()].iter().zip(&now[row..][columns]);
                    for (pair, (&a, &b)) in group.as_chunks_mut::<2>().0.iter_mut().zip(lines) {
                        *pair = [weight(a), weight(b)];
                    }
                } else {
                    let entries = group.iter_mut().skip(at % D::GROUP).step_by(D::GROUP);
                    for (entry, &v) in entries.zip(&now[columns]) {
                        *entry = weight(v);
                    }
                }
            }
        }
        (at, v) = (at + now.len() / row, later);
    }
}

/// Entries that the keys and the values of one head take.
fn lens<D: Dot>(dim: usize) -> (usize, usize) {
    (BLOCK / D::PANEL * panel_len::<D>(dim), dim.div_ceil(D::PANEL) * panel_len::<D>(BLOCK))
}
