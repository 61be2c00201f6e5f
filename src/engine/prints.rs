//! The first record of each identifier of recent hours, twelve bytes each, in one table.
//!
//! A site keeps millions of them. They lie sorted by the hash of the identifier, each as near as it can to the place that its hash
//! names (linear probing in order, as Amble and Knuth have it), so that a look ends where a larger hash stands, and growing or
//! forgetting is one walk through the table. Of the hash of the identifier 56 bits are kept: among ten million identifiers one new one in
//! seven billion is taken for a known one. Of the content 32 bits are kept: they decide only between two records of one identifier.

use serde::{Deserialize, Serialize};

/// The table is never fuller than this.
const FULL: f64 = 0.85;
/// When it is full it grows until it is as full as this.
const GROWN: f64 = 0.75;
/// Free places behind the last that a hash can name.
const BEHIND: usize = 64;

/// A place of the table; free where the hour is 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    /// The hash of the identifier, but for its last byte, which is the hour.
    high: u32,
    low: u32,
    content: u32,
}

impl Entry {
    fn new(id: u64, hour: u8, content: u32) -> Entry {
        Entry { high: (id >> 32) as u32, low: (id as u32 & !0xFF) | u32::from(hour), content }
    }

    fn hour(self) -> u8 {
        self.low as u8
    }

    /// The hash without its last byte.
    fn id(self) -> u64 {
        u64::from(self.high) << 32 | u64::from(self.low & !0xFF)
    }
}

/// Hashes of identifiers, each with an hour (1 to 255, of the caller's counting) and a hash of content.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Entry>", into = "Vec<Entry>")]
pub(super) struct Prints {
    places: Vec<Entry>,
    /// So many places can be named by a hash.
    named: usize,
    taken: usize,
}

/// Where an identifier stands, or where it belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// It is known.
    At(usize),
    /// It is not, and would stand here.
    Before(usize),
}

impl Prints {
    fn home(&self, id: u64) -> usize {
        (((id >> 32) * self.named as u64) >> 32) as usize
    }

    /// Looks an identifier up.
    pub fn find(&self, id: u64) -> Found {
        let id = id & !0xFF;
        let mut at = self.home(id);
        while let Some(entry) = self.places.get(at).filter(|entry| entry.hour() != 0) {
            if entry.id() >= id {
                return if entry.id() == id { Found::At(at) } else { Found::Before(at) };
            }
            at += 1;
        }
        Found::Before(at)
    }

    /// The hour and the hash of content of one that was found.
    pub fn get(&self, at: usize) -> (u8, u32) {
        (self.places[at].hour(), self.places[at].content)
    }

    /// Gives one that was found another hour and content.
    pub fn set(&mut self, at: usize, hour: u8, content: u32) {
        self.places[at] = Entry::new(self.places[at].id(), hour, content);
    }

    /// Adds an identifier that was not found, where it belongs.
    pub fn insert(&mut self, mut at: usize, id: u64, hour: u8, content: u32) {
        let full = self.taken as f64 >= FULL * self.named as f64;
        let is_free = |entry: &Entry| entry.hour() == 0;
        let free = self.places.get(at..).and_then(|behind| behind.iter().position(is_free)).filter(|_| !full);
        let free = match free {
            Some(free) => at + free,
            None => {
                self.grow();
                let Found::Before(belongs) = self.find(id) else { unreachable!("it was not found before") };
                at = belongs;
                at + self.places[at..].iter().position(is_free).expect("a grown table has free places behind")
            }
        };
        self.places.copy_within(at..free, at + 1);
        self.places[at] = Entry::new(id, hour, content);
        self.taken += 1;
    }

    /// Gives each the hour that `hour` says of its hash, hour and content; without one it is forgotten.
    pub fn retain(&mut self, mut hour: impl FnMut(u64, u8, u32) -> Option<u8>) {
        let (mut next, mut taken) = (0, 0);
        for at in 0..self.places.len() {
            let entry = std::mem::take(&mut self.places[at]);
            if entry.hour() != 0
                && let Some(hour) = hour(entry.id(), entry.hour(), entry.content)
            {
                // What lay in order goes on lying in order, and never further from home.
                next = self.home(entry.id()).max(next);
                self.places[next] = Entry::new(entry.id(), hour, entry.content);
                (next, taken) = (next + 1, taken + 1);
            }
        }
        self.taken = taken;
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.taken == 0
    }

    fn grow(&mut self) {
        let named = ((self.taken + 1) as f64 / GROWN).max(self.named as f64 * 1.02) as usize + 16;
        *self = Prints::laid(self.entries(), named, self.taken);
    }

    fn entries(&self) -> impl Iterator<Item = Entry> {
        self.places.iter().copied().filter(|entry| entry.hour() != 0)
    }

    /// Lays entries out that come in order.
    fn laid(entries: impl Iterator<Item = Entry>, named: usize, taken: usize) -> Prints {
        let mut laid = Prints { places: vec![Entry::default(); named + BEHIND], named, taken };
        let mut next = 0;
        for entry in entries {
            next = laid.home(entry.id()).max(next);
            if next >= laid.places.len() {
                laid.places.resize(next + BEHIND, Entry::default());
            }
            laid.places[next] = entry;
            next += 1;
        }
        // Whoever comes next finds a free place behind the last.
        laid.places.resize(laid.places.len().max(next + 1), Entry::default());
        laid
    }
}

impl From<Vec<Entry>> for Prints {
    fn from(entries: Vec<Entry>) -> Prints {
        let taken = entries.len();
        Prints::laid(entries.into_iter(), (taken as f64 / GROWN) as usize + 16, taken)
    }
}

impl From<Prints> for Vec<Entry> {
    fn from(prints: Prints) -> Vec<Entry> {
        prints.entries().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Against a map; `crowd` shifts hashes together, so that many want the same place, also the last.
    fn check(ids: &[(u64, u8)], crowd: u32) {
        let (mut prints, mut naive) = (Prints::default(), BTreeMap::<u64, (u8, u32)>::new());
        for (index, (id, hour)) in ids.iter().enumerate() {
            let (id, content) = (!(id >> crowd) & !0xFF, index as u32);
            match prints.find(id) {
                Found::At(at) => {
                    assert_eq!(naive.get(&id), Some(&prints.get(at)));
                    prints.set(at, *hour, content);
                }
                Found::Before(at) => {
                    assert_eq!(naive.get(&id), None);
                    prints.insert(at, id, *hour, content);
                }
            }
            naive.insert(id, (*hour, content));
            if index % 97 == 96 {
                prints.retain(|_, hour, _| hour.checked_sub(3).filter(|hour| *hour > 0));
                naive.retain(|_, (hour, _)| *hour > 3);
                naive.values_mut().for_each(|(hour, _)| *hour -= 3);
            }
            if index % 151 == 150 {
                let bytes = postcard::to_stdvec(&prints).unwrap();
                prints = postcard::from_bytes(&bytes).unwrap();
            }
            assert_eq!(prints.taken, naive.len());
        }
        for (id, (hour, content)) in &naive {
            let Found::At(at) = prints.find(*id) else { panic!("{id} is lost") };
            assert_eq!(prints.get(at), (*hour, *content));
        }
    }

    proptest::proptest! {
        #[test]
        fn keeps_what_a_map_keeps(ids in proptest::collection::vec((0..u64::MAX, 1_u8..=255), 0..600), crowd in 0_u32..50) {
            check(&ids, crowd);
        }
    }
}
