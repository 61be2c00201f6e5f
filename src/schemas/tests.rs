//! The files in `schemas/` are those that the code writes, and what the program reads and writes is valid by them.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::sim::{Plan, generate};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas")
}

fn schema(name: &str) -> Value {
    all().into_iter().find(|(file, _)| *file == format!("{name}.schema.json")).expect("a schema of that name").1
}

/// Whether `value` is valid: the part of JSON Schema that our schemas use, nothing else.
fn check(value: &Value, schema: &Value, root: &Value) -> Result<(), String> {
    if let Some(path) = schema["$ref"].as_str() {
        return check(value, root.pointer(path.trim_start_matches('#')).ok_or("a dangling $ref")?, root);
    }
    for key in ["oneOf", "anyOf"] {
        if let Some(choices) = schema[key].as_array() {
            let tried: Vec<_> = choices.iter().map(|choice| check(value, choice, root)).collect();
            tried.iter().any(Result::is_ok).then_some(()).ok_or_else(|| format!("{value}: {tried:?}"))?;
        }
    }
    let is = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("type {other}"),
    };
    let fits = match &schema["type"] {
        Value::String(name) => is(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).any(is),
        _ => true,
    };
    let allowed = schema["enum"].as_array().is_none_or(|words| words.contains(value));
    let constant = schema.get("const").is_none_or(|constant| constant == value);
    if !(fits && allowed && constant) {
        return Err(format!("{value} against {schema}"));
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        value.get(name).ok_or_else(|| format!("{name} is missing in {value}"))?;
    }
    for (name, member) in value.as_object().into_iter().flatten() {
        match (schema["properties"].get(name), &schema["additionalProperties"]) {
            (Some(schema), _) => check(member, schema, root).map_err(|what| format!("{name}: {what}"))?,
            (None, Value::Bool(false)) => return Err(format!("{name} is unknown")),
            (None, schema) => check(member, schema, root)?,
        }
    }
    value.as_array().into_iter().flatten().try_for_each(|item| check(item, &schema["items"], root))
}

#[test]
fn files_are_those_that_the_code_writes() {
    for (name, schema) in all() {
        let path = folder().join(name);
        let text = format!("{schema:#}\n");
        if std::env::var_os("PHIWATCH_BLESS").is_some() {
            fs::write(&path, &text).unwrap();
        }
        let there = fs::read_to_string(&path).unwrap_or_default();
        assert!(there == text, "schemas/{name} is stale: renew it with PHIWATCH_BLESS=1 cargo test --lib schemas");
    }
}

#[test]
fn events_of_the_simulator_are_valid_and_broken_ones_are_not() {
    let (access, vendor) = (schema("access"), schema("vendor_session"));
    let mut seen = [0, 0];
    for event in generate(&Plan::new(3, 30, 3)).events() {
        let line: Value = serde_json::from_slice(&event.line).unwrap();
        let which = usize::from(line["schema"] == "phiwatch.vendor_session/1");
        seen[which] += 1;
        let schema = if which == 1 { &vendor } else { &access };
        check(&line, schema, schema).unwrap();
    }
    assert!(seen[0] > 100 && seen[1] > 0, "{seen:?}");
    let good = json!({
        "event_id": "1", "time": "2026-01-05T10:00:00Z", "source": "ehr", "actor": {"id": null}, "activity": "read",
        "patients": ["p"], "more": {"of": "this"},
    });
    check(&good, &access, &access).unwrap();
    let broken = [
        ("activity", json!("session_start")),
        ("actor", json!({})),
        ("patients", json!("p")),
        ("event_id", Value::Null),
    ];
    for (field, value) in broken {
        let mut line = good.clone();
        line[field] = value;
        assert!(check(&line, &access, &access).is_err(), "{line}");
    }
}

#[test]
fn the_alert_is_valid() {
    let schema = schema("alert");
    let mut alert = serde_json::to_value(crate::notify::render::test_alert(crate::event::Time::MIN)).unwrap();
    check(&alert, &schema, &schema).unwrap();
    alert["class"] = json!("soft");
    assert!(check(&alert, &schema, &schema).is_err());
}

#[test]
fn settings_of_the_documentation_are_valid_and_load() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/phiwatch.example.toml");
    let text = fs::read_to_string(&path).unwrap();
    let schema = schema("settings");
    let written: toml::Value = toml::from_str(&text).unwrap();
    check(&serde_json::to_value(written).unwrap(), &schema, &schema).unwrap();
    assert!(check(&json!({"budget": {"per_1000": 2}}), &schema, &schema).is_err());
    // The folders of the example are those of a machine that is set up.
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().join("phiwatch.toml");
    let text = ["/var/lib/phiwatch", "/etc/phiwatch"]
        .iter()
        .fold(text, |text, path| text.replace(path, &folder.path().to_string_lossy()));
    fs::write(&here, text).unwrap();
    Settings::load(&here).expect("the example has no problems");
}

#[test]
fn rosters_of_the_simulator_have_the_columns() {
    let folder = tempfile::tempdir().unwrap();
    crate::sim::write(&Plan::new(3, 30, 3), folder.path(), |_| ()).unwrap();
    let schema = schema("rosters");
    for file in FILES.iter() {
        let path = folder.path().join("rosters").join(format!("{}.csv", file.name));
        let Ok(text) = fs::read_to_string(path) else { continue };
        let header: Vec<&str> = text.lines().next().unwrap().split(',').collect();
        let definition = &schema["$defs"][file.name];
        assert!(header.iter().all(|column| definition["properties"].get(*column).is_some()), "{header:?}");
        for column in definition["required"].as_array().unwrap() {
            assert!(header.contains(&column.as_str().unwrap()), "{column} in {}", file.name);
        }
    }
}
