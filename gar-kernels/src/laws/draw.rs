//! What laws draw: extents around tiles, and arrays from a seed.
//!
//! Arrays come from a seed and not from the strategy itself, so that shrinking works on extents and parameters.
use ndarray::{Array, IntoDimension};
use proptest::{prelude::*, sample::select};

use super::judge::{LawConfig, round};
use crate::DType;

impl LawConfig {
    /// Extents up to `most`, 0 included: 0, 1 and every tile ± 1.
    pub(super) fn extent(&self, most: usize) -> impl Strategy<Value = usize> + use<> {
        select(self.extents(0, most))
    }

    /// As [`extent`](Self::extent) without 0.
    pub(super) fn some_extent(&self, most: usize) -> impl Strategy<Value = usize> + use<> {
        select(self.extents(1, most))
    }

    fn extents(&self, least: usize, most: usize) -> Vec<usize> {
        let around = self.tiles.iter().flat_map(|&t| [t.saturating_sub(1), t, t.saturating_add(1)]);
        let mut extents: Vec<usize> = [0, 1].into_iter().chain(around).filter(|e| (least..=most).contains(e)).collect();
        extents.sort_unstable();
        extents.dedup();
        extents
    }

    /// A type that weights are stored in.
    pub(super) fn weight_type(&self) -> impl Strategy<Value = DType> + use<> {
        select(if self.weights.is_empty() { vec![self.activations] } else { self.weights.clone() })
    }

    /// A head size.
    pub(super) fn head_dim(&self) -> impl Strategy<Value = usize> + use<> {
        select(if self.head_dims.is_empty() { vec![64] } else { self.head_dims.clone() })
    }

    /// A stream of values.
    pub(super) fn values(&self, seed: u64) -> Values {
        Values { state: seed, dtype: self.activations }
    }
}

/// Seed of a case's values.
pub(super) fn seed() -> impl Strategy<Value = u64> {
    any::<u64>().no_shrink()
}

/// A stream of values (SplitMix64), rounded to the type they will be uploaded in.
pub(super) struct Values {
    state: u64,
    dtype: DType,
}

impl Values {
    /// Uniform in [0, 1).
    pub(super) fn unit(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Less than `n`, which is not 0.
    pub(super) fn below(&mut self, n: usize) -> usize {
        (self.unit() * n as f64) as usize
    }

    /// Activations, uniform in [−1, 1).
    pub(super) fn array<S: IntoDimension>(&mut self, shape: S) -> Array<f64, S::Dim> {
        self.array_as(shape, self.dtype)
    }

    /// Weights, uniform in [−1, 1).
    pub(super) fn array_as<S: IntoDimension>(&mut self, shape: S, dtype: DType) -> Array<f64, S::Dim> {
        Array::from_shape_simple_fn(shape.into_dimension(), || round(2.0 * self.unit() - 1.0, dtype))
    }

    /// An order of `0..n`, every one equally likely.
    pub(super) fn order(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, self.below(i + 1));
        }
        order
    }
}
