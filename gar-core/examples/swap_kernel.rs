//! One kernel of one's own in an otherwise unchanged model: here an RoI-Align that counts its boxes.
//!
//! `cargo run --release -p gar-core --example swap_kernel -- MODEL IMAGE MASK`
#![allow(clippy::print_stdout)]
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use gar_core::{
    GarModel,
    kernels::{
        Kernels, Result, Tensor,
        ops::{RoiAlign, RoiAlignSpec, RoiBox},
    },
    prompt::{DESCRIBE, Mask, RegionSet},
    vision::Image,
};

/// Passes the work on and counts.
struct Counting {
    inner: Arc<dyn RoiAlign>,
    boxes: AtomicUsize,
}

impl RoiAlign for Counting {
    fn roi_align(&self, map: &Tensor, boxes: &[RoiBox], spec: &RoiAlignSpec) -> Result<Tensor> {
        self.boxes.fetch_add(boxes.len(), Ordering::Relaxed);
        self.inner.roi_align(map, boxes, spec)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, image, mask] = arguments.as_slice() else {
        return Err("usage: swap_kernel MODEL IMAGE MASK".into());
    };
    let mine = Arc::new(Counting { inner: Kernels::cpu().roi_align, boxes: AtomicUsize::new(0) });
    let kernels = Kernels { roi_align: mine.clone(), ..Kernels::cpu() };

    let model = GarModel::open(model)?.with_kernels(kernels).load()?;
    let scene = model.scene(&Image::open(image)?, &RegionSet::single(Mask::open_picture(mask)?)?)?;
    println!("{}", scene.ask(DESCRIBE)?.text);
    println!("boxes aligned: {}", mine.boxes.load(Ordering::Relaxed));
    Ok(())
}
