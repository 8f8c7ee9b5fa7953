//! RoI-Align on CUDA.
use super::{
    Argument, Cuda, Kernel, Source,
    launch::{THREADS, int, is_aligned, typed, typed_all},
};
use crate::{
    Error, Result, Tensor,
    ops::{RoiAlign, RoiAlignDims, RoiAlignSpec, RoiBox},
};

const OP: &str = "roi_align";
static SOURCE: Source = Source { name: OP, text: include_str!("roi_align.cu") };

pub(super) fn kernels() -> Vec<Kernel> {
    typed_all(&SOURCE, &["roi_align", "roi_align_planar", "roi_align_plain"])
}

impl RoiAlign for Cuda {
    fn roi_align(&self, map: &Tensor, boxes: &[RoiBox], spec: &RoiAlignSpec) -> Result<Tensor> {
        self.align(map, boxes, spec, spec.check(map, boxes)?, false)
    }

    fn roi_align_planar(&self, map: &Tensor, boxes: &[RoiBox], spec: &RoiAlignSpec) -> Result<Tensor> {
        self.align(map, boxes, spec, spec.check_planar(map, boxes)?, true)
    }
}

impl Cuda {
    /// Channels last, or first where `planar`.
    fn align(
        &self,
        map: &Tensor,
        boxes: &[RoiBox],
        spec: &RoiAlignSpec,
        dims: RoiAlignDims,
        planar: bool,
    ) -> Result<Tensor> {
        let [rows, columns] = spec.output;
        let shape = match planar {
            true => [boxes.len(), dims.channels, rows, columns],
            false => [boxes.len(), rows, columns, dims.channels],
        };
        let from = self.activation(OP, "map", map)?;
        let (y, to) = self.device.empty(&shape, map.dtype())?;
        if y.is_empty() {
            return Ok(y);
        }
        let (_sides, sides) = self.device.values(&sides(boxes, spec)?)?;
        let mut arguments = vec![from.into(), sides, to.into()];
        for (what, extent) in
            [("map", dims.height), ("map", dims.width), ("map", dims.channels), ("output", rows), ("output", columns)]
        {
            arguments.push(int(OP, what, extent)?);
        }
        // Parts of a line of threads that one block takes; `lines` lines.
        let (function, line, lines) = match planar {
            true => ("roi_align_planar", rows * columns, boxes.len() * dims.channels.div_ceil(8)),
            false => ("roi_align", columns * dims.channels / 8, boxes.len() * rows),
        };
        if self.plain || !(planar || dims.channels.is_multiple_of(8) && is_aligned(from)) {
            arguments.extend([Argument::I32(i32::from(planar)), Argument::U64(y.len() as u64)]);
            self.launch_items(&typed(&SOURCE, "roi_align_plain", map.dtype()), y.len(), &arguments)?;
            return Ok(y);
        }
        let parts = line.div_ceil(THREADS as usize);
        arguments.push(int(OP, "output", parts)?);
        self.launch_blocks(&typed(&SOURCE, function, map.dtype()), lines * parts, THREADS, &arguments)?;
        Ok(y)
    }
}

/// Each box as the kernels' `Box`: start, bin and samples along x, then along y.
fn sides(boxes: &[RoiBox], spec: &RoiAlignSpec) -> Result<Vec<[u32; 6]>> {
    let side = |b: &RoiBox| -> Result<[u32; 6]> {
        let [x, y] = spec.sides(b);
        let samples = |n: usize| {
            i32::try_from(n).map(|n| n as u32).map_err(|_| Error::value(OP, "sampling_ratio", "at most 2³¹ − 1", n))
        };
        let ([x_samples, y_samples], bits) = ([samples(x.samples)?, samples(y.samples)?], f32::to_bits);
        Ok([bits(x.start), bits(x.bin), x_samples, bits(y.start), bits(y.bin), y_samples])
    };
    boxes.iter().map(side).collect()
}
