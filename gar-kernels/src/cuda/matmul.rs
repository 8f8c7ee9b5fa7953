//! Matrix product on CUDA: few rows by an own kernel, with what stands before and behind it in a decoder; many by the runtime's
//! matrix library.
use super::{
    Argument, Blas, Cuda, Kernel, Pointer, Product, Source,
    device::is_uploaded,
    launch::{Parameter, WARP, int, is_aligned, typed, typed_all},
};
use crate::{
    DType, Result, Tensor,
    ops::{Activation, Epilogue, Gated, MatMul, MatMulDims, NormKind, Normalization, Projection},
};

const OP: &str = "matmul";
/// Most rows of x that `matmul_few` takes: two tiles of 8. A wrapper's choice, to be checked against the library on a GPU.
const FEW_ROWS: usize = 16;
/// Most weights that `matmul_few` takes at once.
const FEW_WEIGHTS: usize = 3;
/// Rows of weights that one block of `matmul_few` takes.
const FEW_COLUMNS: usize = 16;
/// With more blocks than this for each multiprocessor, few of them are better at once.
const MANY_BLOCKS: usize = 16;
static SOURCE: Source = Source { name: OP, text: include_str!("matmul.cu") };

pub(super) fn kernels() -> Vec<Kernel> {
    let few = FewShape::ALL.iter().flat_map(|shape| (1..=FEW_ROWS.div_ceil(8)).map(|tiles| few(tiles, *shape)));
    few.chain(typed_all(&SOURCE, &["matmul_plain", "epilogue_8", "epilogue_plain"])).collect()
}

/// Warps of a block of `matmul_few`, and the blocks that a multiprocessor has registers for.
#[derive(Clone, Copy)]
struct FewShape {
    warps: usize,
    blocks: usize,
}

impl FewShape {
    /// Where multiprocessors have one block each, where they have several, and where they have many.
    const ALL: [Self; 3] = [Self { warps: 16, blocks: 1 }, Self { warps: 8, blocks: 3 }, Self { warps: 8, blocks: 2 }];

    /// Rows of x have no say in it: a row's sum has one order whatever other rows there are.
    fn of(blocks: usize, multiprocessors: usize) -> Self {
        let [one, several, many] = Self::ALL;
        match blocks {
            _ if blocks <= multiprocessors => one,
            _ if blocks <= MANY_BLOCKS * multiprocessors => several,
            _ => many,
        }
    }
}

/// Up to 8 · `tiles` rows. Two tiles leave no registers for three blocks.
fn few(tiles: usize, FewShape { warps, blocks }: FewShape) -> Kernel {
    let blocks = if tiles > 1 { blocks.min(2) } else { blocks };
    let mut kernel = typed(&SOURCE, "matmul_few", DType::BF16);
    let numbers = [("GAR_TILES", tiles), ("GAR_WARPS", warps), ("GAR_BLOCKS", blocks)];
    kernel.defines.extend(numbers.map(|(name, number)| (name, number.to_string())));
    kernel
}

/// Most bytes of normalised rows that `matmul_few` keeps: two blocks of them fit on a multiprocessor.
const MOST_NORMED: usize = 96 << 10;

/// Bytes that `matmul_few` keeps normalised rows in.
fn normed_bytes(m: usize, k: usize) -> usize {
    m * (k + 8) * DType::BF16.size()
}

/// Addresses of one product.
#[derive(Clone, Copy)]
struct Operands {
    dims: MatMulDims,
    x: Pointer,
    w: Parameter,
    /// Whether no kernel writes the weight.
    is_uploaded: bool,
    bias: Option<Parameter>,
    activation: Argument,
    scale: Option<Parameter>,
    residual: Option<Pointer>,
    y: Pointer,
}

/// An RMS norm of few rows as their product does it.
#[derive(Clone, Copy)]
struct RmsNorm {
    weight: Pointer,
    eps: f32,
}

impl MatMul for Cuda {
    /// Beside f32 activations weights may have any stored type, and the plain kernel computes; bf16 activations take bf16
    /// weights.
    fn matmul(&self, x: &Tensor, w: &Tensor, epilogue: Epilogue<'_>) -> Result<Tensor> {
        let (y, operands) = self.operands(x, Projection { w, epilogue })?;
        self.multiply(&operands, &epilogue, x.dtype())?;
        Ok(y)
    }

    /// Up to three weights in one launch, where there are few rows. In what order a sum is taken depends on how many rows all of
    /// them have, so that its last bit may be another than alone.
    fn matmuls(&self, x: &Tensor, projections: &[Projection<'_>]) -> Result<Vec<Tensor>> {
        self.products(x, None, projections)
    }

    /// Few rows are normalised by their product.
    fn matmuls_normalized(
        &self,
        x: &Tensor,
        normalization: Normalization<'_>,
        projections: &[Projection<'_>],
    ) -> Result<Vec<Tensor>> {
        match self.rms_norm(x, &normalization, projections)? {
            None => self.products(&normalization.apply(x)?, None, projections),
            norm => self.products(x, norm, projections),
        }
    }

    /// Few rows take one launch.
    fn swiglu_normalized(&self, x: &Tensor, normalization: Normalization<'_>, gated: Gated<'_>) -> Result<Tensor> {
        let ([gate, up], pointwise) = (gated.projections(), gated.pointwise);
        let plain =
            |e: &Epilogue<'_>| e.activation == Activation::Identity && e.scale.is_none() && e.residual.is_none();
        let fits =
            gate.w.shape() == up.w.shape() && plain(&gate.epilogue) && plain(&up.epilogue) && self.is_own(pointwise);
        let norm = self.rms_norm(x, &normalization, &[gate, up])?.filter(|_| fits && !gate.w.is_empty());
        if norm.is_none() {
            let [gate, up] = (self as &dyn MatMul).matmuls_normalized_of(x, normalization, [gate, up])?;
            return pointwise.swiglu(&gate, &up);
        }
        let (y, gate) = self.operands(x, gate)?;
        let up = Operands { y: gate.y, ..self.addresses(x, up)?.0 };
        self.by_few_rows(&[gate, up], norm, true)?;
        Ok(y)
    }
}

impl Cuda {
    /// Products of the same rows, which count as normalised by `norm` where there is one; then all of them are few.
    fn products(&self, x: &Tensor, norm: Option<RmsNorm>, projections: &[Projection<'_>]) -> Result<Vec<Tensor>> {
        let mut results = Vec::with_capacity(projections.len());
        for some in projections.chunks(FEW_WEIGHTS) {
            let mut all = Vec::with_capacity(some.len());
            for projection in some {
                let (y, operands) = self.operands(x, *projection)?;
                results.push(y);
                all.push(operands);
            }
            if all.iter().all(|operands| self.has_few_rows(operands, x.dtype())) {
                self.by_few_rows(&all, norm, false)?;
                continue;
            }
            for (operands, projection) in all.iter().zip(some) {
                self.multiply(operands, &projection.epilogue, x.dtype())?;
            }
        }
        Ok(results)
    }

    /// The norm, where it is this table's, and `matmul_few` takes every product of the rows.
    fn rms_norm(
        &self,
        x: &Tensor,
        Normalization { norm, spec }: &Normalization<'_>,
        projections: &[Projection<'_>],
    ) -> Result<Option<RmsNorm>> {
        if !self.is_own(*norm) || spec.kind != NormKind::Rms || spec.bias.is_some() || x.dtype() != DType::BF16 {
            return Ok(None);
        }
        let (rows, width) = spec.check(x)?;
        if normed_bytes(rows, width) > MOST_NORMED {
            return Ok(None);
        }
        let weight = self.parameter(OP, "weight", spec.weight, DType::BF16)?.pointer;
        for projection in projections {
            if !self.has_few_rows(&self.addresses(x, *projection)?.0, x.dtype()) {
                return Ok(None);
            }
        }
        Ok(is_aligned(weight).then_some(RmsNorm { weight, eps: spec.eps }))
    }

    /// One product, by the kernel or the library that is best at it.
    fn multiply(&self, o: &Operands, epilogue: &Epilogue<'_>, dtype: DType) -> Result<()> {
        match self.runtime().blas() {
            _ if o.dims.m * o.dims.n == 0 => Ok(()),
            _ if self.plain || dtype == DType::F32 => self.by_entries(o, dtype),
            _ if self.has_few_rows(o, dtype) => self.by_few_rows(&[*o], None, false),
            Some(blas) if o.dims.k > 0 => self.by_library(blas, o, epilogue),
            _ => self.by_entries(o, dtype),
        }
    }

    /// Whether `matmul_few` takes the product.
    fn has_few_rows(&self, o: &Operands, dtype: DType) -> bool {
        let MatMulDims { m, k, .. } = o.dims;
        let vectors = k.is_multiple_of(8) && is_aligned(o.x) && is_aligned(o.w.pointer);
        !self.plain && dtype == DType::BF16 && (1..=FEW_ROWS).contains(&m) && vectors
    }

    /// Checks a product, and takes memory for its result.
    fn operands(&self, x: &Tensor, projection: Projection<'_>) -> Result<(Tensor, Operands)> {
        let (operands, shape) = self.addresses(x, projection)?;
        let (tensor, y) = self.device.empty(&shape, x.dtype())?;
        Ok((tensor, Operands { y, ..operands }))
    }

    /// Checks a product; also gives the shape of its result, for which there is no memory yet.
    fn addresses(&self, x: &Tensor, Projection { w, epilogue }: Projection<'_>) -> Result<(Operands, Vec<usize>)> {
        let (dims, shape) = MatMulDims::check(x, w, &epilogue)?;
        let dtype = x.dtype();
        let operands = Operands {
            dims,
            x: self.activation(OP, "x", x)?,
            w: self.parameter(OP, "w", w, dtype)?,
            is_uploaded: is_uploaded(w),
            bias: epilogue.bias.map(|b| self.parameter(OP, "bias", b, dtype)).transpose()?,
            activation: Argument::I32((epilogue.activation == Activation::Gelu).into()),
            scale: epilogue.scale.map(|s| self.parameter(OP, "scale", s, dtype)).transpose()?,
            residual: self.optional(OP, "residual", epilogue.residual, dtype)?,
            y: Pointer(0),
        };
        Ok((operands, shape))
    }

    fn by_entries(&self, o: &Operands, dtype: DType) -> Result<()> {
        let mut arguments = vec![o.x.into()];
        arguments.extend([Some(o.w), o.bias].into_iter().flat_map(Parameter::arguments));
        arguments.push(o.activation);
        arguments.extend(Parameter::arguments(o.scale));
        let items = o.dims.m * o.dims.n;
        arguments.extend([o.residual.into(), o.y.into(), int(OP, "w", o.dims.n)?, int(OP, "w", o.dims.k)?]);
        arguments.push(Argument::U64(items as u64));
        self.launch_items(&typed(&SOURCE, "matmul_plain", dtype), items, &arguments)
    }

    /// At least one product, at most [`FEW_WEIGHTS`], all of the same rows, which count as normalised where there is a norm.
    /// `gated`: gate and up of a SwiGLU, whose result goes where gate's would.
    fn by_few_rows(&self, all: &[Operands], norm: Option<RmsNorm>, gated: bool) -> Result<()> {
        let Some(Operands { dims: MatMulDims { m, k, .. }, x, .. }) = all.first() else { return Ok(()) };
        let mut arguments = vec![(*x).into(), int(OP, "x", *m)?, int(OP, "w", *k)?];
        arguments.push(norm.map(|norm| norm.weight).into());
        arguments.extend([Argument::F32(norm.map_or(0.0, |norm| norm.eps)), Argument::I32(gated.into())]);
        arguments.push(Argument::I32(all.iter().all(|o| o.is_uploaded).into()));
        let mut blocks = 0;
        for o in all {
            let [bias, scale] = [o.bias, o.scale].map(|p| p.map(|p| p.pointer).into());
            arguments.extend([o.w.pointer.into(), bias, o.activation, scale, o.residual.into(), o.y.into()]);
            arguments.push(int(OP, "w", o.dims.n)?);
            blocks += if gated { 0 } else { o.dims.n.div_ceil(FEW_COLUMNS) };
        }
        if gated {
            blocks = all[0].dims.n.div_ceil(FEW_COLUMNS / 2);
        }
        let (address, number) = (Argument::Pointer(0), Argument::I32(0));
        for _ in all.len()..FEW_WEIGHTS {
            arguments.extend([address, address, number, address, address, address, number]);
        }
        let shape = FewShape::of(blocks, self.runtime().properties().multiprocessors as usize);
        let shared_bytes = if norm.is_some() { normed_bytes(*m, *k) as u32 } else { 0 };
        self.launch_line(&few(m.div_ceil(8), shape), blocks, (shape.warps * WARP) as u32, shared_bytes, &arguments)
    }

    /// The library adds bias and residual where nothing stands between them; else a kernel goes over the result once more.
    fn by_library(&self, blas: &dyn Blas, o: &Operands, epilogue: &Epilogue<'_>) -> Result<()> {
        let MatMulDims { m, n, k } = o.dims;
        let [bias, scale] = [o.bias, o.scale].map(|p| p.map(|p| p.pointer));
        let whole = epilogue.activation == Activation::Identity && epilogue.scale.is_none();
        let residual = o.residual.filter(|_| whole);
        blas.matmul(&Product { m, n, k, x: o.x, w: o.w.pointer, y: o.y, bias, residual })?;
        if whole {
            return Ok(());
        }
        let mut arguments = vec![o.y.into(), o.activation, scale.into(), o.residual.into(), int(OP, "w", n)?];
        let aligned = [Some(o.y), scale, o.residual].into_iter().flatten().all(is_aligned);
        match u32::try_from(m * n / 8).ok().filter(|_| n.is_multiple_of(8) && aligned) {
            Some(items) => {
                arguments.push(Argument::U32(items));
                self.launch_items(&typed(&SOURCE, "epilogue_8", DType::BF16), items as usize, &arguments)
            }
            None => {
                arguments.push(Argument::U64((m * n) as u64));
                self.launch_items(&typed(&SOURCE, "epilogue_plain", DType::BF16), m * n, &arguments)
            }
        }
    }
}
