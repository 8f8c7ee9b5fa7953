//! Back through attention, in blocks of queries: no [L, S] matrix is kept from the way there, none is made on the way back.
//!
//! A task takes one key/value head of one sequence with the query heads that share it. With P the softmax weights and
//! dP = dy·vᵀ: dv = Pᵀ·dy, dS = P ⊙ (dP − rowsum(P ⊙ dP)), dq = scale·dS·k, dk = scale·dSᵀ·q.
use gar_core::kernels::cpu::vectorize;
use gar_core::kernels::ops::{AttentionDims, AttentionSpec, Mask};
use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis, Slice, aview_mut1, aview1, linalg::general_mat_mul};
use rayon::prelude::*;

use super::math::{exp_negative, fold};

/// Queries of one block.
const ROWS: usize = 128;

/// Gradients of the inputs, in their shapes.
pub(crate) struct Slopes {
    pub(crate) q: Vec<f32>,
    pub(crate) k: Vec<f32>,
    pub(crate) v: Vec<f32>,
}

/// What one task gives.
struct Part {
    /// [group, L, d].
    q: Vec<Array2<f32>>,
    /// [S, d] each.
    k: Array2<f32>,
    v: Array2<f32>,
}

/// `q`, `dy` [B, L, H, d]; `k`, `v` [B, S, G, d].
pub(crate) fn back(q: &[f32], k: &[f32], v: &[f32], dy: &[f32], dims: AttentionDims, spec: AttentionSpec) -> Slopes {
    let AttentionDims { batch, queries, keys, heads, kv_heads, head_dim } = dims;
    let group = heads / kv_heads;
    let mut slopes = Slopes { q: vec![0.0; q.len()], k: vec![0.0; k.len()], v: vec![0.0; v.len()] };
    if q.is_empty() || k.is_empty() {
        return slopes;
    }
    let of_q = Heads { len: queries, heads, dim: head_dim };
    let of_k = Heads { len: keys, heads: kv_heads, dim: head_dim };
    let tasks: Vec<(usize, usize)> = (0..batch).flat_map(|b| (0..kv_heads).map(move |h| (b, h))).collect();
    let matrix = || Array2::zeros((queries.min(ROWS), keys));
    let parts: Vec<Part> = tasks
        .par_iter()
        .map_init(
            || [matrix(), matrix()],
            |scratch, &(b, h)| {
                let [k, v] = [k, v].map(|t| of_k.read(t, b, h));
                let mut part = Part { q: Vec::new(), k: Array2::zeros(k.dim()), v: Array2::zeros(v.dim()) };
                for member in h * group..(h + 1) * group {
                    let [q, dy] = [q, dy].map(|t| of_q.read(t, b, member));
                    let dq = one_head(q.view(), k.view(), v.view(), dy.view(), spec, scratch, &mut part);
                    part.q.push(dq);
                }
                part
            },
        )
        .collect();
    for (&(b, h), part) in tasks.iter().zip(&parts) {
        of_k.write(&mut slopes.k, b, h, &part.k);
        of_k.write(&mut slopes.v, b, h, &part.v);
        for (member, dq) in part.q.iter().enumerate() {
            of_q.write(&mut slopes.q, b, h * group + member, dq);
        }
    }
    slopes
}

/// One query head: overwrites two matrices [queries of a block, S], adds to the gradients of keys and values, gives that
/// of the queries [L, d].
fn one_head(
    q: ArrayView2<'_, f32>,
    k: ArrayView2<'_, f32>,
    v: ArrayView2<'_, f32>,
    dy: ArrayView2<'_, f32>,
    spec: AttentionSpec,
    [weights, slope]: &mut [Array2<f32>; 2],
    part: &mut Part,
) -> Array2<f32> {
    let (queries, keys) = (q.nrows(), k.nrows());
    let mut dq = Array2::zeros(q.dim());
    for start in (0..queries).step_by(ROWS) {
        let end = (start + ROWS).min(queries);
        let visible = |row: usize| match spec.mask {
            Mask::Full => keys,
            Mask::Causal { offset } => offset + start + row + 1,
        };
        let seen = visible(end - start - 1);
        let (block, before) = (Slice::from(start..end), Slice::from(..seen));
        let (q, dy) = (q.slice_axis(Axis(0), block), dy.slice_axis(Axis(0), block));
        let (k, v) = (k.slice_axis(Axis(0), before), v.slice_axis(Axis(0), before));
        let mut weights = corner(weights, end - start, seen);
        let mut slope = corner(slope, end - start, seen);
        general_mat_mul(spec.scale, &q, &k.t(), 0.0, &mut weights);
        for (row, mut weights) in weights.outer_iter_mut().enumerate() {
            if let Some(weights) = weights.as_slice_mut() {
                softmax(weights, visible(row));
            }
        }
        general_mat_mul(1.0, &weights.t(), &dy, 1.0, &mut part.v.slice_axis_mut(Axis(0), before));
        general_mat_mul(1.0, &dy, &v.t(), 0.0, &mut slope);
        for (mut slope, weights) in slope.outer_iter_mut().zip(weights.outer_iter()) {
            if let (Some(slope), Some(weights)) = (slope.as_slice_mut(), weights.as_slice()) {
                softmax_back(slope, weights);
            }
        }
        general_mat_mul(spec.scale, &slope, &k, 0.0, &mut dq.slice_axis_mut(Axis(0), block));
        general_mat_mul(spec.scale, &slope.t(), &q, 1.0, &mut part.k.slice_axis_mut(Axis(0), before));
    }
    dq
}

/// The first rows and columns of a matrix.
fn corner(matrix: &mut Array2<f32>, rows: usize, columns: usize) -> ArrayViewMut2<'_, f32> {
    matrix.view_mut().split_at(Axis(0), rows).0.split_at(Axis(1), columns).0
}

/// Softmax of the first `seen` scores, 0 behind.
fn softmax(scores: &mut [f32], seen: usize) {
    let (scores, hidden) = scores.split_at_mut(seen);
    hidden.fill(0.0);
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    vectorize(
        #[inline(always)]
        || {
            let top = fold(scores, scores, f32::NEG_INFINITY, |top, s, _| larger(top, s), larger);
            scores.iter_mut().for_each(|s| *s = exp_negative(*s - top));
            let inverse = 1.0 / fold(scores, scores, 0.0, |sum, s, _| sum + s, |a, b| a + b);
            scores.iter_mut().for_each(|s| *s *= inverse);
        },
    );
}

/// dP of a row → dS.
fn softmax_back(slope: &mut [f32], weights: &[f32]) {
    vectorize(
        #[inline(always)]
        || {
            let along = fold(slope, weights, 0.0, |sum, s, w| sum + s * w, |a, b| a + b);
            slope.iter_mut().zip(weights).for_each(|(s, w)| *s = w * (*s - along));
        },
    );
}

/// Where heads lie in a tensor [B, L, heads, d].
#[derive(Clone, Copy)]
struct Heads {
    len: usize,
    heads: usize,
    dim: usize,
}

impl Heads {
    /// First element of position `l` in head `h` of sequence `b`.
    fn at(self, b: usize, l: usize, h: usize) -> usize {
        ((b * self.len + l) * self.heads + h) * self.dim
    }

    /// Head `h` of sequence `b` as a matrix [L, d].
    fn read(self, t: &[f32], b: usize, h: usize) -> Array2<f32> {
        let mut matrix = Array2::zeros((self.len, self.dim));
        for (l, mut row) in matrix.outer_iter_mut().enumerate() {
            row.assign(&aview1(&t[self.at(b, l, h)..][..self.dim]));
        }
        matrix
    }

    fn write(self, t: &mut [f32], b: usize, h: usize, matrix: &Array2<f32>) {
        for (l, row) in matrix.outer_iter().enumerate() {
            aview_mut1(&mut t[self.at(b, l, h)..][..self.dim]).assign(&row);
        }
    }
}
