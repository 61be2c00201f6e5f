//! Hashing of small numbers and of what is a hash already: one multiplication, the same on every machine and in every run.
//!
//! The general hasher of the house is made for texts; begun anew for a number of four bytes it costs more than the look-up. Keys here
//! are our own numbers, or hashes of what came from outside, so nobody outside can choose them to collide.

use std::hash::{BuildHasherDefault, Hasher};

/// Builds the hasher of maps whose keys are numbers.
pub type Numbered = BuildHasherDefault<Mixed>;

/// See the module.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mixed(u64);

impl Hasher for Mixed {
    fn write(&mut self, bytes: &[u8]) {
        // Keys of another kind are hashed byte by byte: right, and slow.
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        // The odd number nearest to 2^64 over the golden ratio; the map takes the high bits and the low ones.
        let mixed = (self.0.rotate_left(5) ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ (mixed >> 32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashMap};

    use super::*;

    #[test]
    fn neighbours_are_spread() {
        let of = |number: u32| {
            let mut hasher = Mixed::default();
            hasher.write_u32(number);
            hasher.finish()
        };
        for bits in [|hash: u64| hash % 4_096, |hash: u64| hash >> 52] {
            let places: BTreeSet<u64> = (0..4_096).map(|number| bits(of(number))).collect();
            assert!(places.len() > 2_000, "{} of 4,096", places.len());
        }
    }

    #[test]
    fn a_map_finds_its_keys() {
        let mut map: HashMap<u32, u32, Numbered> = HashMap::default();
        (0..10_000).for_each(|number| assert_eq!(map.insert(number, number * 2), None));
        (0..10_000).for_each(|number| assert_eq!(map[&number], number * 2));
    }
}
