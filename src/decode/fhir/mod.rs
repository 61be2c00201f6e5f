//! FHIR AuditEvent in JSON: R4, R4B, R5 and the R6 ballot, single or in a Bundle of any type.
//!
//! The releases are told apart by structure, element by element: a coding is read the same whether it stands bare, in a concept or in
//! a list. The whole resource is kept in `raw`. What is not stated is never invented: no action is no `read`.

mod activity;
mod agents;
mod entities;
mod json;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use self::json::{codings, text};
use super::fields::instant;
use super::raw::compact;
use super::record::decode_part;
use super::{Format, Hints, Out, Part, Refusal, Spec, split};
use crate::event::flags::{Flags, MADE_ID, PARTIAL};
use crate::event::{Draft, Outcome, Reason, Time};

/// FHIR JSON.
pub static SPEC: Spec = Spec { name: "fhir", format: Format::Fhir, sniff, decode };

/// A resource, read once: its type, the entries of a Bundle as they came, and every other element.
struct Resource<'a> {
    kind: String,
    entry: Option<&'a RawValue>,
    elements: Value,
}

impl<'de> Deserialize<'de> for Resource<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Resource<'de>, D::Error> {
        deserializer.deserialize_map(ResourceVisitor)
    }
}

struct ResourceVisitor;

impl<'de> Visitor<'de> for ResourceVisitor {
    type Value = Resource<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a resource")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Resource<'de>, A::Error> {
        let (mut kind, mut entry, mut elements) = (None, None, Map::new());
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "resourceType" if kind.is_some() => return Err(A::Error::duplicate_field("resourceType")),
                "resourceType" => kind = Some(map.next_value()?),
                "entry" if entry.is_some() => return Err(A::Error::duplicate_field("entry")),
                "entry" => entry = Some(map.next_value()?),
                _ => _ = elements.insert(key, map.next_value()?),
            }
        }
        let kind = kind.ok_or_else(|| A::Error::missing_field("resourceType"))?;
        Ok(Resource { kind, entry, elements: Value::Object(elements) })
    }
}

/// What tells a resource from other JSON.
#[derive(serde::Deserialize)]
struct Head {
    #[serde(rename = "resourceType")]
    _kind: String,
}

#[derive(serde::Deserialize)]
struct Entry<'a> {
    #[serde(borrow, default)]
    resource: Option<&'a RawValue>,
}

/// The key of every resource, ready to be searched for.
static RESOURCE_TYPE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"resourceType\""));

/// An object that names its type of resource at the top. Nearly all do so in the first place, which is seen without reading on.
fn sniff(text: &str) -> bool {
    let Some(inside) = text.strip_prefix('{') else { return false };
    begins_with_type(inside)
        || (RESOURCE_TYPE.find(text.as_bytes()).is_some() && serde_json::from_str::<Head>(text).is_ok())
}

fn begins_with_type(inside: &str) -> bool {
    let value = inside.trim_start().strip_prefix("\"resourceType\"");
    let value = value.and_then(|rest| rest.trim_start().strip_prefix(':'));
    value.is_some_and(|rest| rest.trim_start().starts_with('"'))
}

fn decode(part: Part<'_>, out: &mut Out) {
    let resource = match serde_json::from_str::<Resource<'_>>(part.text) {
        Ok(resource) => resource,
        // One entry that is no JSON takes none of the others with it.
        Err(error) if !error.is_data() && bundle_by_brackets(part, out) => return,
        Err(error) if error.is_data() => return refuse(part, Refusal::of(Reason::MissingField, "resourceType"), out),
        Err(error) => return refuse(part, Refusal::json(&error), out),
    };
    match resource.kind.as_str() {
        "AuditEvent" => {
            let decoded = draft(&resource.elements, part.text, &out.hints);
            out.outcome(part, decoded);
        }
        "Bundle" => bundle(part, resource.entry, out),
        _ => refuse(part, Refusal::of(Reason::NotAnEvent, "resourceType"), out),
    }
}

fn refuse(part: Part<'_>, refusal: Refusal, out: &mut Out) {
    out.reject(refusal, part.byte, part.text.as_bytes());
}

/// Every entry ends for itself: siblings of one that cannot be used become events all the same.
fn bundle(part: Part<'_>, entries: Option<&RawValue>, out: &mut Out) {
    let entries = entries.map_or("null", RawValue::get);
    let Ok(entries) = serde_json::from_str::<Option<Vec<&RawValue>>>(entries) else {
        return refuse(part, Refusal::of(Reason::WrongType, "entry"), out);
    };
    let entries = entries.unwrap_or_default();
    if entries.is_empty() {
        return refuse(part, Refusal::of(Reason::NotAnEvent, "entry"), out);
    }
    entries.into_iter().for_each(|text| entry(part.within(text.get()), out));
}

/// The same of a Bundle that cannot be read as a whole, or is beyond the bounds as one: its entries are told apart by their brackets. False
/// where it is no Bundle with entries, and nothing was decoded.
pub(super) fn bundle_by_brackets(part: Part<'_>, out: &mut Out) -> bool {
    let members = part.text.starts_with('{').then(|| split::members(part.text)).flatten().unwrap_or_default();
    let has = |name: &str| members.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
    let entries = has("entry").filter(|text| text.starts_with('[') && has("resourceType") == Some("\"Bundle\""));
    let Some((entries, rest)) = entries.map(split::elements) else { return false };
    let rest = rest.map(|(text, _)| text).filter(|_| !entries.is_empty());
    entries.iter().copied().chain(rest).for_each(|text| entry(part.within(text), out));
    !entries.is_empty()
}

/// One entry, held to the bounds by itself.
fn entry(part: Part<'_>, out: &mut Out) {
    match (out.limits.check(part.text), serde_json::from_str::<Entry<'_>>(part.text)) {
        (Err(reason), _) => refuse(part, Refusal::new(reason), out),
        (Ok(_), Ok(Entry { resource: Some(resource) })) => decode_part(part.within(resource.get()), out),
        (Ok(_), Ok(_)) => refuse(part, Refusal::of(Reason::MissingField, "entry.resource"), out),
        (Ok(_), Err(error)) if error.is_data() => refuse(part, Refusal::of(Reason::WrongType, "entry"), out),
        (Ok(_), Err(error)) => refuse(part, Refusal::json(&error), out),
    }
}

/// Maps one AuditEvent.
fn draft<'a>(event: &'a Value, text_of_event: &str, hints: &Hints) -> Result<(Draft<'a>, Flags), Refusal> {
    let mut flags = 0;
    let (time, recorded) = times(event, &mut flags)?;
    let outcome = outcome(event, &mut flags);
    let codes = activity::codes(event);
    let raw = compact(text_of_event);
    let source = source(event, hints);
    let event_id = match text(&event["id"]) {
        Some(id) => Cow::Borrowed(id),
        None => {
            flags |= MADE_ID;
            Cow::Owned(made_id(&source, &raw))
        }
    };
    let mut draft = Draft::new(event_id, time, source, activity::activity(&codes, event, outcome));
    draft.recorded = recorded;
    draft.site = site(event);
    draft.outcome =
        if outcome == Outcome::Failure && activity::decides_access(&codes) { Outcome::Denied } else { outcome };
    agents::fill(event, &mut draft);
    entities::fill(event, &mut draft);
    if let Some(kind) = activity::touched(&codes) {
        draft.resource_type = Some(Cow::Borrowed(kind));
    }
    draft.purpose = activity::purposes(event);
    draft.break_glass = activity::break_glass(event, &codes);
    draft.raw = Some(Cow::Owned(raw));
    Ok((draft, flags))
}

/// When it happened and when it was logged. Detection goes by what happened; where that is not stated, by what was logged.
fn times(event: &Value, flags: &mut Flags) -> Result<(Time, Option<Time>), Refusal> {
    let occurred = [
        ("occurredPeriod", &event["occurredPeriod"]["start"]),
        ("occurredDateTime", &event["occurredDateTime"]),
        ("period", &event["period"]["start"]),
    ];
    let stated = occurred.iter().find_map(|(_, value)| text(value));
    let recorded_text = text(&event["recorded"]);
    let (happened, recorded) = (stated.and_then(instant), recorded_text.and_then(instant));
    if (stated.is_some() && happened.is_none()) || (recorded_text.is_some() && recorded.is_none()) {
        *flags |= PARTIAL;
    }
    let reason = if recorded_text.is_some() || stated.is_some() { Reason::BadTime } else { Reason::MissingField };
    happened.or(recorded).map(|time| (time, recorded)).ok_or_else(|| Refusal::of(reason, "recorded"))
}

/// DICOM's severities, or the severities of an OperationOutcome that R5 examples use in their place.
fn outcome(event: &Value, flags: &mut Flags) -> Outcome {
    let value = &event["outcome"];
    let code = match text(value) {
        Some(code) => Some(code),
        None => codings(&value["code"]).chain(codings(value)).find_map(|coding| coding.code),
    };
    match code {
        None => Outcome::Unknown,
        Some("0" | "success" | "information" | "informational" | "warning") => Outcome::Success,
        Some("4" | "8" | "12" | "error" | "fatal") => Outcome::Failure,
        Some(_) => {
            *flags |= PARTIAL;
            Outcome::Unknown
        }
    }
}

fn source<'a>(event: &'a Value, hints: &Hints) -> Cow<'a, str> {
    if let Some(source) = &hints.source {
        return Cow::Owned(source.clone());
    }
    let observer = &event["source"]["observer"];
    let stated = text(&observer["identifier"]["value"])
        .or_else(|| text(&observer["reference"]))
        .or_else(|| text(&observer["display"]));
    stated.map_or_else(|| Cow::Owned(hints.fallback_source.clone()), Cow::Borrowed)
}

fn site(event: &Value) -> Option<Cow<'_, str>> {
    let site = &event["source"]["site"];
    let named = text(site).or_else(|| text(&site["identifier"]["value"])).or_else(|| text(&site["display"]));
    named.or_else(|| text(&site["reference"]).and_then(json::reference_id)).map(Cow::Borrowed)
}

/// The identifier of a resource without one: a hash of its source and its bytes without white space.
fn made_id(source: &str, canonical: &str) -> String {
    let mut hash = Sha256::new();
    hash.update((source.len() as u64).to_le_bytes());
    hash.update(source.as_bytes());
    hash.update(canonical.as_bytes());
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
