//! Random weights, fast and the same everywhere: each block of a tensor has a generator of its own, so that neither
//! threads nor the order of work have a say.
use rayon::prelude::*;

/// Standard deviation of random weights, as transformers initialises a Llama.
const DEVIATION: f32 = 0.02;

/// Values that one generator makes.
const BLOCK: usize = 1 << 16;

/// SplitMix64 (Steele, Lea and Flood 2014).
struct SplitMix64 {
    state: u64,
}

impl SplitMix64 {
    /// The generator of one block of one tensor.
    fn new(seed: u64, tensor: u64, block: u64) -> Self {
        let mut stir = Self { state: seed };
        for part in [tensor, block] {
            stir.state = stir.next() ^ part;
        }
        Self { state: stir.next() }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number of mean 0 and variance 1: the sum of four uniform ones (Irwin and Hall), nearly normal, at most 3.5.
    fn nearly_normal(&mut self) -> f32 {
        let bits = self.next();
        let sum = (0..4).map(|i| (bits >> (16 * i)) as u16).map(f32::from).sum::<f32>();
        // Four uniform numbers on 0…65535 have mean 2·65535 and variance 4·(65536² − 1)/12.
        (sum - 131_070.0) / 37_837.23
    }
}

/// Fills `out` with bf16 values of a tensor, little-endian, the first of them number `start` of the tensor; `start` is
/// a multiple of the block size unless the tensor ends with `out`.
pub(super) fn fill_normal(out: &mut [u8], seed: u64, tensor: u64, start: usize) {
    let first = start / BLOCK;
    out.par_chunks_mut(2 * BLOCK).enumerate().for_each(|(i, block)| {
        let mut generator = SplitMix64::new(seed, tensor, (first + i) as u64);
        for value in block.chunks_exact_mut(2) {
            value.copy_from_slice(&bf16(DEVIATION * generator.nearly_normal()));
        }
    });
}

/// Fills `out` with one bf16 value, little-endian.
pub(super) fn fill_constant(out: &mut [u8], value: f32) {
    let value = bf16(value);
    out.chunks_exact_mut(2).for_each(|place| place.copy_from_slice(&value));
}

/// The nearest bf16, ties to even; little-endian. For finite values.
fn bf16(value: f32) -> [u8; 2] {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1));
    ((rounded >> 16) as u16).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(bytes: &[u8]) -> Vec<f32> {
        let wide = |b: &[u8]| f32::from_bits(u32::from(u16::from_le_bytes([b[0], b[1]])) << 16);
        bytes.chunks_exact(2).map(wide).collect()
    }

    #[test]
    fn mean_and_deviation_are_as_stated() {
        let mut bytes = vec![0; 2 * 300_000];
        fill_normal(&mut bytes, 7, 3, 0);
        let found = values(&bytes);
        let n = found.len() as f64;
        let mean = found.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
        let variance = found.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / n;
        // Standard errors: 0.02/√n = 3.7e-5 and 0.02/√(2n) = 2.6e-5.
        assert!(mean.abs() < 1.5e-4, "{mean}");
        assert!((variance.sqrt() - 0.02).abs() < 1.5e-4, "{}", variance.sqrt());
    }

    #[test]
    fn a_tensor_is_the_same_in_one_piece_and_in_several() {
        let mut whole = vec![0; 2 * (2 * BLOCK + 10)];
        fill_normal(&mut whole, 1, 2, 0);
        let mut parts = vec![0; whole.len()];
        let (head, tail) = parts.split_at_mut(2 * BLOCK);
        fill_normal(head, 1, 2, 0);
        fill_normal(tail, 1, 2, BLOCK);
        assert_eq!(whole, parts);
        fill_normal(&mut parts, 1, 3, 0);
        assert_ne!(whole, parts, "another tensor");
        fill_normal(&mut parts, 2, 2, 0);
        assert_ne!(whole, parts, "another seed");
    }

    #[test]
    fn bf16_rounds_to_nearest_even() {
        // Halfway cases: 1 + 2⁻⁸ lies between 0x3f80 and 0x3f81, 1 + 3·2⁻⁸ between 0x3f81 and 0x3f82.
        let (low, high) = (1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0);
        for (value, bits) in [(1.0, 0x3f80), (0.1, 0x3dcd), (-0.1, 0xbdcd), (low, 0x3f80), (high, 0x3f82)] {
            assert_eq!(u16::from_le_bytes(bf16(value)), bits, "{value}");
        }
    }
}
