//! The column `raw`: one JSON object of what no column holds, without white space outside its texts.

use std::fmt::Write;

use super::slots::{Rest, RestValue};

/// Joins the object that the record brought as `raw` and the fields that no column holds; `None` where there is neither.
pub fn render(object: Option<&str>, rest: &[Rest<'_>]) -> Option<String> {
    let mut out = object.map_or_else(|| String::from("{}"), compact);
    if rest.is_empty() {
        return object.map(|_| out);
    }
    out.pop();
    // Fields of one group stand side by side in one object, in the order in which they were found.
    for (index, first) in rest.iter().enumerate() {
        if first.group.is_empty() {
            field(&mut out, first);
        } else if rest[..index].iter().all(|earlier| earlier.group != first.group) {
            key(&mut out, first.group);
            out.push('{');
            rest.iter().filter(|other| other.group == first.group).for_each(|other| field(&mut out, other));
            out.push('}');
        }
    }
    out.push('}');
    Some(out)
}

fn field(out: &mut String, rest: &Rest<'_>) {
    key(out, &rest.key);
    match &rest.value {
        RestValue::Json(json) => out.push_str(&compact(json)),
        RestValue::Text(text) => push_text(out, text),
    }
}

fn key(out: &mut String, name: &str) {
    if !out.ends_with('{') {
        out.push(',');
    }
    push_text(out, name);
    out.push(':');
}

/// Appends a text as a JSON string.
pub fn push_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => write!(out, "\\u{:04x}", u32::from(c)).expect("writing to a string cannot fail"),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Well-formed JSON text without white space outside its texts. Numbers and escapes stay as they came.
pub fn compact(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let (mut in_string, mut escaped, mut start) = (false, false, 0);
    for (index, byte) in json.bytes().enumerate() {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if byte == b'"' {
            in_string = true;
        } else if matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
            out.push_str(&json[start..index]);
            start = index + 1;
        }
    }
    out.push_str(&json[start..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compact_keeps_texts() {
        assert_eq!(compact("{ \"a b\" :\t[1.50, \"\\\" x\\\\\" ,\n{ } ] }"), r#"{"a b":[1.50,"\" x\\",{}]}"#);
    }

    #[test]
    fn groups_are_one_object() {
        let rest = |group, key: &'static str, json: &'static str| Rest {
            group,
            key: key.into(),
            value: RestValue::Json(json.into()),
        };
        let fields =
            [rest("", "z", "1"), rest("actor", "badge", "\"7\""), rest("", "y", "[ 2 ]"), rest("actor", "x", "{ }")];
        assert_eq!(render(None, &fields).as_deref(), Some(r#"{"z":1,"actor":{"badge":"7","x":{}},"y":[2]}"#));
        assert_eq!(render(Some("{ }"), &fields[..1]).as_deref(), Some(r#"{"z":1}"#));
        assert_eq!(render(Some(r#"{"a":1}"#), &fields[..1]).as_deref(), Some(r#"{"a":1,"z":1}"#));
        assert_eq!(render(Some("{ }"), &[]).as_deref(), Some("{}"));
        assert_eq!(render(None, &[]), None);
    }
}
