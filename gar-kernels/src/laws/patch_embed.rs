//! Laws of the patch embedding.
use ndarray::{Array1, Array2, Array3, Array4, s};
use proptest::prelude::*;

use super::{
    LawConfig, Violation,
    draw::seed,
    judge::{Judge, Verdict},
    reference,
};
use crate::{
    DType, Device, Tensor,
    ops::{PatchEmbed, PatchSpec},
};

#[derive(Clone, Copy, Debug)]
struct Case {
    batch: usize,
    channels: usize,
    patch: usize,
    /// Patches along a side.
    grid: usize,
    width: usize,
    weight: DType,
    prompt: bool,
    class_token: bool,
    positions: bool,
    seed: u64,
}

struct Operands {
    pixels: Array4<f64>,
    weight: Array4<f64>,
    prompt: Option<Array3<f64>>,
    class_token: Option<Array1<f64>>,
    positions: Option<Array2<f64>>,
}

impl Case {
    fn operands(&self, config: &LawConfig) -> Operands {
        let mut values = config.values(self.seed);
        let (side, patches) = (self.patch * self.grid, self.grid * self.grid);
        Operands {
            pixels: values.array((self.batch, self.channels, side, side)),
            weight: values.array_as((self.width, self.channels, self.patch, self.patch), self.weight),
            prompt: self.prompt.then(|| values.array((self.batch, patches, self.width))),
            class_token: self.class_token.then(|| values.array(self.width)),
            positions: self.positions.then(|| values.array((patches + usize::from(self.class_token), self.width))),
        }
    }

    fn apply(&self, op: &dyn PatchEmbed, judge: &Judge<'_>, o: &Operands) -> Verdict<Tensor> {
        self.apply_to(&judge.up(&o.pixels)?, None, op, judge, o)
    }

    /// The same on other pixels than the operands'.
    fn apply_to(
        &self,
        pixels: &Tensor,
        levels: Option<&Tensor>,
        op: &dyn PatchEmbed,
        judge: &Judge<'_>,
        o: &Operands,
    ) -> Verdict<Tensor> {
        let prompt = o.prompt.as_ref().map(|p| judge.up(p)).transpose()?;
        let class_token = o.class_token.as_ref().map(|c| judge.up(c)).transpose()?;
        let positions = o.positions.as_ref().map(|p| judge.up(p)).transpose()?;
        let weight = judge.up_as(&o.weight, self.weight)?;
        let (prompt, class_token, positions) = (prompt.as_ref(), class_token.as_ref(), positions.as_ref());
        Ok(op.patch_embed(pixels, &PatchSpec { weight: &weight, prompt, class_token, positions, levels })?)
    }
}

/// Pictures of one channel with that channel `channels` times.
fn repeated(one: &Array4<f64>, channels: usize) -> Array4<f64> {
    let (batch, _, height, width) = one.dim();
    Array4::from_shape_fn((batch, channels, height, width), |(t, _, y, x)| one[[t, 0, y, x]])
}

/// Pixels from −1…1 to every byte, of all channels or of the first.
fn bytes(pixels: &Array4<f64>, one: bool) -> Array4<u8> {
    let bytes = pixels.mapv(|v| (128.0 * v + 128.0).clamp(0.0, 255.0) as u8);
    if one { bytes.slice(s![.., ..1, .., ..]).to_owned() } else { bytes }
}

/// Bytes give what their values give.
fn judge_bytes(
    c: &Case,
    op: &dyn PatchEmbed,
    judge: &Judge<'_>,
    mut o: Operands,
    (values, bytes): (Array4<f64>, Array4<u8>),
    levels: Option<&Tensor>,
) -> Verdict<()> {
    o.pixels = if values.dim().1 == c.channels { values } else { repeated(&values, c.channels) };
    let (prompt, class_token, positions) = (o.prompt.as_ref(), o.class_token.as_ref(), o.positions.as_ref());
    let expected = reference::patch_embed(&o.pixels, &o.weight, prompt, class_token, positions);
    let shape = bytes.shape().to_vec();
    let pixels = judge.device.upload(&Tensor::from_vec(bytes.into_iter().collect(), &shape)?)?;
    judge.close(&expected, &c.apply_to(&pixels, levels, op, judge, &o)?)
}

/// Judges a [`PatchEmbed`]: agreement with a strided convolution and what is added to it, for every weight type; patches
/// that do not see each other; one channel shown to all; bytes read as numbers or as their levels; refusals.
///
/// # Errors
/// The first law that is broken.
pub fn patch_embed(op: &dyn PatchEmbed, device: &dyn Device, config: &LawConfig) -> Result<(), Violation> {
    let judge = Judge { op: "patch_embed", device, config };
    let cases = || {
        let extents = (0..3_usize, 1..4_usize, 1..8_usize, 1..5_usize, config.some_extent(70), config.weight_type());
        (extents, any::<[bool; 3]>(), seed()).prop_map(
            |((batch, channels, patch, grid, width, weight), [prompt, class_token, positions], seed)| Case {
                batch,
                channels,
                patch,
                grid,
                width,
                weight,
                prompt,
                class_token,
                positions,
                seed,
            },
        )
    };
    judge.law("agrees with the convolution, class token in front, prompt and positions added", cases(), |c| {
        let o = c.operands(config);
        let (prompt, class_token, positions) = (o.prompt.as_ref(), o.class_token.as_ref(), o.positions.as_ref());
        let expected = reference::patch_embed(&o.pixels, &o.weight, prompt, class_token, positions);
        judge.close(&expected, &c.apply(op, &judge, &o)?)
    })?;
    judge.law("a patch changes its own token only", (cases(), any::<[prop::sample::Index; 2]>()), |(c, at)| {
        if c.batch == 0 {
            return Ok(());
        }
        let (row, column) = (at[0].index(c.grid), at[1].index(c.grid));
        let (o, mut changed) = (c.operands(config), c.operands(config));
        let side = |i: usize| i * c.patch..(i + 1) * c.patch;
        changed.pixels.slice_mut(s![0, .., side(row), side(column)]).fill(4.0);
        let token = row * c.grid + column + usize::from(c.class_token);
        let result = |o: &Operands| -> Verdict<_> {
            let mut tokens = judge.down(&c.apply(op, &judge, o)?)?;
            tokens
                .slice_each_axis_mut(|axis| match axis.axis.0 {
                    0 => (0..1).into(),
                    1 => (token..token + 1).into(),
                    _ => (..).into(),
                })
                .fill(0.0);
            Ok(tokens)
        };
        judge.close(&result(&o)?, &judge.up_as(&result(&changed)?, DType::F32)?)
    })?;
    judge.law("one channel is shown to every channel of the weight", cases(), |c| {
        let mut o = c.operands(config);
        let one = o.pixels.slice(s![.., ..1, .., ..]).to_owned();
        o.pixels = repeated(&one, c.channels);
        let (prompt, class_token, positions) = (o.prompt.as_ref(), o.class_token.as_ref(), o.positions.as_ref());
        let expected = reference::patch_embed(&o.pixels, &o.weight, prompt, class_token, positions);
        judge.close(&expected, &c.apply_to(&judge.up(&one)?, None, op, &judge, &o)?)
    })?;
    judge.law(
        "bytes are their numbers, 0 to 255, in every channel or in one",
        (cases(), any::<bool>()),
        |(c, one)| {
            let o = c.operands(config);
            let bytes = bytes(&o.pixels, *one);
            judge_bytes(c, op, &judge, o, (bytes.mapv(f64::from), bytes), None)
        },
    )?;
    judge.law("bytes are their channel's levels", (cases(), any::<bool>()), |(c, one)| {
        let o = c.operands(config);
        let bytes = bytes(&o.pixels, *one);
        let levels = config.values(c.seed ^ 1).array((bytes.dim().1, 256));
        let values = Array4::from_shape_fn(bytes.dim(), |at| levels[[at.1, usize::from(bytes[at])]]);
        judge_bytes(c, op, &judge, o, (values, bytes), Some(&judge.up_as(&levels, DType::F32)?))
    })?;
    judge.law("operands that do not fit are refused", cases(), |c| {
        let (side, tokens) = (c.patch * c.grid, c.grid * c.grid);
        let weight = judge.up(&Array4::zeros((c.width, c.channels, c.patch, c.patch)))?;
        let pixels = |channels, height, width| judge.up(&Array4::zeros((c.batch, channels, height, width)));
        let fits = pixels(c.channels, side, side)?;
        let none = PatchSpec { weight: &weight, prompt: None, class_token: None, positions: None, levels: None };
        judge.refuses("another number of channels", op.patch_embed(&pixels(c.channels + 1, side, side)?, &none))?;
        judge.refuses(
            "a picture that is not square",
            op.patch_embed(&pixels(c.channels, side + c.patch, side)?, &none),
        )?;
        if c.patch > 1 {
            let odd = pixels(c.channels, side + 1, side + 1)?;
            judge.refuses("a side that patches do not divide", op.patch_embed(&odd, &none))?;
        }
        let longer = judge.up(&Array1::zeros(c.width + 1))?;
        let class_token = PatchSpec { class_token: Some(&longer), ..none };
        judge.refuses("a longer class token", op.patch_embed(&fits, &class_token))?;
        let positions = judge.up(&Array2::zeros((tokens + 1, c.width)))?;
        let positions = PatchSpec { positions: Some(&positions), ..none };
        judge.refuses("one position too many", op.patch_embed(&fits, &positions))?;
        let prompt = judge.up(&Array3::zeros((c.batch, tokens + 1, c.width)))?;
        judge.refuses("a longer prompt", op.patch_embed(&fits, &PatchSpec { prompt: Some(&prompt), ..none }))?;
        let levels = |channels, dtype| judge.up_as(&Array2::zeros((channels, 256)), dtype);
        let bytes = device.upload(&Tensor::from_vec(vec![0_u8; fits.len()], fits.shape())?)?;
        let level = levels(c.channels, DType::F32)?;
        judge.refuses("levels of numbers", op.patch_embed(&fits, &PatchSpec { levels: Some(&level), ..none }))?;
        let level = levels(c.channels + 1, DType::F32)?;
        judge.refuses(
            "levels of another channel",
            op.patch_embed(&bytes, &PatchSpec { levels: Some(&level), ..none }),
        )?;
        let level = levels(c.channels, DType::BF16)?;
        judge.refuses("levels in bf16", op.patch_embed(&bytes, &PatchSpec { levels: Some(&level), ..none }))
    })
}
