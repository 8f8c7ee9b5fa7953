//! The emulator for tests: skipped where there is no C++ compiler, unless `GAR_REQUIRE_CXX=1`.
#![allow(dead_code)]

use std::{path::PathBuf, sync::Arc};

use gar_kernels::{
    Device, Error, Tensor, bf16,
    cuda::{Copies, Edit, Emulator, EmulatorOptions, Properties, Runtime},
};
use ndarray::Array4;

/// Both ways that asynchronous copies may land.
pub(crate) const BOTH: [Copies; 2] = [Copies::Eager, Copies::Lazy];

/// An emulator whose compiled kernels stay in the target folder; nothing where it is skipped.
pub(crate) fn emulator(copies: Copies, edits: &[Edit]) -> Option<Arc<dyn Runtime>> {
    emulator_on(EmulatorOptions::default().properties, copies, edits)
}

/// The same as another card.
pub(crate) fn emulator_on(properties: Properties, copies: Copies, edits: &[Edit]) -> Option<Arc<dyn Runtime>> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("emulator");
    let options = EmulatorOptions { properties, copies, edits: edits.to_vec(), folder, ..EmulatorOptions::default() };
    match Emulator::start(options) {
        Ok(runtime) => Some(runtime),
        Err(why @ Error::Unavailable { .. }) if std::env::var_os("GAR_REQUIRE_CXX").is_none() => {
            println!("SKIPPED: {why}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Judges with every edit planted, in one mode and then in the other: one must report it. An edit that does not fit its file
/// is no catch.
pub(crate) fn catches(what: &str, edits: &[Edit], judge: impl Fn(Arc<dyn Runtime>) -> Result<(), String>) {
    catches_on(EmulatorOptions::default().properties, what, edits, judge);
}

/// The same on another card.
pub(crate) fn catches_on(
    properties: Properties,
    what: &str,
    edits: &[Edit],
    judge: impl Fn(Arc<dyn Runtime>) -> Result<(), String>,
) {
    for copies in BOTH {
        let Some(runtime) = emulator_on(properties, copies, edits) else { return };
        if let Err(text) = judge(runtime) {
            assert!(!text.contains("exactly once") && !text.contains("does not compile"), "{what}: {text}");
            println!("{what}, {copies:?}: {text}");
            return;
        }
    }
    panic!("{what} was not caught");
}

/// Values in [−1, 1) as bf16 holds them.
pub(crate) fn drawn(seed: u64, shape: (usize, usize, usize, usize)) -> Array4<f64> {
    let mut state = seed;
    Array4::from_shape_simple_fn(shape, || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bf16::from_f64((state >> 33) as f64 / f64::from(1_u32 << 30) - 1.0).to_f64()
    })
}

/// An array as a bf16 tensor.
pub(crate) fn upload(device: &dyn Device, array: &Array4<f64>) -> Tensor {
    let values: Vec<bf16> = array.iter().map(|&v| bf16::from_f64(v)).collect();
    device.upload(&Tensor::from_vec(values, array.shape()).unwrap()).unwrap()
}

/// The largest deviation of a tensor from an array.
pub(crate) fn deviation(device: &dyn Device, expected: &Array4<f64>, found: &Tensor) -> f64 {
    let found = device.download(found).unwrap().to_f32_vec().unwrap();
    assert_eq!(expected.len(), found.len());
    expected.iter().zip(found).fold(0.0, |most, (e, f)| {
        let off = (e - f64::from(f)).abs();
        // A NaN is as wrong as can be.
        if off.is_nan() { f64::INFINITY } else { f64::max(most, off) }
    })
}
