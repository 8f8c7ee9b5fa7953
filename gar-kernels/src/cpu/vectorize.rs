//! Plain loops for whatever instruction set this machine has.

/// Runs a closure compiled for the best instruction set that this machine has.
///
/// The closure must be `#[inline(always)]`, with all that it calls, or its loops are compiled for the baseline and `mul_add`
/// becomes a call: so write `for`, not `for_each` with a long closure, which is not inlined.
///
/// ```
/// let (mut sums, terms) = (vec![1.0_f32; 1000], vec![2.0_f32; 1000]);
/// gar_kernels::cpu::vectorize(
///     #[inline(always)]
///     || {
///         for (sum, term) in sums.iter_mut().zip(&terms) {
///             *sum = term.mul_add(0.5, *sum);
///         }
///     },
/// );
/// assert_eq!(sums, [2.0; 1000]);
/// ```
pub fn vectorize<R>(closure: impl FnMut() -> R) -> R {
    // By reference: called by value, the closure would go through a shim that is not inlined.
    struct Vectorized<F>(F);
    impl<R, F: FnMut() -> R> pulp::WithSimd for Vectorized<F> {
        type Output = R;

        #[inline(always)]
        fn with_simd<S: pulp::Simd>(mut self, _: S) -> R {
            (self.0)()
        }
    }
    pulp::Arch::new().dispatch(Vectorized(closure))
}
