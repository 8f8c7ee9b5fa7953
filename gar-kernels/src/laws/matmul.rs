//! Laws of the matrix product and its epilogue.
use ndarray::{Array1, Array2, ArrayD, IxDyn};
use proptest::{collection::vec, prelude::*, sample::select};

use super::{
    LawConfig, Violation,
    draw::seed,
    judge::{Failure, Judge, Verdict},
    reference,
};
use crate::{
    DType, Device, Tensor,
    ops::{Activation, Epilogue, MatMul, Projection},
};

#[derive(Clone, Copy, Debug)]
struct Case {
    m: usize,
    n: usize,
    k: usize,
    weight: DType,
    bias: bool,
    activation: Activation,
    scale: bool,
    residual: bool,
    seed: u64,
}

/// Operands of a product; what the case leaves out is `None`.
struct Operands {
    x: Array2<f64>,
    w: Array2<f64>,
    bias: Option<Array1<f64>>,
    scale: Option<Array1<f64>>,
    residual: Option<Array2<f64>>,
}

/// What `x` is multiplied with and what follows, on the device.
struct Layer {
    w: Tensor,
    bias: Option<Tensor>,
    activation: Activation,
    scale: Option<Tensor>,
    residual: Option<Tensor>,
}

impl Layer {
    fn projection(&self) -> Projection<'_> {
        let Self { w, bias, activation, scale, residual } = self;
        let (bias, scale, residual) = (bias.as_ref(), scale.as_ref(), residual.as_ref());
        Projection { w, epilogue: Epilogue { bias, activation: *activation, scale, residual, to: None } }
    }
}

impl Case {
    fn operands(&self, config: &LawConfig) -> Operands {
        let mut values = config.values(self.seed);
        Operands {
            x: values.array((self.m, self.k)),
            w: values.array_as((self.n, self.k), self.weight),
            bias: self.bias.then(|| values.array(self.n)),
            scale: self.scale.then(|| values.array(self.n)),
            residual: self.residual.then(|| values.array((self.m, self.n))),
        }
    }

    fn apply(&self, op: &dyn MatMul, judge: &Judge<'_>, o: &Operands) -> Verdict<Tensor> {
        let layer = self.layer(judge, o)?;
        let Projection { w, epilogue } = layer.projection();
        Ok(op.matmul(&judge.up(&o.x)?, w, epilogue)?)
    }

    fn layer(&self, judge: &Judge<'_>, o: &Operands) -> Verdict<Layer> {
        Ok(Layer {
            w: judge.up_as(&o.w, self.weight)?,
            bias: o.bias.as_ref().map(|b| judge.up(b)).transpose()?,
            activation: self.activation,
            scale: o.scale.as_ref().map(|s| judge.up(s)).transpose()?,
            residual: o.residual.as_ref().map(|r| judge.up(r)).transpose()?,
        })
    }

    fn expected(&self, o: &Operands) -> Array2<f64> {
        let (bias, scale, residual) = (o.bias.as_ref(), o.scale.as_ref(), o.residual.as_ref());
        reference::matmul(&o.x, &o.w, bias, self.activation, scale, residual)
    }
}

/// Judges a [`MatMul`]: agreement for every weight type, epilogue and empty extent, linearity, rows that do not see each
/// other, any number of leading axes, prepared weights, several products together, rows in the type that products round them
/// to, refusals.
///
/// # Errors
/// The first law that is broken.
pub fn matmul(op: &dyn MatMul, device: &dyn Device, config: &LawConfig) -> Result<(), Violation> {
    let judge = Judge { op: "matmul", device, config };
    let cases =
        || {
            let extents = (config.extent(140), config.extent(140), config.extent(140), config.weight_type());
            let activation = select(vec![Activation::Identity, Activation::Gelu]);
            let epilogue = (any::<bool>(), activation, any::<bool>(), any::<bool>());
            (extents, epilogue, seed()).prop_map(|((m, n, k, weight), (bias, activation, scale, residual), seed)| {
                Case { m, n, k, weight, bias, activation, scale, residual, seed }
            })
        };
    judge.law("agrees with residual + scale ⊙ activation(x wᵀ + bias)", cases(), |c| {
        let o = c.operands(config);
        judge.close(&c.expected(&o), &c.apply(op, &judge, &o)?)
    })?;
    judge.law("an empty sum is zero: k = 0 gives the epilogue of zeros", cases(), |c| {
        let c = Case { k: 0, ..*c };
        let o = c.operands(config);
        judge.close(&c.expected(&o), &c.apply(op, &judge, &o)?)
    })?;
    judge.law("the plain product is linear in x", cases(), |c| {
        let c = Case { bias: false, activation: Activation::Identity, scale: false, residual: false, ..*c };
        let o = c.operands(config);
        let other = Operands { x: config.values(!c.seed).array((c.m, c.k)), ..c.operands(config) };
        // The combination is exact in f64; in the activations' type it is rounded once.
        let mixed = Operands { x: judge.rounded(&o.x * 2.0 - &other.x), ..c.operands(config) };
        let (a, b) = (judge.down(&c.apply(op, &judge, &o)?)?, judge.down(&c.apply(op, &judge, &other)?)?);
        let config = LawConfig { tolerance: 4.0 * config.tolerance, ..config.clone() };
        Judge { config: &config, ..judge }.close(&(a * 2.0 - b), &c.apply(op, &judge, &mixed)?)
    })?;
    judge.law("a row of the result depends on its own row of x only", cases(), |c| {
        let o = c.operands(config);
        let mut changed = c.operands(config);
        let kept = c.m / 2;
        for (i, mut row) in changed.x.rows_mut().into_iter().enumerate() {
            if i != kept {
                row.fill(1000.0);
            }
        }
        if c.m == 0 {
            return Ok(());
        }
        let row = |o: &Operands| -> Verdict<Tensor> { Ok(c.apply(op, &judge, o)?.rows(kept..kept + 1)?) };
        judge.same(&row(&o)?, &row(&changed)?)
    })?;
    judge.law("leading axes are rows", (cases(), 0..3_usize), |(c, a)| {
        let o = c.operands(config);
        let w = judge.up_as(&o.w, c.weight)?;
        let x: ArrayD<f64> = config.values(c.seed).array(IxDyn(&[*a, 2, c.k]));
        let flat = judge.up(&x)?.reshape(&[a * 2, c.k])?;
        let found = op.matmul(&judge.up(&x)?, &w, Epilogue::default())?;
        judge.same(&op.matmul(&flat, &w, Epilogue::default())?.reshape(&[*a, 2, c.n])?, &found)
    })?;
    judge.law("a prepared weight keeps its shape and gives the same product", cases(), |c| {
        let (o, none) = (c.operands(config), Epilogue::default());
        let (x, w) = (judge.up(&o.x)?, judge.up_as(&o.w, c.weight)?);
        let prepared = op.prepare(&w)?;
        if prepared.shape() != w.shape() {
            return Err(Failure::new(format!("shape {:?}", w.shape()), format!("shape {:?}", prepared.shape())));
        }
        judge.same(&op.matmul(&x, &w, none)?, &op.matmul(&x, &op.prepare(&prepared)?, none)?)?;
        // A convolution's weight is prepared as it is stored and multiplied as a matrix.
        let folded = op.prepare(&w.reshape(&[c.n, 1, c.k])?)?.reshape(&[c.n, c.k])?;
        judge.same(&op.matmul(&x, &w, none)?, &op.matmul(&x, &folded, none)?)
    })?;
    let several = vec((config.extent(70), config.weight_type(), any::<bool>(), seed()), 0..4);
    judge.law("several products of the same rows are those of each alone", (cases(), several), |(c, others)| {
        // Implementations join products of rows that are whole vectors: every second case has such.
        let c = &Case { k: if c.seed % 2 == 0 { c.k.next_multiple_of(8) } else { c.k }, ..*c };
        let x = judge.up(&c.operands(config).x)?;
        let cases = others.iter().map(|&(n, weight, bias, seed)| Case { n, weight, bias, seed, ..*c });
        let layers: Vec<Layer> =
            cases.map(|case| case.layer(&judge, &case.operands(config))).collect::<Verdict<_>>()?;
        let projections: Vec<Projection<'_>> = layers.iter().map(Layer::projection).collect();
        let found = op.matmuls(&x, &projections)?;
        if found.len() != layers.len() {
            return Err(Failure::new(format!("{} results", layers.len()), format!("{} results", found.len())));
        }
        projections.iter().zip(&found).try_for_each(|(p, found)| judge.same(&op.matmul(&x, p.w, p.epilogue)?, found))
    })?;
    judge.law("rows made in the type that they are rounded to give the same product", cases(), |c| {
        let o = c.operands(config);
        // Another layer behind, whose rows are this one's results.
        let next = judge.up_as(&config.values(!c.seed).array_as((c.m + 1, c.n), c.weight), c.weight)?;
        let (layer, x, to) = (c.layer(&judge, &o)?, judge.up(&o.x)?, op.rounding(&next));
        let Projection { w, epilogue } = layer.projection();
        let behind = |x: &Tensor| op.matmul(x, &next, Epilogue::default());
        let expected = behind(&op.matmul(&x, w, epilogue)?)?;
        judge.same(&expected, &behind(&op.matmul(&x, w, Epilogue { to, ..epilogue })?)?)?;
        let together = op.matmuls(&x, &[Projection { w, epilogue: Epilogue { to, ..epilogue } }])?;
        together.iter().try_for_each(|x| judge.same(&expected, &behind(x)?))
    })?;
    judge.law("operands that do not fit are refused", cases(), |c| {
        let matrix = |r, k| judge.up(&Array2::zeros((r, k)));
        let (x, w, none) = (matrix(c.m, c.k)?, matrix(c.n, c.k)?, Epilogue::default());
        let longer = judge.up(&Array1::zeros(c.n + 1))?;
        judge.refuses("a wider x", op.matmul(&matrix(c.m, c.k + 1)?, &w, none))?;
        judge.refuses("a weight of three axes", op.matmul(&x, &w.reshape(&[1, c.n, c.k])?, none))?;
        judge.refuses("a longer bias", op.matmul(&x, &w, Epilogue { bias: Some(&longer), ..none }))?;
        judge.refuses(
            "a wider x for several",
            op.matmuls(&matrix(c.m, c.k + 1)?, &[Projection { w: &w, epilogue: none }]),
        )?;
        judge.refuses("a longer scale", op.matmul(&x, &w, Epilogue { scale: Some(&longer), ..none }))?;
        let residual = matrix(c.m + 1, c.n)?;
        judge.refuses("a taller residual", op.matmul(&x, &w, Epilogue { residual: Some(&residual), ..none }))
    })
}
