//! What our own rules are held to beyond the grammar of Sigma: known keys, fields, modifiers and words, so that a slip of the pen is
//! found when the rule is read and not when it should have fired.

use rsigma_parser::{ConditionExpr, Detections};
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

/// Keys of a log source: `service` would have to mean something.
const SOURCE_KEYS: [&str; 3] = ["product", "category", "definition"];

/// Types of correlations.
const TYPES: [(&str, ()); 8] = [
    ("event_count", ()),
    ("value_count", ()),
    ("value_sum", ()),
    ("value_avg", ()),
    ("value_median", ()),
    ("value_percentile", ()),
    ("temporal", ()),
    ("temporal_ordered", ()),
];

/// Checks the keys of a document, and the words of those that have a few.
pub fn keys(root: &At<'_>, complaints: &mut Complaints) {
    root.only(&KEYS, complaints);
    root.get("logsource").into_iter().for_each(|at| at.only(&SOURCE_KEYS, complaints));
    root.get("level").into_iter().for_each(|at| _ = at.word("level", &LEVELS, complaints));
    root.get("status").into_iter().for_each(|at| _ = at.word("status", &STATUSES, complaints));
}

/// Checks the named parts of a detection: fields, modifiers, words.
pub fn detection(at: &At<'_>, complaints: &mut Complaints) {
    for (name, part) in at.entries() {
        if name == "timeframe" {
            complaints.say(&part, "a `timeframe` is used by nothing here; a `correlation` has its `timespan`");
        } else if name != "condition" && name != "rules" {
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
    let field = Field::find(name);
    // A text without a field is looked for everywhere.
    if field.is_none() && !name.is_empty() {
        complaints.say(at, unknown_field(name));
    }
    let whole = modifiers.iter().all(|modifier| ["all", "neq", "cased"].contains(modifier));
    let words = if let Some(Field::Known(spec)) = &field { (spec.words)() } else { Vec::new() };
    let shape = if let Some(Field::Known(spec)) = &field { Some(spec.shape) } else { None };
    if modifiers.contains(&"exists") && modifiers.len() > 1 {
        complaints.say(at, "`exists` stands alone");
    }
    for value in &at.each() {
        if modifiers.contains(&"exists") && !value.value.is_bool() {
            complaints.say(value, "`exists` is asked with true or false");
        }
        if let Some(shape) = shape.filter(|shape| whole && !shape.can_be(value.value)) {
            complaints.say(value, format!("`{name}` is never that ({})", shape.as_str()));
            continue;
        }
        let Value::String(word) = value.value else { continue };
        if is_placeholder(word) && !modifiers.contains(&"expand") {
            complaints.say(value, format!("`{word}` names a list where the modifier `expand` asks for it"));
        }
        if modifiers.contains(&"expand") && word.matches('%').count() < 2 {
            complaints
                .say(value, "`expand` puts a list in the place of its name, such as `%watched%`; there is none here");
        }
        let pattern = word.contains(['*', '?', '\\']);
        if whole && !words.is_empty() && !pattern && !words.iter().any(|known| known.eq_ignore_ascii_case(word)) {
            complaints.say(value, unknown(&format!("`{name}`"), word, words.iter().copied()));
        }
        if modifiers.contains(&"fieldref") && Field::find(word).is_none() {
            complaints.say(value, unknown_field(word));
        }
    }
}

/// `%watched%` and the like.
fn is_placeholder(word: &str) -> bool {
    let inside = word.strip_prefix('%').and_then(|rest| rest.strip_suffix('%'));
    inside.is_some_and(|name| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)))
}

/// Checks the keys, words and fields of a correlation.
pub fn correlation(at: &At<'_>, complaints: &mut Complaints) {
    const KEYS: [&str; 10] =
        ["type", "rules", "group-by", "timespan", "timeframe", "condition", "aliases", "generate", "window", "gap"];
    at.only(&KEYS, complaints);
    at.get("type").into_iter().for_each(|at| _ = at.word("type of correlation", &TYPES, complaints));
    let is_span = |at: &At<'_>| at.value.as_str().is_some_and(|text| text.ends_with(|last: char| last.is_alphabetic()));
    let span = at.get("timespan").or_else(|| at.get("timeframe"));
    if let Some(at) = span.filter(|at| !is_span(at)) {
        complaints.say(&at, "a span is a number and its unit: s, m, h, d, w, M or y");
    }
    let aliases = at.get("aliases").map(|at| at.entries()).unwrap_or_default();
    let known = |at: &At<'_>, complaints: &mut Complaints| {
        for name in at.texts(complaints) {
            if Field::find(&name).is_none() {
                complaints.say(at, unknown_field(&name));
            }
        }
    };
    // Only groups are told by aliases.
    let is_alias = |at: &At<'_>| aliases.iter().any(|(alias, _)| at.value.as_str() == Some(*alias));
    let grouped = at.get("group-by").map(|at| at.each()).unwrap_or_default();
    grouped.iter().filter(|at| !is_alias(at)).for_each(|at| known(at, complaints));
    if let Some(condition) = at.get("condition").filter(|at| at.value.is_mapping()) {
        condition.only(&["lt", "lte", "gt", "gte", "eq", "neq", "field", "percentile"], complaints);
        condition.get("field").into_iter().for_each(|at| known(&at, complaints));
        let kind = at.get("type").and_then(|at| at.value.as_str()).unwrap_or_default();
        if let Some(at) =
            condition.get("field").filter(|_| ["event_count", "temporal", "temporal_ordered"].contains(&kind))
        {
            complaints.say(&at, format!("`{kind}` looks at no field; `value_count` counts the values of one"));
        }
    }
    for (_, field) in aliases.iter().flat_map(|(_, fields)| fields.entries()) {
        known(&field, complaints);
    }
}

/// Checks the rules that aliases name; `rules` has every name of each rule that the correlation is made of.
pub fn aliases(at: &At<'_>, rules: &[Vec<String>], complaints: &mut Complaints) {
    for (alias, fields) in at.get("aliases").map(|at| at.entries()).unwrap_or_default() {
        let named = fields.entries();
        for (rule, field) in named.iter().filter(|(rule, _)| !rules.iter().flatten().any(|name| name == rule)) {
            complaints
                .say(field, unknown("rule of this correlation", rule, rules.iter().flatten().map(String::as_str)));
        }
        let is_said = |names: &Vec<String>| names.iter().any(|name| named.iter().any(|(rule, _)| rule == name));
        // Without a field of its own the alias is taken for one.
        for names in rules.iter().filter(|names| Field::find(alias).is_none() && !is_said(names)) {
            complaints.say(&fields, format!("the alias `{alias}` has no field of `{}`", names.join("` or `")));
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
