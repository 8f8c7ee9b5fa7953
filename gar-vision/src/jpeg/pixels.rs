//! Pixels from coefficients: the integer arithmetic of libjpeg's defaults (`jidctint`, `jdsample`, `jdcolor`).

use rayon::prelude::*;

use super::entropy::ZIGZAG;
use super::{Component, Decoded, Frame, bad};
use crate::Result;

/// Samples of one plane, [height, stride].
struct Plane {
    samples: Vec<u8>,
    stride: usize,
    width: usize,
    height: usize,
    /// Output pixels of one sample, across and down.
    across: usize,
    down: usize,
}

/// Dequantises, transforms, upsamples and converts.
pub(super) fn reconstruct(frame: Frame, jfif: bool, adobe: Option<u8>) -> Result<Option<Decoded>> {
    let (across, down) = frame.sampling();
    let (width, height) = (frame.width, frame.height);
    let ids: Vec<u8> = frame.components.iter().map(|c| c.id).collect();
    let planes = frame
        .components
        .into_iter()
        .map(|c| {
            let table = c.latched.ok_or_else(|| bad("component", "a quantization table", "none"))?;
            Ok(transform(c, &table, across, down))
        })
        .collect::<Result<Vec<_>>>()?;
    // JFIF is YCbCr; else Adobe's marker tells, else the names of the components do.
    let rgb = !jfif && (adobe == Some(0) || adobe.is_none() && ids == *b"RGB");
    let mut pixels = vec![0u8; width * height * 3];
    pixels.par_chunks_exact_mut(width * 3).enumerate().for_each_init(Vec::new, |rows, (y, out)| {
        rows.resize_with(planes.len(), Vec::new);
        planes.iter().zip(rows.iter_mut()).for_each(|(plane, row)| plane.upsample(y, row));
        match rows.as_slice() {
            [grey] => out.chunks_exact_mut(3).zip(grey).for_each(|(o, &v)| o.fill(v)),
            [a, b, c] => {
                for (out, ((&a, &b), &c)) in out.chunks_exact_mut(3).zip(a.iter().zip(b).zip(c)) {
                    out.copy_from_slice(&if rgb { [a, b, c] } else { to_rgb(a, b, c) });
                }
            }
            _ => {}
        }
    });
    Ok(Some((width, height, pixels)))
}

fn transform(component: Component, table: &[u16; 64], across: usize, down: usize) -> Plane {
    let stride = component.columns * 8;
    let mut scale = [0i32; 64];
    ZIGZAG.iter().zip(table).for_each(|(&at, &q)| scale[at] = i32::from(q));
    let mut samples = vec![0u8; component.rows * 8 * stride];
    let rows = component.coefficients.par_chunks_exact(component.columns * 64);
    samples.par_chunks_exact_mut(8 * stride).zip(rows).for_each(|(out, blocks)| {
        for (column, block) in blocks.chunks_exact(64).enumerate() {
            let pixels = inverse_dct(block, &scale);
            for (y, row) in pixels.chunks_exact(8).enumerate() {
                out[y * stride + column * 8..][..8].copy_from_slice(row);
            }
        }
    });
    let (width, height) = (component.width, component.height);
    Plane { samples, stride, width, height, across: across / component.across, down: down / component.down }
}

/// The accurate integer IDCT: Loeffler, Ligtenberg and Moschytz, 13-bit constants, two extra bits between the passes.
fn inverse_dct(block: &[i16], scale: &[i32; 64]) -> [u8; 64] {
    let mut work = [0i32; 64];
    for x in 0..8 {
        let column = std::array::from_fn(|y| i32::from(block[y * 8 + x]).wrapping_mul(scale[y * 8 + x]));
        for (y, v) in dct_pass::<11>(column).into_iter().enumerate() {
            work[y * 8 + x] = v;
        }
    }
    let mut out = [0; 64];
    for (row, out) in work.chunks_exact(8).zip(out.chunks_exact_mut(8)) {
        let row = dct_pass::<18>(std::array::from_fn(|x| row[x]));
        row.into_iter().zip(out).for_each(|(v, o)| *o = (v.saturating_add(128)).clamp(0, 255) as u8);
    }
    out
}

/// One dimension of the transform, rounded to drop `SHIFT` bits.
fn dct_pass<const SHIFT: u32>(v: [i32; 8]) -> [i32; 8] {
    let times = |a: i32, b: i32| a.wrapping_mul(b);
    let add = |a: i32, b: i32| a.wrapping_add(b);
    let sub = |a: i32, b: i32| a.wrapping_sub(b);
    // Even part.
    let z = times(add(v[2], v[6]), 4433);
    let (t2, t3) = (sub(z, times(v[6], 15137)), add(z, times(v[2], 6270)));
    let (t0, t1) = (times(add(v[0], v[4]), 1 << 13), times(sub(v[0], v[4]), 1 << 13));
    let even = [add(t0, t3), add(t1, t2), sub(t1, t2), sub(t0, t3)];
    // Odd part.
    let z5 = times(add(add(v[7], v[3]), add(v[5], v[1])), 9633);
    let z1 = times(add(v[7], v[1]), -7373);
    let z2 = times(add(v[5], v[3]), -20995);
    let z3 = add(times(add(v[7], v[3]), -16069), z5);
    let z4 = add(times(add(v[5], v[1]), -3196), z5);
    let odd = [
        add(times(v[1], 12299), add(z1, z4)),
        add(times(v[3], 25172), add(z2, z3)),
        add(times(v[5], 16819), add(z2, z4)),
        add(times(v[7], 2446), add(z1, z3)),
    ];
    let round = |v: i32| add(v, 1 << (SHIFT - 1)) >> SHIFT;
    std::array::from_fn(|i| if i < 4 { round(add(even[i], odd[i])) } else { round(sub(even[7 - i], odd[7 - i])) })
}

impl Plane {
    /// Row `y` of the picture, into `out`; it may be longer than the picture is wide.
    fn upsample(&self, y: usize, out: &mut Vec<u8>) {
        out.clear();
        let at = y / self.down;
        let row = self.row(at);
        // Chroma at half resolution is interpolated, 3 parts of the nearer sample to 1 of the farther; libjpeg skips
        // this for planes of one or two columns. Other ratios repeat samples.
        let near = || if y.is_multiple_of(2) { at.saturating_sub(1) } else { (at + 1).min(self.height - 1) };
        match (self.across, self.down) {
            (2, 1) if self.width > 2 => stretch(row.len(), out, |x| i32::from(row[x]), [1, 2], 2),
            (2, 2) if self.width > 2 => {
                let other = self.row(near());
                stretch(row.len(), out, |x| 3 * i32::from(row[x]) + i32::from(other[x]), [8, 7], 4);
            }
            (1, 2) => {
                let bias = if y.is_multiple_of(2) { 1 } else { 2 };
                let mix = |(&a, &b): (&u8, &u8)| ((3 * i32::from(a) + i32::from(b) + bias) >> 2) as u8;
                out.extend(row.iter().zip(self.row(near())).map(mix));
            }
            (across, _) => out.extend(row.iter().flat_map(|&v| std::iter::repeat_n(v, across))),
        }
    }

    fn row(&self, y: usize) -> &[u8] {
        &self.samples[y * self.stride..][..self.width]
    }
}

/// Doubles `n` values, weighted 3 to 1 towards the left and the right neighbour. `bias` holds what is added before the
/// shift for the left and for the right one; the outermost values have no neighbour and stand for it themselves.
fn stretch(n: usize, out: &mut Vec<u8>, value: impl Fn(usize) -> i32, bias: [i32; 2], shift: u32) {
    let [left, right] = bias;
    for x in 0..n {
        let this = value(x);
        let before = if x > 0 { value(x - 1) } else { this };
        let after = if x + 1 < n { value(x + 1) } else { this };
        out.push(((3 * this + before + left) >> shift) as u8);
        out.push(((3 * this + after + right) >> shift) as u8);
    }
}

/// Full-range BT.601, 16-bit fixed point.
fn to_rgb(y: u8, cb: u8, cr: u8) -> [u8; 3] {
    const HALF: i32 = 1 << 15;
    let (y, cb, cr) = (i32::from(y), i32::from(cb) - 128, i32::from(cr) - 128);
    let red = y + ((91881 * cr + HALF) >> 16);
    let green = y + ((-22554 * cb - 46802 * cr + HALF) >> 16);
    let blue = y + ((116130 * cb + HALF) >> 16);
    [red, green, blue].map(|v| v.clamp(0, 255) as u8)
}
