//! The emulator for tests: skipped where there is no C++ compiler, unless `GAR_REQUIRE_CXX=1`.
#![allow(dead_code)]

use std::{path::PathBuf, sync::Arc};

use gar_kernels::{
    Error,
    cuda::{Copies, Edit, Emulator, EmulatorOptions, Runtime},
    laws::Violation,
};

/// Both ways that asynchronous copies may land.
pub(crate) const BOTH: [Copies; 2] = [Copies::Eager, Copies::Lazy];

/// An emulator whose compiled kernels stay in the target folder; nothing where it is skipped.
pub(crate) fn emulator(copies: Copies, edits: &[Edit]) -> Option<Arc<dyn Runtime>> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("emulator");
    match Emulator::start(EmulatorOptions { copies, edits: edits.to_vec(), folder, ..EmulatorOptions::default() }) {
        Ok(runtime) => Some(runtime),
        Err(why @ Error::Unavailable { .. }) if std::env::var_os("GAR_REQUIRE_CXX").is_none() => {
            println!("SKIPPED: {why}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Judges with every edit planted, in both modes: one of them must report it. An edit that does not fit its file is no catch.
pub(crate) fn catches(what: &str, edits: &[Edit], judge: impl Fn(Arc<dyn Runtime>) -> Result<(), Violation>) {
    let mut caught = false;
    for copies in BOTH {
        let Some(runtime) = emulator(copies, edits) else { return };
        if let Err(violation) = judge(runtime) {
            let text = violation.to_string();
            assert!(!text.contains("exactly once") && !text.contains("does not compile"), "{what}: {text}");
            println!("{what}, {copies:?}: {text}");
            caught = true;
        }
    }
    assert!(caught, "{what} was not caught");
}
