//! Back through average pooling: each window's gradient is shared out evenly.
use gar_core::kernels::ops::{PoolDims, PoolSpec};

/// `dy` [T, rows·columns of the result, D] → the gradient of the input.
pub(crate) fn back(dims: PoolDims, spec: PoolSpec, dy: &[f32]) -> Vec<f32> {
    let PoolDims { batch, channels, output: [rows, columns] } = dims;
    let PoolSpec { grid: [height, width], window } = spec;
    let share = 1.0 / (window * window) as f32;
    let mut dx = vec![0.0; batch * height * width * channels];
    for (token, dx) in dx.chunks_exact_mut(channels.max(1)).enumerate() {
        let (t, y, x) = (token / (height * width), token / width % height, token % width);
        let from = ((t * rows + y / window) * columns + x / window) * channels;
        dx.iter_mut().zip(&dy[from..from + channels]).for_each(|(dx, dy)| *dx = dy * share);
    }
    dx
}
