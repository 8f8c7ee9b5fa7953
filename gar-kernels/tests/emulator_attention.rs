//! Attention on the emulator: the laws, the tails of real models, the oracle, and planted errors that must be found.
#![cfg(all(feature = "emulator", feature = "laws"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod emulated;

use emulated::{BOTH, catches, drawn, emulator, upload};
use gar_kernels::{
    Device,
    cuda::{Copies, Cuda, Edit, FlashAttention, FlashTile},
    laws::{self, LawConfig, reference},
    ops::{Attention, AttentionSpec, Mask},
};
use ndarray::Array4;

/// Few draws, each around the tiles: emulated threads cost a thousand times what real ones do.
fn config() -> LawConfig {
    LawConfig { cases: 6, tiles: vec![16, 64, 128], head_dims: vec![8, 64, 96, 128], ..LawConfig::bf16() }
}

#[test]
fn the_fast_kernel_satisfies_the_laws() {
    for copies in BOTH {
        let Some(runtime) = emulator(copies, &[]) else { return };
        let cuda = Cuda::new(runtime);
        laws::attention(&cuda, &**cuda.device(), &config()).unwrap();
    }
}

#[test]
fn every_tile_satisfies_the_laws() {
    let Some(runtime) = emulator(Copies::Lazy, &[]) else { return };
    let cuda = Cuda::new(runtime);
    let config = LawConfig { cases: 2, head_dims: vec![40], ..config() };
    for (sixteens, keys) in [(1, 16), (2, 32), (2, 128)] {
        let fast = FlashAttention { cuda: cuda.clone(), tile: FlashTile { sixteens, keys } };
        laws::attention(&fast, &**cuda.device(), &config).unwrap_or_else(|v| panic!("{:?}: {v}", fast.tile));
    }
}

#[test]
fn the_plain_kernel_satisfies_the_laws_in_both_types() {
    let Some(runtime) = emulator(Copies::Eager, &[]) else { return };
    let cuda = Cuda::new(runtime).with_plain_kernels();
    laws::attention(&cuda, &**cuda.device(), &config()).unwrap();
    let exact = LawConfig { cases: 4, ..LawConfig::f32() };
    laws::attention(&cuda, &**cuda.device(), &exact).unwrap();
}

#[test]
fn heads_that_the_fast_kernel_does_not_take_satisfy_the_laws() {
    let Some(runtime) = emulator(Copies::Eager, &[]) else { return };
    let cuda = Cuda::new(runtime);
    let config = LawConfig { cases: 4, head_dims: vec![1, 12, 50, 127], ..config() };
    laws::attention(&cuda, &**cuda.device(), &config).unwrap();
}

/// The largest deviation of `op` from f64: one sequence of `queries` on `keys`, one head of `dim`.
fn deviation(op: &dyn Attention, device: &dyn Device, [queries, keys, dim]: [usize; 3], mask: Mask) -> f64 {
    let q = drawn(1, (1, queries, 1, dim));
    let (k, v) = (drawn(2, (1, keys, 1, dim)), drawn(3, (1, keys, 1, dim)));
    let spec = AttentionSpec { scale: (dim as f32).sqrt().recip(), mask, to: None };
    let found = op.attention(&upload(device, &q), &upload(device, &k), &upload(device, &v), &spec).unwrap();
    emulated::deviation(device, &reference::attention(&q, &k, &v, f64::from(spec.scale), mask), &found)
}

/// 3e-3: outputs up to 1 rounded to 8 bits are off by 2e-3 at most, weights rounded to 8 bits add a share of their own.
const BOUND: f64 = 3e-3;

#[test]
fn tails_of_the_tower_and_of_the_decoder() {
    let Some(runtime) = emulator(Copies::Lazy, &[]) else { return };
    let cuda = Cuda::new(runtime);
    let device = &**cuda.device();
    for (queries, keys, dim, mask) in [
        (129, 1023, 64, Mask::Full),
        (1, 1024, 64, Mask::Full),
        (127, 1025, 64, Mask::Full),
        (128, 1025, 96, Mask::Full),
        (257, 257, 64, Mask::Causal { offset: 0 }),
        (129, 1025, 128, Mask::Causal { offset: 896 }),
        (1, 1, 64, Mask::Causal { offset: 0 }),
    ] {
        let most = deviation(&cuda, device, [queries, keys, dim], mask);
        println!("{queries} queries, {keys} keys, head {dim}, {mask:?}: {most:.2e}");
        assert!(most <= BOUND, "{queries} × {keys} × {dim} {mask:?}: {most}");
    }
}

#[test]
fn what_the_fast_kernel_does_not_support_is_refused() {
    let Some(runtime) = emulator(Copies::Eager, &[]) else { return };
    let cuda = Cuda::new(runtime);
    let zeros = |dim: usize| upload(&**cuda.device(), &Array4::zeros((1, 2, 1, dim)));
    let spec = |scale| AttentionSpec { scale, mask: Mask::Full, to: None };
    let fast = FlashAttention { cuda: cuda.clone(), tile: FlashTile { sixteens: 1, keys: 16 } };
    for dim in [4, 12, 136] {
        let x = zeros(dim);
        let error = fast.attention(&x, &x, &x, &spec(1.0)).unwrap_err().to_string();
        assert!(error.contains("a multiple of 8 up to 128"), "{error}");
    }
    for dim in [129, 136] {
        let x = zeros(dim);
        let error = cuda.attention(&x, &x, &x, &spec(1.0)).unwrap_err().to_string();
        assert!(error.contains("d from 1 to 128"), "{error}");
    }
    let x = zeros(8);
    for scale in [0.0, -1.0, f32::MAX] {
        let error = cuda.attention(&x, &x, &x, &spec(scale)).unwrap_err().to_string();
        assert!(error.contains("scale"), "{error}");
    }
}

#[test]
fn planted_errors_are_caught() {
    let plants = [
        ("a missing wait for K", "cp_async_wait<0>();\n        __syncthreads(); // K has", "__syncthreads(); // K has"),
        ("a missing wait for V", "cp_async_wait<0>();\n        __syncthreads(); // V has", "__syncthreads(); // V has"),
        ("a missing barrier after K", "__syncthreads(); // K has landed", "// K has landed"),
        ("a missing barrier after V", "__syncthreads(); // V has landed", "// V has landed"),
        ("a tail of keys that is not hidden", "if (first + KEYS > seen)", "if (false)"),
        ("a mask that is one off", ">= count[m][half]) score", "> count[m][half]) score"),
        (
            "fragments swapped",
            "mma_bf16(score[m][2 * n], a[m], {b[0], b[1]})",
            "mma_bf16(score[m][2 * n], a[m], {b[1], b[0]})",
        ),
        ("values not brought to the new top", "rows.values[m][n][half * 2] *= shrink,", ""),
        ("sums not brought to the new top", "rows.sum[m][half] * shrink + sum", "rows.sum[m][half] + sum"),
        ("another pitch on one side", "to += row * PITCH + chunk", "to += row * DIM + chunk"),
        (
            "values of the first tile for every tile",
            "cache.values(first), cache.stride",
            "cache.values(0), cache.stride",
        ),
        (
            "sums of one lane in four",
            "float inverse = 1.0f / whole_sum(rows.sum[m][half]);",
            "float inverse = 1.0f / rows.sum[m][half];",
        ),
    ];
    for (what, from, to) in plants {
        judge_plant(what, Edit { file: "flash.cuh", from, to });
    }
    let own = [
        ("a causal offset that is one off", "? seen + first :", "? seen + first - 1 :"),
        ("heads of the wrong group", "head / group * GAR_HEAD_DIM;", "head % (heads / group) * GAR_HEAD_DIM;"),
    ];
    for (what, from, to) in own {
        judge_plant(what, Edit { file: "attention", from, to });
    }
}

fn judge_plant(what: &str, edit: Edit) {
    let config = LawConfig { cases: 4, tiles: vec![16, 64, 128], head_dims: vec![64], ..LawConfig::bf16() };
    catches(what, &[edit], |runtime| {
        let cuda = Cuda::new(runtime);
        laws::attention(&cuda, &**cuda.device(), &config).map_err(|v| v.to_string())
    });
}
