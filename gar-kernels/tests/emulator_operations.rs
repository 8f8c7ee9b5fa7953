//! Every CUDA kernel but attention, run on the host: the laws, the plain kernels as oracles, planted errors, refusals.
#![cfg(all(feature = "emulator", feature = "laws"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod emulated;

use std::sync::Arc;

#[path = "emulated/library.rs"]
mod library;

use emulated::{catches, emulator};
use gar_kernels::{
    DType, Device, Error, Kernels, Result, Tensor, bf16,
    cuda::{Argument, Copies, Cuda, Edit},
    laws::{self, LawConfig, Violation},
    ops::*,
};
use library::WithLibrary;

/// A suite on CUDA.
type Suite = fn(&Cuda, &LawConfig) -> Result<(), Violation>;

/// Cases enough for every tile and tail, few enough for seconds.
fn config(activations: DType) -> LawConfig {
    let config = if activations == DType::F32 { LawConfig::f32() } else { LawConfig::bf16() };
    LawConfig { cases: 16, ..config }
}

/// The suite holds for the fast and the plain kernels, in f32 and in bf16.
#[track_caller]
fn obeys(suite: Suite) {
    for activations in [DType::F32, DType::BF16] {
        let Some(runtime) = emulator(Copies::Eager, &[]) else { return };
        let fast = Cuda::new(runtime).with_activations(activations);
        for cuda in [fast.clone(), fast.with_plain_kernels()] {
            if let Err(violation) = suite(&cuda, &config(activations)) {
                panic!("{cuda:?}: {violation}");
            }
        }
    }
}

macro_rules! suites {
    ($($op:ident: $tiles:expr),*) => {$(
        fn $op(cuda: &Cuda, config: &LawConfig) -> Result<(), Violation> {
            laws::$op(cuda, &**cuda.device(), &LawConfig { tiles: $tiles.to_vec(), ..config.clone() })
        }
    )*
        mod laws_hold {
            $(#[test] fn $op() { super::obeys(super::$op) })*
        }
    };
}
const TILES: [usize; 4] = [8, 16, 64, 128];
/// With a row that takes more than one round of 16-byte accesses of a block.
const WIDE: [usize; 5] = [8, 16, 64, 128, 2304];
suites!(
    matmul: TILES,
    norm: WIDE,
    rotary: TILES,
    roi_align: TILES,
    pool: TILES,
    pointwise: WIDE,
    rows: TILES,
    patch_embed: TILES,
    argmax: WIDE,
    // Its looks at a row are many: wide ones have a test of their own.
    sample: TILES
);

fn normalized(cuda: &Cuda, config: &LawConfig) -> Result<(), Violation> {
    laws::normalized(cuda, cuda, cuda, &**cuda.device(), config)
}

#[test]
fn products_of_normalized_rows_obey_the_laws() {
    obeys(normalized);
}

/// The suite finds the planted error, in bf16 and with the kernels that are used by default.
fn plant(what: &str, suite: Suite, edit: Edit) {
    let judge = |runtime| suite(&Cuda::new(runtime), &config(DType::BF16)).map_err(|v| v.to_string());
    catches(what, &[edit], judge);
}

#[test]
fn planted_errors_in_products() {
    let edit = |from, to| Edit { file: "matmul", from, to };
    plant("a lost warp", matmul, edit("for (int j = 0; j < WARPS", "for (int j = 1; j < WARPS"));
    plant("a missing barrier", matmul, edit("__syncthreads(); // All warps' sums", "// All warps' sums"));
    plant("the first weight again", matmul, edit("part = GAR_PART_OF(1);", ""));
    plant(
        "swapped fragments",
        matmul,
        edit("{high[i].x, low[i].x, high[i].y, low[i].y}", "{high[i].x, high[i].y, low[i].x, low[i].y}"),
    );
    plant("no tail of k", matmul, edit("load16_if(at < k, upper", "load16_if(true, upper"));
    plant("a wrong order of epilogue", matmul, edit("return residual + scale * y;", "return scale * (residual + y);"));
    plant("rows that are not waited for", normalized, edit("__syncthreads(); // All rows", "// All rows"));
    plant("squares of one warp", normalized, edit("factor += squares[j][row]", "factor = squares[j][row]"));
    plant("eps forgotten", normalized, edit("factor / k + eps", "factor / k"));
    plant("the norm's weight forgotten", normalized, edit(", value[j] *= factor[j]", ""));
    plant("gate for up", normalized, edit("gated ? w1 +", "gated ? w0 +"));
    plant("up's bias forgotten", normalized, edit("(bias1 ? to_float(bias1[column]) : 0.0f)", "0.0f"));
}

#[test]
fn planted_errors_in_rows_and_their_sums() {
    let barrier = "scratch[threadIdx.x / WARP] = x;\n    __syncthreads();\n    return warp_sum";
    let none = "scratch[threadIdx.x / WARP] = x;\n    return warp_sum";
    plant("a missing barrier", norm, Edit { file: "gar.cuh", from: barrier, to: none });
    let uncentred = Edit { file: "norm", from: "value[n][j] -= mean, squares", to: "squares" };
    plant("a mean that is not taken off", norm, uncentred);
    let edit = |from, to| Edit { file: "argmax", from, to };
    plant("a lost warp", argmax, edit("threadIdx.x < blockDim.x / WARP ?", "threadIdx.x + 1 < blockDim.x / WARP ?"));
    plant("the last of equals", argmax, edit("b.index < a.index", "b.index > a.index"));
    plant("no ragged start", argmax, Edit { file: "values.cuh", from: "head = min(head, width);", to: "head = 0;" });
    let edit = |from, to| Edit { file: "sampling", from, to };
    plant(
        "a temperature forgotten",
        sample,
        edit("div_rn(add_rn(value[i], -top), draw.temperature)", "add_rn(value[i], -top)"),
    );
    plant("a border one entry late", sample, edit(">= wanted) high = middle", "> wanted) high = middle"));
    plant("keys one bit short", sample, edit("(bits & 0x7fffffffu) + 1", "((bits & 0x7fffffffu) >> 23 << 23) + 1"));
    let place = "table + (size_t)index[place.row] * vectors + place.part";
    let edit = Edit { file: "rows", from: place, to: "table + (size_t)index[place.row] * vectors" };
    plant("a row of first vectors", rows, edit);
}

#[test]
fn planted_errors_in_places() {
    let roi = |from, to| Edit { file: "roi_align", from, to };
    plant("samples at the edge of their share", roi_align, roi("(float)s + 0.5f", "(float)s"));
    plant("a missing clamp", roi_align, roi("at = fmaxf(at, 0.0f);", ""));
    plant("a border of no cell", roi_align, roi("at < -1.0f", "at < 0.0f"));
    plant("exchanged taps", roi_align, roi("wb = top * x.part", "wb = y.part * left"));
    let pairs = |from, to| Edit { file: "turn.cuh", from, to };
    plant("a turn the other way", rotary, pairs("b * cosine + first * sine", "b * cosine - first * sine"));
    plant("a wrong partner", rotary, pairs("load8(x + half, second)", "load8(x + 8, second)"));
    let tail = Edit {
        file: "pointwise",
        from: "for (unsigned long long i = first; i < items",
        to: "for (unsigned long long i = first; i + 1 < items",
    };
    plant("a tail cut short", pointwise, tail);
    plant(
        "rows of another grid",
        pool,
        Edit { file: "pool", from: "line * window + i) * columns", to: "line + i) * columns" },
    );
    let patches = Edit { file: "patch_embed", from: "count + token - front", to: "count + token" };
    plant("tokens one off", patch_embed, patches);
    let patches = |from, to| Edit { file: "patch_embed", from, to };
    plant("levels of the first plane", patch_embed, patches("levels[plane * 256 +", "levels["));
    plant("the first plane alone", patch_embed, patches("plane = channel % planes", "plane = 0"));
    plant(
        "exchanged taps of a patch",
        patch_embed,
        patches("dy = tap / patch, dx = tap % patch", "dx = tap / patch, dy = tap % patch"),
    );
    let bytes = Edit { file: "values.cuh", from: "((const unsigned char*)p)[at]", to: "((const signed char*)p)[at]" };
    plant("bytes with a sign", patch_embed, bytes);
}

/// Uniform in [−1, 1), from a generator with a known sequence.
fn noise(seed: u32, len: usize) -> Vec<f32> {
    let mut state = seed;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

fn tensor(seed: u32, shape: &[usize], dtype: DType) -> Tensor {
    let values = noise(seed, shape.iter().product());
    match dtype {
        DType::BF16 => Tensor::from_vec(values.into_iter().map(bf16::from_f32).collect(), shape).unwrap(),
        _ => Tensor::from_vec(values, shape).unwrap(),
    }
}

fn down(cuda: &Cuda, x: &Tensor) -> Vec<f32> {
    cuda.device().download(x).unwrap().to_f32_vec().unwrap()
}

/// Largest distance of two results.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| if (a - b).is_nan() { f32::INFINITY } else { (a - b).abs() }).fold(0.0, f32::max)
}

/// [H, W, D] → [D, H, W], or [N, H, W, D] → [N, D, H, W].
fn planar(x: &Tensor) -> Tensor {
    let (values, shape) = (x.to_f32_vec().unwrap(), x.shape());
    let (outer, inner) = shape.split_at(shape.len() - 3);
    let (cells, d, count) = (inner[0] * inner[1], inner[2], outer.iter().product::<usize>());
    let at = |i: usize| values[(i / (cells * d) * cells + i % cells) * d + i / cells % d];
    let shape = [outer, &[d, inner[0], inner[1]]].concat();
    Tensor::from_vec((0..count * cells * d).map(at).collect(), &shape).unwrap()
}

#[test]
fn roi_align_is_torchvisions_within_1e_5() {
    let Some(runtime) = emulator(Copies::Eager, &[]) else { return };
    let (cpu, cuda) = (Kernels::cpu(), Cuda::new(runtime));
    // Inside, over every border, far outside, inverted, without area, larger than the map.
    let boxes = [
        [3.3, 2.1, 17.9, 11.4],
        [-5.0, -3.7, 4.2, 30.5],
        [90.0, 90.0, 99.0, 99.0],
        [9.0, 8.0, 2.0, 1.0],
        [5.5, 5.5, 5.5, 5.5],
        [-40.0, -40.0, 80.0, 80.0],
    ];
    let spec = |side, spatial_scale, sampling_ratio, aligned| RoiAlignSpec {
        output: side,
        spatial_scale,
        sampling_ratio,
        aligned,
    };
    for (channels, spec) in [
        (64, spec([16, 16], 1.0, 2, true)),
        (72, spec([7, 5], 0.5, 0, true)),
        (8, spec([3, 1], 1.0 / 28.0, 3, false)),
        (13, spec([7, 7], 0.9, 0, false)),
    ] {
        let map = tensor(1, &[19, 23, channels], DType::F32);
        let expected = cpu.roi_align.roi_align(&map, &boxes, &spec).unwrap();
        let upload = |x: &Tensor| cuda.device().upload(x).unwrap();
        for cuda in [cuda.clone(), cuda.clone().with_plain_kernels()] {
            let found = cuda.roi_align(&upload(&map), &boxes, &spec).unwrap();
            assert!(distance(&down(&cuda, &found), expected.host().unwrap()) < 1e-5, "{spec:?}");
            let found = cuda.roi_align_planar(&upload(&planar(&map)), &boxes, &spec).unwrap();
            assert!(distance(&down(&cuda, &found), planar(&expected).host().unwrap()) < 1e-5, "planar, {spec:?}");
        }
        // A bf16 map is read exactly and the sums are f32: only the result is rounded, by half a unit of 8 bits.
        let map = tensor(1, &[19, 23, channels], DType::BF16);
        let wide = Tensor::from_vec(map.to_f32_vec().unwrap(), map.shape()).unwrap();
        let expected = cpu.roi_align.roi_align(&wide, &boxes, &spec).unwrap();
        let found = cuda.roi_align(&upload(&map), &boxes, &spec).unwrap();
        assert!(distance(&down(&cuda, &found), expected.host().unwrap()) <= 1.0 / 512.0 + 1e-5, "bf16, {spec:?}");
    }
}

/// Patches of one pixel: more bands than the blocks that cut them, and blocks with little to do.
#[test]
fn more_rows_of_patches_than_blocks_are_cut() {
    let Some(runtime) = emulator(Copies::Eager, &[]) else { return };
    let (cpu, cuda) = (Kernels::cpu(), Cuda::new(runtime).with_activations(DType::F32));
    let bytes = noise(3, 4100).into_iter().map(|v| (128.0 * v + 128.0) as u8).collect();
    let pixels = Tensor::from_vec(bytes, &[4100, 1, 1, 1]).unwrap();
    let weight = tensor(4, &[1, 1, 1, 1], DType::F32);
    let embed = |op: &dyn PatchEmbed, device: &dyn Device| {
        let weight = device.upload(&weight).unwrap();
        let spec = PatchSpec { weight: &weight, prompt: None, class_token: None, positions: None, levels: None };
        let tokens = op.patch_embed(&device.upload(&pixels).unwrap(), &spec).unwrap();
        device.download(&tokens).unwrap().to_f32_vec().unwrap()
    };
    let expected = embed(&*cpu.patch_embed, &*cpu.device);
    assert_eq!(embed(&cuda, &**cuda.device()), expected);
}

/// Widths beyond what laws draw: every warp of `matmul_few` has several rounds.
#[test]
fn few_rows_agree_with_the_plain_product_and_do_not_see_each_other() {
    let Some(runtime) = emulator(Copies::Eager, &[]) else { return };
    let cuda = Cuda::new(runtime);
    let plain = cuda.clone().with_plain_kernels();
    let n = 37;
    for k in [8, 256, 1032, 2304] {
        let up = |seed, shape: &[usize]| cuda.device().upload(&tensor(seed, shape, DType::BF16)).unwrap();
        let (x, w, bias, residual) = (up(1, &[16, k]), up(2, &[n, k]), up(3, &[n]), up(4, &[16, n]));
        let product = |cuda: &Cuda, rows: std::ops::Range<usize>| {
            let residual = residual.rows(rows.clone()).unwrap();
            let epilogue =
                Epilogue { bias: Some(&bias), scale: Some(&bias), residual: Some(&residual), ..Epilogue::default() };
            down(cuda, &cuda.matmul(&x.rows(rows).unwrap(), &w, epilogue).unwrap())
        };
        let (all, expected) = (product(&cuda, 0..16), product(&plain, 0..16));
        // Two orders of one f32 sum, then bf16: at most a unit of its 8 bits apart.
        let unit = expected.iter().fold(1.0_f32, |m, v| m.max(v.abs())) / 128.0;
        assert!(distance(&all, &expected) <= unit, "k = {k}");
        let weight = up(5, &[k]);
        let gated = |rows: std::ops::Range<usize>| {
            let spec = NormSpec { kind: NormKind::Rms, weight: &weight, bias: None, eps: 1e-5, to: None };
            let half = Projection { w: &w, epilogue: Epilogue { bias: Some(&bias), ..Epilogue::default() } };
            let normalization = Normalization { norm: &cuda, spec };
            let x = x.rows(rows).unwrap();
            let gated = Gated { gate: half, up: half, pointwise: &cuda, to: None };
            down(&cuda, &cuda.swiglu_normalized(&x, normalization, gated).unwrap())
        };
        let all_gated = gated(0..16);
        for rows in [0..1, 3..8, 15..16] {
            let own = rows.start * n..rows.end * n;
            assert_eq!(product(&cuda, rows.clone()), all[own.clone()], "k = {k}, {rows:?} alone");
            assert_eq!(gated(rows.clone()), all_gated[own], "k = {k}, {rows:?} alone, normalised and gated");
        }
    }
}

/// A kernel may begin before the one in front of it has written what it makes.
#[test]
fn weights_that_a_kernel_makes_are_not_read_early() {
    let Some(runtime) = emulator(Copies::Eager, &[]) else { return };
    let runtime = Arc::new(WithLibrary::new(runtime));
    let cuda = Cuda::new(runtime.clone());
    let up = |seed| cuda.device().upload(&tensor(seed, &[16, 64], DType::BF16)).unwrap();
    let (x, uploaded) = (up(1), up(2));
    let made = cuda.add(&uploaded, &uploaded).unwrap();
    let zeros = cuda.device().zeros(&[16, 64], DType::BF16).unwrap();
    let early = |weights: &[&Tensor]| {
        let projections: Vec<_> = weights.iter().map(|w| Projection { w, epilogue: Epilogue::default() }).collect();
        cuda.matmuls(&x, &projections).unwrap();
        // x, m, k, norm, eps, gated, early: see matmul_few.
        runtime.last_arguments()[6] == Argument::I32(1)
    };
    assert!(early(&[&uploaded]) && early(&[&uploaded.rows(3..9).unwrap(), &uploaded]));
    assert!(!early(&[&made]) && !early(&[&uploaded, &made]) && !early(&[&zeros]));
}

/// More entries than shared memory holds, and than a block has threads; no two rules alike.
#[test]
fn drawn_tokens_are_those_of_the_cpu() {
    let Some(runtime) = emulator(Copies::Eager, &[]) else { return };
    let (cpu, cuda) = (Kernels::cpu(), Cuda::new(runtime));
    let (rows, width) = (12, 3000);
    let logits = noise(5, rows * width).into_iter().map(|x| 8.0 * x).collect();
    let logits = Tensor::from_vec(logits, &[rows, width]).unwrap();
    let open = Draw { temperature: 1.0, seen: &[7, 7, 2999, 4000], ..Draw::GREEDY };
    let draws: Vec<Draw<'_>> = noise(6, rows)
        .into_iter()
        .zip(0..)
        .map(|(x, i)| Draw {
            temperature: if i % 4 == 3 { 3.0 } else { 0.8 },
            top_k: [0, 40, 2500][i % 3],
            top_p: if i % 2 == 0 { 1.0 } else { 0.95 },
            min_p: if i % 5 == 0 { 0.01 } else { 0.0 },
            repetition_penalty: 1.2,
            at: f64::from(x.abs()),
            ..open
        })
        .collect();
    let expected = cpu.sample.sample(&logits, &draws).unwrap();
    assert_eq!(cuda.sample(&cuda.device().upload(&logits).unwrap(), &draws).unwrap(), expected);
}

/// What follows a matrix library's product, with a library made of host loops.
#[test]
fn products_by_a_library_obey_the_laws() {
    let Some(runtime) = emulator(Copies::Eager, &[]) else { return };
    let library = Arc::new(WithLibrary::new(runtime));
    matmul(&Cuda::new(library.clone()), &config(DType::BF16)).unwrap();
    assert!(library.calls() > 20, "{}", library.calls());
    let edit = Edit { file: "matmul", from: "item % (n / 8) * 8", to: "item % n * 8" };
    catches("a scale of another column", &[edit], |runtime| {
        let cuda = Cuda::new(Arc::new(WithLibrary::new(runtime)));
        matmul(&cuda, &config(DType::BF16)).map_err(|v| v.to_string())
    });
}

#[test]
fn what_kernels_do_not_take_is_refused() {
    let Some(runtime) = emulator(Copies::Eager, &[]) else { return };
    let cuda = Cuda::new(runtime);
    let up = |x: Tensor| cuda.device().upload(&x).unwrap();
    let host = tensor(1, &[2, 8], DType::BF16);
    let (x, wide) = (up(host.clone()), up(tensor(2, &[2, 8], DType::F32)));
    let half = up(Tensor::from_vec(vec![gar_kernels::f16::ONE; 16], &[2, 8]).unwrap());
    let elsewhere = |r: Result<Tensor>| assert!(matches!(r, Err(Error::Device { .. })), "{r:?}");
    elsewhere(cuda.gelu(&host));
    elsewhere(cuda.add(&x, &host));
    elsewhere(cuda.matmul(&x, &host, Epilogue::default()));
    elsewhere(cuda.gather(&host, &[0]));
    let of_type = |r: Result<Tensor>, argument: &str| match r {
        Err(Error::DType { what, .. }) => assert_eq!(what, argument),
        other => panic!("{other:?}"),
    };
    of_type(cuda.gelu(&half), "x");
    of_type(cuda.add(&x, &wide), "b");
    of_type(cuda.matmul(&x, &wide, Epilogue::default()), "w");
    of_type(
        cuda.matmul(&x, &x, Epilogue { residual: Some(&up(tensor(1, &[2, 2], DType::F32))), ..Epilogue::default() }),
        "residual",
    );
    of_type(cuda.clone().with_activations(DType::F16).gather(&x, &[0]), "activations");
    let weight = up(tensor(1, &[8], DType::F32));
    of_type(
        cuda.norm(&x, &NormSpec { kind: NormKind::Rms, weight: &weight, bias: None, eps: 1e-5, to: None }),
        "weight",
    );
    let table = up(tensor(1, &[4, 4], DType::BF16));
    let spec = RotarySpec { cos: &table, sin: &table, start: &[0], pairing: Pairing::HalfSplit };
    of_type(cuda.rotary(&x.reshape(&[1, 2, 1, 8]).unwrap(), &spec), "cos");
    let r = cuda.argmax(&up(Tensor::from_vec(vec![1_u32; 4], &[2, 2]).unwrap()));
    assert!(matches!(r, Err(Error::DType { what: "x", .. })), "{r:?}");
    let map = x.reshape(&[1, 2, 8]).unwrap();
    let spec = RoiAlignSpec { output: [1, 1], spatial_scale: 1.0, sampling_ratio: 1 << 40, aligned: true };
    let r = cuda.roi_align(&map, &[[0.0; 4]], &spec);
    assert!(matches!(r, Err(Error::Value { what: "sampling_ratio", .. })), "{r:?}");
    // The CPU has one layout.
    let map = tensor(1, &[2, 3, 4], DType::F32);
    assert!(Kernels::cpu().roi_align.roi_align_planar(&map, &[], &RoiAlignSpec { sampling_ratio: 1, ..spec }).is_err());
}
