//! Back through the patch embedding: a product of patches as rows, with what is added to it.
use gar_core::kernels::{Kernels, Result, Tensor, ops::PatchDims};

use super::{
    math::column_sums,
    matmul::{product, product_transposed},
};
use crate::tape::{Gradients, Host, host};

/// An embedding that was run.
pub(crate) struct Node {
    pub(crate) pixels: Tensor,
    /// Constants: they are given no slopes.
    pub(crate) levels: Option<Tensor>,
    pub(crate) weight: Tensor,
    pub(crate) prompt: Option<Tensor>,
    pub(crate) class_token: Option<Tensor>,
    pub(crate) positions: Option<Tensor>,
    pub(crate) dims: PatchDims,
}

impl Node {
    pub(crate) fn back(&self, k: &Kernels, dy: Vec<f32>, g: &mut Gradients) -> Result<()> {
        let PatchDims { channels, patch, width, grid, tokens, .. } = self.dims;
        if let Some(positions) = &self.positions {
            g.add(positions, &column_sums(&dy, tokens * width));
        }
        let mut of_patches = Vec::with_capacity(dy.len());
        let front = tokens - grid * grid;
        let mut of_class = Vec::new();
        for picture in dy.chunks_exact((tokens * width).max(1)) {
            of_class.extend_from_slice(&picture[..front * width]);
            of_patches.extend_from_slice(&picture[front * width..]);
        }
        if let Some(class_token) = &self.class_token {
            g.add(class_token, &column_sums(&of_class, width));
        }
        if let Some(prompt) = &self.prompt {
            g.add(prompt, &of_patches);
        }
        let (rows, taps) = (of_patches.len() / width.max(1), channels * patch * patch);
        let of_patches = Tensor::from_vec(of_patches, &[rows, width])?;
        if g.wants(&self.weight) {
            let patches = Tensor::from_vec(self.patches(&self.values(k)?), &[rows, taps])?;
            g.give(&self.weight, product_transposed(k, &of_patches, &patches)?);
        }
        if g.wants(&self.pixels) {
            let slopes = product(k, &of_patches, &self.weight.reshape(&[width, taps])?)?;
            g.update(&self.pixels, |sum| {
                self.each_line(|row, line, from| {
                    let slopes = &slopes[row * taps + line * patch..][..patch];
                    sum[from..from + patch].iter_mut().zip(slopes).for_each(|(s, d)| *s += d);
                });
            });
        }
        Ok(())
    }

    /// What pixels stand for.
    fn values(&self, k: &Kernels) -> Result<Host> {
        let Some(levels) = &self.levels else { return host(k, &self.pixels) };
        let (levels, pixels) = (host(k, levels)?, k.device.download(&self.pixels)?);
        let PatchDims { planes, side, .. } = self.dims;
        let level = |(i, &byte): (usize, &u8)| levels[i / (side * side) % planes * 256 + usize::from(byte)];
        Ok(Host::Widened(pixels.host()?.iter().enumerate().map(level).collect()))
    }

    /// Every patch as a row [channels, p, p], patches row-major.
    fn patches(&self, pixels: &[f32]) -> Vec<f32> {
        let PatchDims { batch, channels, patch, grid, .. } = self.dims;
        let taps = channels * patch * patch;
        let mut rows = vec![0.0; batch * grid * grid * taps];
        self.each_line(|row, line, from| {
            rows[row * taps + line * patch..][..patch].copy_from_slice(&pixels[from..from + patch]);
        });
        rows
    }

    /// Calls back for every line of every patch: the patch's row, the line in it, the line's first pixel.
    fn each_line(&self, mut line_at: impl FnMut(usize, usize, usize)) {
        let PatchDims { batch, channels, planes, side, patch, grid, .. } = self.dims;
        for row in 0..batch * grid * grid {
            let (t, y, x) = (row / (grid * grid), row / grid % grid, row % grid);
            for line in 0..channels * patch {
                let (channel, dy) = (line / patch, line % patch);
                line_at(row, line, ((t * planes + channel % planes) * side + y * patch + dy) * side + x * patch);
            }
        }
    }
}
