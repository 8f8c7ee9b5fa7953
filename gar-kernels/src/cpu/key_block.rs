//! Keys and values of some consecutive positions, in the panels that attention multiplies with.
use super::{
    buffer::Buffer,
    dot::{Dot, FloatDot},
    panels::{panel_len, place},
    product::Panels,
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

    /// Writes keys and values [heads, d] of position `at`.
    pub(super) fn write<D: FloatDot>(&mut self, heads: Heads, at: usize, k: &[f32], v: &[f32]) {
        let (key_len, value_len) = lens::<D>(heads.dim);
        let (keys, values) = (self.keys.entries_mut::<D::Weight>(), self.values.entries_mut::<D::Weight>());
        for (head, (k, v)) in k.chunks_exact(heads.dim).zip(v.chunks_exact(heads.dim)).enumerate() {
            let panel = head * key_len + at / D::PANEL * panel_len::<D>(heads.dim);
            for (c, &k) in k.iter().enumerate() {
                keys[panel + place::<D>(at % D::PANEL, c)] = D::weight(k);
            }
            for (panel, v) in v.chunks(D::PANEL).enumerate() {
                let panel = head * value_len + panel * panel_len::<D>(BLOCK);
                for (c, &v) in v.iter().enumerate() {
                    values[panel + place::<D>(c, at)] = D::weight(v);
                }
            }
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

/// Entries that the keys and the values of one head take.
fn lens<D: Dot>(dim: usize) -> (usize, usize) {
    (BLOCK / D::PANEL * panel_len::<D>(dim), dim.div_ceil(D::PANEL) * panel_len::<D>(BLOCK))
}
