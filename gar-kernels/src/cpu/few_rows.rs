//! Products of few rows, as in decoding: threads share out the weights, so that each is read once.
//!
//! The tasks of all products of the same rows are one list, so that threads wait for each other once. Products of a decoder layer of
//! GAR-1B (two threads of a noisy Zen 3, some 1,100 rounds alternating in one process with one product after the other) took 0 to
//! 1.5 % less time so; tasks of half as many panels took as long, of a quarter a third longer.
//!
//! One row, of which weights are read faster than a plain loop reads memory there (21 and 18 GB/s), became a quarter slower with
//! weights asked for ahead, at any of three distances; AMX needs that.
use std::ops::Range;

use bytemuck::Zeroable;

use super::{
    dot::Dot,
    gated::AfterGate,
    outcome::Results,
    panels::{Matrix, Rows},
    product::{Finish, Finished, Out, Product, Weight},
    strip::{Ahead, Strip, height},
    tasks::in_turn,
};

/// Panels of a task.
const PANELS: usize = 8;
/// Panels that a tile of one row takes together.
const ABREAST: usize = 4;

/// `x` [m, k] times weights [n, k] → [m, n] each.
pub(super) fn few_rows<D: Dot, F: Finish<D::Sum>>(dot: D, x: Matrix<'_>, products: Vec<Product<'_, D, F>>) {
    let x = Rows::pack(dot, x, 0..x.rows, height::<D>(x.rows));
    let mut all: Vec<Vec<Vec<f32>>> = products.iter().map(|p| vec![Vec::new(); blocks(p).len()]).collect();
    let tasks = products.iter().zip(&mut all).flat_map(|(product, results)| {
        blocks(product).zip(results).map(move |(panels, result)| (product, panels, result))
    });
    in_turn(tasks, || (), |(), (product, panels, result)| *result = block(dot, &x, product, panels));
    for (Product { projection, out, .. }, blocks) in products.into_iter().zip(&all) {
        match out {
            Results::F32(out) => deal::<D, _>(blocks, projection.w.n, out, |block, out| out.copy_from_slice(block)),
            Results::BF16(out) => deal::<D, _>(blocks, projection.w.n, out, |block, out| dot.narrow(block, out)),
        }
    }
}

/// The panels of each task.
fn blocks<D: Dot, F>(product: &Product<'_, D, F>) -> impl ExactSizeIterator<Item = Range<usize>> + use<D, F> {
    let panels = product.projection.w.n.div_ceil(D::PANEL);
    (0..panels.div_ceil(PANELS)).map(move |block| block * PANELS..((block + 1) * PANELS).min(panels))
}

/// Results of some panels, [m, columns].
fn block<D: Dot, F: Finish<D::Sum>>(
    dot: D,
    x: &Rows<D>,
    product: &Product<'_, D, F>,
    panels: Range<usize>,
) -> Vec<f32> {
    let Product { projection, gate, .. } = product;
    let columns = panels.start * D::PANEL..(panels.end * D::PANEL).min(projection.w.n);
    let mut results = vec![0_f32; x.scales.len() * columns.len()];
    let out = Out::Rows { stride: columns.len(), values: &mut results };
    let mut sums = sums_of(dot, x, projection.w, panels.clone());
    if let Some(gate) = gate {
        let mut gates = sums_of(dot, x, gate.w, panels);
        gate.finish.finish(finished(x, &columns, &mut gates, Out::Sums));
        AfterGate { finish: &projection.finish, gate: &gates }.finish(finished(x, &columns, &mut sums, out));
    } else {
        projection.finish.finish(finished(x, &columns, &mut sums, out));
    }
    results
}

/// All rows' sums of some columns, and where their results belong.
fn finished<'a, D: Dot>(
    x: &'a Rows<D>,
    columns: &Range<usize>,
    sums: &'a mut [D::Sum],
    out: Out<'a>,
) -> Finished<'a, D::Sum> {
    let (rows, stride) = (0..x.scales.len(), sums.len() / x.scales.len());
    Finished { rows, columns: columns.clone(), sums, stride, scales: &x.scales, out }
}

/// x times some panels, [m, panels · PANEL].
fn sums_of<D: Dot>(dot: D, x: &Rows<D>, w: Weight<'_, D>, panels: Range<usize>) -> Vec<D::Sum> {
    let (m, groups, stride) = (x.scales.len(), 0..w.k.div_ceil(D::GROUP), panels.len() * D::PANEL);
    let (tiles, height) = (m.div_ceil(x.height()), x.height());
    let mut sums = vec![D::Sum::zeroed(); tiles * height * stride];
    for begin in panels.clone().step_by(ABREAST) {
        let w = w.part(begin..(begin + ABREAST).min(panels.end), &groups);
        for tile in 0..tiles {
            dot.strip(Strip {
                height: x.height_of(tile),
                x: x.part(tile, &groups),
                w,
                groups: groups.len(),
                sums: &mut sums[tile * height * stride + (begin - panels.start) * D::PANEL..],
                row_stride: stride,
                accumulate: false,
                ahead: Ahead::default(),
            });
        }
    }
    sums.truncate(m * stride);
    sums
}

/// Deals blocks of columns out to the rows of a result [m, n].
fn deal<D: Dot, T>(blocks: &[Vec<f32>], n: usize, out: &mut [T], write: impl Fn(&[f32], &mut [T])) {
    for (row, out) in out.chunks_exact_mut(n.max(1)).enumerate() {
        for (block, out) in blocks.iter().zip(out.chunks_mut(PANELS * D::PANEL)) {
            write(&block[row * out.len()..(row + 1) * out.len()], out);
        }
    }
}
