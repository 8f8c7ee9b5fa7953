//! How weights and rows of x are put into panels; [`dot`](super::dot) says what panels are.
use std::{any::TypeId, ops::Range};

use bytemuck::Zeroable;
use half::bf16;
use rayon::prelude::*;

use super::{
    buffer::Buffer,
    convert::Floats,
    dot::{Dot, Entry, FloatDot, IntDot},
    on_host, strip,
    transpose::{Source, transpose},
    vectorize,
};
use crate::{DType, Error, Result, Tensor};

/// Entries of one panel over `k`.
pub(super) fn panel_len<D: Dot>(k: usize) -> usize {
    k.div_ceil(D::GROUP) * D::PANEL * D::GROUP
}

/// Where entry (row, k) of a panel lies in it.
#[inline(always)]
pub(super) fn place<D: Dot>(row: usize, k: usize) -> usize {
    (k / D::GROUP * D::PANEL + row) * D::GROUP + k % D::GROUP
}

/// Entries along k that are put into a panel at a time, so that the part being written stays in the level-1 cache.
const STRETCH: usize = 128;

/// A floating-point weight [n, k] in panels.
pub(super) fn pack_floats<D: FloatDot>(w: Floats<'_>, n: usize, k: usize) -> Buffer {
    // Entries that are stored as they are wanted need no detour through f32.
    let as_stored: Option<&[D::Weight]> = match w {
        Floats::BF16(values) if TypeId::of::<D::Weight>() == TypeId::of::<bf16>() => Some(bytemuck::cast_slice(values)),
        Floats::F32(values) if TypeId::of::<D::Weight>() == TypeId::of::<f32>() => Some(bytemuck::cast_slice(values)),
        _ => None,
    };
    if let Some(values) = as_stored {
        return pack_entries::<D>(values, n, k);
    }
    pack::<D>(n, k, |panel, rows| {
        let (mut wide, mut entries) = (Vec::new(), vec![D::Weight::zeroed(); D::PANEL * STRETCH.min(k)]);
        for at in (0..k).step_by(STRETCH) {
            let len = STRETCH.min(k - at);
            for (n, entries) in rows.clone().zip(entries.chunks_exact_mut(len)) {
                let values = w.widen(n * k + at..n * k + at + len, &mut wide);
                vectorize(
                    #[inline(always)]
                    || narrow::<D>(values, entries),
                );
            }
            interleave::<D>(&entries, len, len, 0..rows.len(), at, panel);
        }
    })
}

/// Levels [n, k] of a quantised weight in panels.
pub(super) fn pack_levels<D: IntDot>(levels: &[i8], n: usize, k: usize) -> Buffer {
    pack_entries::<D>(levels, n, k)
}

/// A weight [n, k] of entries as they are wanted, in panels.
fn pack_entries<D: Dot>(w: &[D::Weight], n: usize, k: usize) -> Buffer {
    pack::<D>(n, k, |panel, rows| {
        for at in (0..k).step_by(STRETCH) {
            let len = STRETCH.min(k - at);
            let from = &w[rows.start * k + at..(rows.end - 1) * k + at + len];
            interleave::<D>(from, k, len, 0..rows.len(), at, panel);
        }
    })
}

/// The transpose of `w` [k, n] in panels: what lies together in a panel lies together in `w`.
pub(super) fn pack_transposed<D: FloatDot>(w: Floats<'_>, n: usize, k: usize) -> Buffer {
    pack::<D>(n, k, |panel, rows| {
        let mut scratch = Vec::new();
        for at in 0..k {
            let values = w.widen(at * n + rows.start..at * n + rows.end, &mut scratch);
            let group = &mut panel[at / D::GROUP * D::PANEL * D::GROUP..][..D::PANEL * D::GROUP];
            // Of groups of one, a loop without steps, which the compiler turns into vectors.
            if D::GROUP == 1 {
                group.iter_mut().zip(values).for_each(|(entry, &v)| *entry = D::Weight::of(v));
            } else {
                let entries = group[at % D::GROUP..].iter_mut().step_by(D::GROUP);
                entries.zip(values).for_each(|(entry, &v)| *entry = D::Weight::of(v));
            }
        }
    })
}

/// Fills every panel in parallel: `fill(panel, rows of the weight)`.
fn pack<D: Dot>(n: usize, k: usize, fill: impl Fn(&mut [D::Weight], Range<usize>) + Sync) -> Buffer {
    let len = panel_len::<D>(k);
    let mut buffer = Buffer::zeroed::<D::Weight>(n.div_ceil(D::PANEL) * len);
    if len > 0 {
        let panels = buffer.entries_mut::<D::Weight>().par_chunks_exact_mut(len).enumerate();
        // A buffer is whole cache lines, which may leave room for a panel more.
        let panels = panels.filter(|(i, _)| i * D::PANEL < n);
        panels.for_each(|(i, panel)| fill(panel, i * D::PANEL..((i + 1) * D::PANEL).min(n)));
    }
    buffer
}

/// Writes numbers as entries of a weight. For [`vectorize`].
#[inline(always)]
pub(super) fn narrow<D: FloatDot>(values: &[f32], to: &mut [D::Weight]) {
    for (to, &v) in to.iter_mut().zip(values) {
        *to = D::Weight::of(v);
    }
}

/// Writes rows `rows` of a panel from entry `at` on, a multiple of the group: row r has the `len` entries of `from` from
/// r · `stride` on.
pub(super) fn interleave<D: Dot>(
    from: &[D::Weight],
    stride: usize,
    len: usize,
    rows: Range<usize>,
    at: usize,
    panel: &mut [D::Weight],
) {
    let whole = if size_of::<D::Weight>() * D::GROUP == size_of::<u32>() { len / D::GROUP } else { 0 };
    let source = Source {
        bytes: bytemuck::cast_slice(from),
        stride: stride * size_of::<D::Weight>(),
        rows: rows.len(),
        columns: whole,
    };
    let to = &mut panel[place::<D>(rows.start, at)..];
    transpose(source, bytemuck::cast_slice_mut(to), D::PANEL);
    // What is no group of 32 bits: the end of a row, and groups of other sizes.
    for (row, from) in rows.zip(from.chunks(stride.max(1))) {
        for (k, &entry) in from.iter().enumerate().take(len).skip(whole * D::GROUP) {
            panel[place::<D>(row, at + k)] = entry;
        }
    }
}

/// Entries of x, or of values.
#[derive(Clone, Copy)]
pub(super) enum Entries<'a> {
    F32(&'a [f32]),
    /// Rounded by whoever made them.
    BF16(&'a [bf16]),
}

impl<'a> Entries<'a> {
    /// Those of an activation, or an error that names operation and argument.
    pub(super) fn of(op: &'static str, what: &'static str, tensor: &'a Tensor) -> Result<Self> {
        on_host(op, what, tensor)?;
        Ok(match tensor.dtype() {
            DType::F32 => Self::F32(tensor.host()?),
            DType::BF16 => Self::BF16(tensor.host()?),
            found => return Err(Error::DType { op, what, expected: "f32 or bf16", found }),
        })
    }

    pub(super) fn part(self, range: Range<usize>) -> Self {
        match self {
            Self::F32(all) => Self::F32(&all[range]),
            Self::BF16(all) => Self::BF16(&all[range]),
        }
    }
}

/// The matrix x [rows, k].
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    pub(super) entries: Entries<'a>,
    pub(super) rows: usize,
    pub(super) k: usize,
    /// Whether it lies in memory as [k, rows], which only f32 does.
    pub(super) transposed: bool,
}

/// Rows of x in tiles of `height`: [tiles, runs, height, RUN]. The last tile is lower where few rows are left for it, and then
/// takes up a part of its place.
pub(super) struct Rows<D: Dot> {
    groups: Vec<D::X>,
    height: usize,
    /// Tiles that hold rows, and the height of the last of them.
    tiles: usize,
    last: usize,
    k: usize,
    /// What the sums of each row must be multiplied with.
    pub(super) scales: Vec<f32>,
}

impl<D: Dot> Rows<D> {
    /// Packs some rows of x.
    pub(super) fn pack(dot: D, x: Matrix<'_>, rows: Range<usize>, height: usize) -> Self {
        let mut packed = Self::zeroed(rows.len(), x.k, height);
        packed.refill(dot, x, rows);
        packed
    }

    /// Packs other rows of a matrix, no more than there is room for. What rows held that are not written now is of no use.
    pub(super) fn refill(&mut self, dot: D, x: Matrix<'_>, rows: Range<usize>) {
        let own = rows.start * x.k..rows.end * x.k;
        let last = match rows.len() % self.height {
            0 => self.height,
            left => strip::height::<D>(left),
        };
        match x.entries {
            Entries::F32(entries) if x.transposed => self.fill_transposed(dot, entries, x.rows, rows),
            Entries::F32(entries) => self.fill_ending(dot, &entries[own], last),
            Entries::BF16(entries) => self.fill_with(&entries[own], last, |x, k, tile, height, scales| {
                dot.pack_rounded(x, k, tile, height, scales);
            }),
        }
    }

    fn fill_transposed(&mut self, dot: D, x: &[f32], all: usize, rows: Range<usize>) {
        let lines = x.chunks_exact(all.max(1)).map(|line| &line[rows.clone()]);
        if D::RUN == 1 && TypeId::of::<D::X>() == TypeId::of::<f32>() {
            // Groups of single entries: what lies together in a tile lies together in x.
            self.scales.fill(1.0);
            (self.tiles, self.last) = (rows.len().div_ceil(self.height), self.height);
            let (height, len) = (self.height, self.tile_len());
            let groups: &mut [f32] = bytemuck::cast_slice_mut(&mut self.groups);
            for (at, line) in lines.enumerate() {
                let groups = &mut groups[at * height..];
                // With the height known to the compiler: a call to copy so little takes longer than the copy.
                match height {
                    12 => deal(line.as_chunks::<12>(), groups, len),
                    6 => deal(line.as_chunks::<6>(), groups, len),
                    4 => deal(line.as_chunks::<4>(), groups, len),
                    _ => line
                        .chunks(height)
                        .zip(groups.chunks_mut(len))
                        .for_each(|(rows, tile)| tile[..rows.len()].copy_from_slice(rows)),
                }
            }
        } else {
            let k = self.k;
            let mut back = vec![0_f32; rows.len() * k];
            for (at, line) in lines.enumerate() {
                line.iter().enumerate().for_each(|(row, &v)| back[row * k + at] = v);
            }
            self.fill(dot, &back);
        }
    }

    /// Rows of zeros.
    pub(super) fn zeroed(rows: usize, k: usize, height: usize) -> Self {
        let mut zeroed = Self { groups: Vec::new(), height, tiles: 0, last: height, k, scales: vec![0.0; rows] };
        zeroed.groups = vec![D::X::zeroed(); rows.div_ceil(height) * zeroed.tile_len()];
        zeroed
    }

    /// Packs other rows [rows, k], as many as there are, in tiles of one height.
    pub(super) fn fill(&mut self, dot: D, x: &[f32]) {
        self.fill_ending(dot, x, self.height);
    }

    /// The same, with a last tile of another height.
    fn fill_ending(&mut self, dot: D, x: &[f32], last: usize) {
        self.fill_with(x, last, |x, k, tile, height, scales| dot.pack(x, k, tile, height, scales));
    }

    /// Packs tile by tile: `pack(rows of a tile, k, tile, height, factors of its rows)`.
    fn fill_with<T>(&mut self, x: &[T], last: usize, pack: impl Fn(&[T], usize, &mut [D::X], usize, &mut [f32])) {
        let (height, k, len) = (self.height, self.k, self.tile_len());
        if k == 0 {
            return;
        }
        (self.tiles, self.last) = (x.len().div_ceil(height * k), last);
        let tiles = self.groups.chunks_exact_mut(len).zip(x.chunks(height * k));
        for (i, ((tile, x), scales)) in tiles.zip(self.scales.chunks_mut(height)).enumerate() {
            let height = if i + 1 == self.tiles { last } else { height };
            pack(x, k, tile, height, scales);
        }
    }

    /// All tiles, to be written to: [tiles, runs, height, RUN].
    pub(super) fn groups_mut(&mut self) -> &mut [D::X] {
        &mut self.groups
    }

    pub(super) fn height(&self) -> usize {
        self.height
    }

    /// The height of a tile.
    pub(super) fn height_of(&self, tile: usize) -> usize {
        if tile + 1 == self.tiles { self.last } else { self.height }
    }

    /// Entries of a tile of full height.
    fn tile_len(&self) -> usize {
        self.k.div_ceil(D::GROUP).next_multiple_of(D::RUN) * self.height
    }

    /// Groups `groups` of a tile, from the begin of a run on: [runs, height, RUN].
    pub(super) fn part(&self, tile: usize, groups: &Range<usize>) -> &[D::X] {
        let height = self.height_of(tile);
        let from = tile * self.tile_len() + groups.start * height;
        &self.groups[from..][..groups.len().next_multiple_of(D::RUN) * height]
    }
}

/// Deals a line out to the begins of tiles, `len` apart.
fn deal<const HEIGHT: usize>((whole, rest): (&[[f32; HEIGHT]], &[f32]), groups: &mut [f32], len: usize) {
    let mut tiles = groups.chunks_mut(len);
    whole.iter().zip(&mut tiles).for_each(|(rows, tile)| tile[..HEIGHT].copy_from_slice(rows));
    if let Some(tile) = tiles.next() {
        tile[..rest.len()].copy_from_slice(rest);
    }
}
