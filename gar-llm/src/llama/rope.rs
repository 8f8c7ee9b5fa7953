//! Rotary tables of Llama (RoPE: Su et al., 2021), with its context stretching.

use std::f32::consts::TAU;
use std::sync::{Arc, Mutex, PoisonError};

use gar_kernels::{Kernels, Tensor};

use super::{LlamaConfig, RopeScaling};
use crate::Result;

/// Cosines and sines of the first P positions.
#[derive(Debug)]
pub(super) struct RopeTables {
    /// [P, head_dim / 2] f32.
    pub(super) cos: Tensor,
    /// [P, head_dim / 2] f32.
    pub(super) sin: Tensor,
    /// P.
    pub(super) positions: usize,
}

/// Tables for as many positions as were asked for so far.
#[derive(Debug)]
pub(super) struct Rope {
    inverse_frequencies: Vec<f32>,
    longest: Mutex<Option<Arc<RopeTables>>>,
}

impl Rope {
    pub(super) fn new(config: &LlamaConfig) -> Self {
        Self { inverse_frequencies: inverse_frequencies(config), longest: Mutex::new(None) }
    }

    /// Tables that hold at least `positions`; a table made for an earlier, longer sequence is reused.
    pub(super) fn tables(&self, kernels: &Kernels, positions: usize) -> Result<Arc<RopeTables>> {
        let mut longest = self.longest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tables) = longest.as_ref().filter(|tables| tables.positions >= positions) {
            return Ok(tables.clone());
        }
        let half = self.inverse_frequencies.len();
        // transformers multiplies position and frequency in f32; cosine and sine of that product are taken in f64, so
        // that they are the same on every platform.
        let table = |f: fn(f64) -> f64| {
            let angles = (0..positions).flat_map(|p| self.inverse_frequencies.iter().map(move |w| w * p as f32));
            let host = Tensor::from_vec(angles.map(|a| f(f64::from(a)) as f32).collect(), &[positions, half])?;
            kernels.device.upload(&host)
        };
        let tables = Arc::new(RopeTables { cos: table(f64::cos)?, sin: table(f64::sin)?, positions });
        *longest = Some(tables.clone());
        Ok(tables)
    }
}

/// Radians per position of each pair of entries, in f32 with transformers' order of operations.
fn inverse_frequencies(config: &LlamaConfig) -> Vec<f32> {
    let dim = config.head_dim as f32;
    (0..config.head_dim / 2)
        .map(|i| 1.0 / config.rope_theta.powf(f64::from(2.0 * i as f32 / dim)) as f32)
        .map(|frequency| stretch(frequency, config.rope_scaling))
        .collect()
}

fn stretch(frequency: f32, scaling: RopeScaling) -> f32 {
    match scaling {
        RopeScaling::None => frequency,
        RopeScaling::Linear { factor } => frequency / factor as f32,
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_positions } => {
            let (factor, context) = (factor as f32, original_max_positions as f32);
            let wavelength = frequency.recip() * TAU;
            if wavelength < (original_max_positions / high_freq_factor) as f32 {
                frequency
            } else if wavelength > (original_max_positions / low_freq_factor) as f32 {
                frequency / factor
            } else {
                let smooth = (wavelength.recip() * context - low_freq_factor as f32)
                    / (high_freq_factor - low_freq_factor) as f32;
                (1.0 - smooth) * frequency / factor + smooth * frequency
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LLAMA_3_2: RopeScaling = RopeScaling::Llama3 {
        factor: 32.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_positions: 8192.0,
    };

    #[test]
    fn llama3_keeps_short_waves_and_stretches_long_ones() {
        let at = |wavelength: f32| stretch(TAU / wavelength, LLAMA_3_2) / (TAU / wavelength);
        assert_eq!(at(2047.0), 1.0);
        assert_eq!(at(8193.0), 1.0 / 32.0);
        // Half way between the bounds in frequency: smooth = 1/2.
        let middle = at(8192.0 / 2.5);
        assert!((middle - 0.5 * (1.0 + 1.0 / 32.0)).abs() < 1e-6, "{middle}");
    }
}
