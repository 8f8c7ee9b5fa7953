//! SwiGLU after a product, while its sums are in the cache.
use std::ops::Range;

use bytemuck::Pod;
use pulp::{Simd, WithSimd};

use super::{
    math::{self, read},
    prefetch::Lines,
    product::{Finish, Finished, Out},
};

/// `silu(gate)` times what another [`Finish`] gives.
pub(super) struct AfterGate<'a, F, Sum> {
    pub(super) finish: &'a F,
    /// The gate's results in the place of their sums, of the same rows and columns as those that are finished.
    pub(super) gate: &'a [Sum],
}

impl<Sum: Pod + Sync, F: Finish<Sum>> Finish<Sum> for AfterGate<'_, F, Sum> {
    fn finish(&self, Finished { rows, columns, sums, stride, scales, out }: Finished<'_, Sum>) {
        let len = columns.len();
        self.finish.finish(Finished { rows, columns, sums: &mut *sums, stride, scales, out: Out::Sums });
        let (gates, ups) = (bytemuck::cast_slice(self.gate), bytemuck::cast_slice_mut(sums));
        pulp::Arch::new().dispatch(Apply { gates, ups, stride, len, out });
    }

    #[inline(always)]
    fn reads(&self, rows: Range<usize>, columns: Range<usize>) -> Lines {
        self.finish.reads(rows, columns)
    }
}

/// Rows begin every `stride` and have `len` entries.
struct Apply<'a, 'o> {
    gates: &'a [f32],
    ups: &'a mut [f32],
    stride: usize,
    len: usize,
    out: Out<'o>,
}

impl WithSimd for Apply<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { gates, ups, stride, len, mut out } = self;
        for (r, (gates, ups)) in gates.chunks_exact(stride).zip(ups.chunks_exact_mut(stride)).enumerate() {
            let (gates, ups) = (&gates[..len], &mut ups[..len]);
            match &mut out {
                Out::Rows { values, stride } => math::fill(
                    simd,
                    &mut values[r * *stride..][..len],
                    #[inline(always)]
                    |at| math::swiglu(simd, read(simd, gates, at), read(simd, ups, at)),
                ),
                Out::Sums => math::replace(
                    simd,
                    ups,
                    #[inline(always)]
                    |at, up| math::swiglu(simd, read(simd, gates, at), up),
                ),
            }
        }
    }
}
