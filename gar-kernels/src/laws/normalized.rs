//! Laws of products whose rows are normalised before, and of the gated half of an MLP.
use ndarray::{Array1, Array2, Zip};
use proptest::{prelude::*, sample::select};

use super::{
    LawConfig, Violation,
    draw::seed,
    judge::{Failure, Judge, Verdict},
    reference,
};
use crate::{
    DType, Device, Tensor,
    ops::{Activation, Epilogue, Gated, MatMul, Norm, NormKind, NormSpec, Normalization, Pointwise, Projection},
};

#[derive(Clone, Copy, Debug)]
struct Case {
    kind: NormKind,
    m: usize,
    n: usize,
    k: usize,
    /// Of the norm.
    shifted: bool,
    /// Of the products.
    bias: bool,
    activation: Activation,
    /// Multiplied into the rows, which a norm undoes but for its eps.
    scale: f64,
    seed: u64,
}

const EPS: f32 = 1e-5;

/// Operands as f64 and on the device.
struct Operands {
    x: (Array2<f64>, Tensor),
    weight: (Array1<f64>, Tensor),
    shift: Option<(Array1<f64>, Tensor)>,
    layers: [Layer; 2],
}

struct Layer {
    w: (Array2<f64>, Tensor),
    bias: Option<(Array1<f64>, Tensor)>,
    activation: Activation,
}

impl Case {
    fn operands(&self, judge: &Judge<'_>) -> Verdict<Operands> {
        let mut values = judge.config.values(self.seed);
        let mut vector = |len: usize| -> Verdict<_> {
            let v: Array1<f64> = values.array(len);
            Ok((v.clone(), judge.up(&v)?))
        };
        let weight = vector(self.k)?;
        let shift = self.shifted.then(|| vector(self.k)).transpose()?;
        let mut bias = || self.bias.then(|| vector(self.n)).transpose();
        let [first, second] = [bias()?, bias()?];
        let mut matrix = |rows: usize, scale: f64| -> Verdict<_> {
            let a = judge.rounded(values.array((rows, self.k)) * scale);
            Ok((a.clone(), judge.up(&a)?))
        };
        let x = matrix(self.m, self.scale)?;
        let layers = [
            Layer { w: matrix(self.n, 1.0)?, bias: first, activation: self.activation },
            Layer { w: matrix(self.n, 1.0)?, bias: second, activation: Activation::Identity },
        ];
        Ok(Operands { x, weight, shift, layers })
    }
}

impl Operands {
    fn normalization<'a>(&'a self, kind: NormKind, norm: &'a (dyn Norm + 'static)) -> Normalization<'a> {
        let spec =
            NormSpec { kind, weight: &self.weight.1, bias: self.shift.as_ref().map(|s| &s.1), eps: EPS, to: None };
        Normalization { norm, spec }
    }

    fn projections(&self) -> [Projection<'_>; 2] {
        self.layers.each_ref().map(|Layer { w, bias, activation }| {
            let epilogue =
                Epilogue { bias: bias.as_ref().map(|b| &b.1), activation: *activation, ..Epilogue::default() };
            Projection { w: &w.1, epilogue }
        })
    }

    fn expected(&self, kind: NormKind) -> [Array2<f64>; 2] {
        let normed =
            reference::norm(&self.x.0, kind, &self.weight.0, self.shift.as_ref().map(|s| &s.0), f64::from(EPS));
        self.layers.each_ref().map(|Layer { w, bias, activation }| {
            reference::matmul(&normed, &w.0, bias.as_ref().map(|b| &b.0), *activation, None, None)
        })
    }
}

fn gated<'a>([gate, up]: [Projection<'a>; 2], pointwise: &'a (dyn Pointwise + 'static)) -> Gated<'a> {
    Gated { gate, up, pointwise, to: None }
}

/// Judges [`MatMul::matmuls_normalized`] and [`MatMul::swiglu_normalized`] with a [`Norm`] and [`Pointwise`]: agreement with the
/// definition for both kinds of norm and any epilogue, rows that do not see each other, refusals.
///
/// # Errors
/// The first law that is broken.
pub fn normalized(
    op: &dyn MatMul,
    norm: &(dyn Norm + 'static),
    pointwise: &(dyn Pointwise + 'static),
    device: &dyn Device,
    config: &LawConfig,
) -> Result<(), Violation> {
    let judge = &Judge { op: "matmuls_normalized", device, config };
    let cases = || {
        let extents = (config.extent(40), config.extent(140), config.some_extent(140), any::<bool>());
        let kind = select(vec![NormKind::Rms, NormKind::Rms, NormKind::Layer]);
        let activation = select(vec![Activation::Identity, Activation::Identity, Activation::Gelu]);
        let rest = (any::<bool>(), any::<bool>(), select(vec![1.0, 1.0 / 64.0, 64.0]), seed());
        (extents, kind, activation, rest).prop_map(
            |((m, n, k, vectors), kind, activation, (shifted, bias, scale, seed))| {
                // Implementations join what they can read as whole vectors: every second case has such rows.
                let k = if vectors { k.next_multiple_of(8) } else { k };
                Case { kind, m, n, k, shifted: shifted && kind == NormKind::Layer, bias, activation, scale, seed }
            },
        )
    };
    judge.law("agrees with products of normalised rows", cases(), |c| {
        let o = c.operands(judge)?;
        let found = op.matmuls_normalized(&o.x.1, o.normalization(c.kind, norm), &o.projections())?;
        if found.len() != 2 {
            return Err(Failure::new("2 results", found.len().to_string()));
        }
        o.expected(c.kind).iter().zip(&found).try_for_each(|(expected, found)| judge.close(expected, found))
    })?;
    judge.law("SwiGLU agrees with silu(gate) · up of normalised rows", cases(), |c| {
        let o = c.operands(judge)?;
        let [gate, up] = o.expected(c.kind);
        let expected = Zip::from(&gate).and(&up).map_collect(|&g, &u| reference::silu(g) * u);
        let gated = gated(o.projections(), pointwise);
        let found = op.swiglu_normalized(&o.x.1, o.normalization(c.kind, norm), gated)?;
        // Gate and up are each off by the tolerance times their own largest, which the other one multiplies.
        let largest = |a: &Array2<f64>| a.iter().fold(1.0_f64, |most, v| most.max(v.abs()));
        let tolerance = 2.0 * config.tolerance * largest(&gate) * largest(&up) / largest(&expected);
        let config = &LawConfig { tolerance, ..config.clone() };
        Judge { config, ..*judge }.close(&expected, &found)
    })?;
    judge.law("a SwiGLU asked for in another type is the same, rounded", cases(), |c| {
        let o = c.operands(judge)?;
        let swiglu = |to| {
            let gated = Gated { to, ..gated(o.projections(), pointwise) };
            op.swiglu_normalized(&o.x.1, o.normalization(c.kind, norm), gated)
        };
        judge.same_in_its_type(&swiglu(None)?, &swiglu(Some(DType::BF16))?)
    })?;
    judge.law("a row of the result depends on its own row of x only", cases(), |c| {
        let (o, kept) = (c.operands(judge)?, c.m / 2);
        if c.m == 0 {
            return Ok(());
        }
        let mut others = o.x.0.clone();
        others.rows_mut().into_iter().enumerate().filter(|(i, _)| *i != kept).for_each(|(_, mut row)| row.fill(1000.0));
        let apply = |x: &Tensor| -> Verdict<[Tensor; 2]> {
            let (normalization, projections) = (o.normalization(c.kind, norm), o.projections());
            let [first] = op.matmuls_normalized_of(x, normalization, [projections[0]])?;
            let gated = op.swiglu_normalized(x, normalization, gated(projections, pointwise))?;
            Ok([first.rows(kept..kept + 1)?, gated.rows(kept..kept + 1)?])
        };
        let (expected, found) = (apply(&o.x.1)?, apply(&judge.up(&others)?)?);
        expected.iter().zip(&found).try_for_each(|(expected, found)| judge.same(expected, found))
    })?;
    judge.law("operands that do not fit are refused", cases(), |c| {
        let (o, [gate, up]) = (c.operands(judge)?, c.operands(judge)?.layers);
        let fits = o.normalization(c.kind, norm);
        let longer = judge.up(&Array1::zeros(c.k + 1))?;
        let wrong = Normalization { spec: NormSpec { weight: &longer, ..fits.spec }, ..fits };
        let wider = judge.up(&Array2::zeros((c.n, c.k + 1)))?;
        let plain = |w| Projection { w, epilogue: Epilogue::default() };
        let (gate, up) = (plain(&gate.w.1), plain(&up.w.1));
        let swiglu = |n, projections| op.swiglu_normalized(&o.x.1, n, gated(projections, pointwise));
        judge.refuses("a longer norm", op.matmuls_normalized(&o.x.1, wrong, &[gate]))?;
        judge.refuses("a longer norm of a SwiGLU", swiglu(wrong, [gate, up]))?;
        judge.refuses("a wider weight", op.matmuls_normalized(&o.x.1, fits, &[gate, plain(&wider)]))?;
        judge.refuses("a wider up", swiglu(fits, [gate, plain(&wider)]))?;
        let taller = judge.up(&Array2::zeros((c.n + 1, c.k)))?;
        judge.refuses("a taller up", swiglu(fits, [gate, plain(&taller)]))
    })
}
