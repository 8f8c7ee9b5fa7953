//! The CPU satisfies every law, in every precision and with every instruction set that this machine has.
#![cfg(feature = "laws")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use gar_kernels::{
    Kernels,
    cpu::{CpuOptions, InstructionSet, Precision, WeightFormat},
    laws::{self, LawConfig},
};

fn judge(options: CpuOptions, config: &LawConfig) {
    let kernels = Kernels::cpu_with(options).unwrap();
    if let Err(violations) = laws::all(&kernels, config) {
        let lines: Vec<String> = violations.iter().map(ToString::to_string).collect();
        panic!("{options:?}\n{}", lines.join("\n"));
    }
}

/// Fewer cases than usual, as there are many sets; tiles around those of every set.
fn fewer(tolerance: f64) -> LawConfig {
    LawConfig { cases: 10, tolerance, tiles: vec![6, 12, 16, 32, 64, 128], ..LawConfig::f32() }
}

#[test]
fn the_cpu_satisfies_every_law() {
    judge(CpuOptions::default(), &LawConfig::f32());
}

#[test]
fn every_instruction_set_is_exact_in_f32() {
    for set in InstructionSet::available() {
        judge(CpuOptions { instructions: Some(set), ..CpuOptions::default() }, &fewer(2e-5));
    }
}

/// The tolerance is that of [`LawConfig::bf16`]: activations come in f32 and are rounded where they are multiplied.
#[test]
fn every_instruction_set_is_right_in_bf16() {
    for set in InstructionSet::available() {
        let options = CpuOptions { precision: Precision::Bf16, instructions: Some(set), ..CpuOptions::default() };
        judge(options, &fewer(LawConfig::bf16().tolerance));
    }
}

/// Entries are uniform in ±1, so the error of each, half a step of 1/127, has a deviation of 0.0023; 129 products of two
/// such entries deviate by √(129 · 2 · 0.0023² / 3) = 0.021, and the worst of some thousand results by five times that.
#[test]
fn every_instruction_set_is_right_in_8_bits() {
    for set in InstructionSet::available() {
        let options = CpuOptions { weights: WeightFormat::Int8, instructions: Some(set), ..CpuOptions::default() };
        judge(options, &fewer(0.11));
    }
}
