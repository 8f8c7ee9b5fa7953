//! Floating-point weights on every instruction set that has vectors of f32: what [`Vectors`] must do, and the two products
//! that are made of it.
use half::bf16;

use super::{Dot, FloatDot, RUN, Tile, VECTORS, VectorDot, operand};
use crate::cpu::strip::Strip;

/// Vectors of f32. A value of the type is the proof that this CPU has the instructions.
pub(super) trait Vectors: Copy + Send + Sync + 'static {
    /// Numbers in a vector.
    const LANES: usize;
    /// Most rows of a tile of two vectors whose sums stay in registers.
    const ROWS: usize;
    /// So many numbers.
    type Vector: Copy;
    /// One number, to be multiplied with a vector.
    type Splat: Copy;

    /// A vector of zeros.
    fn zero(self) -> Self::Vector;
    /// Reads a vector.
    ///
    /// # Safety
    /// `at` is valid for reading [`LANES`](Self::LANES) numbers; alignment is not asked for, here and below.
    unsafe fn load(self, at: *const f32) -> Self::Vector;
    /// Writes a vector.
    ///
    /// # Safety
    /// `at` is valid for writing [`LANES`](Self::LANES) numbers.
    unsafe fn store(self, vector: Self::Vector, at: *mut f32);
    /// Reads one number.
    ///
    /// # Safety
    /// `at` is valid for reading it.
    unsafe fn splat(self, at: *const f32) -> Self::Splat;
    /// The first entries of pairs of bf16, widened.
    ///
    /// # Safety
    /// `at` is valid for reading [`LANES`](Self::LANES) pairs.
    unsafe fn first_of_pairs(self, at: *const bf16) -> Self::Vector;
    /// The second entries of pairs of bf16, widened.
    ///
    /// # Safety
    /// As [`first_of_pairs`](Self::first_of_pairs).
    unsafe fn second_of_pairs(self, at: *const bf16) -> Self::Vector;
    /// `sums + x · w` in every lane.
    fn multiply_add(self, sums: Self::Vector, x: Self::Splat, w: Self::Vector) -> Self::Vector;

    /// Runs [`Tile::compute`] compiled for these instructions.
    fn tile<D: VectorDot, const R: usize, const P: usize>(self, dot: D, tile: Tile<'_, D>);
}

/// f32 weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Single<V>(pub(super) V);

/// bf16 weights, widened on the way. `rounded` tells whether x is rounded to bf16 or stays f32.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Half<V> {
    pub(super) vectors: V,
    pub(super) rounded: bool,
}

impl<V: Vectors> Dot for Single<V> {
    const ROWS: usize = V::ROWS;
    const PANEL: usize = VECTORS * V::LANES;
    const GROUP: usize = 1;
    const RUN: usize = 1;
    type Weight = f32;
    type X = f32;
    type Sum = f32;

    fn pack(self, x: &[f32], k: usize, tile: &mut [f32], height: usize, scales: &mut [f32]) {
        operand::singles(x, k, tile, height, scales);
    }

    fn strip(self, strip: Strip<'_, Self>) {
        strip.in_tiles(self);
    }
}

// SAFETY, for every `unsafe` block below: the callers vouch for the pointers as `VectorDot` demands, which is what `Vectors` does.

impl<V: Vectors> VectorDot for Single<V> {
    const LANES: usize = V::LANES;
    const STEPS: usize = 1;
    type Sums = V::Vector;
    type Xs = V::Splat;
    type Weights = V::Vector;

    #[inline(always)]
    fn zero(self) -> V::Vector {
        self.0.zero()
    }

    #[inline(always)]
    unsafe fn load(self, at: *const f32) -> V::Vector {
        // SAFETY: see above.
        unsafe { self.0.load(at) }
    }

    #[inline(always)]
    unsafe fn store(self, sums: V::Vector, at: *mut f32) {
        // SAFETY: see above.
        unsafe { self.0.store(sums, at) }
    }

    #[inline(always)]
    unsafe fn x(self, at: *const f32, _: usize) -> V::Splat {
        // SAFETY: see above.
        unsafe { self.0.splat(at) }
    }

    #[inline(always)]
    unsafe fn weights(self, at: *const f32, _: usize) -> V::Vector {
        // SAFETY: see above.
        unsafe { self.0.load(at) }
    }

    #[inline(always)]
    fn add(self, sums: V::Vector, x: V::Splat, w: V::Vector) -> V::Vector {
        self.0.multiply_add(sums, x, w)
    }

    fn tile<const R: usize, const P: usize>(self, tile: Tile<'_, Self>) {
        self.0.tile::<Self, R, P>(self, tile);
    }
}

impl<V: Vectors> FloatDot for Single<V> {
    fn rounds(self) -> bool {
        false
    }
}

impl<V: Vectors> Dot for Half<V> {
    const ROWS: usize = V::ROWS;
    const PANEL: usize = VECTORS * V::LANES;
    const GROUP: usize = 2;
    const RUN: usize = RUN;
    type Weight = bf16;
    type X = [f32; 2];
    type Sum = f32;

    fn pack(self, x: &[f32], k: usize, tile: &mut [[f32; 2]], height: usize, scales: &mut [f32]) {
        operand::each_row(x, k, tile, height, scales, |row, to, stride| {
            operand::pairs(row, to, stride, self.rounded);
            1.0
        });
    }

    fn strip(self, strip: Strip<'_, Self>) {
        strip.in_tiles(self);
    }
}

/// The second entry of a pair comes first, as in `vdpbf16ps`.
impl<V: Vectors> VectorDot for Half<V> {
    const LANES: usize = V::LANES;
    const STEPS: usize = 2;
    type Sums = V::Vector;
    type Xs = V::Splat;
    type Weights = V::Vector;

    #[inline(always)]
    fn zero(self) -> V::Vector {
        self.vectors.zero()
    }

    #[inline(always)]
    unsafe fn load(self, at: *const f32) -> V::Vector {
        // SAFETY: see above.
        unsafe { self.vectors.load(at) }
    }

    #[inline(always)]
    unsafe fn store(self, sums: V::Vector, at: *mut f32) {
        // SAFETY: see above.
        unsafe { self.vectors.store(sums, at) }
    }

    #[inline(always)]
    unsafe fn x(self, at: *const [f32; 2], step: usize) -> V::Splat {
        // SAFETY: see above; a group has two numbers.
        unsafe { self.vectors.splat(at.cast::<f32>().add(1 - step)) }
    }

    #[inline(always)]
    unsafe fn weights(self, at: *const bf16, step: usize) -> V::Vector {
        // SAFETY: see above.
        unsafe {
            match step {
                0 => self.vectors.second_of_pairs(at),
                _ => self.vectors.first_of_pairs(at),
            }
        }
    }

    #[inline(always)]
    fn add(self, sums: V::Vector, x: V::Splat, w: V::Vector) -> V::Vector {
        self.vectors.multiply_add(sums, x, w)
    }

    fn tile<const R: usize, const P: usize>(self, tile: Tile<'_, Self>) {
        self.vectors.tile::<Self, R, P>(self, tile);
    }
}

impl<V: Vectors> FloatDot for Half<V> {
    fn rounds(self) -> bool {
        self.rounded
    }
}
