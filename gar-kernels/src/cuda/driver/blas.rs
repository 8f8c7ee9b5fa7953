//! Matrix products by cuBLASLt: bf16 operands, f32 sums, bias and residual in the same kernel.
//!
//! The library counts columns first. A row-major [m, k] is a column-major [k, m], so y = x·wᵀ is asked for as yᵀ = w·xᵀ: A is w,
//! transposed, B is x, and bias runs along D's rows, which are the columns of y.
//!
//! Its own GELU is the approximation with tanh. GAR's is the one with the error function, so that is left to a kernel.
use std::{
    collections::HashMap,
    ffi::c_void,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use cudarc::{
    cublaslt::{
        result::{self, CublasError},
        sys,
    },
    driver::CudaStream,
};

use super::queue::Queue;
use crate::{
    Error, Result,
    cuda::{Buffer, Pointer, Product},
};

/// Scratch memory: what NVIDIA recommends for Hopper, more than older chips need.
const WORKSPACE: usize = 32 << 20;
/// `CUBLAS_OP_T`, of an enumeration that belongs to another library's header.
const TRANSPOSED: i32 = 1;

/// cuBLASLt on one device, with what it chose for each kind of product.
pub(super) struct MatrixLibrary {
    queue: Arc<Queue>,
    handle: sys::cublasLtHandle_t,
    workspace: Arc<Buffer>,
    plans: Mutex<HashMap<Kind, Plan>>,
}

// SAFETY: the library's handle may be used from any thread; plans are used under the lock.
unsafe impl Send for MatrixLibrary {}
// SAFETY: as above.
unsafe impl Sync for MatrixLibrary {}

/// What the choice of an algorithm depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Kind {
    m: usize,
    n: usize,
    k: usize,
    bias: bool,
    residual: bool,
    /// Of w, x, the residual (or y) and y, in bytes, at most 256.
    alignments: [u32; 4],
}

/// Descriptions of one kind of product, and the algorithm chosen.
struct Plan {
    product: Description,
    w: Layout,
    x: Layout,
    y: Layout,
    algorithm: sys::cublasLtMatmulAlgo_t,
}

struct Description(sys::cublasLtMatmulDesc_t);
struct Layout(sys::cublasLtMatrixLayout_t);
struct Preference(sys::cublasLtMatmulPreference_t);

impl Drop for Description {
    fn drop(&mut self) {
        // SAFETY: made where it was wrapped, destroyed here alone.
        let _ = unsafe { result::destroy_matmul_desc(self.0) };
    }
}

impl Drop for Layout {
    fn drop(&mut self) {
        // SAFETY: as above.
        let _ = unsafe { result::destroy_matrix_layout(self.0) };
    }
}

impl Drop for Preference {
    fn drop(&mut self) {
        // SAFETY: as above.
        let _ = unsafe { result::destroy_matmul_pref(self.0) };
    }
}

impl Kind {
    fn of(product: &Product) -> Self {
        let Product { m, n, k, x, w, y, bias, residual } = *product;
        let alignment = |p: Pointer| 1 << p.0.trailing_zeros().min(8);
        let alignments = [w, x, residual.unwrap_or(y), y].map(alignment);
        Self { m, n, k, bias: bias.is_some(), residual: residual.is_some(), alignments }
    }
}

impl Description {
    fn set<T>(&self, attribute: sys::cublasLtMatmulDescAttributes_t, value: &T) -> Result<(), CublasError> {
        // SAFETY: the description lives; the library copies as many bytes as it is told.
        unsafe { result::set_matmul_desc_attribute(self.0, attribute, (&raw const *value).cast(), size_of::<T>()) }
    }
}

impl Preference {
    fn set<T>(&self, attribute: sys::cublasLtMatmulPreferenceAttributes_t, value: &T) -> Result<(), CublasError> {
        // SAFETY: the preference lives; the library copies as many bytes as it is told.
        unsafe { result::set_matmul_pref_attribute(self.0, attribute, (&raw const *value).cast(), size_of::<T>()) }
    }
}

impl Plan {
    fn new(handle: sys::cublasLtHandle_t, kind: Kind, bias: Option<Pointer>) -> Result<Self, CublasError> {
        use sys::{
            cublasLtMatmulDescAttributes_t as D, cublasLtMatmulPreferenceAttributes_t as P, cudaDataType as Type,
        };
        let Kind { m, n, k, alignments, .. } = kind;
        let bf16 = |rows: usize, columns: usize| {
            result::create_matrix_layout(Type::CUDA_R_16BF, rows as u64, columns as u64, rows as i64).map(Layout)
        };
        let product = result::create_matmul_desc(sys::cublasComputeType_t::CUBLAS_COMPUTE_32F, Type::CUDA_R_32F)?;
        let plan = Self {
            product: Description(product),
            w: bf16(k, n)?,
            x: bf16(k, m)?,
            y: bf16(n, m)?,
            // SAFETY: plain numbers, filled in below.
            algorithm: unsafe { std::mem::zeroed() },
        };
        plan.product.set(D::CUBLASLT_MATMUL_DESC_TRANSA, &TRANSPOSED)?;
        if let Some(bias) = bias {
            plan.product.set(D::CUBLASLT_MATMUL_DESC_EPILOGUE, &sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS)?;
            plan.product.set(D::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias.0)?;
        }
        let preference = Preference(result::create_matmul_pref()?);
        preference.set(P::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &WORKSPACE)?;
        let attributes = [
            P::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
            P::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
            P::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
            P::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
        ];
        for (attribute, alignment) in attributes.into_iter().zip(alignments) {
            preference.set(attribute, &alignment)?;
        }
        // SAFETY: all of them live.
        let chosen = unsafe {
            result::get_matmul_algo_heuristic(
                handle,
                plan.product.0,
                plan.w.0,
                plan.x.0,
                plan.y.0,
                plan.y.0,
                preference.0,
            )
        }?;
        Ok(Self { algorithm: chosen.algo, ..plan })
    }
}

impl MatrixLibrary {
    pub(super) fn new(queue: Arc<Queue>) -> Result<Self> {
        queue.call("start cuBLASLt", || Ok(()))?;
        let handle = result::create_handle().map_err(|e| refused(&queue, "start cuBLASLt", e))?;
        let workspace = queue.allocate(WORKSPACE)?;
        Ok(Self { queue, handle, workspace, plans: Mutex::default() })
    }

    pub(super) fn matmul(&self, product: &Product, stream: &CudaStream) -> Result<()> {
        let Product { m, n, k, x, w, y, bias, residual } = *product;
        if m == 0 || n == 0 {
            return Ok(());
        }
        self.queue.call("bind the device", || Ok(()))?;
        let refused = |error| {
            let biased = if bias.is_some() { " + bias" } else { "" };
            let added = if residual.is_some() { " + residual" } else { "" };
            refused(&self.queue, &format!("multiply [{m}, {k}] · [{n}, {k}]ᵀ{biased}{added} with cuBLASLt"), error)
        };
        let kind = Kind::of(product);
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        let plan = match plans.entry(kind) {
            std::collections::hash_map::Entry::Occupied(plan) => plan.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(Plan::new(self.handle, kind, bias).map_err(refused)?)
            }
        };
        if let Some(bias) = bias {
            let attribute = sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_BIAS_POINTER;
            plan.product.set(attribute, &bias.0).map_err(refused)?;
        }
        let address = |p: Pointer| p.0 as usize as *const c_void;
        let (one, beta) = (1.0_f32, if residual.is_some() { 1.0_f32 } else { 0.0 });
        // SAFETY: the plan's descriptions live and the lock keeps them as they are; callers pass live buffers of the
        // product's extents; the workspace is used by one product after another, in the order of the stream.
        unsafe {
            result::matmul(
                self.handle,
                plan.product.0,
                (&raw const one).cast(),
                (&raw const beta).cast(),
                address(w),
                plan.w.0,
                address(x),
                plan.x.0,
                address(residual.unwrap_or(y)),
                plan.y.0,
                address(y).cast_mut(),
                plan.y.0,
                &raw const plan.algorithm,
                address(self.workspace.pointer()).cast_mut(),
                WORKSPACE,
                stream.cu_stream().cast(),
            )
        }
        .map_err(refused)
    }
}

fn refused(queue: &Queue, call: &str, error: CublasError) -> Error {
    Error::Driver { device: queue.name().into(), call: call.into(), reason: format!("{:?}", error.0) }
}

impl Drop for MatrixLibrary {
    fn drop(&mut self) {
        // The workspace may still be in use.
        let _ = self.queue.synchronize();
        // SAFETY: made by `new`, destroyed here alone.
        let _ = unsafe { result::destroy_handle(self.handle) };
    }
}

impl fmt::Debug for MatrixLibrary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cuBLASLt on {}", self.queue.name())
    }
}
