//! Back through RoI-Align: every sample's gradient goes to the four cells it was read from, in their shares.
//!
//! A bin is a mean over samples on a grid, and a bilinear share is a product of one share along each axis, so a bin's shares
//! are those of its rows times those of its columns.
use gar_core::kernels::ops::{RoiAlignDims, RoiAlignSpec, RoiBox};

/// Adds to the gradient `sum` of the map [H, W, D]; `dy` [N, oh, ow, D].
pub(crate) fn back(sum: &mut [f32], dims: RoiAlignDims, boxes: &[RoiBox], spec: &RoiAlignSpec, dy: &[f32]) {
    let RoiAlignDims { height, width, channels } = dims;
    let [rows, columns] = spec.output;
    let mut dy = dy.chunks_exact(channels.max(1));
    for b in boxes {
        let down = shares(b[1], b[3], rows, height, spec);
        let across = shares(b[0], b[2], columns, width, spec);
        for down in &down {
            for across in &across {
                let Some(dy) = dy.next() else { return };
                for &(y, of_row) in down {
                    for &(x, of_column) in across {
                        let cell = &mut sum[(y * width + x) * channels..][..channels];
                        cell.iter_mut().zip(dy).for_each(|(s, d)| *s += of_row * of_column * d);
                    }
                }
            }
        }
    }
}

/// For each bin along one side of a box, cells and their shares in the bin's mean. Positions are computed in f32 as on the
/// way there, so that no sample falls to another side of a border.
fn shares(from: f32, to: f32, bins: usize, extent: usize, spec: &RoiAlignSpec) -> Vec<Vec<(usize, f32)>> {
    let shift = if spec.aligned { 0.5 } else { 0.0 };
    let start = from * spec.spatial_scale - shift;
    let length = to * spec.spatial_scale - shift - start;
    let length = if spec.aligned { length } else { length.max(1.0) };
    let bin = length / bins as f32;
    let samples = match spec.sampling_ratio {
        0 => bin.ceil().max(0.0) as usize,
        n => n,
    };
    let in_bin = |i: usize| {
        let mut shares = Vec::with_capacity(2 * samples);
        for s in 0..samples {
            let at = start + i as f32 * bin + (s as f32 + 0.5) * bin / samples as f32;
            if at < -1.0 || at > extent as f32 {
                continue;
            }
            let (at, weight) = (at.max(0.0), 1.0 / samples as f32);
            let low = at as usize;
            if low + 1 >= extent {
                shares.push((extent - 1, weight));
            } else {
                let part = at - low as f32;
                shares.extend([(low, (1.0 - part) * weight), (low + 1, part * weight)]);
            }
        }
        shares
    };
    (0..bins).map(in_bin).collect()
}
