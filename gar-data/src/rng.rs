//! A random generator whose output is part of this crate's contract.

/// ChaCha with 8 rounds (Bernstein, 2008), as a generator: key and nonce name a stream, no two streams share a state.
///
/// A stream is keyed by whole values, not by a hash of them, so that samples of different seeds, splits or indices are
/// different streams by construction. Only integer arithmetic and exact conversions are used: the same numbers on every
/// platform and in every version of this crate.
#[derive(Debug, Clone)]
pub struct Rng {
    state: [u32; 16],
    block: [u32; 16],
    used: usize,
}

/// "expand 32-byte k", the constant of every ChaCha state.
const CONSTANT: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];

impl Rng {
    /// The stream of sample `index` in `domain` under `seed`. Domains keep apart what must never draw the same numbers.
    pub fn new(seed: u64, domain: u64, index: u64) -> Self {
        let word = |value: u64| [value as u32, (value >> 32) as u32];
        let ([s0, s1], [d0, d1], [i0, i1]) = (word(seed), word(domain), word(index));
        let [c0, c1, c2, c3] = CONSTANT;
        let state = [c0, c1, c2, c3, s0, s1, d0, d1, 0, 0, 0, 0, 0, 0, i0, i1];
        Self { state, block: [0; 16], used: 16 }
    }

    /// 32 uniform bits.
    pub fn bits(&mut self) -> u32 {
        if self.used == 16 {
            self.block = block(&self.state, 8);
            let counter = (u64::from(self.state[13]) << 32 | u64::from(self.state[12])).wrapping_add(1);
            self.state[12] = counter as u32;
            self.state[13] = (counter >> 32) as u32;
            self.used = 0;
        }
        self.used += 1;
        self.block[self.used - 1]
    }

    /// Uniform in `0..n`, without bias (Lemire, 2019); 0 where `n` is 0.
    pub fn below(&mut self, n: u32) -> u32 {
        let floor = n.wrapping_neg().checked_rem(n).unwrap_or(0);
        loop {
            let product = u64::from(self.bits()) * u64::from(n);
            if product as u32 >= floor {
                return (product >> 32) as u32;
            }
        }
    }

    /// Uniform in `low..=high`.
    pub fn between(&mut self, low: u32, high: u32) -> u32 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// Uniform in [0, 1), a multiple of 2⁻²⁴.
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 8) as f32 * (1.0 / (1_u32 << 24) as f32)
    }

    /// Uniform in [low, high).
    pub fn range(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// True `percent` times in a hundred.
    pub fn percent(&mut self, percent: u32) -> bool {
        self.below(100) < percent
    }

    /// As [`percent`](Self::percent), but draws nothing where the outcome is certain.
    pub fn chance(&mut self, percent: u32) -> bool {
        percent >= 100 || (percent > 0 && self.percent(percent))
    }

    /// One of `items`; `None` where there are none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len() as u32) as usize)
    }

    /// One of an array, which is never empty where it matters.
    pub(crate) fn one<T: Copy, const N: usize>(&mut self, items: [T; N]) -> T {
        const { assert!(N > 0) };
        items[self.below(N as u32) as usize]
    }

    /// An index drawn by weight; 0 where all weights are 0.
    pub fn weighted(&mut self, weights: &[u32]) -> usize {
        let mut at = self.below(weights.iter().sum());
        for (i, &weight) in weights.iter().enumerate() {
            if at < weight {
                return i;
            }
            at -= weight;
        }
        0
    }

    /// Fisher and Yates.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u32 + 1) as usize);
        }
    }
}

fn block(state: &[u32; 16], rounds: usize) -> [u32; 16] {
    let mut x = *state;
    for _ in 0..rounds / 2 {
        quarter(&mut x, 0, 4, 8, 12);
        quarter(&mut x, 1, 5, 9, 13);
        quarter(&mut x, 2, 6, 10, 14);
        quarter(&mut x, 3, 7, 11, 15);
        quarter(&mut x, 0, 5, 10, 15);
        quarter(&mut x, 1, 6, 11, 12);
        quarter(&mut x, 2, 7, 8, 13);
        quarter(&mut x, 3, 4, 9, 14);
    }
    std::array::from_fn(|i| x[i].wrapping_add(state[i]))
}

fn quarter(x: &mut [u32; 16], a: usize, b: usize, c: usize, d: usize) {
    for [into, by, turned, bits] in [[a, b, d, 16], [c, d, b, 12], [a, b, d, 8], [c, d, b, 7]] {
        x[into] = x[into].wrapping_add(x[by]);
        x[turned] = (x[turned] ^ x[into]).rotate_left(bits as u32);
    }
}

/// 32 well-mixed bits of a pixel, for grain and noise: cheaper than a stream where every pixel needs its own.
pub(crate) fn grain(x: u32, y: u32, salt: u32) -> u32 {
    let mut h = x.wrapping_mul(0x9E37_79B1) ^ y.wrapping_mul(0x85EB_CA77) ^ salt.wrapping_mul(0xC2B2_AE3D);
    h = (h ^ (h >> 15)).wrapping_mul(0x2C1B_3C6D);
    h = (h ^ (h >> 12)).wrapping_mul(0x297A_2D39);
    h ^ (h >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8439, §2.3.2: the block function with 20 rounds. Fewer rounds run the same code fewer times.
    #[test]
    fn the_block_is_that_of_the_rfc() {
        let key: [u32; 8] = std::array::from_fn(|i| 0x0302_0100 + 0x0404_0404 * i as u32);
        let mut state = [0; 16];
        state[..4].copy_from_slice(&CONSTANT);
        state[4..12].copy_from_slice(&key);
        state[12..].copy_from_slice(&[1, 0x0900_0000, 0x4a00_0000, 0]);
        let out = block(&state, 20);
        assert_eq!(out[..4], [0xe4e7_f110, 0x1559_3bd1, 0x1fdd_0f50, 0xc471_20a3]);
        assert_eq!(out[12..], [0xd19c_12b5, 0xb94e_16de, 0xe883_d0cb, 0x4e3c_50a2]);
    }

    #[test]
    fn streams_differ_in_every_part_of_their_name() {
        let first = |seed, domain, index| Rng::new(seed, domain, index).bits();
        let base = first(1, 2, 3);
        let others = [first(2, 2, 3), first(1, 3, 3), first(1, 2, 4), first(1 << 40, 2, 3), first(1, 2, 3 | 1 << 40)];
        assert!(others.iter().all(|&other| other != base), "{others:?}");
    }

    #[test]
    fn draws_are_uniform_and_in_range() {
        let mut rng = Rng::new(7, 0, 0);
        let mut counts = [0_u32; 6];
        for _ in 0..60_000 {
            counts[rng.below(6) as usize] += 1;
        }
        // Six standard deviations of a binomial (60,000, 1/6) are 548.
        assert!(counts.iter().all(|&n| n.abs_diff(10_000) < 548), "{counts:?}");
        assert_eq!((rng.below(0), rng.below(1), rng.between(4, 4)), (0, 0, 4));
        assert_eq!((rng.weighted(&[0, 0]), rng.weighted(&[0, 3, 0])), (0, 1));
        assert!((0..1000).all(|_| (2.0..3.0).contains(&rng.range(2.0, 3.0))));
    }
}
