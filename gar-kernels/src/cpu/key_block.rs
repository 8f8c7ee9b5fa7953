//! Keys and values of some consecutive positions, in the panels that attention multiplies with.
use std::ops::Range;

use bytemuck::Zeroable;

use super::{
    buffer::Buffer,
    dot::{Dot, FloatDot},
    panels::{interleave, narrow, panel_len},
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

/// Keys and values at [`BLOCK`] positions, all heads. Keys are a weight [BLOCK, d] for each head, values one [d, BLOCK].
#[derive(Clone)]
pub(super) struct Block {
    keys: Buffer,
    values: Buffer,
}

impl Block {
    /// Zeros.
    pub(super) fn new<D: FloatDot>(heads: Heads) -> Self {
        let (keys, values) = lens::<D>(heads.dim);
        Self {
            keys: Buffer::zeroed::<D::Weight>(heads.count * keys),
            values: Buffer::zeroed::<D::Weight>(heads.count * values),
        }
    }

    /// Writes keys and values [L, heads, d] of positions `at ..`, no more than the block has left.
    pub(super) fn write<D: FloatDot>(&mut self, heads: Heads, at: usize, k: &[f32], v: &[f32]) {
        let row = heads.count * heads.dim;
        let (key_len, value_len) = lens::<D>(heads.dim);
        let keys = self.keys.entries_mut::<D::Weight>().chunks_exact_mut(key_len);
        let values = self.values.entries_mut::<D::Weight>().chunks_exact_mut(value_len);
        let mut scratch = vec![D::Weight::zeroed(); k.len() / heads.count];
        for (head, (keys, values)) in keys.zip(values).take(heads.count).enumerate() {
            let columns = head * heads.dim..(head + 1) * heads.dim;
            vectorize(
                #[inline(always)]
                || {
                    for (k, to) in k.chunks_exact(row).zip(scratch.chunks_exact_mut(heads.dim)) {
                        narrow::<D>(&k[columns.clone()], to);
                    }
                    write_values::<D>(values, at, v, row, columns.clone());
                },
            );
            write_keys::<D>(keys, at, &scratch, heads.dim);
        }
    }

    /// The first `positions` keys of a head, rounded up to whole panels.
    pub(super) fn keys<D: Dot>(&self, heads: Heads, head: usize, positions: usize) -> Panels<'_, D> {
        let (len, _) = lens::<D>(heads.dim);
        let count = positions.div_ceil(D::PANEL);
        Panels { entries: &self.keys.entries()[head * len..], stride: panel_len::<D>(heads.dim), count }
    }

    /// The values of a head.
    pub(super) fn values<D: Dot>(&self, heads: Heads, head: usize) -> Panels<'_, D> {
        let (_, len) = lens::<D>(heads.dim);
        let count = heads.dim.div_ceil(D::PANEL);
        Panels { entries: &self.values.entries()[head * len..], stride: panel_len::<D>(BLOCK), count }
    }
}

/// Puts keys [L, d] of one head in at position `at`, panel by panel.
fn write_keys<D: FloatDot>(keys: &mut [D::Weight], mut at: usize, mut k: &[D::Weight], dim: usize) {
    while !k.is_empty() {
        let row = at % D::PANEL;
        let count = (D::PANEL - row).min(k.len() / dim);
        let (now, later) = k.split_at(count * dim);
        let panel = &mut keys[at / D::PANEL * panel_len::<D>(dim)..];
        interleave::<D>(now, dim, dim, row..row + count, 0, panel);
        (at, k) = (at + count, later);
    }
}

/// Puts `columns` of the rows of `v` [L, `row`] in at position `at`: whole groups of positions where there are. For
/// [`vectorize`].
#[inline(always)]
fn write_values<D: FloatDot>(
    values: &mut [D::Weight],
    mut at: usize,
    mut v: &[f32],
    row: usize,
    columns: Range<usize>,
) {
    while !v.is_empty() {
        let pair = D::GROUP == 2 && at.is_multiple_of(2) && v.len() > row;
        let (now, later) = v.split_at(if pair { 2 * row } else { row });
        for (panel, column) in values.chunks_exact_mut(panel_len::<D>(BLOCK)).zip(columns.clone().step_by(D::PANEL)) {
            let columns = column..(column + D::PANEL).min(columns.end);
            let group = &mut panel[at / D::GROUP * D::PANEL * D::GROUP..][..D::PANEL * D::GROUP];
            if pair {
                let lines = now[columns.clone()].iter().zip(&now[row..][columns]);
                for (pair, (&a, &b)) in group.as_chunks_mut::<2>().0.iter_mut().zip(lines) {
                    *pair = [D::weight(a), D::weight(b)];
                }
            } else {
                let entries = group.iter_mut().skip(at % D::GROUP).step_by(D::GROUP);
                for (entry, &v) in entries.zip(&now[columns]) {
                    *entry = D::weight(v);
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
