//! Attention for Hopper on the emulator: the laws, tails around the tiles, the choice of the wrapper, planted errors.
#![cfg(all(feature = "emulator", feature = "laws"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod emulated;

use std::sync::Arc;

use emulated::{BOTH, catches_on, drawn, emulator_on, upload};
use gar_kernels::{
    Device,
    cuda::{Copies, Cuda, Edit, HopperAttention, HopperTile, Properties, Runtime},
    laws::{self, LawConfig, reference},
    ops::{Attention, AttentionSpec, Mask},
};

/// Two multiprocessors, so that blocks take several items each.
const HOPPER: Properties = Properties { multiprocessors: 2, capability: (9, 0), shared_bytes: 227 << 10 };

fn hopper(copies: Copies) -> Option<Arc<dyn Runtime>> {
    emulator_on(HOPPER, copies, &[])
}

fn fast(runtime: Arc<dyn Runtime>, groups: usize, keys: usize) -> HopperAttention {
    HopperAttention { cuda: Cuda::new(runtime), tile: HopperTile { groups, keys } }
}

/// Heads of 8 to 128 entries: every layout of a tile.
#[test]
fn the_kernel_satisfies_the_laws() {
    for (copies, tile) in [(Copies::Eager, (3, 64)), (Copies::Lazy, (2, 128))] {
        let Some(runtime) = hopper(copies) else { return };
        let fast = fast(runtime, tile.0, tile.1);
        let config =
            LawConfig { cases: 6, tiles: vec![16, 64, 128], head_dims: vec![8, 24, 64, 72, 96, 128], ..LawConfig::bf16() };
        laws::attention(&fast, &**fast.cuda.device(), &config).unwrap();
    }
}

/// [sequences, queries, keys, heads, key/value heads, entries]
type Extents = [usize; 6];

/// The largest deviation of `op` from f64.
fn deviation(op: &dyn Attention, device: &dyn Device, extents: Extents, mask: Mask) -> f64 {
    let [b, l, s, h, g, d] = extents;
    let (q, k, v) = (drawn(1, (b, l, h, d)), drawn(2, (b, s, g, d)), drawn(3, (b, s, g, d)));
    let spec = AttentionSpec { scale: (d as f32).sqrt().recip(), mask };
    let found = op.attention(&upload(device, &q), &upload(device, &k), &upload(device, &v), &spec).unwrap();
    emulated::deviation(device, &reference::attention(&q, &k, &v, f64::from(spec.scale), mask), &found)
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
        ] {
            let most = deviation(&fast(runtime.clone(), tile.0, tile.1), device, extents, mask);
            println!("{tile:?} {extents:?} {mask:?}: {most:.2e}");
            assert!(most <= BOUND, "{tile:?} {extents:?} {mask:?}: {most}");
        }
    }
}
