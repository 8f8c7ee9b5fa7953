//! A checked, safe face of the `gemm` crate for f32.

/// A matrix inside a slice: element (r, c) at `r·row_stride + c·column_stride`.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    pub(super) data: &'a [f32],
    pub(super) row_stride: usize,
    pub(super) column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Row-major, rows `row_stride` apart.
    pub(super) fn rows(data: &'a [f32], row_stride: usize) -> Self {
        Self { data, row_stride, column_stride: 1 }
    }

    pub(super) fn transposed(self) -> Self {
        Self { row_stride: self.column_stride, column_stride: self.row_stride, ..self }
    }

    fn holds(&self, rows: usize, columns: usize) -> bool {
        rows == 0 || columns == 0 || (rows - 1) * self.row_stride + (columns - 1) * self.column_stride < self.data.len()
    }
}

/// `c = a·b`, or `c += a·b`, on this thread: `a` m×k, `b` k×n, `c` m×n dense and row-major.
///
/// Every element is one sum over k in the same order, whatever m is.
pub(super) fn multiply(a: Matrix<'_>, b: Matrix<'_>, c: &mut [f32], [m, n, k]: [usize; 3], accumulate: bool) {
    assert!(a.holds(m, k) && b.holds(k, n) && c.len() >= m * n, "gemm: {m}×{n}×{k} does not fit its slices");
    if m == 0 || n == 0 {
        return;
    }
    let stride = |s: usize| s as isize;
    // SAFETY: the assertion above keeps every element that is addressed inside its slice; `c` is borrowed mutably, so it
    // overlaps neither input.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            stride(n),
            accumulate,
            a.data.as_ptr(),
            stride(a.column_stride),
            stride(a.row_stride),
            b.data.as_ptr(),
            stride(b.column_stride),
            stride(b.row_stride),
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
