//! The CPU satisfies every law.
#![cfg(feature = "laws")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use gar_kernels::{
    Kernels,
    laws::{self, LawConfig},
};

#[test]
fn the_cpu_satisfies_every_law() {
    if let Err(violations) = laws::all(&Kernels::cpu(), &LawConfig::f32()) {
        let lines: Vec<String> = violations.iter().map(ToString::to_string).collect();
        panic!("{}", lines.join("\n"));
    }
}
