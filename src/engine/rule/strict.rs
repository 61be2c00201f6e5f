//! What our own rules are held to beyond the grammar of Sigma: known keys, fields, modifiers and words, so that a slip of the pen is
//! found when the rule is read and not when it should have fired.

use rsigma_parser::{ConditionExpr, CorrelationRule, Detections};
use yaml_serde::Value;

use super::fields::Field;
use super::meta::{LEVELS, unknown_field};
use super::reading::{At, Complaints};
use super::unknown;

/// Keys of a document.
const KEYS: [&str; 23] = [
    "title",
    "id",
    "name",
    "status",
    "description",
    "references",
    "author",
    "date",
    "modified",
    "tags",
    "logsource",
    "detection",
    "correlation",
    "filter",
    "generate",
    "falsepositives",
    "level",
    "related",
    "license",
    "fields",
    "taxonomy",
    "scope",
    "phiwatch",
];

/// The modifiers of Sigma.
pub const MODIFIERS: [&str; 34] = [
    "contains",
    "startswith",
    "endswith",
    "all",
    "base64",
    "base64offset",
    "wide",
    "utf16le",
    "utf16be",
    "utf16",
    "windash",
    "re",
    "i",
    "m",
    "s",
    "ignorecase",
    "multiline",
    "dotall",
    "cidr",
    "cased",
    "exists",
    "expand",
    "fieldref",
    "gt",
    "gte",
    "lt",
    "lte",
    "neq",
    "minute",
    "hour",
    "day",
    "week",
    "month",
    "year",
];

/// Words for `status`.
pub const STATUSES: [(&str, ()); 5] =
    [("stable", ()), ("test", ()), ("experimental", ()), ("deprecated", ()), ("unsupported", ())];

/// Checks the keys of a document, and the words of those that have a few.
pub fn keys(root: &At<'_>, complaints: &mut Complaints) {
    root.only(&KEYS, complaints);
    root.get("level").into_iter().for_each(|at| _ = at.word("level", &LEVELS, complaints));
    root.get("status").into_iter().for_each(|at| _ = at.word("status", &STATUSES, complaints));
}

/// Checks the named parts of a detection: fields, modifiers, words.
pub fn detection(at: &At<'_>, complaints: &mut Complaints) {
    for (name, part) in at.entries() {
        if name != "condition" && name != "timeframe" && name != "rules" {
            selection(&part, complaints);
        }
    }
}

/// Checks one named part.
pub fn selection(at: &At<'_>, complaints: &mut Complaints) {
    for element in at.elements() {
        selection(&element, complaints);
    }
    for (key, value) in at.entries() {
        item(key, &value, complaints);
    }
}

fn item(key: &str, at: &At<'_>, complaints: &mut Complaints) {
    let mut parts = key.split('|');
    let name = parts.next().unwrap_or_default();
    let modifiers: Vec<&str> = parts.collect();
    for modifier in &modifiers {
        if !MODIFIERS.contains(modifier) {
            complaints.say(at, unknown("modifier", modifier, MODIFIERS.into_iter()));
        }
    }
    let Some(field) = Field::find(name).filter(|_| !name.is_empty()) else {
        // A text without a field is looked for everywhere.
        if !name.is_empty() {
            complaints.say(at, unknown_field(name));
        }
        return;
    };
    let whole = modifiers.iter().all(|modifier| ["all", "neq", "cased"].contains(modifier));
    let Field::Known(spec) = &field else { return };
    let words = (spec.words)();
    let each = at.elements();
    for value in if each.is_empty() { std::slice::from_ref(at) } else { &each } {
        let Value::String(word) = value.value else { continue };
        let pattern = word.contains(['*', '?', '\\']);
        if whole && !words.is_empty() && !pattern && !words.iter().any(|known| known.eq_ignore_ascii_case(word)) {
            complaints.say(value, unknown(&format!("`{name}`"), word, words.iter().copied()));
        }
        if modifiers.contains(&"fieldref") && Field::find(word).is_none() {
            complaints.say(value, unknown_field(word));
        }
    }
}

/// Checks the keys and fields of a correlation.
pub fn correlation(at: &At<'_>, rule: &CorrelationRule, complaints: &mut Complaints) {
    const KEYS: [&str; 10] =
        ["type", "rules", "group-by", "timespan", "timeframe", "condition", "aliases", "generate", "window", "gap"];
    at.only(&KEYS, complaints);
    let alias = |name: &str| rule.aliases.iter().any(|alias| alias.alias == name);
    let known = |at: &At<'_>, complaints: &mut Complaints| {
        for name in at.texts(complaints) {
            if !alias(&name) && Field::find(&name).is_none() {
                complaints.say(at, unknown_field(&name));
            }
        }
    };
    at.get("group-by").into_iter().for_each(|at| known(&at, complaints));
    if let Some(condition) = at.get("condition").filter(|at| at.value.is_mapping()) {
        condition.only(&["lt", "lte", "gt", "gte", "eq", "neq", "field", "percentile"], complaints);
        condition.get("field").into_iter().for_each(|at| known(&at, complaints));
    }
    for (_, fields) in at.get("aliases").map(|at| at.entries()).unwrap_or_default() {
        for (_, field) in fields.entries() {
            known(&field, complaints);
        }
    }
}

/// Checks that the condition names what is there, and all of it.
pub fn condition(at: &At<'_>, detections: &Detections, complaints: &mut Complaints) {
    let place = at.get("condition").unwrap_or_else(|| at.clone());
    let mut used = Vec::new();
    for condition in &detections.conditions {
        names(condition, detections, &mut used, &place, complaints);
    }
    for (name, part) in at.entries() {
        if detections.named.contains_key(name) && !used.iter().any(|used| used == name) {
            complaints.say(&part, format!("the condition does not use `{name}`"));
        }
    }
}

fn names(
    condition: &ConditionExpr,
    detections: &Detections,
    used: &mut Vec<String>,
    at: &At<'_>,
    complaints: &mut Complaints,
) {
    match condition {
        ConditionExpr::And(parts) | ConditionExpr::Or(parts) => {
            parts.iter().for_each(|part| names(part, detections, used, at, complaints));
        }
        ConditionExpr::Not(part) => names(part, detections, used, at, complaints),
        ConditionExpr::Identifier(name) => {
            if !detections.named.contains_key(name) {
                let known = detections.named.keys().map(String::as_str);
                complaints.say(at, unknown("part of the detection", name, known));
            }
            used.push(name.clone());
        }
        ConditionExpr::Selector { pattern, .. } => {
            let found: Vec<String> =
                detections.named.keys().filter(|name| pattern.matches_detection_name(name)).cloned().collect();
            if found.is_empty() {
                complaints.say(at, format!("no part of the detection is named like `{pattern}`"));
            }
            used.extend(found);
        }
    }
}
