//! The events behind a finding: all counted, the first 50 by (time, source, event_id) kept, whatever the order in which they came.

use serde::{Deserialize, Serialize};

use crate::event::{Event, Time, alert};

/// This many events are listed.
const LISTED: u8 = 50;
/// Bytes of an entry before its id.
const HEAD: usize = 16;

/// The events behind a finding. Every account has some on every open day, so they lie packed in one piece of memory.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Events {
    count: u64,
    last: Option<Time>,
    /// Entries by (time, source, event_id): time (8 bytes), number of the source (4), length of the id (4), the id.
    listed: Vec<u8>,
    entries: u8,
    /// Where the last entry begins.
    tail: u32,
    sources: Vec<Box<str>>,
}

/// One listed event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Listed<'a> {
    time: i64,
    source: &'a str,
    id: &'a str,
}

impl Events {
    /// Adds an event.
    pub fn add(&mut self, event: &Event<'_>) {
        self.count += 1;
        let time = event.time();
        self.last = self.last.max(Some(time));
        let source = self.source(event.source());
        let new = Listed { time: time.0, source: event.source(), id: event.event_id() };
        // Events of an account come in order of time but for a few.
        let behind = self.entries == 0 || self.entry(self.tail as usize).0 <= new;
        if self.entries == LISTED {
            if behind {
                return;
            }
            self.drop_last();
        }
        let at = if behind { self.listed.len() } else { self.place(new) };
        self.insert(at, new, source);
    }

    /// The entry that begins at `at`, and where the next one begins.
    fn entry(&self, at: usize) -> (Listed<'_>, usize) {
        let (time, rest) = self.listed[at..].split_first_chunk::<8>().expect("an entry is whole");
        let (source, rest) = rest.split_first_chunk::<4>().expect("an entry is whole");
        let (length, rest) = rest.split_first_chunk::<4>().expect("an entry is whole");
        let length = u32::from_le_bytes(*length) as usize;
        let id = std::str::from_utf8(&rest[..length]).expect("ids are text");
        let source = &self.sources[u32::from_le_bytes(*source) as usize];
        (Listed { time: i64::from_le_bytes(*time), source, id }, at + HEAD + length)
    }

    fn entries(&self) -> impl Iterator<Item = (usize, Listed<'_>)> {
        let mut at = 0;
        std::iter::from_fn(move || {
            (at < self.listed.len()).then(|| {
                let (listed, next) = self.entry(at);
                (std::mem::replace(&mut at, next), listed)
            })
        })
    }

    /// Where an entry belongs: before the first that is not smaller.
    fn place(&self, new: Listed<'_>) -> usize {
        self.entries().find(|(_, listed)| *listed >= new).map_or(self.listed.len(), |(at, _)| at)
    }

    fn insert(&mut self, at: usize, new: Listed<'_>, source: u32) {
        let length = new.id.len() as u32;
        let entry = (new.time.to_le_bytes().into_iter())
            .chain(source.to_le_bytes())
            .chain(length.to_le_bytes())
            .chain(new.id.bytes());
        if at == self.listed.len() {
            self.tail = at as u32;
            self.listed.extend(entry);
        } else {
            self.tail += HEAD as u32 + length;
            self.listed.splice(at..at, entry);
        }
        self.entries += 1;
    }

    fn drop_last(&mut self) {
        let end = self.tail as usize;
        self.listed.truncate(end);
        self.entries -= 1;
        self.tail = self.entries().last().map_or(0, |(at, _)| at as u32);
    }

    fn source(&mut self, name: &str) -> u32 {
        let known = self.sources.iter().position(|known| **known == *name);
        let number = known.unwrap_or_else(|| {
            self.sources.reserve_exact(1);
            self.sources.push(name.into());
            self.sources.len() - 1
        });
        number as u32
    }

    /// All events, counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Time of the last one.
    pub fn last(&self) -> Option<Time> {
        self.last
    }

    /// Time of the first one.
    pub fn first(&self) -> Option<Time> {
        self.entries().next().map(|(_, listed)| Time(listed.time))
    }

    /// As alerts show it.
    pub fn evidence(&self) -> alert::Evidence {
        let several = self.sources.len() > 1;
        let show = |(_, Listed { source, id, .. })| if several { format!("{source}/{id}") } else { str::to_owned(id) };
        alert::Evidence { count: self.count, event_ids: self.entries().map(show).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Activity, Draft, EventBuilder, Origin};

    proptest::proptest! {
        #[test]
        fn the_first_fifty_in_any_order(mut keys in proptest::collection::vec((0_i64..40, 0_u8..3, 0_u16..500), 0..120)) {
            let mut builder = EventBuilder::default();
            for (time, source, id) in &keys {
                builder.push(&Draft::new(format!("{id:03}"), Time(*time), format!("s{source}"), Activity::Read), 0, 0);
            }
            let batch = builder.finish(&Origin::file("x"));
            let mut events = Events::default();
            batch.rows().for_each(|event| events.add(&event));
            keys.sort();
            let several = keys.iter().any(|k| k.1 != keys[0].1);
            let naive: Vec<String> = keys.iter().take(50)
                .map(|(_, s, id)| if several { format!("s{s}/{id:03}") } else { format!("{id:03}") }).collect();
            proptest::prop_assert_eq!(events.evidence().event_ids, naive);
            proptest::prop_assert_eq!(events.count(), keys.len() as u64);
        }
    }
}
