//! Judges a RoI-Align of one's own: `cargo run -p gar-kernels --features laws --example judge_my_kernel`.
#![allow(clippy::print_stdout)]

use gar_kernels::{
    Kernels, Result, Tensor,
    laws::{self, LawConfig},
    ops::{RoiAlign, RoiAlignSpec, RoiBox},
};

/// One sample in the middle of each bin, taken from the nearest cell: quick, and not what RoI-Align is.
struct Nearest;

impl RoiAlign for Nearest {
    fn roi_align(&self, map: &Tensor, boxes: &[RoiBox], spec: &RoiAlignSpec) -> Result<Tensor> {
        // The spec checks shapes and values for every implementation.
        let dims = spec.check(map, boxes)?;
        let cells = map.host::<f32>()?;
        let [rows, columns] = spec.output;
        let nearest = |from: f32, to: f32, i: usize, bins: usize, extent: usize| {
            let at = (from + (to - from) * (i as f32 + 0.5) / bins as f32) * spec.spatial_scale;
            (at.max(0.0) as usize).min(extent - 1)
        };
        let mut out = Vec::with_capacity(boxes.len() * rows * columns * dims.channels);
        for &[x1, y1, x2, y2] in boxes {
            for (r, c) in (0..rows).flat_map(|r| (0..columns).map(move |c| (r, c))) {
                let y = nearest(y1, y2, r, rows, dims.height);
                let x = nearest(x1, x2, c, columns, dims.width);
                out.extend_from_slice(&cells[(y * dims.width + x) * dims.channels..][..dims.channels]);
            }
        }
        Tensor::from_vec(out, &[boxes.len(), rows, columns, dims.channels])
    }
}

fn main() {
    let cpu = Kernels::cpu();
    let config = LawConfig::default();
    // A suite for one operation takes the implementation and the device its tensors live on.
    match laws::roi_align(&Nearest, &*cpu.device, &config) {
        Ok(()) => println!("Nearest satisfies every law of RoI-Align"),
        // The violation names the law, the smallest input found that breaks it, what was expected and what was found.
        Err(violation) => println!("Nearest breaks a law\n  {violation}"),
    }
    // `laws::all` judges a whole table, with kernels of one's own in it or not.
    match laws::all(&cpu, &config) {
        Ok(()) => println!("{cpu:?}: every law holds"),
        Err(violations) => violations.iter().for_each(|violation| println!("{violation}")),
    }
}
