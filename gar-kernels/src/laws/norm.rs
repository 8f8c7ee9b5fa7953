//! Laws of normalisation.
use ndarray::{Array1, Array2};
use proptest::{prelude::*, sample::select};

use super::{
    LawConfig, Violation,
    draw::seed,
    judge::{Failure, Judge, Verdict},
    reference,
};
use crate::{
    DType, Device, Tensor,
    ops::{Norm, NormKind, NormSpec},
};

#[derive(Clone, Copy, Debug)]
struct Case {
    kind: NormKind,
    rows: usize,
    columns: usize,
    bias: bool,
    eps: f32,
    /// Added to every entry: a mean far from 0 shows a variance taken as a difference of large numbers.
    offset: f64,
    seed: u64,
}

/// Judges a [`Norm`]: agreement for both kinds, invariance under scale and (LayerNorm) shift, results in bf16, refusals.
///
/// # Errors
/// The first law that is broken.
pub fn norm(op: &dyn Norm, device: &dyn Device, config: &LawConfig) -> Result<(), Violation> {
    let judge = Judge { op: "norm", device, config };
    let cases = |kinds: &[NormKind]| {
        let eps = select(vec![1e-6_f32, 1e-5, 0.25]);
        let offset = select(vec![0.0, 4.0, 64.0]);
        let kind = select(kinds.to_vec());
        (kind, config.extent(70), config.some_extent(usize::MAX), any::<bool>(), eps, offset, seed()).prop_map(
            |(kind, rows, columns, bias, eps, offset, seed)| Case { kind, rows, columns, bias, eps, offset, seed },
        )
    };
    let both = [NormKind::Layer, NormKind::Rms];
    judge.law("agrees with the definition", cases(&both), |c| {
        let mut values = config.values(c.seed);
        let x = judge.rounded(values.array((c.rows, c.columns)) + c.offset);
        let (weight, bias) = (values.array(c.columns), values.array(c.columns));
        let bias = c.bias.then_some(&bias);
        let expected = reference::norm(&x, c.kind, &weight, bias, f64::from(c.eps));
        judge.close(&expected, &apply(op, &judge, &x, c.kind, &weight, bias, c.eps)?)
    })?;
    judge.law("a scale cancels, and for LayerNorm a shift", cases(&both), |c| {
        let mut values = config.values(c.seed);
        // Powers of two and a shift by 1 on sixteenths are exact in bf16 as in f32: eps = 0 leaves only the law.
        let x = values.array((c.rows, c.columns)).mapv(|v| (v * 16.0).round() / 16.0 + 0.5);
        let x = Array2::from_shape_fn(x.dim(), |(i, j)| if j == 0 { -1.5 } else { x[[i, j]] });
        let shift = if c.kind == NormKind::Layer { 1.0 } else { 0.0 };
        let weight = Array1::ones(c.columns);
        // A single entry has no spread to divide by.
        let eps = if c.columns == 1 { c.eps } else { 0.0 };
        let scale = if c.columns == 1 { 1.0 } else { 4.0 };
        let plain = apply(op, &judge, &x, c.kind, &weight, None, eps)?;
        let moved = apply(op, &judge, &((&x + shift) * scale), c.kind, &weight, None, eps)?;
        judge.same(&plain, &moved)
    })?;
    judge.law("asked for in bf16 it is the same, rounded, or as ever", cases(&both), |c| {
        let mut values = config.values(c.seed);
        let x = judge.up(&judge.rounded(values.array((c.rows, c.columns)) + c.offset))?;
        let weight: Array1<f64> = values.array(c.columns);
        let weight = judge.up(&weight)?;
        let with = |to| op.norm(&x, &NormSpec { kind: c.kind, weight: &weight, bias: None, eps: c.eps, to });
        let (plain, asked) = (with(None)?, with(Some(DType::BF16))?);
        if asked.dtype() == plain.dtype() {
            return judge.same(&plain, &asked);
        }
        let (plain, asked) = (judge.down(&plain)?, judge.down(&asked)?);
        for (plain, asked) in plain.iter().zip(&asked) {
            // Half a unit in the last of eight digits; below 2⁻¹²⁶ a number may become zero.
            if (plain - asked).abs() > plain.abs() / 256.0 + f64::from(f32::MIN_POSITIVE) {
                return Err(Failure::new(format!("{plain}, rounded"), asked.to_string()));
            }
        }
        Ok(())
    })?;
    judge.law("weight and bias of another length, and a negative or NaN eps, are refused", cases(&both), |c| {
        let x = judge.up(&Array2::ones((c.rows, c.columns)))?;
        let (fits, longer) = (judge.up(&Array1::ones(c.columns))?, judge.up(&Array1::ones(c.columns + 1))?);
        let try_with = |weight, bias, eps| op.norm(&x, &NormSpec { kind: c.kind, weight, bias, eps, to: None });
        judge.refuses("a longer weight", try_with(&longer, None, c.eps))?;
        judge.refuses("a longer bias", try_with(&fits, Some(&longer), c.eps))?;
        judge.refuses("a negative eps", try_with(&fits, None, -1e-5))?;
        judge.refuses("eps that is not a number", try_with(&fits, None, f32::NAN))
    })
}

fn apply(
    op: &dyn Norm,
    judge: &Judge<'_>,
    x: &Array2<f64>,
    kind: NormKind,
    weight: &Array1<f64>,
    bias: Option<&Array1<f64>>,
    eps: f32,
) -> Verdict<Tensor> {
    let bias = bias.map(|bias| judge.up(bias)).transpose()?;
    let spec = NormSpec { kind, weight: &judge.up(weight)?, bias: bias.as_ref(), eps, to: None };
    Ok(op.norm(&judge.up(x)?, &spec)?)
}
