//! Patch embedding on the CPU: patches copied into rows, then one matrix product.
use rayon::prelude::*;

use super::{Cpu, activation, convert::Floats, on_host, parameter, result};
use crate::{
    DType, Result, Tensor,
    ops::{Epilogue, MatMul, PatchDims, PatchEmbed, PatchSpec},
};

const OP: &str = "patch_embed";

impl PatchEmbed for Cpu {
    fn patch_embed(&self, pixels: &Tensor, spec: &PatchSpec<'_>) -> Result<Tensor> {
        let dims = spec.check(pixels)?;
        let PatchDims { batch, channels, patch, width, grid, tokens, .. } = dims;
        let k = channels * patch * patch;
        let mut rows = self.memory.room(batch * grid * grid * k);
        let levels = spec.levels.map(|levels| activation(OP, "levels", levels)).transpose()?;
        if pixels.dtype() == DType::U8 {
            let host = on_host(OP, "pixels", pixels)?;
            match levels {
                Some(levels) => {
                    cut(host.host()?, dims, &mut rows, |plane, byte: u8| levels[plane * 256 + usize::from(byte)])
                }
                None => cut(host.host()?, dims, &mut rows, |_, byte: u8| byte.into()),
            }
        } else {
            cut(activation(OP, "pixels", pixels)?, dims, &mut rows, |_, pixel| pixel);
        }
        let rows = result(rows, &[batch, grid * grid, k])?;
        let epilogue = Epilogue { residual: spec.prompt, ..Epilogue::default() };
        let embedded = self.matmul(&rows, &spec.weight.reshape(&[width, k])?, epilogue)?;
        if spec.class_token.is_none() && spec.positions.is_none() {
            return Ok(embedded);
        }
        let class_token = spec.class_token.map(|t| parameter(OP, "class_token", t)).transpose()?.unwrap_or_default();
        let positions = spec.positions.map(|t| Floats::of(OP, "positions", t)).transpose()?;
        let (patches, before) = (embedded.host::<f32>()?, tokens - grid * grid);
        let mut out = self.memory.room(batch * tokens * width);
        let token = |wide: &mut Vec<f32>, (i, out): (usize, &mut [f32])| {
            let (picture, token) = (i / tokens, i % tokens);
            let from = match token.checked_sub(before) {
                Some(patch) => &patches[(picture * grid * grid + patch) * width..][..width],
                None => &class_token[..],
            };
            match positions {
                Some(positions) => {
                    let own = positions.widen(token * width..(token + 1) * width, wide);
                    out.iter_mut().zip(from).zip(own).for_each(|((out, from), position)| *out = from + position);
                }
                None => out.copy_from_slice(from),
            }
        };
        out.par_chunks_mut(width.max(1)).with_min_len(32).enumerate().for_each_init(Vec::new, token);
        result(out, &[batch, tokens, width])
    }
}

/// Writes every patch as a row [channels, p, p], patches row-major; `value` is that of a plane's pixel.
fn cut<T: Copy + Sync>(pixels: &[T], dims: PatchDims, rows: &mut [f32], value: impl Fn(usize, T) -> f32 + Sync) {
    let PatchDims { channels, planes, side, patch, grid, .. } = dims;
    let k = channels * patch * patch;
    if rows.is_empty() {
        return;
    }
    rows.par_chunks_mut(k).with_min_len(32).enumerate().for_each(|(i, row)| {
        let (t, y, x) = (i / (grid * grid), i / grid % grid, i % grid);
        for (line, to) in row.chunks_exact_mut(patch).enumerate() {
            let (channel, dy) = (line / patch, line % patch);
            let plane = channel % planes;
            let from = ((t * planes + plane) * side + y * patch + dy) * side + x * patch;
            to.iter_mut().zip(&pixels[from..from + patch]).for_each(|(to, &pixel)| *to = value(plane, pixel));
        }
    });
}
