//! A reject as a JSON line, for `phiwatch decode --rejects FILE`.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;

use crate::event::{Origin, Reject};

#[derive(Serialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<i64>,
    byte: u64,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw_base64: Option<String>,
}

/// One JSON object without a line break: `topic`, `partition`, `offset` or `file`, `line`; `byte`, `reason`, `field`, `at`, and the
/// bytes as they came, in `raw` where they are UTF-8, else in `raw_base64`.
pub fn reject_line(reject: &Reject) -> String {
    let text = std::str::from_utf8(&reject.raw).ok();
    let (topic, partition, file) = match &reject.origin {
        Origin::Topic { topic, partition } => (Some(&**topic), Some(*partition), None),
        Origin::File { name } => (None, None, Some(&**name)),
    };
    let line = Line {
        topic,
        partition,
        offset: topic.map(|_| reject.offset),
        file,
        line: file.map(|_| reject.offset),
        byte: reject.byte,
        reason: reject.reason.as_str(),
        field: reject.field.as_deref(),
        at: reject.at.map(|at| at.to_string()),
        raw: text,
        raw_base64: text.is_none().then(|| BASE64_STANDARD.encode(&reject.raw)),
    };
    serde_json::to_string(&line).expect("texts and numbers are always JSON")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Reason, Time};

    #[test]
    fn says_where_and_why() {
        let mut reject = Reject {
            origin: Origin::file("a.jsonl"),
            offset: 3,
            byte: 90,
            reason: Reason::MissingField,
            field: Some("time".into()),
            at: None,
            raw: b"{\"a\":1}\n".to_vec(),
        };
        let expected =
            r#"{"file":"a.jsonl","line":3,"byte":90,"reason":"missing_field","field":"time","raw":"{\"a\":1}\n"}"#;
        assert_eq!(reject_line(&reject), expected);
        reject.origin = Origin::topic("ehr", 2);
        reject.reason = Reason::Encoding;
        reject.field = None;
        reject.at = Time::parse("2026-01-02T03:04:05Z");
        reject.raw = vec![0xff, 0];
        let expected = r#"{"topic":"ehr","partition":2,"offset":3,"byte":90,"reason":"encoding","at":"2026-01-02T03:04:05Z","raw_base64":"/wA="}"#;
        assert_eq!(reject_line(&reject), expected);
    }
}
