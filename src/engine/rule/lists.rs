//! Lists that rules name by a placeholder: the first column of `lists/NAME.csv`.

use std::collections::{BTreeMap, BTreeSet};

use rsigma_parser::{Detection, DetectionItem, Modifier, SigmaString, SigmaValue};

/// Lists by name.
pub type Lists = BTreeMap<String, Vec<String>>;

/// The first column of a CSV text with a header line; lines that begin with `#` are remarks.
///
/// # Errors
/// Where it is no CSV: the line and why.
pub fn read(bytes: &[u8]) -> Result<Vec<String>, (Option<u64>, String)> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
        (Some(line), "this is no UTF-8".to_owned())
    })?;
    if text.matches('"').count() % 2 == 1 {
        return Err((None, "a quote is opened and never closed".to_owned()));
    }
    let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).flexible(true).from_reader(bytes);
    let mut values = Vec::new();
    for row in reader.records() {
        let row = row.map_err(|error| (error.position().map(csv::Position::line), "this is no CSV".to_owned()))?;
        let value = row.get(0).unwrap_or("").trim();
        if !value.is_empty() && !values.iter().any(|known| known == value) {
            values.push(value.to_owned());
        }
    }
    Ok(values)
}

/// Puts the values of lists in the place of placeholders. Names that no list has are added to `absent`, those that one has to `used`.
pub fn expand(detection: &mut Detection, lists: &Lists, used: &mut BTreeSet<String>, absent: &mut BTreeSet<String>) {
    let mut each = |detection: &mut Detection| expand(detection, lists, used, absent);
    match detection {
        Detection::AnyOf(parts) | Detection::And(parts) => parts.iter_mut().for_each(each),
        Detection::ArrayMatch { body, .. } => each(body),
        Detection::Conditional { named, .. } => named.values_mut().for_each(each),
        Detection::Keywords(_) => {}
        Detection::AllOf(items) => {
            for item in items.iter_mut().filter(|item| item.field.has_modifier(Modifier::Expand)) {
                fill(item, lists, used, absent);
            }
        }
    }
}

fn fill(item: &mut DetectionItem, lists: &Lists, used: &mut BTreeSet<String>, absent: &mut BTreeSet<String>) {
    item.field.modifiers.retain(|modifier| *modifier != Modifier::Expand);
    let mut values = Vec::new();
    for value in std::mem::take(&mut item.values) {
        let text = value.to_string();
        let placeholder = text.split_once('%').and_then(|(before, rest)| {
            let (name, after) = rest.split_once('%')?;
            Some((before, name, after))
        });
        let Some((before, name, after)) = placeholder else {
            values.push(value);
            continue;
        };
        let Some(list) = lists.get(name) else {
            absent.insert(name.to_owned());
            continue;
        };
        used.insert(name.to_owned());
        values.extend(list.iter().map(|one| {
            let plain = if item.field.has_modifier(Modifier::Re) { one.clone() } else { escaped(one) };
            SigmaValue::String(SigmaString::new(&format!("{before}{plain}{after}")))
        }));
    }
    if values.is_empty() {
        // An empty list matches nothing: a pattern that no text has.
        item.field.modifiers = vec![Modifier::Re];
        values.push(SigmaValue::from_raw_string(r"[^\s\S]"));
    }
    // Of one value all are met where it is met.
    if values.len() == 1 {
        item.field.modifiers.retain(|modifier| *modifier != Modifier::All);
    }
    item.values = values;
}

/// A value of a list stands for itself: its stars are no wildcards.
fn escaped(text: &str) -> String {
    text.chars()
        .flat_map(|letter| matches!(letter, '*' | '?' | '\\').then_some('\\').into_iter().chain([letter]))
        .collect()
}
