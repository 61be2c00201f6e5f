//! Who was here before: duplicates and conflicting identifiers (INTERFACES, section 7).
//!
//! A record repeats another where `source` and `event_id` are known and time, actor, activity, patients and resource agree; it is
//! dropped. One that does not agree is kept and flagged: a fault of the source, or a place to hide. Identifiers are held as hashes by
//! the hour of their event time; older hours are forgotten here and looked up in the history by the edges.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3DefaultBuilder;

use super::prints::{Found, Prints};
use crate::event::print::{Print, hour};
use crate::event::time::DAY;
use crate::event::{Event, Time};

/// Identifiers of this much event time behind the watermark are held: the promise is 3 days, one more covers `settle`.
const HELD: i64 = 4 * DAY;
/// Forgotten hours are cleared away so many at once.
const SWEPT: i64 = 6;

/// What a record is to those seen before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Its identifier is new.
    New,
    /// It says the same as a known record.
    Duplicate,
    /// Its identifier is known with other content.
    Conflict,
}

/// The identifiers of recent hours.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Identity {
    /// The first record of each identifier, with the newest hour in which the identifier was seen, counted from `base`.
    first: Prints,
    base: i32,
    /// The same, by as much of the hash as the table has, for hours too far from the others for one byte: clocks go wrong by centuries.
    far: HashMap<u64, (i32, u32), Xxh3DefaultBuilder>,
    /// Contents of identifiers after their first, by hour: a repetition agrees in time, so it falls into the same hour.
    later: BTreeMap<i32, HashSet<u64, Xxh3DefaultBuilder>>,
    /// Hours before this one were forgotten already.
    forgotten: i32,
    /// What the history says of hours that were forgotten, and what was taken up of them since.
    #[serde(skip)]
    recalled: Recalled,
    /// Room for hashing.
    #[serde(skip)]
    room: Vec<u8>,
}

/// Identifiers of older hours, as long as somebody needs them.
#[derive(Debug, Clone, Default)]
struct Recalled {
    ids: HashSet<(i32, u64), Xxh3DefaultBuilder>,
    contents: HashSet<u64, Xxh3DefaultBuilder>,
}

impl Identity {
    /// Notes a record and says what it is.
    pub fn note(&mut self, event: &Event<'_>) -> Repeat {
        let Print { hour, id, content } = Print::made_in(event, &mut self.room);
        if hour < self.forgotten {
            let is_new = self.recalled.contents.insert(content);
            let is_first = self.recalled.ids.insert((hour, id)) && self.newest(id).is_none();
            return match (is_new, is_first) {
                (false, _) => Repeat::Duplicate,
                (true, true) => Repeat::New,
                (true, false) => Repeat::Conflict,
            };
        }
        let (found, short) = (self.first.find(id), content as u32);
        let near = match found {
            Found::At(at) => Some(self.first.get(at)).filter(|(near, _)| self.hour_of(*near) >= self.forgotten),
            Found::Before(_) => None,
        };
        let far = self.far.get(&cut(id)).filter(|(far, _)| *far >= self.forgotten);
        if near.is_some_and(|near| near.1 == short) || far.is_some_and(|far| far.1 == short) {
            return Repeat::Duplicate;
        }
        if near.is_none() && far.is_none() {
            self.place(found, id, hour, short);
            return Repeat::New;
        }
        if !self.later.entry(hour).or_default().insert(content) {
            return Repeat::Duplicate;
        }
        if self.newest(id).is_none_or(|newest| newest < hour) {
            match (found, near, self.nearby(hour)) {
                (Found::At(at), Some((_, first)), Some(hour)) => self.first.set(at, hour, first),
                _ => self.far.entry(cut(id)).or_insert((hour, short)).0 = hour,
            }
        }
        Repeat::Conflict
    }

    /// Takes up the first record of an identifier.
    fn place(&mut self, found: Found, id: u64, hour: i32, content: u32) {
        if self.first.is_empty() {
            self.base = hour.saturating_sub(128);
        }
        match (found, self.nearby(hour)) {
            // What stands there was forgotten.
            (Found::At(at), Some(hour)) => self.first.set(at, hour, content),
            (Found::Before(at), Some(hour)) => self.first.insert(at, id, hour, content),
            (_, None) => _ = self.far.insert(cut(id), (hour, content)),
        }
    }

    /// The hour counted from `base`, where it is one of those that a byte holds.
    fn nearby(&self, hour: i32) -> Option<u8> {
        counted_from(self.base, hour)
    }

    fn hour_of(&self, near: u8) -> i32 {
        self.base.saturating_add(i32::from(near))
    }

    /// The newest hour in which an identifier was seen.
    fn newest(&self, id: u64) -> Option<i32> {
        let near = match self.first.find(id) {
            Found::At(at) => Some(self.hour_of(self.first.get(at).0)),
            Found::Before(_) => None,
        };
        near.max(self.far.get(&cut(id)).map(|far| far.0)).filter(|hour| *hour >= self.forgotten)
    }

    /// Whether the hour of this time was forgotten: only the history knows what it held.
    pub fn is_forgotten(&self, time: Time) -> bool {
        hour(time) < self.forgotten
    }

    /// Takes up what the history says of hours that were forgotten.
    pub fn recall(&mut self, prints: &[Print]) {
        self.recalled.ids.extend(prints.iter().map(|print| (print.hour, print.id)));
        self.recalled.contents.extend(prints.iter().map(|print| print.content));
    }

    /// Forgets the hours that lie too far behind the watermark, and what was recalled.
    pub fn forget(&mut self, watermark: Time) {
        if !self.recalled.ids.is_empty() {
            self.recalled = Recalled::default();
        }
        let oldest = hour(watermark.plus(-HELD));
        if oldest <= self.forgotten {
            return;
        }
        self.forgotten = oldest;
        if self.later.first_key_value().is_some_and(|(first, _)| *first < oldest) {
            self.later = self.later.split_off(&oldest);
        }
        let base = oldest.saturating_sub(1);
        if i64::from(base) - i64::from(self.base) >= SWEPT || base < self.base {
            self.far.retain(|_, (hour, _)| *hour >= oldest);
            let before = std::mem::replace(&mut self.base, base);
            let far = &mut self.far;
            self.first.retain(|id, hour, content| {
                let hour = before.saturating_add(i32::from(hour));
                let near = counted_from(base, hour);
                if near.is_none() && hour >= oldest {
                    far.insert(id, (hour, content));
                }
                near
            });
        }
    }
}

/// As much of the hash of an identifier as the table has.
fn cut(id: u64) -> u64 {
    id & !0xFF
}

fn counted_from(base: i32, hour: i32) -> Option<u8> {
    u8::try_from(i64::from(hour) - i64::from(base)).ok().filter(|hour| *hour > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Activity, Draft, EventBuilder, Origin};

    fn check(rows: &[(&str, &str, &str, &str, Repeat)]) {
        let mut builder = EventBuilder::default();
        for (index, (id, time, actor, patients, _)) in rows.iter().enumerate() {
            let mut draft = Draft::new(*id, Time::parse(time).unwrap(), "ehr", Activity::Read);
            draft.actor_id = Some((*actor).into());
            draft.patients = patients.split(';').map(Into::into).collect();
            builder.push(&draft, index as i64, 0);
        }
        let batch = builder.finish(&Origin::file("x"));
        let mut identity = Identity::default();
        for (event, (id, time, .., expected)) in batch.rows().zip(rows) {
            assert_eq!(identity.note(&event), *expected, "{id} {time}");
        }
    }

    #[test]
    fn repeats() {
        use Repeat::{Conflict, Duplicate, New};
        check(&[
            ("1", "2026-01-05T08:00:00Z", "u1", "p1;p2", New),
            ("1", "2026-01-05T08:00:00Z", "u1", "p2;p1", Duplicate),
            ("1", "2026-01-05T08:00:00Z", "u2", "p1;p2", Conflict),
            ("1", "2026-01-05T08:00:00Z", "u2", "p1;p2", Duplicate),
            ("1", "2026-01-06T08:00:00Z", "u1", "p1;p2", Conflict),
            ("2", "2026-01-06T08:00:00Z", "u1", "p1;p2", New),
        ]);
    }

    #[test]
    fn old_hours_are_forgotten() {
        let mut builder = EventBuilder::default();
        let time = Time::parse("2026-01-05T08:00:00Z").unwrap();
        builder.push(&Draft::new("1", time, "ehr", Activity::Read), 1, 0);
        let batch = builder.finish(&Origin::file("x"));
        let mut identity = Identity::default();
        assert_eq!(identity.note(&batch.row(0)), Repeat::New);
        identity.forget(time.plus(3 * DAY));
        assert_eq!(identity.note(&batch.row(0)), Repeat::Duplicate);
        identity.forget(time.plus(5 * DAY));
        assert_eq!(identity.note(&batch.row(0)), Repeat::New);
    }

    /// Identity as it is written down: maps of whole hashes.
    #[derive(Default)]
    struct Naive {
        hours: BTreeMap<u64, i32>,
        contents: BTreeMap<i32, HashSet<u64>>,
        forgotten: i32,
    }

    impl Naive {
        fn note(&mut self, event: &Event<'_>) -> Option<Repeat> {
            let Print { hour, id, content } = Print::of(event);
            if hour < self.forgotten {
                return None;
            }
            if !self.contents.entry(hour).or_default().insert(content) {
                return Some(Repeat::Duplicate);
            }
            let before = self.hours.get(&id).copied();
            self.hours.insert(id, before.map_or(hour, |before| before.max(hour)));
            Some(if before.is_some() { Repeat::Conflict } else { Repeat::New })
        }

        fn forget(&mut self, watermark: Time) {
            self.forgotten = self.forgotten.max(hour(watermark.plus(-HELD)));
            self.contents = self.contents.split_off(&self.forgotten);
            self.hours.retain(|_, hour| *hour >= self.forgotten);
        }
    }

    proptest::proptest! {
        /// Clocks that jump by hours, days and centuries, identifiers and contents that come again, and time that goes on.
        #[test]
        fn says_what_whole_hashes_say(rows in proptest::collection::vec((0_u16..60, 0_i64..130, 0_u8..3, 0_u8..40), 1..400)) {
            let start = Time::parse("2026-01-05T08:00:00Z").unwrap();
            let mut builder = EventBuilder::default();
            for (index, (id, hours, actor, _)) in rows.iter().enumerate() {
                let hours = match hours { 128 => 800_000, 129 => -200_000, 120..128 => hours - 100, _ => hours + index as i64 / 8 };
                let mut draft = Draft::new(id.to_string(), start.plus(hours * crate::event::time::HOUR), "ehr", Activity::Read);
                draft.actor_id = Some(actor.to_string().into());
                builder.push(&draft, index as i64, 0);
            }
            let batch = builder.finish(&Origin::file("x"));
            let (mut identity, mut naive) = (Identity::default(), Naive::default());
            for (index, (event, (.., forget))) in batch.rows().zip(&rows).enumerate() {
                if let Some(expected) = naive.note(&event) {
                    proptest::prop_assert_eq!(identity.note(&event), expected, "row {}", index);
                }
                if *forget == 0 {
                    let watermark = start.plus((index as i64 / 8 + 120) * crate::event::time::HOUR);
                    identity.forget(watermark);
                    naive.forget(watermark);
                }
                if *forget == 1 {
                    identity = postcard::from_bytes(&postcard::to_stdvec(&identity).unwrap()).unwrap();
                }
            }
        }
    }
}
