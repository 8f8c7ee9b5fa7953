//! Attention for Hopper on the emulator: the laws, tails around the tiles, the choice of the wrapper, planted errors.
#![cfg(all(feature = "emulator", feature = "laws"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod emulated;

use std::sync::Arc;

use emulated::{BOTH, catches_on, drawn, emulator_on, upload};
use gar_kernels::{
    Device, Error, bf16,
    cuda::{Copies, Cuda, Edit, HopperAttention, HopperTile, Properties, Runtime},
    laws::{self, LawConfig, reference},
    ops::{Attention, AttentionSpec, Mask},
};
use ndarray::Array4;

/// Two multiprocessors, so that blocks take several items each.
const HOPPER: Properties = Properties { multiprocessors: 2, capability: (9, 0), shared_bytes: 227 << 10 };

fn hopper(copies: Copies) -> Option<Arc<dyn Runtime>> {
    emulator_on(HOPPER, copies, &[])
}

/// The kernel with some tile; with 128 keys groups take turns.
fn fast(runtime: Arc<dyn Runtime>, groups: usize, keys: usize) -> HopperAttention {
    HopperAttention { cuda: Cuda::new(runtime), tile: HopperTile { groups, keys, turns: keys == 128 } }
}

/// Heads of 8 to 128 entries: every layout of a tile.
#[test]
fn the_kernel_satisfies_the_laws() {
    for (copies, tile) in [(Copies::Eager, (3, 64)), (Copies::Lazy, (2, 128))] {
        let Some(runtime) = hopper(copies) else { return };
        let fast = fast(runtime, tile.0, tile.1);
        let config = LawConfig {
            cases: 6,
            tiles: vec![16, 64, 128],
            head_dims: vec![8, 24, 64, 72, 96, 128],
            ..LawConfig::bf16()
        };
        laws::attention(&fast, &**fast.cuda.device(), &config).unwrap();
    }
}

/// [sequences, queries, keys, heads, key/value heads, entries]
type Extents = [usize; 6];

/// The largest deviation of `op` from f64. Key i is `1 + growth · i` times as long, so that the largest score keeps rising.
fn deviation(op: &dyn Attention, device: &dyn Device, extents: Extents, mask: Mask, growth: f64) -> Result<f64, Error> {
    let [b, l, s, h, g, d] = extents;
    let (q, k, v) = (drawn(1, (b, l, h, d)), drawn(2, (b, s, g, d)), drawn(3, (b, s, g, d)));
    let k = Array4::from_shape_fn(k.dim(), |at| bf16::from_f64(k[at] * (1.0 + growth * at.1 as f64)).to_f64());
    let spec = AttentionSpec { scale: (d as f32).sqrt().recip(), mask, to: None };
    let found = op.attention(&upload(device, &q), &upload(device, &k), &upload(device, &v), &spec)?;
    Ok(emulated::deviation(device, &reference::attention(&q, &k, &v, f64::from(spec.scale), mask), &found))
}

/// 3e-3: outputs up to 1 rounded to 8 bits are off by 2e-3 at most, weights rounded to 8 bits add a share of their own.
const BOUND: f64 = 3e-3;

#[test]
fn tails_around_the_tiles() {
    let causal = |offset| Mask::Causal { offset };
    for copies in BOTH {
        let Some(runtime) = hopper(copies) else { return };
        let device = Cuda::new(runtime.clone());
        let device = &**device.device();
        for (tile, extents, mask) in [
            ((3, 128), [1, 1, 1, 1, 1, 64], causal(0)),
            ((3, 128), [1, 63, 129, 1, 1, 64], Mask::Full),
            ((3, 128), [2, 193, 257, 2, 1, 64], Mask::Full),
            ((3, 128), [1, 257, 257, 2, 1, 64], causal(0)),
            ((3, 128), [1, 65, 500, 1, 1, 64], causal(435)),
            ((2, 176), [1, 127, 353, 1, 1, 64], Mask::Full),
            ((2, 176), [2, 129, 191, 1, 1, 64], causal(62)),
            ((2, 128), [1, 128, 385, 1, 1, 128], Mask::Full),
            ((2, 128), [1, 191, 300, 3, 1, 128], causal(109)),
            ((2, 128), [1, 64, 127, 1, 1, 96], Mask::Full),
            ((2, 128), [1, 193, 193, 2, 2, 96], causal(0)),
            ((2, 64), [1, 129, 193, 1, 1, 72], causal(64)),
            ((3, 64), [1, 255, 255, 1, 1, 24], causal(0)),
            ((3, 192), [1, 63, 385, 1, 1, 8], Mask::Full),
            ((2, 64), [1, 65, 209, 1, 1, 16], Mask::Full),
        ] {
            for growth in [0.0, 0.25] {
                let fast = fast(runtime.clone(), tile.0, tile.1);
                let most = deviation(&fast, device, extents, mask, growth).unwrap();
                println!("{tile:?} {extents:?} {mask:?} {growth}: {most:.2e}");
                assert!(most <= BOUND, "{tile:?} {extents:?} {mask:?} {growth}: {most}");
            }
        }
    }
}

/// Many queries on a Hopper go to its kernel; few, other cards and other chips have the older ones.
#[test]
fn the_wrapper_chooses_by_card_and_queries() {
    for (capability, queries, ours) in
        [((9, 0), 257, true), ((9, 0), 64, false), ((8, 9), 257, false), ((10, 0), 257, false)]
    {
        // Whatever reaches the kernel fails to compile.
        let edit = Edit { file: "hopper", from: "attention_hopper(", to: "nonsense(" };
        let Some(runtime) = emulator_on(Properties { capability, ..HOPPER }, Copies::Eager, &[edit]) else { return };
        let cuda = Cuda::new(runtime);
        let x = upload(&**cuda.device(), &drawn(1, (1, queries, 2, 64)));
        let spec = AttentionSpec { scale: 0.125, mask: Mask::Full, to: None };
        let found = cuda.attention(&x, &x, &x, &spec).map(drop).map_err(|e| e.to_string());
        match found {
            Err(text) if ours => {
                assert!(text.contains("attention_hopper") && text.contains("does not compile"), "{text}")
            }
            found => assert!(found.is_ok() && !ours, "{capability:?} {queries}: {found:?}"),
        }
    }
}

#[test]
fn tiles_that_do_not_exist_are_refused() {
    let Some(runtime) = hopper(Copies::Eager) else { return };
    for (groups, keys) in [(1, 64), (4, 64), (2, 24), (2, 0), (3, 208)] {
        let fast = fast(runtime.clone(), groups, keys);
        let x = upload(&**fast.cuda.device(), &drawn(1, (1, 1, 1, 64)));
        let spec = AttentionSpec { scale: 1.0, mask: Mask::Full, to: None };
        let error = fast.attention(&x, &x, &x, &spec).unwrap_err().to_string();
        assert!(error.contains("2 or 3 groups"), "{error}");
    }
}

#[test]
fn planted_errors_are_caught() {
    let core = [
        ("scores that are not waited for", "        wgmma_wait<1>(score);\n", ""),
        (
            "values that are not waited for",
            "wgmma_wait<0>(state.values);\n        arrive(places.values_free(tile - 1))",
            "arrive(places.values_free(tile - 1))",
        ),
        (
            "the last values not waited for",
            "wgmma_wait<0>(state.values);\n        arrive(places.values_free(tile++))",
            "arrive(places.values_free(tile++))",
        ),
        ("keys overwritten while they are read", "mbarrier_wait(places.keys_free(tile), tile / 2 % 2 ^ 1);", ""),
        ("values overwritten while they are read", "mbarrier_wait(places.values_free(tile), tile / 2 % 2 ^ 1);", ""),
        ("queries overwritten while they are read", "mbarrier_wait(places.queries_free(), turn++ % 2 ^ 1);", ""),
        (
            "keys used before they have come",
            "mbarrier_wait(places.keys_here(tile), tile / 2 % 2);\n        await",
            "await",
        ),
        ("copies announced before they have landed", "    cp_async_wait<UNDER_WAY>();\n", ""),
        ("copies that wgmma cannot see", "        fence_proxy_async();\n", ""),
        ("a group without queries that keeps them", "if (left == all) mbarrier_arrive(places.queries_free());", ""),
        ("a tail of keys that is not hidden", "if (first + N > seen)", "if (first > seen)"),
        ("rows that see what the one above sees", "hide_keys<N, CAUSAL>", "hide_keys<N, 0>"),
        ("values not brought to the new top", "state.values[n] *= shrink[n / 2 % 2];", "(void)n;"),
        ("values brought to the other row's top", "shrink[n / 2 % 2]", "shrink[n % 2]"),
        ("a last tile of which only a part is taken", "first < end - NARROW;", "first < end - KEYS;"),
        ("a block that takes no second item", "first += gridDim.x, round++", "first = count"),
    ];
    for (what, from, to) in core {
        judge_plant(what, Edit { file: "hopper.cuh", from, to });
    }
    let rows = [
        ("a mask that is one off", "i % 2 >= seen + i / 2", "i % 2 > seen + i / 2"),
        ("sums not brought to the new top", ", state.sum[half] *= shrink[half];", ";"),
        ("a top that never rises", "top[0] > state.top[0] ||", "state.top[0] == -GAR_INFINITY || 1 < 0 &&"),
        ("neighbours that do not swap", "odd ? make_uint2(other, own)", "odd ? make_uint2(own, other)"),
    ];
    for (what, from, to) in rows {
        judge_plant(what, Edit { file: "hopper_rows.cuh", from, to });
    }
    let tiles = [
        (
            "a wrong stride from 8 rows to the next",
            "{group_address(start) >> 4 | rows * PITCH / 16 << 16, 8 *",
            "{group_address(start) >> 4 | rows * PITCH / 16 << 16, 16 *",
        ),
        ("a wrong stride from panel to panel", "rows * PITCH / 16 << 16", "8 * PITCH / 16 << 16"),
        ("chunks that are not swapped", "return at ^ (at >> 7 & CHUNKS - 1) << 4;", "return at;"),
        ("another layout in the descriptor", "PANEL == 64 ? 1 :", "PANEL == 64 ? 2 :"),
    ];
    for (what, from, to) in tiles {
        judge_plant(what, Edit { file: "wgmma.cuh", from, to });
    }
    let own = [
        ("a causal offset that is one off", "? seen + first :", "? seen + first - 1 :"),
        ("heads of the wrong group", "head / group * GAR_HEAD_DIM;", "head % (heads / group) * GAR_HEAD_DIM;"),
    ];
    for (what, from, to) in own {
        judge_plant(what, Edit { file: "hopper", from, to });
    }
}

/// Items of many tiles and of one, tails, a group with one query and one with none, two panels.
fn judge_plant(what: &str, edit: Edit) {
    catches_on(HOPPER, what, &[edit], |runtime| {
        let fast = fast(runtime, 2, 64);
        let device = &**fast.cuda.device();
        for (extents, mask, growth) in [
            ([1, 129, 290, 4, 2, 128], Mask::Causal { offset: 160 }, 0.0),
            ([1, 1, 257, 1, 1, 128], Mask::Full, 0.25),
            ([1, 60, 60, 6, 1, 128], Mask::Full, 0.0),
            ([1, 64, 240, 1, 1, 128], Mask::Full, 0.25),
        ] {
            let most = deviation(&fast, device, extents, mask, growth).map_err(|e| e.to_string())?;
            if most > BOUND {
                return Err(format!("{most:.1e} off at {extents:?}"));
            }
        }
        Ok(())
    });
}
