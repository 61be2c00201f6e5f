//! What was touched, whose record it was, what was searched, and which request it belongs to: the entities of an AuditEvent.
//!
//! Patients are the union of what the record states: the patient element (R5), entities in the role of a patient, and what is a Patient
//! by its link, its stated type or the resource inside the event. Only where it states none are they taken from the decoded query. An entity's reference comes before its identifier, which
//! may be another number for the same person.

use std::borrow::Cow;

use serde_json::Value;

use super::json::{
    base64_text, codings, contained, cx_id, each, first_identifier, reference, reference_id, target, text,
};
use crate::decode::fields::set;
use crate::event::{Activity, Draft};

/// Roles of an entity: patient, query, and the two that carry the id of a request (a job stream, and a processing element).
const PATIENT: &str = "1";
const QUERY: &str = "24";
const REQUEST: [&str; 2] = ["21", "26"];

/// Names of details, identifiers and headers that hold the id of a request.
const REQUEST_NAMES: [&str; 9] = [
    "xrequestid",
    "x-request-id",
    "traceid",
    "trace-id",
    "traceparent",
    "msh-10",
    "correlationid",
    "x-correlation-id",
    "correlation-id",
];

/// Fills in patients, resource, query and correlation.
pub fn fill<'a>(event: &'a Value, draft: &mut Draft<'a>) {
    let entities: Vec<&Value> = each(&event["entity"]).collect();
    let query = entities.iter().find_map(|entity| base64_text(&entity["query"]).or_else(|| readable_query(entity)));
    draft.patients = patients(event, &entities);
    if let Some(query) = query.as_deref().filter(|_| draft.patients.is_empty()) {
        draft.patients = set(patients_in(query).into_iter().map(Cow::Owned).collect());
    }
    draft.correlation_id = correlation(event, &entities)
        .or_else(|| query.as_deref().and_then(request_header))
        .map(|id| Cow::Owned(trace_of(&id).to_owned()));
    resource(event, &entities, query.as_deref(), draft);
    draft.query = query.map(Cow::Owned);
}

fn has_role(entity: &Value, code: &str) -> bool {
    codings(&entity["role"])
        .any(|coding| coding.code == Some(code) && (coding.system.is_none() || coding.of("object-role")))
}

fn is_patient(event: &Value, entity: &Value) -> bool {
    has_role(entity, PATIENT) || target(event, &entity["what"]) == Some("Patient")
}

fn patients<'a>(event: &'a Value, entities: &[&'a Value]) -> Vec<Cow<'a, str>> {
    let own = patient_of(event, &event["patient"]);
    let others = entities.iter().filter_map(|entity| {
        let what = &entity["what"];
        is_patient(event, entity).then(|| patient_of(event, what)).flatten()
    });
    set(own.into_iter().chain(others).map(Cow::Borrowed).collect())
}

/// The record number behind a reference to a patient: relative, absolute, contained, or an identifier alone.
fn patient_of<'a>(event: &'a Value, what: &'a Value) -> Option<&'a str> {
    let identifier = || text(&what["identifier"]["value"]).and_then(cx_id);
    let Some(link) = text(&what["reference"]) else {
        return identifier();
    };
    let Some(local) = link.strip_prefix('#') else {
        return reference_id(link).and_then(cx_id).or_else(identifier);
    };
    contained(event, local).and_then(first_identifier).or_else(identifier)
}

/// R4 may hold a readable copy of a query whose base64 is missing or damaged.
fn readable_query(entity: &Value) -> Option<String> {
    (has_role(entity, QUERY)).then(|| text(&entity["description"]).map(str::to_owned)).flatten()
}

/// The patients that a search names: `patient=`, `subject=`, `Patient?identifier=` and `Patient?_id=`, or PID-3 of HL7 v2.
fn patients_in(query: &str) -> Vec<String> {
    let on_patient = query.contains("Patient?") || query.contains("Patient/_search");
    let mut found = Vec::new();
    for word in query.split(['?', '&', '\n', '\r', ' ']) {
        let Some((name, value)) = word.split_once('=') else { continue };
        let is_patient = match name.split(':').next().unwrap_or(name) {
            "patient" | "patient.identifier" | "subject.identifier" => true,
            "subject" => !value.contains('/') || value.contains("Patient"),
            "identifier" | "_id" => on_patient,
            _ => false,
        };
        if is_patient {
            found.extend(unescape(value).split(',').filter_map(bare_id));
        }
    }
    for line in query.split(['\r', '\n']).filter(|line| line.starts_with("PID|")) {
        let identifiers = line.split('|').nth(3).unwrap_or_default();
        found.extend(identifiers.split('~').filter_map(cx_id).map(str::to_owned));
    }
    found
}

/// The id in the value of a search: without system (`system|value`), type and history.
fn bare_id(value: &str) -> Option<String> {
    let value = value.rsplit('|').next().unwrap_or(value);
    reference_id(value).and_then(cx_id).map(str::to_owned)
}

/// Percent-decoding; what is no escape stays as it is.
fn unescape(text: &str) -> String {
    let decoded =
        url::form_urlencoded::parse(format!("v={text}").as_bytes()).next().map(|(_, value)| value.into_owned());
    decoded.unwrap_or_else(|| text.to_owned())
}

fn is_request_name(name: &str) -> bool {
    REQUEST_NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// The id of the request: an entity that carries it, a detail, or an extension.
fn correlation(event: &Value, entities: &[&Value]) -> Option<String> {
    let entity = entities.iter().find(|entity| is_request(entity)).and_then(|entity| {
        text(&entity["what"]["identifier"]["value"]).or_else(|| text(&entity["name"])).map(str::to_owned)
    });
    entity
        .or_else(|| entities.iter().flat_map(|entity| each(&entity["detail"])).find_map(detail))
        .or_else(|| each(&event["extension"]).find_map(extension))
}

fn is_request(entity: &Value) -> bool {
    let typed = codings(&entity["type"]).any(|coding| coding.code.is_some_and(is_request_name));
    let identifier = &entity["what"]["identifier"]["type"];
    let named = text(&identifier["text"]).is_some_and(is_request_name)
        || codings(identifier).any(|coding| coding.code.is_some_and(is_request_name));
    let traced = || text(&entity["what"]["identifier"]["value"]).is_some_and(|value| trace_of(value) != value);
    typed || named || (REQUEST.iter().any(|role| has_role(entity, role)) && traced())
}

fn detail(detail: &Value) -> Option<String> {
    let kind = &detail["type"];
    let name = text(kind).or_else(|| codings(kind).find_map(|coding| coding.code)).or_else(|| text(&kind["text"]))?;
    if !is_request_name(name) {
        return None;
    }
    text(&detail["valueString"]).map(str::to_owned).or_else(|| base64_text(&detail["valueBase64Binary"]))
}

fn extension(extension: &Value) -> Option<String> {
    let name = text(&extension["url"])?.rsplit('/').next()?;
    let known = is_request_name(name) || name.ends_with("traceId") || name.ends_with("correlationId");
    let value = ["valueString", "valueId", "valueUuid", "valueUri"].iter().find_map(|key| text(&extension[*key]));
    let value = value.or_else(|| text(&extension["valueIdentifier"]["value"]));
    known.then_some(value).flatten().map(str::to_owned)
}

/// The id in the headers of a decoded request.
fn request_header(query: &str) -> Option<String> {
    query.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (is_request_name(name.trim()) && !value.trim().is_empty()).then(|| value.trim().to_owned())
    })
}

/// The trace of a W3C traceparent (`version-trace-parent-flags`), which both sides share; any other id is itself.
fn trace_of(id: &str) -> &str {
    let parts: Vec<&str> = id.split('-').collect();
    let hex = |part: &str, length| part.len() == length && part.bytes().all(|b| b.is_ascii_hexdigit());
    match parts[..] {
        [version, trace, parent, flags] if hex(version, 2) && hex(trace, 32) && hex(parent, 16) && hex(flags, 2) => {
            trace
        }
        _ => id,
    }
}

/// The first thing touched that is no query, request or outcome; a patient only where nothing else was touched.
fn resource<'a>(event: &'a Value, entities: &[&'a Value], query: Option<&str>, draft: &mut Draft<'a>) {
    let things = || entities.iter().filter(|entity| !is_request(entity) && !has_role(entity, QUERY));
    let referred = |entity: &&&'a Value| text(&entity["what"]["reference"]).is_some_and(|link| !link.starts_with('#'));
    let others = || things().filter(|entity| !has_role(entity, PATIENT));
    let identified =
        |entity: &&&'a Value| text(&entity["what"]["identifier"]["value"]).is_some() && !is_patient(event, entity);
    let chosen = others().find(referred).or_else(|| others().find(identified));
    if draft.activity == Activity::Search && chosen.is_none() {
        draft.resource_type = query.and_then(searched_type).map(Cow::Owned);
        return;
    }
    let Some(entity) = chosen.or_else(|| things().find(referred)) else {
        return;
    };
    let what = &entity["what"];
    if let Some((kind, id)) = text(&what["reference"]).and_then(reference) {
        draft.resource_type = Some(Cow::Borrowed(kind));
        draft.resource_id = Some(Cow::Borrowed(id));
        return;
    }
    let typed = codings(&entity["type"]).find(|coding| coding.of("resource-types")).and_then(|coding| coding.code);
    draft.resource_type = typed.or_else(|| target(event, what)).map(Cow::Borrowed);
    let link = text(&what["reference"]).filter(|link| !link.starts_with('#'));
    draft.resource_id = link.or_else(|| text(&what["identifier"]["value"])).map(Cow::Borrowed);
}

/// The type that a search is on: the last segment of the path, or the one before `_search`.
fn searched_type(query: &str) -> Option<String> {
    let path = query.split('?').next()?.lines().next()?;
    let path = path.split(' ').find(|word| word.contains('/') && !word.starts_with("HTTP/")).unwrap_or(path);
    let name = path.trim_end_matches("/_search").rsplit('/').next()?;
    let is_type = name.starts_with(|c: char| c.is_ascii_uppercase()) && name.bytes().all(|b| b.is_ascii_alphabetic());
    is_type.then(|| name.to_owned())
}
