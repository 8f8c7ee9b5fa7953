//! Matrix product on CUDA: few rows by an own kernel, many by the runtime's matrix library.
use super::{
    Argument, Blas, Cuda, Kernel, Pointer, Product, Source,
    launch::{Parameter, WARP, int, is_aligned, typed, typed_all},
};
use crate::{
    DType, Result, Tensor,
    ops::{Activation, Epilogue, MatMul, MatMulDims, Projection},
};

const OP: &str = "matmul";
/// Most rows of x that `matmul_few` takes: two tiles of 8. A wrapper's choice, to be checked against the library on a GPU.
const FEW_ROWS: usize = 16;
/// Most weights that `matmul_few` takes at once.
const FEW_WEIGHTS: usize = 3;
/// Rows of w that one block of `matmul_few` takes.
const FEW_COLUMNS: usize = 16;
/// Warps of its blocks where there are many, and where multiprocessors have one each.
const FEW_WARPS: [usize; 2] = [8, 16];
static SOURCE: Source = Source { name: OP, text: include_str!("matmul.cu") };

pub(super) fn kernels() -> Vec<Kernel> {
    let few = (1..=FEW_ROWS.div_ceil(8)).flat_map(|tiles| FEW_WARPS.map(|warps| few(tiles, warps)));
    few.chain(typed_all(&SOURCE, &["matmul_plain", "epilogue_8", "epilogue_plain"])).collect()
}

/// Up to 8 · `tiles` rows.
fn few(tiles: usize, warps: usize) -> Kernel {
    let mut kernel = typed(&SOURCE, "matmul_few", DType::BF16);
    kernel.defines.extend([("GAR_TILES", tiles.to_string()), ("GAR_WARPS", warps.to_string())]);
    kernel
}

/// Addresses of one product.
#[derive(Clone, Copy)]
struct Operands {
    dims: MatMulDims,
    x: Pointer,
    w: Parameter,
    bias: Option<Parameter>,
    activation: Argument,
    scale: Option<Parameter>,
    residual: Option<Pointer>,
    y: Pointer,
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
        let mut results = Vec::with_capacity(projections.len());
        for some in projections.chunks(FEW_WEIGHTS) {
            let mut all = Vec::with_capacity(some.len());
            for projection in some {
                let (y, operands) = self.operands(x, *projection)?;
                results.push(y);
                all.push(operands);
            }
            if all.iter().all(|operands| self.has_few_rows(operands, x.dtype())) {
                self.by_few_rows(&all)?;
                continue;
            }
            for (operands, projection) in all.iter().zip(some) {
                self.multiply(operands, &projection.epilogue, x.dtype())?;
            }
        }
        Ok(results)
    }
}

impl Cuda {
    /// One product, by the kernel or the library that is best at it.
    fn multiply(&self, o: &Operands, epilogue: &Epilogue<'_>, dtype: DType) -> Result<()> {
        match self.runtime().blas() {
            _ if o.dims.m * o.dims.n == 0 => Ok(()),
            _ if self.plain || dtype == DType::F32 => self.by_entries(o, dtype),
            _ if self.has_few_rows(o, dtype) => self.by_few_rows(&[*o]),
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
    fn operands(&self, x: &Tensor, Projection { w, epilogue }: Projection<'_>) -> Result<(Tensor, Operands)> {
        let (dims, shape) = MatMulDims::check(x, w, &epilogue)?;
        let dtype = x.dtype();
        let from = self.activation(OP, "x", x)?;
        let weight = self.parameter(OP, "w", w, dtype)?;
        let bias = epilogue.bias.map(|b| self.parameter(OP, "bias", b, dtype)).transpose()?;
        let scale = epilogue.scale.map(|s| self.parameter(OP, "scale", s, dtype)).transpose()?;
        let residual = self.optional(OP, "residual", epilogue.residual, dtype)?;
        let activation = Argument::I32((epilogue.activation == Activation::Gelu).into());
        let (y, to) = self.device.empty(&shape, dtype)?;
        Ok((y, Operands { dims, x: from, w: weight, bias, activation, scale, residual, y: to }))
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

    /// At least one product, at most [`FEW_WEIGHTS`], all of the same rows.
    fn by_few_rows(&self, all: &[Operands]) -> Result<()> {
        let Some(Operands { dims: MatMulDims { m, k, .. }, x, .. }) = all.first() else { return Ok(()) };
        let mut arguments = vec![(*x).into(), int(OP, "x", *m)?, int(OP, "w", *k)?];
        let mut blocks = 0;
        for o in all {
            let [bias, scale] = [o.bias, o.scale].map(|p| p.map(|p| p.pointer).into());
            arguments.extend([o.w.pointer.into(), bias, o.activation, scale, o.residual.into(), o.y.into()]);
            arguments.push(int(OP, "w", o.dims.n)?);
            blocks += o.dims.n.div_ceil(FEW_COLUMNS);
        }
        let (address, number) = (Argument::Pointer(0), Argument::I32(0));
        for _ in all.len()..FEW_WEIGHTS {
            arguments.extend([address, address, number, address, address, address, number]);
        }
        // Rows of x have no say in it: a row's sum has one order whatever other rows there are.
        let warps = FEW_WARPS[usize::from(blocks <= self.runtime().properties().multiprocessors as usize)];
        self.launch_blocks(&few(m.div_ceil(8), warps), blocks, (warps * WARP) as u32, &arguments)
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
