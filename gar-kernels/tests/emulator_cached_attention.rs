//! Attention through the device's cache on the emulator: the laws, pages, the same launches for every token, planted errors.
#![cfg(all(feature = "emulator", feature = "laws"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod emulated;

use emulated::{BOTH, catches, catches_on, deviation, drawn, emulator, emulator_on, upload};
use gar_kernels::{
    DType, Device,
    cuda::{Copies, Cuda, Edit, Emulator, EmulatorOptions, Properties},
    laws::{self, LawConfig, reference},
    ops::{CacheSpec, CachedAttention, CachedAttentionSpec, KvCache, Mask},
};
use ndarray::{Array4, Axis, concatenate, s};

fn config() -> LawConfig {
    LawConfig { cases: 4, tiles: vec![16, 128], head_dims: vec![64, 128], ..LawConfig::bf16() }
}

/// The first layer.
fn first(scale: f32) -> CachedAttentionSpec {
    CachedAttentionSpec { layer: 0, scale, to: None }
}

#[test]
fn the_fast_kernels_satisfy_the_laws() {
    for copies in BOTH {
        let Some(runtime) = emulator(copies, &[]) else { return };
        let cuda = Cuda::new(runtime);
        laws::cached_attention(&cuda, &**cuda.device(), &config()).unwrap();
        laws::cached_attention_rotated(&cuda, &cuda, &**cuda.device(), &config()).unwrap();
    }
}

#[test]
fn the_plain_kernels_satisfy_the_laws_in_both_types() {
    let Some(runtime) = emulator(Copies::Eager, &[]) else { return };
    let cuda = Cuda::new(runtime).with_plain_kernels();
    laws::cached_attention(&cuda, &**cuda.device(), &config()).unwrap();
    laws::cached_attention_rotated(&cuda, &cuda, &**cuda.device(), &config()).unwrap();
    let exact = LawConfig { cases: 4, head_dims: vec![8, 64], ..LawConfig::f32() };
    let cuda = cuda.with_activations(DType::F32);
    laws::cached_attention(&cuda, &**cuda.device(), &exact).unwrap();
}

/// Query heads, key/value heads and entries of the sequences below.
const HEADS: (usize, usize, usize) = (6, 2, 64);

/// Queries, keys and values of some tokens, one sequence.
#[derive(Clone)]
struct Tokens([Array4<f64>; 3]);

impl Tokens {
    fn drawn(seed: u64, len: usize) -> Self {
        let (heads, kv_heads, dim) = HEADS;
        Self([(0, heads), (1, kv_heads), (2, kv_heads)].map(|(i, h)| drawn(3 * seed + i, (1, len, h, dim))))
    }

    /// The first `len` of these, then others.
    fn forked(&self, len: usize, seed: u64, more: usize) -> Self {
        let others = Self::drawn(seed, more);
        let join = |i: usize| concatenate![Axis(1), self.0[i].slice(s![.., ..len, .., ..]), others.0[i]];
        Self([join(0), join(1), join(2)])
    }
}

/// Feeds `range` of a sequence to a cache that holds what precedes it: the deviation from f64.
fn feed(cuda: &Cuda, cache: &mut dyn KvCache, tokens: &Tokens, range: std::ops::Range<usize>) -> f64 {
    let device = &**cuda.device();
    let [q, k, v] = [0, 1, 2].map(|i| tokens.0[i].slice(s![.., range.clone(), .., ..]).to_owned());
    let [qt, kt, vt] = [&q, &k, &v].map(|x| upload(device, x));
    let scale = (HEADS.2 as f32).sqrt().recip();
    let found = cuda.attend(&qt, &kt, &vt, &mut [&mut *cache], &first(scale)).unwrap();
    cache.advance(range.len()).unwrap();
    let all = [1, 2].map(|i| tokens.0[i].slice(s![.., ..range.end, .., ..]).to_owned());
    let mask = Mask::Causal { offset: range.start };
    deviation(device, &reference::attention(&q, &all[0], &all[1], f64::from(scale), mask), &found)
}

/// As for attention: outputs up to 1 and weights are rounded to 8 bits.
const BOUND: f64 = 3e-3;

const SPEC: CacheSpec = CacheSpec { layers: 1, kv_heads: HEADS.1, head_dim: HEADS.2, capacity: 1000 };

/// Pages hold 128 positions: sequences that end before, at and behind a page's end, fork there, and go on token by token.
#[test]
fn sequences_fork_around_the_end_of_a_page() {
    let Some(runtime) = emulator(Copies::Lazy, &[]) else { return };
    let cuda = &Cuda::new(runtime);
    let mut most = 0.0_f64;
    for prefix in [127, 128, 129] {
        let a = Tokens::drawn(1, prefix + 4);
        let mut first = cuda.cache(SPEC).unwrap();
        most = most.max(feed(cuda, &mut *first, &a, 0..prefix));
        let b = a.forked(prefix, 2, 140);
        let mut second = first.fork().unwrap();
        // Turn by turn, a token and many.
        for i in prefix..prefix + 2 {
            most = most.max(feed(cuda, &mut *first, &a, i..i + 1));
            most = most.max(feed(cuda, &mut *second, &b, i..i + 1));
        }
        most = most.max(feed(cuda, &mut *second, &b, prefix + 2..prefix + 139));
        most = most.max(feed(cuda, &mut *second, &b, prefix + 139..prefix + 140));
        most = most.max(feed(cuda, &mut *first, &a, prefix + 2..prefix + 4));
    }
    println!("{most:.2e}");
    assert!(most <= BOUND, "{most}");
}

/// A card with many multiprocessors shares a sequence out among many blocks, some of which get nothing.
#[test]
fn shares_of_a_long_sequence_add_up() {
    let folder = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("emulator");
    let properties = Properties { multiprocessors: 132, capability: (9, 0), shared_bytes: 227 << 10 };
    let Some(_) = emulator(Copies::Lazy, &[]) else { return };
    let options = EmulatorOptions { copies: Copies::Lazy, folder, properties, ..EmulatorOptions::default() };
    let cuda = Cuda::new(Emulator::start(options).unwrap());
    let tokens = Tokens::drawn(5, 530);
    let mut cache = cuda.cache(SPEC).unwrap();
    feed(&cuda, &mut *cache, &tokens, 0..520);
    for range in [520..521, 521..524, 524..530] {
        let most = feed(&cuda, &mut *cache, &tokens, range.clone());
        assert!(most <= BOUND, "{range:?}: {most}");
    }
}

const HOPPER: Properties = Properties { multiprocessors: 2, capability: (9, 0), shared_bytes: 227 << 10 };

/// Many queries on a Hopper, behind nothing, at the end of a page and behind it.
#[test]
fn many_queries_on_hopper() {
    for copies in BOTH {
        let Some(runtime) = emulator_on(HOPPER, copies, &[]) else { return };
        let cuda = Cuda::new(runtime);
        let tokens = Tokens::drawn(6, 450);
        let mut cache = cuda.cache(SPEC).unwrap();
        for range in [0..128, 128..193, 193..450] {
            let most = feed(&cuda, &mut *cache, &tokens, range.clone());
            assert!(most <= BOUND, "{range:?}: {most}");
        }
    }
}

/// Sequences of several lengths in one batch, by the laws.
#[test]
fn hopper_satisfies_the_laws() {
    let Some(runtime) = emulator_on(HOPPER, Copies::Lazy, &[]) else { return };
    let cuda = Cuda::new(runtime);
    laws::cached_attention(&cuda, &**cuda.device(), &LawConfig { tiles: vec![128, 200], ..config() }).unwrap();
}

#[test]
fn errors_planted_for_hopper_are_caught() {
    let plants = [
        ("hopper", "the past of the batch is lost", "(int)sequence[0] + first + 1, cache", "first + 1, cache"),
        ("pages.cuh", "the first page for every position", "(T*)pages[position / GAR_PAGE]", "(T*)pages[0]"),
    ];
    let tokens = Tokens::drawn(7, 290);
    for (file, what, from, to) in plants {
        catches_on(HOPPER, what, &[Edit { file, from, to }], |runtime| {
            let cuda = Cuda::new(runtime);
            let mut cache = cuda.cache(SPEC).map_err(|e| e.to_string())?;
            let most = feed(&cuda, &mut *cache, &tokens, 0..120).max(feed(&cuda, &mut *cache, &tokens, 120..290));
            if most > BOUND { Err(format!("{most:.1e} off")) } else { Ok(()) }
        });
    }
}

#[test]
fn what_the_cache_does_not_support_is_refused() {
    let Some(runtime) = emulator(Copies::Eager, &[]) else { return };
    let Some(other) = emulator(Copies::Eager, &[]) else { return };
    let cuda = Cuda::new(runtime);
    for (layers, kv_heads, head_dim) in [(1, 0, 64), (1, 1, 0), (1, 1, 12), (1, 1, 136), (1 << 20, 1 << 10, 128)] {
        let spec = CacheSpec { layers, kv_heads, head_dim, capacity: 8 };
        assert!(cuda.cache(spec).is_err(), "{spec:?}");
    }
    // A cache of another device, of another element type, and of the CPU.
    let x = |heads| upload(&**cuda.device(), &Array4::zeros((1, 1, heads, HEADS.2)));
    let (q, kv) = (x(HEADS.0), x(HEADS.1));
    let mut wide = cuda.clone().with_activations(DType::F32).cache(SPEC).unwrap();
    let mut foreign = Cuda::new(other).cache(SPEC).unwrap();
    let mut host = gar_kernels::Kernels::cpu().cached_attention.cache(SPEC).unwrap();
    for (cache, expected) in [(&mut wide, "dtype f32"), (&mut foreign, "another device"), (&mut host, "another device")]
    {
        let error = cuda.attend(&q, &kv, &kv, &mut [&mut **cache], &first(1.0)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn memory_that_runs_out_leaves_the_cache_usable() {
    let Some(_) = emulator(Copies::Eager, &[]) else { return };
    let folder = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("emulator");
    // Two pages of 64 KiB, and what a step needs besides.
    let options = EmulatorOptions { memory_bytes: 400 << 10, folder, ..EmulatorOptions::default() };
    let cuda = Cuda::new(Emulator::start(options).unwrap());
    let tokens = Tokens::drawn(9, 20);
    let mut cache = cuda.cache(SPEC).unwrap();
    feed(&cuda, &mut *cache, &tokens, 0..10);
    let hog = cuda.device().zeros(&[300 << 10], DType::U8).unwrap();
    let mut fork = cache.fork().unwrap();
    let [q, k, v] = [0, 1, 2].map(|i| upload(&**cuda.device(), &tokens.0[i].slice(s![.., 10..11, .., ..]).to_owned()));
    let refused = cuda.attend(&q, &k, &v, &mut [&mut *fork], &first(1.0)).unwrap_err();
    assert!(matches!(refused, gar_kernels::Error::OutOfMemory { asked: 65_536, .. }), "{refused}");
    drop((hog, q, k, v));
    assert!(feed(&cuda, &mut *fork, &tokens, 10..12) <= BOUND);
    assert!(feed(&cuda, &mut *cache, &tokens, 10..20) <= BOUND);
}

#[test]
fn planted_errors_are_caught() {
    let plants = [
        ("a value one too early", "v + from, pages.row(position,", "v + from, pages.row(max(position - 1, 0),"),
        ("new positions that are not waited for", "if (stored > 0) __syncthreads();", ""),
        (
            "a share that is lost",
            "for (int share = warp; share < shares;",
            "for (int share = warp; share < shares - 1;",
        ),
        ("shares on different tops", "exp2_fast((tops[(first + share) * 2] - top) * scale)", "1.0f"),
        ("a warp that is lost", "for (int w = 0; w < GAR_WARPS && top", "for (int w = 1; w < GAR_WARPS && top"),
        (
            "a stage that is not waited for",
            "cp_async_wait<1>();\n        __syncwarp(); // This tile",
            "__syncwarp(); // This tile",
        ),
        ("q that is not waited for", "__syncthreads(); // q", "// q"),
        (
            "a missing barrier before warps meet",
            "__syncthreads(); // Nobody reads any stage",
            "// Nobody reads any stage",
        ),
        ("the future of a step", "length + (first_row + row) / group + 1 - first", "total - first"),
        (
            "scores that are not scaled",
            "weigh<1, GAR_KEYS>(mine, score, scale);",
            "weigh<1, GAR_KEYS>(mine, score, 1.0f);",
        ),
    ];
    // A sequence that arrives in few tokens at a time: three pages, several tiles for each warp.
    let tokens = Tokens::drawn(7, 280);
    let pages = ("the first page for every position", "(T*)pages[position / GAR_PAGE]", "(T*)pages[0]");
    let plants = plants.map(|plant| ("cached_attention", plant)).into_iter().chain([("pages.cuh", pages)]);
    for (file, (what, from, to)) in plants {
        catches(what, &[Edit { file, from, to }], |runtime| {
            let cuda = Cuda::new(runtime);
            let mut cache = cuda.cache(SPEC).map_err(|e| e.to_string())?;
            for chunk in [1, 15].into_iter().chain([16; 16]).chain([1, 7]) {
                let at = cache.len();
                let most = feed(&cuda, &mut *cache, &tokens, at..at + chunk);
                if most > BOUND {
                    return Err(format!("{most:.1e} off at {at}"));
                }
            }
            Ok(())
        });
    }
}

#[test]
fn planted_errors_in_rotations_are_caught() {
    let plants = [
        ("keys turned by another position's angles", "chunk - VECTORS, angles.at(position)", "chunk - VECTORS, angles"),
        (
            "queries turned by the first new position",
            "angles.at(length + (first_row + row) / group)",
            "angles.at(length)",
        ),
        ("the second half forgotten", "store8(to + HALF, second);", "store8(to + HALF, first);"),
    ];
    for (what, from, to) in plants {
        catches(what, &[Edit { file: "cached_attention", from, to }], |runtime| {
            let cuda = Cuda::new(runtime);
            let config = LawConfig { cases: 16, ..config() };
            laws::cached_attention_rotated(&cuda, &cuda, &**cuda.device(), &config).map_err(|v| v.to_string())
        });
    }
}
