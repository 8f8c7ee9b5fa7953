//! Products of rows of x with weights in panels, on all threads.
//!
//! A task takes some rows and walks the weights in blocks that stay in cache. Where there are [few rows](mod@super::few_rows), it
//! takes some of the weights. Both give the same bits; see [`dot`](super::dot).
//!
//! The products of a tower block of GAR-1B (2,050 rows, bf16, with what follows each product), two threads of a Zen 5 that does
//! 1,018 GFLOP/s of `vdpbf16ps`, operations timed one by one:
//!
//! | version | GFLOP/s |
//! |---|---:|
//! | rows of x packed group by group, results in fresh memory, AVX2 around the tile loop | 650–780 |
//! | memory of results used again, x in runs, AVX-512 throughout | 820 |
//! | 256 groups of a panel at a time, where it was 256 entries | 850 |
//! | tasks of one length to within a tile | 880 |
//! | one pass after the sums | 906 |
//! | results and residuals asked for ahead, x packed once for queries, keys and values | 925 |
//! | results begin at lines of their own ([`Memory`](crate::host::Memory)) | 937 |
//! | the next part of the weight asked for while a tile is computed, 1,024 groups of a panel at a time | 944 |
//!
//! Rows from 880 on were measured on another day, beside the row above them, which gave 857; the CPU did 974 to 1,011. The last
//! step is worth more where weights come from memory: a prompt's products (512 rows, 2,048 by 8,192) went from 800 to 940.
//! A tower takes 1 % less time with results in bf16 where the next product rounds them to that. A gated MLP (847 rows, 2,048 to
//! 8,192 and back; Zen 3, sixty alternating rounds) takes about 1 % less in bf16 and 2 % in 8 bits where the gate's block of sums
//! is still in the cache when what it gates is finished; with all of a task's gates finished first, nothing was won. What is
//! left is that CPU's tile loop. Two layers in one task, with what lies between them in its cache, were 4 % slower than
//! one after the other: twice the weights go by.
//!
//! A thread that is free takes the next task, and tasks grow shorter towards the end. A tower of a Zen 4 takes 0.5 to 0.7 % less
//! time so in the median of twenty alternating rounds of one process, where with tasks of equal length it took as long as with
//! shares that were dealt out before. Shortest tasks of two tiles, and of four, were worse than of three.
//!
//! What results and residuals need of memory was asked for before every tile, more lines at once than a core can have under way:
//! by time stamps it waited for them 1.7 % of a tower. A row at a time within the tile loop it is 0.5. The tower takes 1.0 and 0.5 %
//! less time so in the medians of 150 and of 240 alternating rounds of one process; of 14 and of 32 alternating processes, which
//! noise moves by a percent, 0.2 less and 0.2 more.
//!
//! What follows a tile of full height, but for GELU, is done in the registers that it was summed in, where there are enough
//! ([`Dot::finisher`], AVX512-BF16): the sums are neither written nor read again, and the next tile's products run meanwhile. A pass
//! over sums in the level-2 cache takes 13 to 19 cycles for sixteen of them; in registers, 5. With GELU it is 25 to 30 in a pass and
//! 24 in registers, of which there are too few then, and nothing is won. A tower of blocks alone takes 0.3 to 2.1 % less time
//! (medians of twelve alternating rounds of one process, in each of six processes); of 24 alternating processes of `gar`, whose
//! noise is 2 %, nothing shows. A GELU of nine coefficients without a division, as exact as bf16 asks for, in the pass: 0.1 % more.
//!
//! What the tile loop lacks is small where nothing disturbs the core: by time stamps beside a loop of the same products in
//! registers the middle strip of 512 groups takes 1.5 % longer than that, the best 1; 55 cycles of 12,288 are the stores of its
//! sums. On average it takes 5 to 6 % longer than its middle, and the loop in registers 2 to 5: stretches in which the core is half
//! as fast, or gone. Asking for rows of x and the weight's next groups into the level-1 cache 16 or 32 groups ahead: no change.
//!
//! Without gain on that Zen 4 (medians of thirty to sixty alternating rounds of one process, which noise moves by 0.3 % of a tower):
//! rows normalised while they are put into tiles, results written over the residual, 1 to 32 panels finished together (1 and 16 were
//! 1 % slower), the weight's next part asked for into the level-1 cache or past the level-2 cache, the first part of the next weight
//! asked for during the last of this one, and no GELU at all; results rounded into whole lines, or written past the caches. The tile loop
//! runs within 3 % of one that only reads its operands from the caches; that loop is as fast, within 1 %, with tiles of 9 rows
//! and 48 columns, 6 and 64, 14 and 32, and with four rows of x loaded together and spread by shuffles.
//!
//! Rows that fill no tile are computed in a lower one: in tiles of 12, the 1,025 of a picture's tile count as 1,026 and not as
//! 1,032; in tiles of 6, 512 of a prompt as 512 and not as 516. That is too little to be seen in the times of a noisy machine.
//!
//! f32 weights on AVX2, two threads of a noisy Zen 3 (192 GFLOP/s), three alternating runs of five such shapes: 44 to 64 % of
//! that while the tile loop looked for something to ask for at every group; 74 to 81 % since it does so every sixteen.
//! Widening a part of a panel once for all tiles, so that bf16 and 8-bit weights take no more instructions than f32, was no
//! faster in any of six sizes of parts and tasks.
use std::ops::Range;

use bytemuck::{Pod, Zeroable};

use super::{
    dot::{Dot, RUN},
    epilogue::{After, Then},
    few_rows::few_rows,
    gated::AfterGate,
    outcome::Results,
    panels::{Matrix, Rows, panel_len},
    prefetch::Lines,
    strip::{Ahead, Panels, Strip},
    tasks::in_turn,
};

/// Up to this many rows, tasks share out the weight, not the rows.
const FEW_ROWS: usize = 32;
/// Tasks of fewer tiles read the weight too often for what they compute with it.
const FEW_TILES: usize = 3;
/// Panels whose sums are finished together.
const PANELS: usize = 8;

/// A weight [n, k] in panels.
pub(super) struct Weight<'a, D: Dot> {
    pub(super) panels: &'a [D::Weight],
    pub(super) n: usize,
    pub(super) k: usize,
}

impl<D: Dot> Clone for Weight<'_, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: Dot> Copy for Weight<'_, D> {}

/// Turns sums into results.
pub(super) trait Finish<Sum>: Sync {
    fn finish(&self, finished: Finished<'_, Sum>);

    /// What it does, where that can be done with sums in registers ([`Dot::finisher`]).
    fn after(&self) -> Option<&After<'_>> {
        None
    }

    /// What finishing `columns` of `rows` will read.
    fn reads(&self, rows: Range<usize>, columns: Range<usize>) -> Lines;
}

/// Sums of some rows of x with some rows of the weight, and where the results belong.
pub(super) struct Finished<'a, Sum> {
    pub(super) rows: Range<usize>,
    /// Rows of the weight, columns of the result.
    pub(super) columns: Range<usize>,
    /// The sums of a row begin every `stride`.
    pub(super) sums: &'a mut [Sum],
    pub(super) stride: usize,
    /// What the sums of each row must be multiplied with.
    pub(super) scales: &'a [f32],
    pub(super) out: Out<'a>,
}

/// Where results belong.
pub(super) enum Out<'a> {
    /// A row begins every `stride`.
    Rows { values: &'a mut [f32], stride: usize },
    /// In the place of their sums: they are moved on from there.
    Sums,
}

/// One of several products of the same rows.
pub(super) struct Product<'a, D: Dot, F> {
    pub(super) projection: Projection<'a, D, F>,
    /// One of the same shape that gates it, by [`AfterGate`].
    pub(super) gate: Option<Projection<'a, D, F>>,
    /// [m, n].
    pub(super) out: Results<'a>,
}

/// A weight and what follows the product with it.
pub(super) struct Projection<'a, D: Dot, F> {
    pub(super) w: Weight<'a, D>,
    pub(super) finish: F,
}

/// `x` [m, k] times weights [n, k] → [m, n] each.
pub(super) fn multiply<D: Dot, F: Finish<D::Sum>>(dot: D, x: Matrix<'_>, products: Vec<Product<'_, D, F>>) {
    if x.rows == 0 {
        return;
    }
    if x.rows <= FEW_ROWS {
        few_rows(dot, x, products);
    } else {
        many_rows(dot, x, products);
    }
}

fn many_rows<D: Dot, F: Finish<D::Sum>>(dot: D, x: Matrix<'_>, products: Vec<Product<'_, D, F>>) {
    let parts = parts(x.rows, D::ROWS, D::TILES, rayon::current_num_threads());
    let most = most(&parts);
    let (mut outs, mut all) = (Vec::new(), Vec::new());
    for Product { projection, gate, out } in products {
        outs.push((out, projection.w.n));
        all.push((projection, gate));
    }
    let of =
        |rows: Range<usize>| (rows.clone(), outs.iter_mut().map(|(out, n)| out.split_off(rows.len() * *n)).collect());
    let tasks: Vec<(Range<usize>, Vec<Results<'_>>)> = parts.into_iter().map(of).collect();
    let gated = all.iter().any(|(_, gate)| gate.is_some());
    let room = || {
        let sums = || vec![D::Sum::zeroed(); most.next_multiple_of(D::ROWS) * PANELS * D::PANEL];
        (Rows::zeroed(most, x.k, D::ROWS), [sums(), if gated { sums() } else { Vec::new() }])
    };
    in_turn(tasks.into_iter(), room, |(packed, sums), (rows, outs)| {
        packed.refill(dot, x, rows.clone());
        for ((projection, gate), out) in all.iter().zip(outs) {
            product(dot, packed, rows.clone(), (projection, gate.as_ref()), out, sums);
        }
    });
}

/// Packed rows times a weight [n, k], gated where there is a gate → [rows, n]; block by block, so that a gate's
/// sums stay in the cache.
fn product<D: Dot, F: Finish<D::Sum>>(
    dot: D,
    x: &Rows<D>,
    rows: Range<usize>,
    (projection, gate): (&Projection<'_, D, F>, Option<&Projection<'_, D, F>>),
    mut out: Results<'_>,
    [sums, gates]: &mut [Vec<D::Sum>; 2],
) {
    let Projection { w: Weight { n, k, .. }, ref finish } = *projection;
    let (groups, tiles, stride) = (k.div_ceil(D::GROUP), rows.len().div_ceil(D::ROWS), PANELS * D::PANEL);
    let all: Vec<&Projection<'_, D, F>> = gate.into_iter().chain([projection]).collect();
    // Rows of tiles that are finished in registers: of full height, where columns are whole panels.
    let in_registers = dot.finisher().zip(finish.after()).filter(|_| gate.is_none() && n.is_multiple_of(D::PANEL));
    let whole = if in_registers.is_some() { rows.len() / D::ROWS * D::ROWS } else { 0 };
    let mut walk = walk::<D>(all.len(), n, groups).peekable();
    while let Some((i, panels, depth)) = walk.next() {
        let (last, complete, begin) = (i + 1 == all.len(), depth.end == groups, panels.start / PANELS * PANELS);
        let (sums, gates) = if last { (&mut *sums, gates.as_slice()) } else { (&mut *gates, &[][..]) };
        let columns = panels.start * D::PANEL..(panels.end * D::PANEL).min(n);
        let w = all[i].w.part(panels.clone(), &depth);
        for tile in 0..tiles {
            // Each tile brings its share of what comes next, and what its sums will be finished with.
            let mut ahead = walk.peek().map_or_else(Ahead::default, |(i, panels, depth)| {
                let [from, to] = [tile, tile + 1].map(|tile| depth.start + depth.len() * tile / tiles);
                Ahead { panels: all[*i].w.part(panels.clone(), &(from..to)), groups: to - from, ..Ahead::default() }
            });
            if complete && last {
                let [from, to] = [tile, tile + 1].map(|tile| (tile * D::ROWS).min(rows.len()));
                let of_result = out.writes(from..to, columns.clone(), n);
                ahead.rows = [of_result, finish.reads(rows.start + from..rows.start + to, columns.clone())];
            }
            let strip = Strip {
                height: x.height_of(tile),
                x: x.part(tile, &depth),
                w,
                groups: depth.len(),
                sums: &mut sums[tile * D::ROWS * stride + (panels.start - begin) * D::PANEL..],
                row_stride: stride,
                accumulate: depth.start > 0,
                ahead,
            };
            let first = tile * D::ROWS;
            match in_registers {
                Some((finisher, after)) if complete && first < whole => {
                    let (row, out) = (rows.start + first, out.part(first * n..(first + D::ROWS) * n));
                    finisher(dot, strip, Then { after, row, columns: columns.clone(), out });
                }
                _ => dot.strip(strip),
            }
        }
        if complete && whole < rows.len() && (columns.end == n || panels.end == begin + PANELS) {
            let (left, columns) = (rows.start + whole..rows.end, begin * D::PANEL..columns.end);
            let (mut out, len) = (out.part(whole * n..rows.len() * n), rows.len() * stride);
            let (sums, scales) = (&mut sums[whole * stride..len], &x.scales[whole..]);
            let block = Sums { rows: left, columns, sums, stride, scales };
            if !last {
                all[i].finish.finish(block.finished(Out::Sums));
            } else if gate.is_some() {
                block.deliver(dot, &AfterGate { finish, gate: &gates[..len] }, &mut out, n);
            } else {
                block.deliver(dot, finish, &mut out, n);
            }
        }
    }
}

/// Sums of one block, all of them.
struct Sums<'a, Sum> {
    rows: Range<usize>,
    columns: Range<usize>,
    sums: &'a mut [Sum],
    stride: usize,
    scales: &'a [f32],
}

impl<'a, Sum: Pod> Sums<'a, Sum> {
    fn finished(self, out: Out<'a>) -> Finished<'a, Sum> {
        let Self { rows, columns, sums, stride, scales } = self;
        Finished { rows, columns, sums, stride, scales, out }
    }

    /// Turns them into results, rows of `n`.
    fn deliver<D: Dot<Sum = Sum>>(self, dot: D, finish: &impl Finish<Sum>, out: &mut Results<'_>, n: usize) {
        let Self { rows, columns, sums, stride, scales } = self;
        let own = Sums { rows, columns: columns.clone(), sums: &mut *sums, stride, scales };
        match out {
            Results::F32(out) => {
                finish.finish(own.finished(Out::Rows { values: &mut out[columns.start..], stride: n }));
            }
            Results::BF16(out) => {
                finish.finish(own.finished(Out::Sums));
                let sums: &[f32] = bytemuck::cast_slice(sums);
                for (sums, out) in sums.chunks_exact(stride).zip(out.chunks_exact_mut(n)) {
                    dot.narrow(&sums[..columns.len()], &mut out[columns.clone()]);
                }
            }
        }
    }
}

/// The rows of each task: whole tiles of `height` rows, at most `most` of them. Towards the end tasks become shorter, so that
/// threads end together, whatever held one of them up.
fn parts(rows: usize, height: usize, most: usize, threads: usize) -> Vec<Range<usize>> {
    let tiles = rows.div_ceil(height);
    let (mut done, mut parts) = (0, Vec::new());
    while done < tiles {
        let left = tiles - done;
        let count = (left / (2 * threads)).max(left.div_ceil(threads).min(FEW_TILES)).min(most);
        parts.push(done * height..((done + count) * height).min(rows));
        done += count;
    }
    parts
}

fn most(parts: &[Range<usize>]) -> usize {
    parts.iter().map(ExactSizeIterator::len).max().unwrap_or(0)
}

/// Projections, panels and parts of these in the order that products of many rows read them: block by block, projection by
/// projection, part by part along k, some panels after the others. At least one part of each: without an entry along k the sums
/// are zero.
fn walk<D: Dot>(
    projections: usize,
    n: usize,
    groups: usize,
) -> impl Iterator<Item = (usize, Range<usize>, Range<usize>)> {
    const {
        assert!(D::DEPTH.is_multiple_of(RUN), "a part of a tile begins with a whole run");
        assert!(PANELS.is_multiple_of(D::ABREAST), "panels of a block are walked over in equal numbers");
    }
    let panels = n.div_ceil(D::PANEL);
    let blocks = (0..panels).step_by(PANELS).map(move |begin| begin..(begin + PANELS).min(panels));
    let parts = (0..groups.max(1)).step_by(D::DEPTH).map(move |at| at..(at + D::DEPTH).min(groups));
    blocks.flat_map(move |block| {
        let parts = parts.clone();
        (0..projections).flat_map(move |i| {
            let block = block.clone();
            parts.clone().flat_map(move |part| {
                let (from, end) = (block.clone().step_by(D::ABREAST), block.end);
                from.map(move |panel| (i, panel..(panel + D::ABREAST).min(end), part.clone()))
            })
        })
    })
}

impl<'a, D: Dot> Weight<'a, D> {
    /// Panels `panels` from group `groups.start` on; panels stay [`panel_len`] apart.
    pub(super) fn part(self, panels: Range<usize>, groups: &Range<usize>) -> Panels<'a, D> {
        let len = panel_len::<D>(self.k);
        let from = panels.start * len + groups.start * D::PANEL * D::GROUP;
        Panels { entries: &self.panels[from..panels.end * len], stride: len, count: panels.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_whole_tiles_one_behind_the_other_and_the_last_are_no_longer_than_their_share() {
        for (rows, height, most, threads) in
            [1, 33, 512, 1025, 2050].into_iter().flat_map(|rows| [1, 2, 12, 64].map(|t| (rows, 12, 8, t)))
        {
            let parts = parts(rows, height, most, threads);
            let (first, last) = (parts.first().map(|p| p.start), parts.last().map(|p| p.end));
            assert_eq!((first, last), (Some(0), Some(rows)));
            assert!(parts.windows(2).all(|two| two[0].end == two[1].start && two[0].end.is_multiple_of(height)));
            let tiles: Vec<usize> = parts.iter().map(|part| part.len().div_ceil(height)).collect();
            assert!(tiles.iter().all(|&n| (1..=most).contains(&n)) && tiles.is_sorted_by(|a, b| a >= b), "{tiles:?}");
            // What the threads begin last takes none of them longer than the shortest tasks do.
            assert!(tiles[tiles.len() - threads.min(tiles.len())..].iter().all(|&n| n <= FEW_TILES), "{tiles:?}");
        }
    }
}
