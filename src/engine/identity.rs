//! Who was here before: duplicates and conflicting identifiers (INTERFACES, section 7).
//!
//! A record repeats another where `source` and `event_id` are known and time, actor, activity, patients and resource agree; it is
//! dropped. One that does not agree is kept and flagged: a fault of the source, or a place to hide. Identifiers are held as hashes by
//! the hour of their event time; older hours are forgotten here and looked up in the history by the edges.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3DefaultBuilder;

use crate::event::print::{Print, hour};
use crate::event::time::DAY;
use crate::event::{Event, Time};

/// Identifiers of this much event time behind the watermark are held: the promise is 3 days, one more covers `settle`.
const HELD: i64 = 4 * DAY;

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
    /// Identifier to the newest hour in which it was seen.
    hours: HashMap<u64, i32, Xxh3DefaultBuilder>,
    /// Hashes of identifier and content, by hour: a repetition agrees in time, so it falls into the same hour.
    contents: BTreeMap<i32, HashSet<u64, Xxh3DefaultBuilder>>,
    /// Hours before this one were forgotten already.
    forgotten: i32,
    /// What the history says of hours that were forgotten, and what was taken up of them since.
    #[serde(skip)]
    recalled: Recalled,
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
        let Print { hour, id, content } = Print::of(event);
        if hour < self.forgotten {
            let is_new = self.recalled.contents.insert(content);
            let is_first = self.recalled.ids.insert((hour, id)) && !self.hours.contains_key(&id);
            return match (is_new, is_first) {
                (false, _) => Repeat::Duplicate,
                (true, true) => Repeat::New,
                (true, false) => Repeat::Conflict,
            };
        }
        if !self.contents.entry(hour).or_default().insert(content) {
            return Repeat::Duplicate;
        }
        match self.hours.insert(id, hour) {
            None => Repeat::New,
            Some(before) => {
                self.hours.insert(id, before.max(hour));
                Repeat::Conflict
            }
        }
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
        if oldest > self.forgotten {
            self.forgotten = oldest;
            self.contents = self.contents.split_off(&oldest);
            self.hours.retain(|_, hour| *hour >= oldest);
        }
    }
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
}
