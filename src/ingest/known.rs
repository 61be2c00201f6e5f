//! Files that were read before: each is known by the hash of its decompressed bytes up to the position that was reached, so that it is
//! recognised under any name, packed or not, and read on where it has grown.

use std::collections::{BTreeMap, BTreeSet};

use super::files::FileReader;
use crate::event::effects::Decoded;

/// Rows and bytes of a stretch that is decoded at once.
pub const CHUNK_ROWS: usize = 8_192;
/// Decompressed bytes of it.
pub const CHUNK_BYTES: u64 = 8 << 20;

/// Where a file ended when it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// SHA-256 of the decompressed bytes up to there, in hexadecimal digits.
    pub sha256: String,
    /// The position: number of the next line or record.
    pub next: i64,
}

impl End {
    /// Where a reader stands.
    pub fn of(reader: &FileReader, next: i64) -> End {
        End { sha256: reader.sha256_so_far().iter().map(|byte| format!("{byte:02x}")).collect(), next }
    }

    /// The position key of the file.
    pub fn key(&self) -> String {
        format!("file:{}", self.sha256)
    }
}

/// What of a stretch lies at `from` or beyond; none where all of it lies before.
pub fn fresh(stretch: Decoded, from: i64) -> Option<Decoded> {
    match stretch {
        known if known.to <= from => None,
        mixed if mixed.from < from => Some(mixed.split(from).1),
        fresh => Some(fresh),
    }
}

/// What a file is by its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surveyed {
    /// Where it ends.
    pub end: End,
    /// How far it is one that was read before.
    pub from: i64,
    /// Why it was not read any further, where it is damaged.
    pub damage: Option<String>,
}

/// The files that were read.
#[derive(Debug, Clone, Default)]
pub struct KnownFiles(BTreeMap<i64, Vec<String>>);

impl KnownFiles {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds one.
    pub fn add(&mut self, end: End) {
        self.0.entry(end.next).or_default().push(end.sha256);
    }

    /// Whether it was read.
    pub fn has(&self, end: &End) -> bool {
        self.0.get(&end.next).is_some_and(|hashes| hashes.contains(&end.sha256))
    }

    /// Of files that are on record as far as `positions` say, by position key, those that were not read to their ends. One that has grown
    /// while it was read is known by where it ended.
    pub fn begun<'p>(&self, positions: impl Iterator<Item = (&'p String, &'p i64)>) -> BTreeSet<String> {
        let hashes: BTreeSet<&str> = self.0.values().flatten().map(String::as_str).collect();
        let is_begun = |(key, next): &(&'p String, &'p i64)| {
            let hash = key.strip_prefix("file:");
            **next > 1 && hash.is_some_and(|hash| !hashes.contains(hash)) && !self.0.contains_key(*next)
        };
        positions.filter(is_begun).map(|(key, _)| key.clone()).collect()
    }

    /// Reads a file once for its hash. `None` where `goes_on` said no.
    pub fn survey(&self, mut reader: FileReader, goes_on: &dyn Fn() -> bool) -> Option<Surveyed> {
        let (mut at, mut from, mut damage) = (1_i64, 0_i64, None);
        loop {
            if !goes_on() {
                return None;
            }
            let next = self.0.range(at + 1..).next().map_or(i64::MAX, |(next, _)| *next);
            let rows = usize::try_from(next - at).unwrap_or(CHUNK_ROWS).min(CHUNK_ROWS);
            match reader.next_chunk(rows, CHUNK_BYTES) {
                Ok(Some(chunk)) => at = chunk.to,
                Ok(None) => {
                    at = at.max(reader.position());
                    break;
                }
                Err(error) => {
                    damage = Some(error.to_string());
                    break;
                }
            }
            if self.0.contains_key(&at) && self.has(&End::of(&reader, at)) {
                from = at;
            }
        }
        Some(Surveyed { end: End::of(&reader, at), from, damage })
    }
}

impl FromIterator<End> for KnownFiles {
    fn from_iter<I: IntoIterator<Item = End>>(ends: I) -> KnownFiles {
        let mut known = KnownFiles::default();
        ends.into_iter().for_each(|end| known.add(end));
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(known: &[(&str, i64)], positions: &[(&str, i64)], begun: &[&str]) {
        let ends = known.iter().map(|(sha256, next)| End { sha256: (*sha256).to_owned(), next: *next });
        let known: KnownFiles = ends.collect();
        let positions: BTreeMap<String, i64> = positions.iter().map(|(key, next)| ((*key).to_owned(), *next)).collect();
        assert_eq!(known.begun(positions.iter()).iter().collect::<Vec<_>>(), begun, "{known:?} {positions:?}");
    }

    #[test]
    fn what_was_not_read_to_its_end() {
        check(&[], &[], &[]);
        check(&[("aa", 11)], &[("file:aa", 11), ("file:bb", 5)], &["file:bb"]);
        // The end of a file may lie beyond its last record.
        check(&[("aa", 12)], &[("file:aa", 11)], &[]);
        // It grew while it was read: the key is of what it held before.
        check(&[("ab", 21)], &[("file:aa", 21)], &[]);
        // Nothing of it was read, or it is no file.
        check(&[], &[("file:aa", 0), ("file:bb", 1), ("kafka:0", 7)], &[]);
    }
}
