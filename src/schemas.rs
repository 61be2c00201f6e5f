//! JSON Schemas of what other people's systems hold on to, derived from the code: events, rosters, alert, settings, rule.
//!
//! The files in `schemas/` are written from here and a stale one fails a test. Nothing about a field is typed a second time: names, types
//! and vocabularies come from `event`, `roster` and the settings themselves. It must not describe what the program only writes for itself.

mod rule;

use arrow::datatypes::DataType;
use schemars::{JsonSchema, schema_for};
use serde_json::{Map, Value, json};

use crate::event::schema::RECORDED;
use crate::event::{Activity, ActorKind, Alert, Kind, Outcome};
use crate::roster::{FILES, FileSpec, RelationKind};
use crate::settings::Settings;

/// Columns that are no fields of a record: what we know about where it was found, and what is left of it.
const OURS: &[&str] = &["kind", "raw", "topic", "partition", "offset", "file", "flags"];
/// Fields that are objects in a record and columns with `_` in a table.
const OBJECTS: &[&str] = &["actor", "resource", "client", "auth", "target", "detail"];
/// What only vendor-session events have, and what only access events have.
const VENDOR_ONLY: &[&str] = &["vendor_id", "target", "detail"];
const ACCESS_ONLY: &[&str] =
    &["patients", "resource", "result_count", "query", "purpose", "break_glass", "correlation_id"];

/// Every schema, with the name of its file in `schemas/`.
pub fn all() -> Vec<(&'static str, Value)> {
    vec![
        ("access.schema.json", event(Kind::Access)),
        ("vendor_session.schema.json", event(Kind::VendorSession)),
        ("rosters.schema.json", rosters()),
        ("alert.schema.json", of::<Alert>()),
        ("settings.schema.json", Settings::schema()),
        ("rule.schema.json", rule::rule()),
    ]
}

/// The schema of a type of ours.
pub fn of<T: JsonSchema>() -> Value {
    schema_for!(T).to_value()
}

/// One of the two native records, from the columns that decoding fills and the vocabularies.
fn event(kind: Kind) -> Value {
    let name = format!("phiwatch.{}/1", kind.as_str());
    let other = if kind == Kind::Access { VENDOR_ONLY } else { ACCESS_ONLY };
    let mut properties = Map::from_iter([("schema".to_owned(), json!({ "const": name }))]);
    let mut required = Vec::new();
    for field in RECORDED.fields().iter().filter(|field| !OURS.contains(&field.name().as_str())) {
        let column = field.name().as_str();
        let (object, member) = column.split_once('_').filter(|(object, _)| OBJECTS.contains(object)).unzip();
        if other.contains(&object.unwrap_or(column)) {
            continue;
        }
        // The lists and the outcome are never null in a table, because a record that leaves them out has a default.
        if !field.is_nullable() && !matches!(field.data_type(), DataType::List(_)) && column != "outcome" {
            required.push(column);
        }
        let value = value(column, field.data_type(), kind);
        match (object, member) {
            (Some(object), Some(member)) => {
                let entry = properties.entry(object).or_insert_with(|| json!({ "type": "object", "properties": {} }));
                entry["properties"][member] = value;
            }
            _ => {
                properties.insert(column.to_owned(), value);
            }
        }
    }
    // Null is an unresolved identity: it has to be said.
    properties["actor"]["required"] = json!(["id"]);
    required.push("actor");
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": name,
        "type": "object",
        "properties": properties,
        "required": required,
    })
}

/// What a field of a record may hold. Unknown fields are kept, so that objects stay open; absent and null are the same.
fn value(column: &str, data_type: &DataType, kind: Kind) -> Value {
    let words = |words: Vec<&str>, default: bool| {
        let null = default.then_some(Value::Null);
        json!({ "enum": words.into_iter().map(Value::from).chain(null).collect::<Vec<_>>() })
    };
    match (column, data_type) {
        ("activity", _) => {
            let ours = |activity: &&Activity| activity.kind().is_none_or(|of| of == kind);
            words(Activity::ALL.iter().filter(ours).map(|activity| activity.as_str()).collect(), false)
        }
        ("actor_kind", _) => words(ActorKind::ALL.iter().map(|kind| kind.as_str()).collect(), true),
        ("outcome", _) => words(Outcome::ALL.iter().map(|outcome| outcome.as_str()).collect(), true),
        ("event_id" | "source", _) => json!({ "type": "string", "minLength": 1 }),
        ("time", _) => json!({ "type": "string", "format": "date-time" }),
        (_, DataType::Timestamp(..)) => json!({ "type": ["string", "null"], "format": "date-time" }),
        (_, DataType::List(_)) => json!({ "type": ["array", "null"], "items": { "type": "string" } }),
        (_, DataType::Int64) => json!({ "type": ["integer", "null"] }),
        (_, DataType::Boolean) => json!({ "type": ["boolean", "null"] }),
        _ => json!({ "type": ["string", "null"] }),
    }
}

/// The nine roster files as JSON lines; a CSV file has the same names in its header.
fn rosters() -> Value {
    let files: Map<String, Value> = FILES.iter().map(|file| (file.name.to_owned(), roster(file))).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "phiwatch rosters: one definition for each file, describing one row",
        "$defs": files,
    })
}

fn roster(file: &FileSpec) -> Value {
    let cell = |column: &str| match (file.name, column) {
        ("relations", "kind") => {
            json!({ "enum": RelationKind::ALL.iter().map(|kind| kind.as_str()).collect::<Vec<_>>() })
        }
        _ => json!({ "type": ["string", "number", "boolean", "array", "null"] }),
    };
    // The last known column is written by us into the form that is stored.
    let columns = file.known.iter().filter(|column| **column != "accepted_at");
    let properties: Map<String, Value> = columns.map(|column| ((*column).to_owned(), cell(column))).collect();
    json!({ "type": "object", "properties": properties, "required": file.known[..file.required] })
}

#[cfg(test)]
mod tests;
