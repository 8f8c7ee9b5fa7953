//! Laws of RoI-Align.
use ndarray::{Array3, Array4, s};
use proptest::{collection::vec, prelude::*, sample::select};

use super::{
    LawConfig, Violation,
    draw::seed,
    judge::{Judge, Verdict},
    reference::{self, roi_samples},
};
use crate::{
    Device, Tensor,
    ops::{RoiAlign, RoiAlignSpec, RoiBox},
};

#[derive(Clone, Debug)]
struct Case {
    /// Rows, columns, channels.
    map: (usize, usize, usize),
    boxes: Vec<RoiBox>,
    spec: RoiAlignSpec,
    seed: u64,
}

/// Judges a [`RoiAlign`]: agreement with torchvision's semantics for boxes of every kind, at the border to the sample;
/// constant and linear maps; translation and scale; boxes that do not see each other; refusals.
///
/// # Errors
/// The first law that is broken.
pub fn roi_align(op: &dyn RoiAlign, device: &dyn Device, config: &LawConfig) -> Result<(), Violation> {
    let judge = Judge { op: "roi_align", device, config };
    let agrees = |c: &Case| -> Verdict {
        let map = config.values(c.seed).array(c.map);
        let boxes: Vec<RoiBox> = c.boxes.iter().filter(|b| is_decided(b, c)).copied().collect();
        judge.close(&reference::roi_align(&map, &boxes, &c.spec), &op.roi_align(&judge.up(&map)?, &boxes, &c.spec)?)
    };
    judge.law("agrees where every coordinate is exact, border included", on_quarters(config), agrees)?;
    judge.law("agrees for any box, inside, outside or inverted", anywhere(config), agrees)?;
    judge.law("a constant map gives that constant", inside(config), |c| {
        let map = Array3::from_elem(c.map, 0.75);
        let [rows, columns] = c.spec.output;
        let expected = Array4::from_elem((c.boxes.len(), rows, columns, c.map.2), 0.75);
        judge.close(&expected, &op.roi_align(&judge.up(&map)?, &c.boxes, &c.spec)?)
    })?;
    judge.law("a linear map gives its values at the centres of the bins", inside(config), |c| {
        let at = |y: f64, x: f64, d: usize| (x - 2.0 * y + d as f64) / 8.0;
        let map = Array3::from_shape_fn(c.map, |(y, x, d)| at(y as f64, x as f64, d));
        let ([rows, columns], shift) = (c.spec.output, if c.spec.aligned { 0.5 } else { 0.0 });
        let centre = |from: f32, to: f32, i: usize, bins: usize| {
            let (from, to, scale) = (f64::from(from), f64::from(to), f64::from(c.spec.spatial_scale));
            (from + (to - from) * (i as f64 + 0.5) / bins as f64) * scale - shift
        };
        let expected = Array4::from_shape_fn((c.boxes.len(), rows, columns, c.map.2), |(n, i, j, d)| {
            let [x1, y1, x2, y2] = c.boxes[n];
            at(centre(y1, y2, i, rows), centre(x1, x2, j, columns), d)
        });
        judge.close(&expected, &op.roi_align(&judge.up(&judge.rounded(map))?, &c.boxes, &c.spec)?)
    })?;
    judge.law(
        "moving map and boxes together changes nothing",
        (inside(config), 0..5_usize, 0..5_usize),
        |(c, dy, dx)| {
            let map = config.values(c.seed).array(c.map);
            let (height, width, channels) = c.map;
            let mut moved = Array3::from_elem((height + dy, width + dx, channels), 9.0);
            moved.slice_mut(s![*dy.., *dx.., ..]).assign(&map);
            let [dx, dy] = [*dx, *dy].map(|d| d as f32 / c.spec.spatial_scale);
            let boxes: Vec<RoiBox> = c.boxes.iter().map(|b| [b[0] + dx, b[1] + dy, b[2] + dx, b[3] + dy]).collect();
            let plain = op.roi_align(&judge.up(&map)?, &c.boxes, &c.spec)?;
            judge.same(&plain, &op.roi_align(&judge.up(&moved)?, &boxes, &c.spec)?)
        },
    )?;
    judge.law("spatial_scale multiplies the boxes", on_quarters(config), |c| {
        let map = judge.up(&config.values(c.seed).array(c.map))?;
        let boxes: Vec<RoiBox> = c.boxes.iter().map(|b| b.map(|v| v * c.spec.spatial_scale)).collect();
        let unit = RoiAlignSpec { spatial_scale: 1.0, ..c.spec };
        judge.same(&op.roi_align(&map, &boxes, &unit)?, &op.roi_align(&map, &c.boxes, &c.spec)?)
    })?;
    judge.law("a box gives the same alone", anywhere(config), |c| {
        let map = judge.up(&config.values(c.seed).array(c.map))?;
        let all = op.roi_align(&map, &c.boxes, &c.spec)?;
        for (n, b) in c.boxes.iter().enumerate() {
            judge.same(&op.roi_align(&map, &[*b], &c.spec)?, &all.rows(n..n + 1)?)?;
        }
        Ok(())
    })?;
    refusals(op, &judge)
}

/// Coordinates in quarters, powers of two elsewhere: f32 has every sample exactly. Half of the sides are placed so that
/// their first sample falls on −1, or their last on the extent, where torchvision's rule turns.
fn on_quarters(config: &LawConfig) -> impl Strategy<Value = Case> + use<> {
    let corner = || (-16..64_i32).prop_map(|quarters| quarters as f32 / 4.0);
    // Of a side: its corners, where it touches (0 and 1: nowhere), and the distance of its samples.
    let side = || (corner(), corner(), 0..4_u8, select(vec![1.0, 2.0_f32]));
    let spec = spec(vec![1, 2, 4, 8], vec![0, 1, 2, 4], vec![0.25, 0.5, 1.0, 2.0]);
    (map(config), vec((side(), side()), 0..5), spec, seed()).prop_map(|(map, boxes, spec, seed)| {
        let shift = if spec.aligned { 0.5 } else { 0.0 };
        let place = |(from, to, touch, pitch): (f32, f32, u8, f32), bins: usize, extent: usize| {
            let length = pitch * (bins * spec.sampling_ratio.max(1)) as f32;
            let [first, last] = [-1.0 - pitch / 2.0 + shift, extent as f32 + pitch / 2.0 + shift];
            let side = match touch {
                2 => [first, first + length],
                3 => [last - length, last],
                _ => [from, to],
            };
            side.map(|v| v / spec.spatial_scale)
        };
        let boxed = |(x, y)| {
            let [x1, x2] = place(x, spec.output[1], map.1);
            let [y1, y2] = place(y, spec.output[0], map.0);
            [x1, y1, x2, y2]
        };
        Case { map, boxes: boxes.into_iter().map(boxed).collect(), spec, seed }
    })
}

/// Boxes of any coordinates, inverted ones and ones outside the map among them.
fn anywhere(config: &LawConfig) -> impl Strategy<Value = Case> + use<> {
    let corner = || -6.0..24.0_f32;
    let boxes = vec([corner(), corner(), corner(), corner()], 0..5);
    let spec = spec(vec![1, 3, 7, 16], vec![0, 1, 2, 3], vec![1.0, 0.3, 1.0 / 28.0]);
    (map(config), boxes, spec, seed()).prop_map(|(map, boxes, spec, seed)| Case { map, boxes, spec, seed })
}

/// Boxes all of whose samples lie on the map.
fn inside(config: &LawConfig) -> impl Strategy<Value = Case> + use<> {
    let corner = || (0.0..0.5_f32, 0.5..1.0_f32);
    let extents = (4..16_usize, 4..16_usize, config.some_extent(20));
    let spec = spec(vec![1, 2, 7, 16], vec![0, 1, 2, 3], vec![1.0, 0.5, 0.3]);
    (extents, vec((corner(), corner()), 0..4), spec, seed()).prop_map(|(map, corners, spec, seed)| {
        let shift = if spec.aligned { 0.5 } else { 0.0 };
        // A side is at least one cell: where the extent's share is less, the box spans the first two thirds.
        let side = |(from, to): (f32, f32), extent: usize| {
            let most = (extent - 1) as f32;
            let (from, to) = if (to - from) * most < 1.0 { (0.0, 0.67) } else { (from, to) };
            [from, to].map(|v| (v * most + shift) / spec.spatial_scale)
        };
        let boxed = |(x, y): ((f32, f32), (f32, f32))| {
            let ([x1, x2], [y1, y2]) = (side(x, map.1), side(y, map.0));
            [x1, y1, x2, y2]
        };
        Case { map, boxes: corners.into_iter().map(boxed).collect(), spec, seed }
    })
}

fn map(config: &LawConfig) -> impl Strategy<Value = (usize, usize, usize)> + use<> {
    (1..16_usize, 1..16_usize, config.extent(20))
}

fn spec(sides: Vec<usize>, ratios: Vec<usize>, scales: Vec<f32>) -> impl Strategy<Value = RoiAlignSpec> {
    ([select(sides.clone()), select(sides)], select(scales), select(ratios), any::<bool>()).prop_map(
        |(output, spatial_scale, sampling_ratio, aligned)| RoiAlignSpec {
            output,
            spatial_scale,
            sampling_ratio,
            aligned,
        },
    )
}

/// Whether f32 and f64 must take the same samples of a box: none lies so near the border, and no side so near a whole
/// number of samples, that rounding decides. Coordinates that are exact decide nothing by rounding.
fn is_decided(b: &RoiBox, c: &Case) -> bool {
    let [rows, columns] = c.spec.output;
    [(b[0], b[2], columns, c.map.1), (b[1], b[3], rows, c.map.0)].into_iter().all(|(from, to, bins, extent)| {
        let samples = roi_samples(from, to, bins, &c.spec);
        let count = samples.first().map_or(0, Vec::len);
        let exact = |v: f32| (v * c.spec.spatial_scale * 4.0).fract() == 0.0;
        if exact(from) && exact(to) && bins.is_power_of_two() && (count == 0 || count.is_power_of_two()) {
            return true;
        }
        let bin = f64::from((to - from) * c.spec.spatial_scale) / bins as f64;
        let whole = c.spec.sampling_ratio == 0 && (bin - bin.round()).abs() < 1e-4;
        let near = |v: &f64| (v + 1.0).abs() < 1e-4 || (v - extent as f64).abs() < 1e-4;
        !whole && !samples.iter().flatten().any(near)
    })
}

fn refusals(op: &dyn RoiAlign, judge: &Judge<'_>) -> Result<(), Violation> {
    judge.law(
        "boxes that are not finite and maps without cells are refused",
        (on_quarters(judge.config), 0..4_usize),
        |(c, at)| {
            let map = judge.up(&Array3::zeros(c.map))?;
            for v in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut b = [0.0; 4];
                b[*at] = v;
                judge.refuses("a box that is not finite", op.roi_align(&map, &[b], &c.spec))?;
            }
            let spec = RoiAlignSpec { spatial_scale: f32::NAN, ..c.spec };
            judge.refuses("a scale that is not a number", op.roi_align(&map, &c.boxes, &spec))?;
            let refuse = |what, shape: &[usize]| {
                let map: Tensor = judge.up(&ndarray::ArrayD::zeros(shape))?;
                judge.refuses(what, op.roi_align(&map, &c.boxes, &c.spec))
            };
            refuse("a map without rows", &[0, 4, 2])?;
            refuse("a map without columns", &[4, 0, 2])?;
            refuse("a map of two axes", &[4, 4])?;
            refuse("a map of four axes", &[1, 4, 4, 2])
        },
    )
}
