//! The schema of a rule that is written for us: keys and words from the code that reads them.

use serde_json::{Value, json};

use crate::engine::rule::fields;
use crate::engine::rule::meta::{ABOUT, CLASSES, KEYS, LEVELS};

/// One document of a rule file.
pub fn rule() -> Value {
    let words = |words: Vec<&str>| json!({ "enum": words });
    let levels = words(LEVELS.iter().map(|(word, _)| *word).collect());
    let text = json!({ "type": "string" });
    let texts = json!({ "type": "array", "items": { "type": "string" } });
    let names: Vec<&str> = fields::ALL.iter().map(|field| field.name).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "phiwatch rule: one document of a file, Sigma 2.1 with the key phiwatch",
        "type": "object",
        "required": ["title", "id", "status"],
        "properties": {
            "title": text,
            "id": { "type": "string", "pattern": "^[a-z0-9-]+$" },
            "name": text,
            "status": words(vec!["stable", "test", "experimental", "deprecated", "unsupported"]),
            "description": text,
            "references": texts,
            "tags": texts,
            "falsepositives": texts,
            "level": levels,
            "logsource": {
                "type": "object",
                "properties": { "product": text, "category": text },
            },
            "detection": { "type": "object", "required": ["condition"] },
            "correlation": { "type": "object", "required": ["type", "rules", "timespan"] },
            "filter": { "type": "object", "required": ["condition"] },
            "phiwatch": phiwatch(),
        },
        "$defs": {
            "fields": { "enum": names },
            "event": {
                "type": "object",
                "description": "fields by their names, flat or nested",
                "required": ["activity"],
            },
        },
    })
}

/// What stands under the key `phiwatch`.
fn phiwatch() -> Value {
    let words = |words: Vec<&str>| json!({ "enum": words });
    let levels = words(LEVELS.iter().map(|(word, _)| *word).collect());
    let (text, texts) = (json!({ "type": "string" }), json!({ "type": "array", "items": { "type": "string" } }));
    let about = |key: &str| KEYS.iter().find(|(name, _)| *name == key).map(|(_, about)| *about).unwrap_or_default();
    let described = |mut schema: Value, key: &str| {
        schema["description"] = about(key).into();
        schema
    };
    let example = json!({
        "type": "object",
        "required": ["name", "events"],
        "properties": { "name": text, "events": { "type": "array", "items": { "$ref": "#/$defs/event" } } },
        "additionalProperties": false,
    });
    let examples = json!({ "type": "array", "items": example });
    let case = json!({
        "type": "object",
        "required": ["when", "level"],
        "properties": { "when": { "type": ["object", "array"] }, "level": levels },
        "additionalProperties": false,
    });
    json!({
        "type": "object",
        "required": ["sentence", "subject", "class"],
        "additionalProperties": false,
        "properties": {
            "sentence": described(text.clone(), "sentence"),
            "subject": described(words(ABOUT.iter().map(|(word, _)| *word).collect()), "subject"),
            "class": described(words(CLASSES.iter().map(|(word, _)| *word).collect()), "class"),
            "suppress": described(json!({ "type": "string", "pattern": "^(day|[0-9]+[mh])$" }), "suppress"),
            "severity": described(json!({ "type": "array", "items": case }), "severity"),
            "runbook": described(text.clone(), "runbook"),
            "routing": described(texts.clone(), "routing"),
            "examples": described(
                json!({
                    "type": "object",
                    "properties": { "fires": examples, "quiet": examples },
                    "additionalProperties": false,
                }),
                "examples",
            ),
        },
    })
}
