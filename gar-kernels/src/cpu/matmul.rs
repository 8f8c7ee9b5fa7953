//! Matrix product on the CPU.
//!
//! Few rows (decoding): the product is bound by reading the weight, so each weight row is read once and multiplied with
//! all rows of x. Many rows: blocks of [`COLUMNS`] weight rows are widened to f32 once and go through `gemm`. The weight
//! is never copied whole.
use rayon::prelude::*;

use super::{
    Cpu, activation,
    convert::Floats,
    gemm::{Matrix, multiply},
    math, parameter,
};
use crate::{
    Result, Tensor,
    ops::{Activation, Epilogue, MatMul, MatMulDims},
};

const OP: &str = "matmul";
/// Up to this many rows each result is a dot product, so that a batch decodes to the same bits as its members alone.
const FEW_ROWS: usize = 32;
/// Columns of the result that one task computes.
const COLUMNS: usize = 128;

impl MatMul for Cpu {
    fn matmul(&self, x: &Tensor, w: &Tensor, epilogue: Epilogue<'_>) -> Result<Tensor> {
        let (dims, shape) = MatMulDims::check(x, w, &epilogue)?;
        let (x, w) = (activation(OP, "x", x)?, Floats::of(OP, "w", w)?);
        let blocks = if dims.m <= FEW_ROWS { few_rows(x, w, dims) } else { many_rows(x, w, dims) };
        Tensor::from_vec(finish(&blocks, dims, &epilogue)?, &shape)
    }
}

/// One block of the result: `m` rows of up to [`COLUMNS`] columns, by columns (few rows) or by rows (many).
struct Block {
    data: Vec<f32>,
    by_rows: bool,
}

fn blocks(n: usize, block: impl Fn(usize, usize) -> Block + Sync) -> Vec<Block> {
    let starts: Vec<usize> = (0..n).step_by(COLUMNS).collect();
    starts.into_par_iter().map(|start| block(start, (n - start).min(COLUMNS))).collect()
}

fn few_rows(x: &[f32], w: Floats<'_>, MatMulDims { m, n, k }: MatMulDims) -> Vec<Block> {
    blocks(n, |start, columns| {
        let (mut data, mut scratch) = (vec![0.0; m * columns], Vec::new());
        for (j, out) in data.chunks_exact_mut(m.max(1)).enumerate() {
            let row = w.widen((start + j) * k..(start + j + 1) * k, &mut scratch);
            math::row_products(x, row, out);
        }
        Block { data, by_rows: false }
    })
}

fn many_rows(x: &[f32], w: Floats<'_>, MatMulDims { m, n, k }: MatMulDims) -> Vec<Block> {
    blocks(n, |start, columns| {
        let mut scratch = Vec::new();
        let rows = w.widen(start * k..(start + columns) * k, &mut scratch);
        let mut data = vec![0.0; m * columns];
        multiply(Matrix::rows(x, k), Matrix::rows(rows, k).transposed(), &mut data, [m, columns, k], false);
        Block { data, by_rows: true }
    })
}

/// Puts the blocks side by side and applies the epilogue, row by row.
fn finish(blocks: &[Block], MatMulDims { m, n, .. }: MatMulDims, epilogue: &Epilogue<'_>) -> Result<Vec<f32>> {
    let bias = epilogue.bias.map(|t| parameter(OP, "bias", t)).transpose()?;
    let scale = epilogue.scale.map(|t| parameter(OP, "scale", t)).transpose()?;
    let residual = epilogue.residual.map(|t| activation(OP, "residual", t)).transpose()?;
    let mut out = vec![0_f32; m * n];
    let row = |(i, out): (usize, &mut [f32])| {
        for (block, out) in blocks.iter().zip(out.chunks_mut(COLUMNS)) {
            let columns = out.len();
            if block.by_rows {
                out.copy_from_slice(&block.data[i * columns..(i + 1) * columns]);
            } else {
                out.iter_mut().enumerate().for_each(|(j, y)| *y = block.data[j * m + i]);
            }
        }
        if let Some(bias) = &bias {
            out.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
        }
        if epilogue.activation == Activation::Gelu {
            math::gelu(out);
        }
        if let Some(scale) = &scale {
            out.iter_mut().zip(scale).for_each(|(y, s)| *y *= s);
        }
        if let Some(residual) = residual {
            out.iter_mut().zip(&residual[i * n..]).for_each(|(y, r)| *y += r);
        }
    };
    out.par_chunks_mut(n.max(1)).with_min_len(8).enumerate().for_each(row);
    Ok(out)
}
