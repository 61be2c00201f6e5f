//! Exact sets of hashes that stop growing at a limit, for distinct counts of open days.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// A set stops growing here (DESIGN, section 5); its count then reads as "at least".
pub const DISTINCT_MAX: usize = 16_384;

/// Hashes of the distinct values of one subject's day. Only membership and size are ever asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Distinct(HashSet<u64, xxhash_rust::xxh3::Xxh3DefaultBuilder>);

impl Distinct {
    /// Adds a value.
    pub fn insert(&mut self, value: &str) {
        self.insert_hash(xxh3_64(value.as_bytes()));
    }

    /// Adds a value by its hash.
    pub fn insert_hash(&mut self, hash: u64) {
        if self.0.len() < DISTINCT_MAX {
            self.0.insert(hash);
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
