//! Interned text: every distinct string once, in one arena, under a small number.
//!
//! Ten million relations name the same two million patients; a number of four bytes is all that each of them keeps. Numbers are
//! given in the order of first sight and nothing iterates over the hash table, so the content never depends on it.

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

/// Distinct strings, numbered from 0.
#[derive(Default)]
pub struct Keys {
    text: String,
    ends: Vec<u32>,
    table: HashTable<u32>,
}

impl Keys {
    /// How many strings there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// String number `key`.
    pub fn get(&self, key: u32) -> &str {
        slice(&self.text, &self.ends, key)
    }

    /// The number of a string that is there.
    pub fn find(&self, text: &str) -> Option<u32> {
        let is = |key: &u32| self.text.as_bytes()[range(&self.ends, *key)] == *text.as_bytes();
        self.table.find(xxh3_64(text.as_bytes()), is).copied()
    }

    /// The number of a string, which is added where it is new.
    pub fn put(&mut self, text: &str) -> u32 {
        let hash = xxh3_64(text.as_bytes());
        let Keys { text: arena, ends, table } = self;
        if let Some(key) = table.find(hash, |key| slice(arena, ends, *key) == text) {
            return *key;
        }
        let key = u32::try_from(ends.len()).expect("fewer than four billion distinct strings");
        arena.push_str(text);
        ends.push(u32::try_from(arena.len()).expect("less than four gigabytes of identifiers"));
        table.insert_unique(hash, key, |key| xxh3_64(slice(arena, ends, *key).as_bytes()));
        key
    }

    /// Gives back memory that growing left over.
    pub fn shrink(&mut self) {
        self.text.shrink_to_fit();
        self.ends.shrink_to_fit();
    }
}

fn slice<'a>(arena: &'a str, ends: &[u32], key: u32) -> &'a str {
    &arena[range(ends, key)]
}

fn range(ends: &[u32], key: u32) -> std::ops::Range<usize> {
    let key = key as usize;
    let start = if key == 0 { 0 } else { ends[key - 1] };
    start as usize..ends[key] as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_first_sight() {
        let mut keys = Keys::default();
        for (text, expected) in [("a", 0), ("", 1), ("b", 2), ("a", 0), ("", 1), ("ab", 3)] {
            assert_eq!(keys.put(text), expected, "{text:?}");
            assert_eq!(keys.find(text), Some(expected), "{text:?}");
            assert_eq!(keys.get(expected), text);
        }
        assert_eq!(keys.find("c"), None);
        for number in 0..10_000_u32 {
            assert_eq!(keys.put(&format!("n{number}")), number + 4);
        }
        assert_eq!(keys.find("n9999"), Some(10_003));
    }
}
