//! Matrix product with a weight stored as a checkpoint stores it, and what follows it.
use super::{Normalization, Pointwise};
use crate::{DType, Error, Result, Tensor};

/// Nonlinearity of an [`Epilogue`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// None.
    #[default]
    Identity,
    /// `x·Φ(x)` with the error function, as the tower and the projector use it.
    Gelu,
}

/// What happens to a product before it is stored: `residual + scale ⊙ activation(product + bias)`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a> {
    /// `[N]`, added to every row.
    pub bias: Option<&'a Tensor>,
    /// Applied after the bias.
    pub activation: Activation,
    /// `[N]`, multiplied into every row after the activation (layer scale).
    pub scale: Option<&'a Tensor>,
    /// [.., N], the shape of the result, added last.
    pub residual: Option<&'a Tensor>,
    /// Element type that the result is asked for in, where whoever reads it rounds it to that anyway
    /// ([`MatMul::rounding`]); `None` leaves it to the implementation, and one that has results of one type only may pass over
    /// it.
    pub to: Option<DType>,
}

/// A weight [N, K] and what follows the product with it.
#[derive(Clone, Copy, Debug)]
pub struct Projection<'a> {
    /// The weight.
    pub w: &'a Tensor,
    /// What follows.
    pub epilogue: Epilogue<'a>,
}

/// The first half of a gated MLP (SwiGLU): what `silu(x·gateᵀ) · (x·upᵀ)` is made of.
#[derive(Clone, Copy)]
pub struct Gated<'a> {
    /// The gate, a weight [N, K]. Element types that its epilogue and that of `up` ask for are of no matter.
    pub gate: Projection<'a>,
    /// What is gated, a weight [N, K].
    pub up: Projection<'a>,
    /// Joins them.
    pub pointwise: &'a (dyn Pointwise + 'static),
    /// Element type that the result is asked for in; as [`Epilogue::to`].
    pub to: Option<DType>,
}

impl<'a> Gated<'a> {
    /// Gate and up, in whatever type an implementation gives.
    pub fn projections(&self) -> [Projection<'a>; 2] {
        [self.gate, self.up].map(|p| Projection { epilogue: Epilogue { to: None, ..p.epilogue }, ..p })
    }
}

/// `y = epilogue(x · wᵀ)`.
pub trait MatMul: Send + Sync {
    /// `x` [.., K] times `w` [N, K] transposed → [.., N].
    ///
    /// # Errors
    /// Shapes that do not fit, element types or a device that are not supported.
    fn matmul(&self, x: &Tensor, w: &Tensor, epilogue: Epilogue<'_>) -> Result<Tensor>;

    /// Several products of the same rows: `x` [.., K] → [.., Nᵢ] each, the numbers that [`matmul`](Self::matmul) gives. An
    /// implementation can read `x` once for all of them; the default goes through them one by one.
    ///
    /// An implementation that passes its products on to another should pass this on too.
    ///
    /// # Errors
    /// As [`matmul`](Self::matmul).
    fn matmuls(&self, x: &Tensor, projections: &[Projection<'_>]) -> Result<Vec<Tensor>> {
        projections.iter().map(|p| self.matmul(x, p.w, p.epilogue)).collect()
    }

    /// [`matmuls`](Self::matmuls) of rows `x` [.., K] that are normalised before. The default normalises and multiplies; an
    /// implementation that knows the norm can normalise rows as it reads them, and then rounds in other places.
    ///
    /// An implementation that passes its products on to another may leave it at that.
    ///
    /// # Errors
    /// As [`matmul`](Self::matmul) and [`Norm::norm`](super::Norm::norm).
    fn matmuls_normalized(
        &self,
        x: &Tensor,
        normalization: Normalization<'_>,
        projections: &[Projection<'_>],
    ) -> Result<Vec<Tensor>> {
        self.matmuls(&normalization.apply(x)?, projections)
    }

    /// `silu(x·gateᵀ) · (x·upᵀ)` of rows `x` [.., K] that are normalised before → [.., N]. The default goes one step after the
    /// other; an implementation that knows the steps can keep what is between them, and then may round in other places.
    ///
    /// An implementation that passes its products on to another may leave it at that.
    ///
    /// # Errors
    /// As [`matmul`](Self::matmul), [`Norm::norm`](super::Norm::norm) and [`Pointwise::swiglu`].
    fn swiglu_normalized(&self, x: &Tensor, normalization: Normalization<'_>, gated: Gated<'_>) -> Result<Tensor> {
        let [gate, up] = exactly(self.matmuls_normalized(x, normalization, &gated.projections())?)?;
        gated.pointwise.swiglu(&gate, &up)
    }

    /// Element type that rows are rounded to before they are multiplied with `w`, if they are. Who makes rows for such products
    /// and for nothing else can make them in that type at once ([`Epilogue::to`], [`NormSpec::to`](super::NormSpec::to)):
    /// results are the same, and less memory is read and written. The default knows of no rounding.
    ///
    /// An implementation that passes its products on to another should pass this on too.
    fn rounding(&self, _w: &Tensor) -> Option<DType> {
        None
    }

    /// A weight in whatever form this implementation multiplies with fastest, made once, when a model is loaded. What it
    /// gives has the shape of `w` and goes to [`matmul`](Self::matmul) of this implementation, and nowhere else; a weight
    /// of more axes is a matrix whose first axis is N. The default is the weight as it is.
    ///
    /// An implementation that passes its products on to another should pass this on too.
    ///
    /// # Errors
    /// An element type or a device that is not supported.
    fn prepare(&self, w: &Tensor) -> Result<Tensor> {
        Ok(w.clone())
    }

    /// `a · b` of `a` [.., N] and a matrix `b` [N, K] → [M, K], on f32: the way back to an input. `None`, the default, where
    /// this implementation has only [`matmul`](Self::matmul), to which `b` must be transposed.
    ///
    /// # Errors
    /// Shapes that do not fit, element types or a device that are not supported.
    fn product(&self, _a: &Tensor, _b: &Tensor) -> Result<Option<Tensor>> {
        Ok(None)
    }

    /// `aᵀ · b` of `a` [.., N] and `b` [.., K], seen as M rows each, → [N, K], on f32: the way back to a weight. `None`, the
    /// default, where this implementation has only [`matmul`](Self::matmul), to which both must be transposed.
    ///
    /// # Errors
    /// As [`product`](Self::product).
    fn product_transposed(&self, _a: &Tensor, _b: &Tensor) -> Result<Option<Tensor>> {
        Ok(None)
    }
}

impl dyn MatMul + '_ {
    /// [`matmuls`](MatMul::matmuls) of a number that is known beforehand.
    ///
    /// # Errors
    /// As [`matmul`](MatMul::matmul); [`Error::Value`] where the implementation gives more results or fewer.
    pub fn matmuls_of<const N: usize>(&self, x: &Tensor, projections: [Projection<'_>; N]) -> Result<[Tensor; N]> {
        exactly(self.matmuls(x, &projections)?)
    }

    /// [`matmuls_normalized`](MatMul::matmuls_normalized) of a number that is known beforehand.
    ///
    /// # Errors
    /// As there; [`Error::Value`] where the implementation gives more results or fewer.
    pub fn matmuls_normalized_of<const N: usize>(
        &self,
        x: &Tensor,
        normalization: Normalization<'_>,
        projections: [Projection<'_>; N],
    ) -> Result<[Tensor; N]> {
        exactly(self.matmuls_normalized(x, normalization, &projections)?)
    }
}

/// As many results as were asked for.
fn exactly<const N: usize>(results: Vec<Tensor>) -> Result<[Tensor; N]> {
    results.try_into().map_err(|results: Vec<_>| Error::value("matmuls", "results", N.to_string(), results.len()))
}

/// Extents of a product, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatMulDims {
    /// Rows of `x`.
    pub m: usize,
    /// Rows of `w`, columns of the result.
    pub n: usize,
    /// Columns of `x` and of `w`.
    pub k: usize,
}

impl MatMulDims {
    /// Reads and checks the extents; also gives the shape of the result.
    ///
    /// # Errors
    /// [`Error::Shape`] naming the argument that does not fit.
    pub fn check(x: &Tensor, w: &Tensor, epilogue: &Epilogue<'_>) -> Result<(Self, Vec<usize>)> {
        const OP: &str = "matmul";
        let [n, k] = w.dims(OP, "w")?;
        let Some((last, rows)) = x.shape().split_last().filter(|(last, _)| **last == k) else {
            return Err(Error::shape(OP, "x", format!("[.., {k}]"), x.shape()));
        };
        let (m, mut out) = (rows.iter().product(), rows.to_vec());
        out.push(n);
        for (what, vector) in [("bias", epilogue.bias), ("scale", epilogue.scale)] {
            if let Some(vector) = vector {
                vector.expect_shape(OP, what, &[n])?;
            }
        }
        if let Some(residual) = epilogue.residual {
            residual.expect_shape(OP, "residual", &out)?;
        }
        Ok((Self { m, n, k: *last }, out))
    }
}
