//! The native JSON of access and vendor-session events (INTERFACES, sections 1 and 2): reader and writer.
//!
//! The hot path: one pass of the JSON reader into slots that borrow from the record, no tree of values. A top-level field `raw` that
//! is an object is the column `raw` of an event that was decoded before; unknown fields are added to it.

use std::borrow::Cow;
use std::fmt;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::slots::{Column, Rest, RestValue, Slot, Slots};
pub use super::write::write;
use super::{Format, Out, Part, Refusal, Spec, fields};
use crate::event::Reason;

/// The native format.
pub static SPEC: Spec = Spec { name: "native", format: Format::Native, sniff, decode };

/// Keys that every native record has one of, ready to be searched for.
static KEYS: LazyLock<[Finder<'static>; 3]> =
    LazyLock::new(|| ["\"event_id\"", "\"activity\"", "\"schema\""].map(Finder::new));

/// An object with one of the keys that every native record has.
fn sniff(text: &str) -> bool {
    text.starts_with('{') && KEYS.iter().any(|key| key.find(text.as_bytes()).is_some())
}

fn decode(part: Part<'_>, out: &mut Out) {
    let slots = serde_json::from_str::<Slots<'_>>(part.text).map_err(|error| Refusal::json(&error));
    let decoded = slots.and_then(|slots| fields::draft(slots, &out.hints));
    out.outcome(part, decoded);
}

/// The objects within a record.
const GROUPS: [&str; 6] = ["actor", "resource", "client", "auth", "target", "detail"];

/// What a key of the record, or of one of its objects, stands for.
enum Key {
    Column(Column),
    Group(&'static str),
    Raw,
    Unknown,
}

fn top(key: &str) -> Key {
    match key {
        "raw" => Key::Raw,
        _ if key.contains('.') => Key::Unknown,
        _ => match GROUPS.iter().find(|group| **group == key) {
            Some(group) => Key::Group(group),
            None => Column::parse(key).map_or(Key::Unknown, Key::Column),
        },
    }
}

fn inner(group: &str, key: &str) -> Option<Column> {
    Some(match (group, key) {
        ("actor", "id") => Column::ActorId,
        ("actor", "kind") => Column::ActorKind,
        ("actor", "name") => Column::ActorName,
        ("actor", "role") => Column::ActorRole,
        ("actor", "department") => Column::ActorDepartment,
        ("actor", "on_behalf_of") => Column::ActorOnBehalfOf,
        ("resource", "type") => Column::ResourceType,
        ("resource", "id") => Column::ResourceId,
        ("client", "ip") => Column::ClientIp,
        ("client", "host") => Column::ClientHost,
        ("client", "app") => Column::ClientApp,
        ("client", "remote") => Column::ClientRemote,
        ("auth", "method") => Column::AuthMethod,
        ("auth", "mfa") => Column::AuthMfa,
        ("target", "host") => Column::TargetHost,
        ("target", "account") => Column::TargetAccount,
        ("detail", "command") => Column::DetailCommand,
        ("detail", "bytes") => Column::DetailBytes,
        ("detail", "files") => Column::DetailFiles,
        _ => return None,
    })
}

impl<'de: 'a, 'a> Deserialize<'de> for Slots<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Slots<'a>, D::Error> {
        let mut slots = Slots::default();
        deserializer.deserialize_map(RecordVisitor { slots: &mut slots })?;
        Ok(slots)
    }
}

/// A key, borrowed where it has no escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Name<'a>, D::Error> {
        match Slot::deserialize(deserializer)? {
            Slot::Text(text) => Ok(Name(text)),
            _ => Err(serde::de::Error::custom("keys are texts")),
        }
    }
}

struct RecordVisitor<'s, 'a> {
    slots: &'s mut Slots<'a>,
}

impl<'s, 'de> Visitor<'de> for RecordVisitor<'s, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = 0_u8;
        while let Some(Name(key)) = map.next_key()? {
            match top(&key) {
                Key::Column(column) => fill(self.slots, column, map.next_value()?),
                Key::Group(group) => {
                    let bit = 1 << GROUPS.iter().position(|known| *known == group).unwrap_or(0);
                    if seen & bit != 0 {
                        self.slots.fault.get_or_insert(Refusal::of(Reason::Syntax, group));
                    }
                    seen |= bit;
                    map.next_value_seed(GroupSeed { slots: self.slots, group })?;
                }
                Key::Raw => {
                    let value: &RawValue = map.next_value()?;
                    if self.slots.raw.is_some() {
                        self.slots.fault.get_or_insert(Refusal::of(Reason::Syntax, "raw"));
                    }
                    if value.get().starts_with('{') {
                        self.slots.raw = Some(value.get());
                    } else {
                        keep(self.slots, "", key, value);
                    }
                }
                Key::Unknown => keep(self.slots, "", key, map.next_value()?),
            }
        }
        Ok(())
    }
}

fn fill<'a>(slots: &mut Slots<'a>, column: Column, value: Slot<'a>) {
    let slot = &mut slots.values[column as usize];
    if *slot != Slot::Absent {
        slots.fault.get_or_insert(Refusal::of(Reason::Syntax, column.as_str()));
    }
    *slot = value;
}

fn keep<'a>(slots: &mut Slots<'a>, group: &'static str, key: Cow<'a, str>, value: &'a RawValue) {
    if slots.rest.iter().any(|rest| rest.group == group && rest.key == key) {
        // The name of an unknown field may say anything, so it is not repeated.
        slots.fault.get_or_insert(Refusal::new(Reason::Syntax));
    }
    slots.rest.push(Rest { group, key, value: RestValue::Json(value.get().into()) });
}

/// Reads one of the objects within a record, such as `actor`.
struct GroupSeed<'s, 'a> {
    slots: &'s mut Slots<'a>,
    group: &'static str,
}

impl<'s, 'de> serde::de::DeserializeSeed<'de> for GroupSeed<'s, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'s, 'de> GroupSeed<'s, 'de> {
    fn wrong<E>(self) -> Result<(), E> {
        self.slots.fault.get_or_insert(Refusal::of(Reason::WrongType, self.group));
        Ok(())
    }
}

impl<'s, 'de> Visitor<'de> for GroupSeed<'s, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or null")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Name(key)) = map.next_key()? {
            match inner(self.group, &key) {
                Some(column) => fill(self.slots, column, map.next_value()?),
                None => keep(self.slots, self.group, key, map.next_value()?),
            }
        }
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        self.wrong()
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.wrong()
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        self.wrong()
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        self.wrong()
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        self.wrong()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<serde::de::IgnoredAny>()?.is_some() {}
        self.wrong()
    }
}
