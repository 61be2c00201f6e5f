//! By what a record is recognised when it comes again: hashes of its identifier and of what a duplicate agrees in (INTERFACES, section 7).

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::Event;
use super::time::{HOUR, Time};

/// The hashes of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Print {
    /// The hour of its event time, from 1970: a record that repeats it falls into the same one.
    pub hour: i32,
    /// Hash of `source` and `event_id`.
    pub id: u64,
    /// Hash of these with time, actor, activity, patients and resource.
    pub content: u64,
}

/// A record of which somebody has to say whether it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its identifier at its source.
    pub event_id: String,
    /// Its hashes.
    pub print: Print,
}

/// What a record says, as far as a duplicate agrees with it.
#[derive(Debug)]
pub struct Said<'a> {
    /// Name of the feed.
    pub source: &'a str,
    /// Its identifier there.
    pub event_id: &'a str,
    /// When it happened.
    pub time: Time,
    /// The account that acted.
    pub actor_id: Option<&'a str>,
    /// What was done.
    pub activity: &'a str,
    /// What kind of thing was touched.
    pub resource_type: Option<&'a str>,
    /// Which one.
    pub resource_id: Option<&'a str>,
    /// Record numbers touched, in any order.
    pub patients: Vec<&'a str>,
}

impl Print {
    /// The hashes of what a record says.
    pub fn new(mut said: Said<'_>) -> Print {
        said.patients.sort_unstable();
        Print::hashed(&said, &said.patients, &mut Vec::new())
    }

    /// The hashes of an event.
    pub fn of(event: &Event<'_>) -> Print {
        Print::made_in(event, &mut Vec::new())
    }

    /// The hashes of an event; `room` spares whoever makes many of them memory anew for each.
    pub fn made_in(event: &Event<'_>, room: &mut Vec<u8>) -> Print {
        let said = Said {
            source: event.source(),
            event_id: event.event_id(),
            time: event.time(),
            actor_id: event.actor_id(),
            activity: event.activity().as_str(),
            resource_type: event.resource_type(),
            resource_id: event.resource_id(),
            patients: Vec::new(),
        };
        let mut patients = event.patients();
        match (patients.len(), patients.next()) {
            (1, Some(one)) => Print::hashed(&said, &[one], room),
            _ => {
                let mut several: Vec<&str> = event.patients().collect();
                several.sort_unstable();
                Print::hashed(&said, &several, room)
            }
        }
    }

    /// Hashes what is said, with the patients in order, each text with its length before it.
    fn hashed(said: &Said<'_>, patients: &[&str], room: &mut Vec<u8>) -> Print {
        fn part(room: &mut Vec<u8>, text: &str) {
            room.extend_from_slice(&(text.len() as u32).to_le_bytes());
            room.extend_from_slice(text.as_bytes());
        }
        room.clear();
        part(room, said.source);
        part(room, said.event_id);
        let id = xxh3_64(room);
        room.extend_from_slice(&said.time.0.to_le_bytes());
        part(room, said.actor_id.unwrap_or("\0"));
        part(room, said.activity);
        part(room, said.resource_type.unwrap_or("\0"));
        part(room, said.resource_id.unwrap_or("\0"));
        patients.iter().for_each(|patient| part(room, patient));
        Print { hour: hour(said.time), id, content: xxh3_64(room) }
    }
}

/// The hour of an event time, from 1970.
pub fn hour(time: Time) -> i32 {
    time.0.div_euclid(HOUR) as i32
}
