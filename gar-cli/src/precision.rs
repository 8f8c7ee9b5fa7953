//! How the CPU computes, on the command line.
use clap::{Args, ValueEnum};
use gar_core::kernels::Kernels;
use gar_core::kernels::cpu::{CpuOptions, Precision, WeightFormat};

use crate::error::Result;

/// What the CPU rounds to.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct PrecisionArgs {
    /// What products are rounded to on the CPU [default: f32]
    #[arg(long = "precision", value_enum)]
    products: Option<Products>,
    /// Keep weights in fewer bits; a checkpoint that was quantised before needs no flag
    #[arg(long, value_enum)]
    quantize: Option<Quantize>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Products {
    /// Nothing: the exact path
    F32,
    /// Matrix products, attention and the key/value cache, with sums in f32
    Bf16,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Quantize {
    /// Matrices in 8 bits, a scale for each output channel
    Int8,
}

impl PrecisionArgs {
    /// Whether any of the flags was named.
    pub(crate) fn is_given(self) -> bool {
        self.products.is_some() || self.quantize.is_some()
    }

    /// The table of operations that the flags ask for.
    pub(crate) fn kernels(self) -> Result<Kernels> {
        let precision = match self.products {
            None | Some(Products::F32) => Precision::F32,
            Some(Products::Bf16) => Precision::Bf16,
        };
        let weights = match self.quantize {
            None => WeightFormat::Stored,
            Some(Quantize::Int8) => WeightFormat::Int8,
        };
        Ok(Kernels::cpu_with(CpuOptions { precision, weights, ..CpuOptions::default() })?)
    }
}
