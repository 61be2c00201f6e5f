//! By what a record is recognised when it comes again: hashes of its identifier and of what a duplicate agrees in (INTERFACES, section 7).

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

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
        let mut hash = Xxh3::new();
        let mut part = |text: &str| {
            hash.update(&(text.len() as u32).to_le_bytes());
            hash.update(text.as_bytes());
        };
        part(said.source);
        part(said.event_id);
        let id = hash.digest();
        hash.update(&said.time.0.to_le_bytes());
        let mut part = |text: &str| {
            hash.update(&(text.len() as u32).to_le_bytes());
            hash.update(text.as_bytes());
        };
        part(said.actor_id.unwrap_or("\0"));
        part(said.activity);
        part(said.resource_type.unwrap_or("\0"));
        part(said.resource_id.unwrap_or("\0"));
        said.patients.sort_unstable();
        for patient in said.patients {
            part(patient);
        }
        Print { hour: hour(said.time), id, content: hash.digest() }
    }

    /// The hashes of an event.
    pub fn of(event: &Event<'_>) -> Print {
        Print::new(Said {
            source: event.source(),
            event_id: event.event_id(),
            time: event.time(),
            actor_id: event.actor_id(),
            activity: event.activity().as_str(),
            resource_type: event.resource_type(),
            resource_id: event.resource_id(),
            patients: event.patients().collect(),
        })
    }
}

/// The hour of an event time, from 1970.
pub fn hour(time: Time) -> i32 {
    time.0.div_euclid(HOUR) as i32
}
