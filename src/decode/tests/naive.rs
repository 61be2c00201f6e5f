//! Native records the long way, for tests: pairs of keys and texts first, then the rules of `fields` one after the other.

use std::borrow::Cow;

use proptest::prelude::*;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::decode::fields::instant;
use crate::decode::{Decoder, Format, Hints, Limits, RawRecord, Refusal};
use crate::event::flags::{Flags, PARTIAL};
use crate::event::{Activity, ActorKind, Draft, Event, Kind, Origin, Outcome, Reason};

/// The fields of a row as a draft, to compare rows.
pub fn draft_of<'a>(event: Event<'a>) -> Draft<'a> {
    let text = |value: Option<&'a str>| value.map(Cow::Borrowed);
    Draft {
        kind: event.kind(),
        event_id: event.event_id().into(),
        time: event.time(),
        recorded: event.recorded(),
        source: event.source().into(),
        site: text(event.site()),
        actor_id: text(event.actor_id()),
        actor_kind: event.actor_kind(),
        actor_name: text(event.actor_name()),
        actor_role: text(event.actor_role()),
        actor_department: text(event.actor_department()),
        actor_on_behalf_of: text(event.actor_on_behalf_of()),
        activity: event.activity(),
        patients: event.patients().map(Cow::Borrowed).collect(),
        resource_type: text(event.resource_type()),
        resource_id: text(event.resource_id()),
        result_count: event.result_count(),
        query: text(event.query()),
        client_ip: text(event.client_ip()),
        client_host: text(event.client_host()),
        client_app: text(event.client_app()),
        client_remote: event.client_remote(),
        auth_method: text(event.auth_method()),
        auth_mfa: event.auth_mfa(),
        outcome: event.outcome(),
        purpose: event.purpose().map(Cow::Borrowed).collect(),
        break_glass: event.break_glass(),
        approval_ref: text(event.approval_ref()),
        session_id: text(event.session_id()),
        correlation_id: text(event.correlation_id()),
        vendor_id: text(event.vendor_id()),
        target_host: text(event.target_host()),
        target_account: text(event.target_account()),
        detail_command: text(event.detail_command()),
        detail_bytes: event.detail_bytes(),
        detail_files: event.detail_files(),
        raw: text(event.raw()),
    }
}

/// Keys and values of an object in their order, those that stand twice included.
struct Pairs<'a>(Vec<(String, &'a str)>);

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Pairs<'de>, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, &RawValue>()? {
                    pairs.push((key, value.get()));
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Each)
    }
}

/// A value, as far as a rule looks at it: what lies in objects, and in lists behind the first element that is no text, is not.
fn value(json: &str) -> Result<Value, Refusal> {
    if json.starts_with('{') {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    if !json.starts_with('[') {
        return serde_json::from_str(json).map_err(|error| Refusal::json(&error));
    }
    let mut list = Vec::new();
    for element in serde_json::from_str::<Vec<&RawValue>>(json).map_err(|error| Refusal::json(&error))? {
        list.push(value(element.get())?);
        if !list.last().is_some_and(Value::is_string) {
            break;
        }
    }
    Ok(Value::Array(list))
}

const GROUPS: [(&str, &[&str]); 6] = [
    ("actor", &["id", "kind", "name", "role", "department", "on_behalf_of"]),
    ("resource", &["type", "id"]),
    ("client", &["ip", "host", "app", "remote"]),
    ("auth", &["method", "mfa"]),
    ("target", &["host", "account"]),
    ("detail", &["command", "bytes", "files"]),
];

const TOP: [&str; 17] = [
    "schema",
    "event_id",
    "time",
    "source",
    "activity",
    "recorded",
    "outcome",
    "site",
    "patients",
    "result_count",
    "query",
    "purpose",
    "break_glass",
    "approval_ref",
    "session_id",
    "correlation_id",
    "vendor_id",
];

/// A record as pairs: values of columns by their names, the rest as it came, and what makes the record unusable.
#[derive(Default)]
struct Record {
    columns: Vec<(String, Value)>,
    rest: Vec<(&'static str, String, String)>,
    raw: Option<String>,
    fault: Option<Refusal>,
}

impl Record {
    fn read(text: &str) -> Result<Record, Refusal> {
        let pairs = |json| serde_json::from_str::<Pairs<'_>>(json).map_err(|error| Refusal::json(&error));
        let (mut record, mut groups) = (Record::default(), Vec::new());
        for (key, json) in pairs(text)?.0 {
            if let Some((group, names)) = GROUPS.iter().find(|(group, _)| *group == key) {
                if groups.contains(group) {
                    record.fault.get_or_insert(Refusal::of(Reason::Syntax, *group));
                }
                groups.push(*group);
                if json.starts_with('{') {
                    for (key, json) in pairs(json)?.0 {
                        let column = names.contains(&key.as_str()).then(|| format!("{group}.{key}"));
                        record.take(column, group, key, json)?;
                    }
                } else if json.starts_with('[') || !value(json)?.is_null() {
                    record.fault.get_or_insert(Refusal::of(Reason::WrongType, *group));
                }
            } else if key == "raw" {
                if record.raw.is_some() {
                    record.fault.get_or_insert(Refusal::of(Reason::Syntax, "raw"));
                }
                match json.starts_with('{') {
                    true => record.raw = Some(json.to_owned()),
                    false => record.take(None, "", key, json)?,
                }
            } else {
                let column = TOP.contains(&key.as_str()).then(|| key.clone());
                record.take(column, "", key, json)?;
            }
        }
        Ok(record)
    }

    fn take(&mut self, column: Option<String>, group: &'static str, key: String, json: &str) -> Result<(), Refusal> {
        match column {
            Some(name) => {
                if self.columns.iter().any(|(known, _)| *known == name) {
                    self.fault.get_or_insert(Refusal::of(Reason::Syntax, name.clone()));
                }
                self.columns.push((name, value(json)?));
            }
            None => {
                if self.rest.iter().any(|(g, k, _)| (*g, k) == (group, &key)) {
                    self.fault.get_or_insert(Refusal::new(Reason::Syntax));
                }
                self.rest.push((group, key, json.to_owned()));
            }
        }
        Ok(())
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.columns.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// The text of a column; absent, null and empty are `None`.
    fn text(&self, name: &'static str) -> Result<Option<Cow<'static, str>>, Refusal> {
        match self.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok((!text.is_empty()).then(|| Cow::Owned(text.clone()))),
            _ => Err(Refusal::of(Reason::WrongType, name)),
        }
    }

    fn needed(&self, name: &'static str) -> Result<Cow<'static, str>, Refusal> {
        self.text(name)?.ok_or_else(|| Refusal::of(Reason::MissingField, name))
    }

    fn boolean(&self, name: &'static str) -> Result<Option<bool>, Refusal> {
        match self.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            _ => Err(Refusal::of(Reason::WrongType, name)),
        }
    }

    fn integer(&self, name: &'static str) -> Result<Option<i64>, Refusal> {
        match self.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Number(number)) if number.is_i64() => Ok(number.as_i64()),
            _ => Err(Refusal::of(Reason::WrongType, name)),
        }
    }

    fn list(&self, name: &'static str) -> Result<Vec<Cow<'static, str>>, Refusal> {
        let wrong = || Refusal::of(Reason::WrongType, name);
        let mut set: Vec<Cow<'static, str>> = Vec::new();
        match self.get(name) {
            None | Some(Value::Null) => {}
            Some(Value::Array(list)) => {
                for element in list {
                    let text = element.as_str().ok_or_else(wrong)?;
                    if !text.is_empty() && set.iter().all(|other| other != text) {
                        set.push(Cow::Owned(text.to_owned()));
                    }
                }
            }
            _ => return Err(wrong()),
        }
        Ok(set)
    }

    fn keep(&mut self, group: &'static str, key: &str, text: &str) {
        self.rest.push((group, key.to_owned(), serde_json::to_string(text).unwrap()));
    }

    /// The column `raw`, as values: what the record brought, then the rest, one object for each group; null where a part of it is
    /// well formed and yet no value, such as half a surrogate.
    fn kept(&self) -> Option<Value> {
        if self.raw.is_none() && self.rest.is_empty() {
            return None;
        }
        let join = || -> serde_json::Result<Value> {
            let mut kept: Value = serde_json::from_str(self.raw.as_deref().unwrap_or("{}"))?;
            for (group, key, json) in &self.rest {
                match group.is_empty() {
                    true => kept[key] = serde_json::from_str(json)?,
                    // A group of the rest stands in the place of one that `raw` had.
                    false => {
                        let own = self.rest.iter().filter(|(g, _, _)| g == group);
                        let own = own.map(|(_, key, json)| Ok((key.clone(), serde_json::from_str(json)?)));
                        kept[*group] = Value::Object(own.collect::<serde_json::Result<_>>()?);
                    }
                }
            }
            Ok(kept)
        };
        Some(join().unwrap_or(Value::Null))
    }
}

fn is_changed(text: &str) -> bool {
    let digits = text.split_once('.').map_or(0, |(_, after)| after.bytes().take_while(u8::is_ascii_digit).count());
    !(text.ends_with(['Z', 'z']) || text.ends_with("+00:00")) || digits > 6 || text[17..].starts_with("60")
}

/// What a record decodes to, with `raw` as values.
type Naive = Result<(Draft<'static>, Flags, Option<Value>), Refusal>;

fn naive(text: &str, hints: &Hints) -> Naive {
    let mut record = Record::read(text)?;
    if let Some(fault) = record.fault.take() {
        return Err(fault);
    }
    let schema = match record.text("schema")?.as_deref() {
        None => None,
        Some("phiwatch.access/1") => Some(Kind::Access),
        Some("phiwatch.vendor_session/1") => Some(Kind::VendorSession),
        Some(_) => return Err(Refusal::of(Reason::UnknownSchema, "schema")),
    };
    let event_id = match record.get("event_id") {
        Some(Value::Number(number)) if number.is_i64() => Cow::Owned(number.to_string()),
        _ => record.needed("event_id")?,
    };
    let time_text = record.needed("time")?;
    let time = instant(&time_text).ok_or_else(|| Refusal::of(Reason::BadTime, "time"))?;
    let source = record.needed("source")?;
    let actor_id = match record.get("actor.id") {
        None => return Err(Refusal::of(Reason::MissingField, "actor.id")),
        Some(_) => record.text("actor.id")?,
    };
    let activity = Activity::parse(&record.needed("activity")?);
    let activity = activity.ok_or_else(|| Refusal::of(Reason::UnknownValue, "activity"))?;
    let (recorded, outcome, kind) = (record.text("recorded")?, record.text("outcome")?, record.text("actor.kind")?);
    let mut draft = Draft::new(event_id, time, source, activity);
    draft.actor_id = actor_id;
    optional(&record, &mut draft)?;
    let vendor = draft.vendor_id.is_some() || draft.target_host.is_some() || draft.target_account.is_some();
    draft.kind = match (schema, activity.kind()) {
        (Some(schema), Some(decided)) if schema != decided => {
            return Err(Refusal::of(Reason::UnknownValue, "activity"));
        }
        (Some(schema), _) => schema,
        (None, Some(decided)) => decided,
        (None, None) if vendor => Kind::VendorSession,
        (None, None) => hints.carries.unwrap_or(Kind::Access),
    };
    let mut flags = 0;
    if is_changed(&time_text) {
        record.keep("", "time", &time_text);
    }
    if let Some(text) = recorded {
        draft.recorded = instant(&text);
        flags |= if draft.recorded.is_none() { PARTIAL } else { 0 };
        if draft.recorded.is_none() || is_changed(&text) {
            record.keep("", "recorded", &text);
        }
    }
    if let Some(text) = outcome {
        draft.outcome = Outcome::parse(&text).unwrap_or(Outcome::Unknown);
        if Outcome::parse(&text).is_none() {
            flags |= PARTIAL;
            record.keep("", "outcome", &text);
        }
    }
    if let Some(text) = kind {
        draft.actor_kind = ActorKind::parse(&text).or(Some(ActorKind::Unknown));
        if ActorKind::parse(&text).is_none() {
            flags |= PARTIAL;
            record.keep("actor", "kind", &text);
        }
    }
    Ok((draft, flags, record.kept()))
}

fn optional(record: &Record, draft: &mut Draft<'static>) -> Result<(), Refusal> {
    draft.site = record.text("site")?;
    draft.actor_name = record.text("actor.name")?;
    draft.actor_role = record.text("actor.role")?;
    draft.actor_department = record.text("actor.department")?;
    draft.actor_on_behalf_of = record.text("actor.on_behalf_of")?;
    draft.patients = record.list("patients")?;
    draft.resource_type = record.text("resource.type")?;
    draft.resource_id = record.text("resource.id")?;
    draft.result_count = record.integer("result_count")?;
    draft.query = record.text("query")?;
    draft.client_ip = record.text("client.ip")?;
    draft.client_host = record.text("client.host")?;
    draft.client_app = record.text("client.app")?;
    draft.client_remote = record.boolean("client.remote")?;
    draft.auth_method = record.text("auth.method")?;
    draft.auth_mfa = record.boolean("auth.mfa")?;
    draft.purpose = record.list("purpose")?;
    draft.break_glass = record.boolean("break_glass")?;
    draft.approval_ref = record.text("approval_ref")?;
    draft.session_id = record.text("session_id")?;
    draft.correlation_id = record.text("correlation_id")?;
    draft.vendor_id = record.text("vendor_id")?;
    draft.target_host = record.text("target.host")?;
    draft.target_account = record.text("target.account")?;
    draft.detail_command = record.text("detail.command")?;
    draft.detail_bytes = record.integer("detail.bytes")?;
    draft.detail_files = record.integer("detail.files")?;
    Ok(())
}

/// Compares what the decoder makes of a record with what the rules say.
fn check(text: &str, hints: &Hints) {
    let mut decoder = Decoder::new(Origin::topic("t", 0), hints.clone(), Limits::default());
    decoder.push(&RawRecord { offset: 0, byte: 0, at: None, value: Some(text.as_bytes()) });
    let decoded = decoder.finish(0, 1);
    assert_eq!(decoded.batch.len() + decoded.rejects.len(), 1, "{text}");
    match (naive(text, hints), decoded.rejects.first()) {
        (Ok((draft, flags, kept)), None) => {
            let row = decoded.batch.row(0);
            let raw = row.raw().map(|raw| serde_json::from_str(raw).unwrap_or(Value::Null));
            assert_eq!((Draft { raw: None, ..draft_of(row) }, row.flags(), raw), (draft, flags, kept), "{text}");
        }
        (Err(refusal), Some(reject)) if is_json(refusal.reason) && refusal.field.is_none() => {
            // The two read in another order: which of several faults of the JSON they meet first may differ.
            assert!(is_json(reject.reason) && reject.field.is_none(), "{reject:?} and {refusal:?} of {text}");
        }
        (Err(refusal), Some(reject)) => {
            assert_eq!((reject.reason, reject.field.as_deref()), (refusal.reason, refusal.field.as_deref()), "{text}");
        }
        (expected, _) => panic!("{expected:?} of {text}"),
    }
}

fn is_json(reason: Reason) -> bool {
    matches!(reason, Reason::Syntax | Reason::Truncated)
}

/// Values of every type, right and wrong, in any place.
const VALUES: [&str; 36] = [
    "null",
    "true",
    "false",
    "7",
    "-0",
    "1.5",
    "1e400",
    "18446744073709551615",
    "9223372036854775807",
    r#""""#,
    r#""x""#,
    r#""a\tb\u00e9""#,
    r#""\ud800""#,
    r#""read""#,
    r#""login_failed""#,
    r#""session_start""#,
    r#""human""#,
    r#""denied""#,
    r#""phiwatch.access/1""#,
    r#""phiwatch.vendor_session/1""#,
    r#""2026-03-01T10:00:00Z""#,
    r#""2026-03-01T10:00:00.1234567+02:00""#,
    r#""2016-12-31T23:59:60z""#,
    r#""1999-12-31T23:59:59Z""#,
    r#""2026-03-01""#,
    "[]",
    r#"["a","b","a",""]"#,
    r#"["a",1,"\ud800"]"#,
    r#"[["a",{"b":1e400}],"c"]"#,
    r#"[{"a":1}]"#,
    "{}",
    r#"{"id":"i","id":"j"}"#,
    r#"{"id":null,"kind":"robot","host":"h","type":"t","badge":[1, 2]}"#,
    r#"{"ip":"10.0.0.1","remote":true,"mfa":false,"method":"m","account":"a"}"#,
    r#"{"command":"c","bytes":5,"files":"6","name":"","role":"r"}"#,
    r#"{"department":"d","on_behalf_of":"o","app":1,"b":{"c":"\ud800"}}"#,
];

/// Keys that are no column.
const OTHERS: [&str; 12] =
    ["raw", "x", "y.z", "actor.id", "actor", "resource", "client", "auth", "target", "detail", "\\u0074ime", "Time"];

const BASE: [(&str, &str); 5] = [
    ("event_id", r#""e1""#),
    ("time", r#""2026-03-01T10:00:00Z""#),
    ("source", r#""ehr""#),
    ("actor", r#"{"id":"u1"}"#),
    ("activity", r#""read""#),
];

fn pair() -> impl Strategy<Value = (&'static str, &'static str)> {
    let keys: Vec<&'static str> = TOP.iter().chain(&OTHERS).copied().collect();
    (prop::sample::select(keys), prop::sample::select(&VALUES[..]))
}

/// A record of pairs, with most of the required ones, now and then with a byte that is not its own.
fn record() -> impl Strategy<Value = String> {
    let base = prop::collection::vec(prop::bool::weighted(0.93), BASE.len());
    let damage = prop::option::weighted(0.2, (any::<prop::sample::Index>(), 32_u8..127));
    (base, prop::collection::vec(pair(), 0..7), damage).prop_map(|(base, more, damage)| {
        let base = BASE.iter().zip(base).filter(|(_, kept)| *kept).map(|(pair, _)| *pair);
        let pairs: Vec<String> = base.chain(more).map(|(key, value)| format!("\"{key}\":{value}")).collect();
        let mut text = format!("{{{}}}", pairs.join(", ")).into_bytes();
        if let Some((place, byte)) = damage {
            let place = place.index(text.len());
            text[place] = byte;
        }
        String::from_utf8_lossy(&text).into_owned()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn decoding_follows_the_rules(text in record(), vendor in any::<bool>()) {
        let carries = vendor.then_some(Kind::VendorSession);
        let hints = Hints { format: Format::Native, carries, ..Hints::new("t") };
        // A record that a damaged byte made into several, or into a list, is not one record any more.
        if text.starts_with('{') && Limits::default().check(&text) == Ok(false) {
            check(&text, &hints);
        }
    }
}
