//! The native JSON of access and vendor-session events (INTERFACES, sections 1 and 2): reader and writer.
//!
//! The hot path: one pass of the JSON reader puts every value where it belongs, borrowed from the record, with no tree of values. A
//! top-level field `raw` that is an object is the column `raw` of an event that was decoded before; unknown fields are added to it.

use std::borrow::Cow;
use std::fmt;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::fields::Fields;
use super::slots::{Column, Give, Rest, RestValue};
pub use super::write::write;
use super::{Format, Out, Part, Refusal, Spec};

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
    let mut fields = Fields::default();
    match read(part.text, &mut fields) {
        Ok(()) => out.fields(part, fields),
        Err(error) => out.outcome(part, Err(Refusal::json(&error))),
    }
}

fn read<'a>(text: &'a str, fields: &mut Fields<'a>) -> serde_json::Result<()> {
    let mut reader = serde_json::Deserializer::from_str(text);
    reader.deserialize_map(RecordVisitor { fields })?;
    reader.end()
}

/// The objects within a record.
#[derive(Clone, Copy)]
enum Group {
    Actor,
    Resource,
    Client,
    Auth,
    Target,
    Detail,
}

impl Group {
    fn as_str(self) -> &'static str {
        match self {
            Group::Actor => "actor",
            Group::Resource => "resource",
            Group::Client => "client",
            Group::Auth => "auth",
            Group::Target => "target",
            Group::Detail => "detail",
        }
    }
}

/// What a key stands for.
enum Key<'a> {
    Column(Column),
    Group(Group),
    Raw,
    Unknown(Cow<'a, str>),
}

/// What a key of the record stands for. By length first, so that a key is compared with few names.
fn top(key: &str) -> Option<Key<'static>> {
    Some(match (key.len(), key) {
        (3, "raw") => Key::Raw,
        (4, "auth") => Key::Group(Group::Auth),
        (4, "site") => Key::Column(Column::Site),
        (4, "time") => Key::Column(Column::Time),
        (5, "actor") => Key::Group(Group::Actor),
        (5, "query") => Key::Column(Column::Query),
        (6, "client") => Key::Group(Group::Client),
        (6, "detail") => Key::Group(Group::Detail),
        (6, "schema") => Key::Column(Column::Schema),
        (6, "source") => Key::Column(Column::Source),
        (6, "target") => Key::Group(Group::Target),
        (7, "outcome") => Key::Column(Column::Outcome),
        (7, "purpose") => Key::Column(Column::Purpose),
        (8, "activity") => Key::Column(Column::Activity),
        (8, "event_id") => Key::Column(Column::EventId),
        (8, "patients") => Key::Column(Column::Patients),
        (8, "recorded") => Key::Column(Column::Recorded),
        (8, "resource") => Key::Group(Group::Resource),
        (9, "vendor_id") => Key::Column(Column::VendorId),
        (10, "session_id") => Key::Column(Column::SessionId),
        (11, "break_glass") => Key::Column(Column::BreakGlass),
        (12, "approval_ref") => Key::Column(Column::ApprovalRef),
        (12, "result_count") => Key::Column(Column::ResultCount),
        (14, "correlation_id") => Key::Column(Column::CorrelationId),
        _ => return None,
    })
}

/// What a key of one of its objects stands for.
fn inner(group: Group, key: &str) -> Option<Column> {
    Some(match (group, key) {
        (Group::Actor, "id") => Column::ActorId,
        (Group::Actor, "kind") => Column::ActorKind,
        (Group::Actor, "name") => Column::ActorName,
        (Group::Actor, "role") => Column::ActorRole,
        (Group::Actor, "department") => Column::ActorDepartment,
        (Group::Actor, "on_behalf_of") => Column::ActorOnBehalfOf,
        (Group::Resource, "type") => Column::ResourceType,
        (Group::Resource, "id") => Column::ResourceId,
        (Group::Client, "ip") => Column::ClientIp,
        (Group::Client, "host") => Column::ClientHost,
        (Group::Client, "app") => Column::ClientApp,
        (Group::Client, "remote") => Column::ClientRemote,
        (Group::Auth, "method") => Column::AuthMethod,
        (Group::Auth, "mfa") => Column::AuthMfa,
        (Group::Target, "host") => Column::TargetHost,
        (Group::Target, "account") => Column::TargetAccount,
        (Group::Detail, "command") => Column::DetailCommand,
        (Group::Detail, "bytes") => Column::DetailBytes,
        (Group::Detail, "files") => Column::DetailFiles,
        _ => return None,
    })
}

/// Reads a key of the record, or of one of its objects.
struct KeySeed(Option<Group>);

impl KeySeed {
    fn known<'a>(&self, key: &str) -> Option<Key<'a>> {
        match self.0 {
            None => top(key),
            Some(group) => inner(group, key).map(Key::Column),
        }
    }
}

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Key<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key<'de>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for KeySeed {
    type Value = Key<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Key<'de>, E> {
        Ok(self.known(key).unwrap_or(Key::Unknown(Cow::Borrowed(key))))
    }

    fn visit_str<E>(self, key: &str) -> Result<Key<'de>, E> {
        Ok(self.known(key).unwrap_or_else(|| Key::Unknown(Cow::Owned(key.to_owned()))))
    }
}

struct RecordVisitor<'f, 'a> {
    fields: &'f mut Fields<'a>,
}

impl<'f, 'de> Visitor<'de> for RecordVisitor<'f, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (fields, mut seen) = (self.fields, 0_u8);
        while let Some(key) = map.next_key_seed(KeySeed(None))? {
            match key {
                Key::Column(column) => map.next_value_seed(Give(|slot| fields.fill(column, slot)))?,
                Key::Group(group) => {
                    let bit = 1 << group as u8;
                    if seen & bit != 0 {
                        fields.twice(Some(group.as_str()));
                    }
                    seen |= bit;
                    map.next_value_seed(GroupSeed { fields: &mut *fields, group })?;
                }
                Key::Raw => raw(fields, map.next_value()?),
                Key::Unknown(key) => keep(fields, "", key, map.next_value()?),
            }
        }
        Ok(())
    }
}

fn raw<'a>(fields: &mut Fields<'a>, value: &'a RawValue) {
    if fields.raw.is_some() {
        fields.twice(Some("raw"));
    }
    if value.get().starts_with('{') {
        fields.raw = Some(value.get());
    } else {
        keep(fields, "", "raw".into(), value);
    }
}

fn keep<'a>(fields: &mut Fields<'a>, group: &'static str, key: Cow<'a, str>, value: &'a RawValue) {
    if fields.rest.iter().any(|rest| rest.group == group && rest.key == key) {
        fields.twice(None);
    }
    fields.rest.push(Rest { group, key, value: RestValue::Json(value.get().into()) });
}

/// Reads one of the objects within a record, such as `actor`.
struct GroupSeed<'f, 'a> {
    fields: &'f mut Fields<'a>,
    group: Group,
}

impl<'f, 'de> DeserializeSeed<'de> for GroupSeed<'f, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'f, 'de> GroupSeed<'f, 'de> {
    fn wrong<E>(self) -> Result<(), E> {
        self.fields.no_group(self.group.as_str());
        Ok(())
    }
}

impl<'f, 'de> Visitor<'de> for GroupSeed<'f, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or null")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let fields = self.fields;
        while let Some(key) = map.next_key_seed(KeySeed(Some(self.group)))? {
            match key {
                Key::Column(column) => map.next_value_seed(Give(|slot| fields.fill(column, slot)))?,
                Key::Unknown(key) => keep(fields, self.group.as_str(), key, map.next_value()?),
                Key::Group(_) | Key::Raw => return Err(A::Error::custom("an object within a record has no objects")),
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
