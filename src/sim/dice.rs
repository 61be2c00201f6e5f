//! Reproducible chance: one independent ChaCha stream per purpose, so that a new misuse or a new kind of row changes nothing else.
//!
//! Nothing in the simulator may draw from anywhere else.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Gamma, Poisson};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A stream of random numbers that depends on the seed, a purpose and some keys, and on nothing else.
pub struct Dice(ChaCha8Rng);

/// A well-mixed number from a seed and keys: a choice that must come out the same wherever it is asked again.
pub fn mix(seed: u64, keys: &[u64]) -> u64 {
    // Each key is stirred in with the finaliser of SplitMix64: this is called some ten million times in a run.
    keys.iter().fold(seed, |state, key| {
        let mut z = state.wrapping_add(*key).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

/// [`mix`] as a number in [0, 1).
pub fn mix_unit(seed: u64, keys: &[u64]) -> f64 {
    (mix(seed, keys) >> 11) as f64 / (1_u64 << 53) as f64
}

impl Dice {
    /// The stream for `purpose` and `keys`.
    pub fn new(seed: u64, purpose: &str, keys: &[u64]) -> Dice {
        Dice(ChaCha8Rng::seed_from_u64(mix(xxh3_64_with_seed(purpose.as_bytes(), seed), keys)))
    }

    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// Uniform in `0..n`; `n` is at least 1.
    pub fn below(&mut self, n: usize) -> usize {
        ((self.unit() * n as f64) as usize).min(n.saturating_sub(1))
    }

    /// Uniform in `low..high`; `low` where the range is empty.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        if high <= low { low } else { low + (self.unit() * (high - low) as f64) as i64 }
    }

    /// A Poisson count.
    pub fn poisson(&mut self, mean: f64) -> usize {
        Poisson::new(mean.max(1e-9)).map_or(0, |law| law.sample(&mut self.0) as usize)
    }

    /// A gamma variate with this mean and coefficient of variation.
    pub fn gamma(&mut self, mean: f64, cv: f64) -> f64 {
        let shape = 1.0 / (cv * cv);
        Gamma::new(shape, mean / shape).map_or(mean, |law| law.sample(&mut self.0))
    }

    /// An index with probability proportional to its weight.
    pub fn weighted(&mut self, weights: &[f64]) -> usize {
        let mut left = self.unit() * weights.iter().sum::<f64>();
        for (index, weight) in weights.iter().enumerate() {
            left -= weight;
            if left < 0.0 {
                return index;
            }
        }
        weights.len().saturating_sub(1)
    }

    /// One of a list that is not empty.
    pub fn pick<'t, T>(&mut self, list: &'t [T]) -> &'t T {
        &list[self.below(list.len())]
    }

    /// Puts a list in random order.
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for index in (1..list.len()).rev() {
            list.swap(index, self.below(index + 1));
        }
    }
}
