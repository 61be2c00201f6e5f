//! The events behind a finding: all counted, the first 50 by (time, source, event_id) kept, whatever the order in which they came.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::event::{Event, Time, alert};

/// This many events are listed.
const LISTED: u32 = 50;
/// Memory grows by a quarter, and by at least so many bytes.
const GROW_MIN: usize = 16;
/// Where an entry says how many bytes its id shares with that of the anchor, the two lowest bits say what else is not the anchor's.
const SHARED_AT: u32 = 2;
const OTHER_SOURCE: u64 = 0b10;
const OTHER_LENGTH: u64 = 0b01;

/// The events behind a finding. Every account has some on every open day, so they lie packed in one piece of memory.
///
/// It begins with the anchor, the event that came first: time, source and id. An entry for each listed event follows, by (time, source,
/// event_id): its distance from the anchor in time, how many bytes its id shares with that of the anchor, and the rest of its id. Events
/// of one day lie close together and their ids differ in the last places; its length and the number of its source are said only where
/// they are not those of the anchor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Events {
    packed: Vec<u8>,
    /// Sources other than the anchor's; nearly every account has but one.
    #[expect(clippy::box_collection, reason = "nearly always absent, and there are many of these")]
    others: Option<Box<Vec<Box<str>>>>,
    /// Time of the newest; [`Time::MIN`] where there is none.
    last: Time,
    count: u32,
    /// Where the last entry begins.
    tail: u32,
}

impl Default for Events {
    fn default() -> Events {
        Events { packed: Vec::new(), others: None, last: Time::MIN, count: 0, tail: 0 }
    }
}

/// The event that came first, and where the entries begin.
struct Anchor<'a> {
    time: Time,
    source: &'a [u8],
    id: &'a [u8],
    end: usize,
}

/// One listed event.
struct Entry<'a> {
    time: Time,
    source: usize,
    /// The id: bytes of the anchor's, and its own.
    shared: &'a [u8],
    rest: &'a [u8],
}

impl Events {
    /// Adds an event.
    pub fn add(&mut self, event: &Event<'_>) {
        let (time, source, id) = (event.time(), event.source(), event.event_id());
        let first = self.count == 0;
        if first {
            self.packed.reserve_exact(8 + source.len() + id.len() + 12);
            self.packed.extend(time.0.to_le_bytes());
            put_text(&mut self.packed, source.as_bytes());
            put_text(&mut self.packed, id.as_bytes());
        }
        let source = self.source(source);
        // Events of an account come in order of time but for a few.
        let behind = first || self.order(&self.entry(self.tail as usize).0, time, source, id) != Ordering::Greater;
        if self.count >= LISTED && !behind {
            self.packed.truncate(self.tail as usize);
            self.tail = self.entries().last().map_or(0, |(at, _)| at as u32);
        }
        if self.count < LISTED || !behind {
            self.insert(if behind { None } else { self.place(time, source, id) }, time, source, id.as_bytes());
        }
        self.count = self.count.saturating_add(1);
        self.last = self.last.max(time);
    }

    fn anchor(&self) -> Anchor<'_> {
        let (time, _) = self.packed.split_first_chunk::<8>().expect("an anchor is whole");
        let mut end = 8;
        let (source, id) = (take_text(&self.packed, &mut end), take_text(&self.packed, &mut end));
        Anchor { time: Time(i64::from_le_bytes(*time)), source, id, end }
    }

    /// The entry that begins at `at`, and where the next one begins.
    fn entry(&self, mut at: usize) -> (Entry<'_>, usize) {
        let anchor = self.anchor();
        let distance = take_number(&self.packed, &mut at);
        // Zigzag: the sign stands in the last bit.
        let time = Time(anchor.time.0.wrapping_add((distance >> 1) as i64 ^ -((distance & 1) as i64)));
        let said = take_number(&self.packed, &mut at);
        let (shared, rest) = anchor.id.split_at((said >> SHARED_AT) as usize);
        let source = if said & OTHER_SOURCE == 0 { 0 } else { take_number(&self.packed, &mut at) as usize };
        let length = if said & OTHER_LENGTH == 0 { rest.len() } else { take_number(&self.packed, &mut at) as usize };
        let rest = &self.packed[at..at + length];
        (Entry { time, source, shared, rest }, at + length)
    }

    fn entries(&self) -> impl Iterator<Item = (usize, Entry<'_>)> {
        let mut at = if self.packed.is_empty() { 0 } else { self.anchor().end };
        std::iter::from_fn(move || {
            (at < self.packed.len()).then(|| {
                let (entry, next) = self.entry(at);
                (std::mem::replace(&mut at, next), entry)
            })
        })
    }

    /// How an entry lies to an event.
    fn order(&self, entry: &Entry<'_>, time: Time, source: usize, id: &str) -> Ordering {
        let by_source = || self.name(entry.source).cmp(self.name(source));
        let by_id = || entry.shared.iter().chain(entry.rest).cmp(id.as_bytes());
        entry.time.cmp(&time).then_with(by_source).then_with(by_id)
    }

    /// The entry before which an event belongs.
    fn place(&self, time: Time, source: usize, id: &str) -> Option<usize> {
        let mut entries = self.entries();
        entries.find(|(_, entry)| self.order(entry, time, source, id) != Ordering::Less).map(|(at, _)| at)
    }

    /// Puts an entry before the one that begins there, or behind all.
    fn insert(&mut self, before: Option<usize>, time: Time, source: usize, id: &[u8]) {
        let anchor = self.anchor();
        let distance = time.0.wrapping_sub(anchor.time.0);
        let shared = anchor.id.iter().zip(id).take_while(|(a, b)| a == b).count();
        let (other_source, other_length) = (source != 0, id.len() != anchor.id.len());
        let said = (shared as u64) << SHARED_AT
            | if other_source { OTHER_SOURCE } else { 0 }
            | if other_length { OTHER_LENGTH } else { 0 };
        let mut entry = [0; 40];
        let mut length = put_number(&mut entry, ((distance << 1) ^ (distance >> 63)) as u64);
        length += put_number(&mut entry[length..], said);
        for number in [other_source.then_some(source), other_length.then_some(id.len() - shared)].into_iter().flatten()
        {
            length += put_number(&mut entry[length..], number as u64);
        }
        let (head, rest) = (&entry[..length], &id[shared..]);
        let size = head.len() + rest.len();
        if self.packed.capacity() - self.packed.len() < size {
            self.packed.reserve_exact(size.max(self.packed.len() / 4).max(GROW_MIN));
        }
        match before {
            Some(at) => {
                self.packed.splice(at..at, head.iter().chain(rest).copied());
                self.tail += size as u32;
            }
            None => {
                self.tail = self.packed.len() as u32;
                self.packed.extend_from_slice(head);
                self.packed.extend_from_slice(rest);
            }
        }
    }

    /// Number of a source: 0 is that of the anchor.
    fn source(&mut self, name: &str) -> usize {
        if self.anchor().source == name.as_bytes() {
            return 0;
        }
        let others = self.others.get_or_insert_default();
        let known = others.iter().position(|known| **known == *name);
        1 + known.unwrap_or_else(|| {
            others.push(name.into());
            others.len() - 1
        })
    }

    fn name(&self, source: usize) -> &[u8] {
        match (source.checked_sub(1), &self.others) {
            (Some(other), Some(others)) => others[other].as_bytes(),
            _ => self.anchor().source,
        }
    }

    /// All events, counted.
    pub fn count(&self) -> u64 {
        u64::from(self.count)
    }

    /// Time of the last one.
    pub fn last(&self) -> Option<Time> {
        (self.count > 0).then_some(self.last)
    }

    /// Time of the first one.
    pub fn first(&self) -> Option<Time> {
        self.entries().next().map(|(_, entry)| entry.time)
    }

    /// As alerts show it.
    pub fn evidence(&self) -> alert::Evidence {
        let show = |(_, entry): (usize, Entry<'_>)| {
            let source = if self.others.is_some() { [self.name(entry.source), b"/"].concat() } else { Vec::new() };
            String::from_utf8([&source, entry.shared, entry.rest].concat()).expect("ids are text")
        };
        alert::Evidence { count: self.count(), event_ids: self.entries().map(show).collect() }
    }
}

/// Writes a number, seven bits a byte, and says how many bytes it took.
fn put_number(out: &mut [u8], mut number: u64) -> usize {
    let mut length = 0;
    while number >= 0x80 {
        out[length] = number as u8 | 0x80;
        number >>= 7;
        length += 1;
    }
    out[length] = number as u8;
    length + 1
}

fn take_number(from: &[u8], at: &mut usize) -> u64 {
    let (mut number, mut shift) = (0, 0);
    loop {
        let byte = from[*at];
        *at += 1;
        number |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return number;
        }
        shift += 7;
    }
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    let mut length = [0; 10];
    let bytes = put_number(&mut length, text.len() as u64);
    out.extend_from_slice(&length[..bytes]);
    out.extend_from_slice(text);
}

fn take_text<'a>(from: &'a [u8], at: &mut usize) -> &'a [u8] {
    let length = take_number(from, at) as usize;
    *at += length;
    &from[*at - length..*at]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Activity, Draft, EventBuilder, Origin};

    proptest::proptest! {
        #[test]
        fn the_first_fifty_in_any_order(mut keys in proptest::collection::vec((-20_i64..20, 0_u8..3, 0_u16..500), 0..120), step in 1_i64..1 << 40) {
            let mut builder = EventBuilder::default();
            for (time, source, id) in &mut keys {
                *time *= step;
                builder.push(&Draft::new(format!("é{id:02}"), Time(*time), format!("s{source}"), Activity::Read), 0, 0);
            }
            let batch = builder.finish(&Origin::file("x"));
            let mut events = Events::default();
            batch.rows().for_each(|event| events.add(&event));
            keys.sort_by_key(|(time, source, id)| (*time, *source, format!("é{id:02}")));
            let several = keys.iter().any(|k| k.1 != keys[0].1);
            let naive: Vec<String> = keys.iter().take(50)
                .map(|(_, s, id)| if several { format!("s{s}/é{id:02}") } else { format!("é{id:02}") }).collect();
            proptest::prop_assert_eq!(events.evidence().event_ids, naive);
            proptest::prop_assert_eq!(events.count(), keys.len() as u64);
            proptest::prop_assert_eq!(events.first(), keys.first().map(|key| Time(key.0)));
            proptest::prop_assert_eq!(events.last(), keys.last().map(|key| Time(key.0)));
        }
    }
}
