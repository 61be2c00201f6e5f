//! Exact sets of hashes that stop growing at a limit, for distinct counts of open days.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// A set stops growing here (DESIGN, section 5); its count then reads as "at least".
pub const DISTINCT_MAX: usize = 16_384;

/// A set of up to so many hashes is looked through; a larger one is sorted.
const SMALL: usize = 48;

/// Hashes of the distinct values of one subject's day: nearly all sets are small, and there are many of them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Distinct(Vec<u64>);

/// The hash by which a value is known.
pub fn hash(value: &str) -> u64 {
    xxh3_64(value.as_bytes())
}

impl Distinct {
    /// Adds a value.
    pub fn insert(&mut self, value: &str) {
        self.insert_hash(hash(value));
    }

    /// Adds a value by its hash.
    pub fn insert_hash(&mut self, hash: u64) {
        let small = self.0.len() <= SMALL;
        let at = if small {
            if self.0.contains(&hash) {
                return;
            }
            self.0.len()
        } else {
            let Err(at) = self.0.binary_search(&hash) else { return };
            at
        };
        if self.0.len() == DISTINCT_MAX {
            return;
        }
        if self.0.len() == self.0.capacity() {
            self.0.reserve_exact((self.0.len() / 2).max(4));
        }
        self.0.insert(at, hash);
        if small && self.0.len() > SMALL {
            self.0.sort_unstable();
        }
    }

    /// Number of distinct values.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn counts_distinct_values_up_to_the_limit() {
        let (mut set, mut naive) = (Distinct::default(), BTreeSet::new());
        for number in 0..40_000_u64 {
            let value = (number * number % 23_456).to_string();
            set.insert(&value);
            naive.insert(value);
            assert_eq!(set.len(), naive.len().min(DISTINCT_MAX));
        }
    }
}
