//! Tests of decoding as a whole: the bad-input battery, the rules of the native records, and properties.
//!
//! Expectations are written from INTERFACES, sections 1 and 2, and from the rules stated in `fields`.

pub mod naive;

use proptest::prelude::*;

use super::{Decoder, Format, Hints, Limits, RawRecord};
use crate::event::effects::Decoded;
use crate::event::flags::{Flags, PARTIAL};
use crate::event::{Kind, Origin, Reason, Time};

/// A record with every required field and nothing else.
const BASE: &str =
    r#"{"event_id":"e1","time":"2026-03-01T10:00:00Z","source":"ehr","actor":{"id":"u1"},"activity":"read"}"#;

fn decode_with(hints: Hints, records: &[&[u8]]) -> Decoded {
    let mut decoder = Decoder::new(Origin::topic("t", 0), hints, Limits::default());
    for (offset, value) in records.iter().enumerate() {
        decoder.push(&RawRecord { offset: offset as i64, byte: 0, at: None, value: Some(value) });
    }
    let counts = decoder.counts();
    let decoded = decoder.finish(0, records.len() as i64);
    assert_eq!(counts.records, records.len() as u64);
    assert_eq!(counts.events, decoded.batch.len() as u64);
    assert_eq!(counts.rejects, decoded.rejects.len() as u64);
    decoded
}

fn decode(record: &[u8]) -> Decoded {
    decode_with(Hints::new("t"), &[record])
}

/// Each outcome in a few words: first the ids of the events, then reason and field of the rejects.
fn outcomes(decoded: &Decoded) -> Vec<String> {
    let events = decoded.batch.rows().map(|event| event.event_id().to_owned());
    let rejects = decoded.rejects.iter().map(|reject| match &reject.field {
        Some(field) => format!("{} {field}", reject.reason.as_str()),
        None => reject.reason.as_str().to_owned(),
    });
    events.chain(rejects).collect()
}

fn check(record: impl AsRef<[u8]>, expected: &[&str]) {
    let record = record.as_ref();
    assert_eq!(outcomes(&decode(record)), expected, "{}", String::from_utf8_lossy(&record[..record.len().min(300)]));
}

#[test]
fn a_record_that_meets_a_bug_is_a_reject_and_the_next_is_read() {
    let flawed = with("e1", "the flaw");
    let several = format!("[{},{flawed},{BASE}]", with("e1", "e0"));
    let mut decoder = Decoder::new(Origin::topic("t", 0), Hints::new("t"), Limits::default());
    decoder.flaw("the flaw");
    for (offset, value) in (0..).zip([BASE, &flawed, &several, &with("e1", "e2")]) {
        decoder.push(&RawRecord { offset, byte: 0, at: None, value: Some(value.as_bytes()) });
    }
    let decoded = decoder.finish(0, 4);
    assert_eq!(outcomes(&decoded), ["e1", "e0", "e2", "bug", "bug"]);
    assert_eq!((decoded.rejects[0].offset, &decoded.rejects[0].raw[..]), (1, flawed.as_bytes()));
    assert_eq!((decoded.rejects[1].offset, &decoded.rejects[1].raw[..]), (2, several.as_bytes()));
}

/// The base record with one text replaced by another.
fn with(from: &str, to: &str) -> String {
    assert!(BASE.contains(from), "{from} is in the base record");
    BASE.replacen(from, to, 1)
}

/// The base record with more fields.
fn plus(fields: &str) -> String {
    format!("{},{fields}}}", &BASE[..BASE.len() - 1])
}

#[test]
fn shapes_of_records() {
    check(BASE, &["e1"]);
    check("", &["empty"]);
    check(" \r\n\t ", &["empty"]);
    check("\u{feff}", &["empty"]);
    check(format!("\u{feff}{BASE}\r\n"), &["e1"]);
    check(format!("{BASE}{BASE}"), &["e1", "e1"]);
    check(format!("{BASE}\n{BASE}\n{{\"event_id\":"), &["e1", "e1", "truncated"]);
    // What is damaged takes none of its neighbours with it, as long as they can be told apart.
    check(format!("{BASE} {{x}} {BASE}"), &["e1", "e1", "syntax"]);
    check(format!("[{BASE},{{\"event_id\": bad}},{BASE}]"), &["e1", "e1", "syntax"]);
    check(format!("[{BASE},,{BASE},]"), &["e1", "e1", "syntax", "syntax"]);
    check(format!("[{BASE},{{\"a\":[1}},{BASE}]"), &["e1", "syntax"]);
    let deep = format!(r#"{{"x":{}1{}}}"#, "[".repeat(1_500), "]".repeat(1_500));
    check(format!("[{BASE},{deep},{BASE}]"), &["e1", "e1", "too_deep"]);
    check(format!("{BASE}{deep}{BASE}"), &["e1", "e1", "too_deep"]);
    let many = (0..600).map(|n| format!(r#""k{n}":0"#)).collect::<Vec<_>>().join(",");
    check(format!("[{BASE},{{{many}}}]"), &["e1", "too_many"]);
    check(format!("[{BASE}, {BASE} ]"), &["e1", "e1"]);
    check(format!("[{BASE},7,{BASE}]"), &["e1", "e1", "unknown_format"]);
    check(format!("[{BASE},[{BASE}]]"), &["e1", "unknown_format"]);
    check(format!("[{BASE},"), &["e1", "truncated"]);
    check(format!("[{BASE}"), &["e1", "truncated"]);
    check(format!("[{BASE} {BASE}]"), &["e1", "e1"]);
    check(format!("[{BASE}] {BASE}"), &["e1", "syntax"]);
    check("[]", &["not_an_event"]);
    check("[ ]", &["not_an_event"]);
    check("[", &["truncated"]);
    check("]", &["unknown_format"]);
    check("17", &["unknown_format"]);
    check("\"event_id\"", &["unknown_format"]);
    check("hello", &["unknown_format"]);
    check("<xml/>", &["unknown_format"]);
    check("{}", &["unknown_format"]);
    check(r#"{"a":1}"#, &["unknown_format"]);
    check("{a:1}", &["syntax"]);
    check(r#"{"a":1"#, &["truncated"]);
    check("null", &["unknown_format"]);
}

#[test]
fn encodings_and_limits() {
    check([BASE.as_bytes(), &[0xff]].concat(), &["encoding"]);
    check(with("u1", "u\u{0}1"), &["encoding"]);
    check([&[0xff, 0xfe], BASE.as_bytes()].concat(), &["encoding"]);
    check(b"\xc3\x28", &["encoding"]);
    check(with("u1", r"\ud800"), &["syntax"]);
    check(with("u1", r"\udc00\ud800"), &["syntax"]);
    check(with("u1", r"\ud83d\ude00"), &["e1"]);
    check(with("u1", "\u{202e}\u{200b}u"), &["e1"]);
    check(with("u1", r"\u0000"), &["e1"]);
    check(with("u1", "a\nb"), &["syntax"]);
    check(with("u1", "=HYPERLINK(1)"), &["e1"]);
    check(vec![b'a'; (1 << 20) + 1], &["too_large"]);
    check(plus(&format!(r#""x":"{}""#, "y".repeat(1 << 20))), &["too_large"]);
    check(plus(&format!(r#""x":{}1{}"#, "[".repeat(63), "]".repeat(63))), &["e1"]);
    check(plus(&format!(r#""x":{}1{}"#, "[".repeat(64), "]".repeat(64))), &["too_deep"]);
    check(format!(r#"{{"event_id":{}"#, "[".repeat(10_000)), &["too_deep"]);
    check("{\"a\":".repeat(10_000), &["too_deep"]);
    let many = |n: usize| (0..n).map(|i| format!(r#""k{i}":0"#)).collect::<Vec<_>>().join(",");
    check(plus(&many(507)), &["e1"]);
    check(plus(&many(508)), &["too_many"]);
    let patients = |n: usize| format!(r#""patients":[{}]"#, vec![r#""p""#; n].join(","));
    check(plus(&patients(100_000)), &["e1"]);
    check(plus(&patients(100_001)), &["too_many"]);
    let too_large = decode(&vec![b'a'; 3 << 20]);
    assert_eq!(too_large.rejects[0].raw.len(), 3 << 20, "what cannot be used is kept whole");
}

#[test]
fn required_fields() {
    check(with(r#""event_id":"e1","#, ""), &["missing_field event_id"]);
    check(with(r#""e1""#, r#""""#), &["missing_field event_id"]);
    check(with(r#""e1""#, "null"), &["missing_field event_id"]);
    check(with(r#""e1""#, "42"), &["42"]);
    check(with(r#""e1""#, "-7"), &["-7"]);
    check(with(r#""e1""#, "1e400"), &["syntax"]);
    check(with(r#""e1""#, "99999999999999999999999"), &["wrong_type event_id"]);
    check(with(r#""e1""#, "1.5"), &["wrong_type event_id"]);
    check(with(r#""e1""#, "{}"), &["wrong_type event_id"]);
    check(with(r#""e1""#, "true"), &["wrong_type event_id"]);
    check(with(r#""time":"2026-03-01T10:00:00Z","#, ""), &["missing_field time"]);
    check(with(r#""ehr""#, "null"), &["missing_field source"]);
    check(with(r#""source":"ehr","#, ""), &["missing_field source"]);
    check(with(r#""source":"ehr""#, r#""source":["ehr"]"#), &["wrong_type source"]);
    check(with(r#","actor":{"id":"u1"}"#, ""), &["missing_field actor.id"]);
    check(with(r#"{"id":"u1"}"#, "null"), &["missing_field actor.id"]);
    check(with(r#"{"id":"u1"}"#, "{}"), &["missing_field actor.id"]);
    check(with(r#"{"id":"u1"}"#, r#""u1""#), &["wrong_type actor"]);
    check(with(r#"{"id":"u1"}"#, "[1,[2]]"), &["wrong_type actor"]);
    check(with(r#""u1""#, "17"), &["wrong_type actor.id"]);
    check(with(r#""u1""#, "null"), &["e1"]);
    check(with(r#","activity":"read""#, ""), &["missing_field activity"]);
    check(with(r#""read""#, r#""READ""#), &["unknown_value activity"]);
    check(with(r#""read""#, "1"), &["wrong_type activity"]);
}

#[test]
fn times() {
    let at = |text: &str| with("2026-03-01T10:00:00Z", text);
    check(at("2026-03-01"), &["bad_time time"]);
    check(at("2026-03-01T10:00:00"), &["bad_time time"]);
    check(at("0000-01-01T00:00:00Z"), &["bad_time time"]);
    check(at("1999-12-31T23:59:59.999999Z"), &["bad_time time"]);
    check(at("2000-01-01T00:00:00Z"), &["e1"]);
    check(at("2000-01-01T00:00:00+01:00"), &["bad_time time"]);
    check(at("9999-12-31T23:59:59Z"), &["e1"]);
    check(at("9999-12-31T23:59:59.999999999Z"), &["e1"]);
    check(at("9999-12-31T23:59:59.999999999-23:59"), &["bad_time time"]);
    check(at("2016-12-31T23:59:60Z"), &["e1"]);
    check(at("2026-02-29T00:00:00Z"), &["bad_time time"]);
    check(at("2026-03-01T25:00:00Z"), &["bad_time time"]);
    check(with(r#""2026-03-01T10:00:00Z""#, "1772359200"), &["wrong_type time"]);
    let raw = |text: &str| decode(at(text).as_bytes()).batch.row(0).raw().map(str::to_owned);
    assert_eq!(raw("2026-03-01T10:00:00.123456Z"), None);
    assert_eq!(raw("2026-03-01T10:00:00+00:00"), None);
    for changed in ["2026-03-01T10:00:00.1234567Z", "2026-03-01T10:00:00+02:00", "2016-12-31T23:59:60Z"] {
        assert_eq!(raw(changed), Some(format!(r#"{{"time":"{changed}"}}"#)));
    }
    let decoded = decode(at("2026-03-01T10:00:00.1234569+02:00").as_bytes());
    assert_eq!(decoded.batch.row(0).time().to_string(), "2026-03-01T08:00:00.123456Z");
}

#[test]
fn other_fields() {
    check(plus(r#""patients":"p1""#), &["wrong_type patients"]);
    check(plus(r#""patients":["p1",2]"#), &["wrong_type patients"]);
    check(plus(r#""patients":[["p1"],"p2"]"#), &["wrong_type patients"]);
    check(plus(r#""patients":null,"purpose":null"#), &["e1"]);
    check(plus(r#""result_count":"12""#), &["wrong_type result_count"]);
    check(plus(r#""result_count":1.5"#), &["wrong_type result_count"]);
    check(plus(r#""result_count":9223372036854775808"#), &["wrong_type result_count"]);
    check(plus(r#""break_glass":"yes""#), &["wrong_type break_glass"]);
    check(plus(r#""client":{"remote":1}"#), &["wrong_type client.remote"]);
    check(plus(r#""client":7"#), &["wrong_type client"]);
    check(plus(r#""client":{},"auth":null"#), &["e1"]);
    check(plus(r#""site":false"#), &["wrong_type site"]);
    check(plus(r#""recorded":5"#), &["wrong_type recorded"]);
    check(plus(r#""source":"ehr""#), &["syntax source"]);
    check(plus(r#""actor":{"name":"x"}"#), &["syntax actor"]);
    check(with(r#"{"id":"u1"}"#, r#"{"id":"u1","\u0069d":"u2"}"#), &["syntax actor.id"]);
    check(plus(r#""x":1,"x":2"#), &["syntax"]);
    check(plus(r#""schema":"phiwatch.access/2""#), &["unknown_schema schema"]);
    check(plus(r#""schema":"ocsf""#), &["unknown_schema schema"]);
    check(plus(r#""schema":1"#), &["wrong_type schema"]);
    check(plus(r#""schema":"phiwatch.vendor_session/1""#), &["unknown_value activity"]);
    let vendor = with("read", "session_start");
    check(vendor.replacen('{', r#"{"schema":"phiwatch.access/1","#, 1), &["unknown_value activity"]);
    check(vendor.replacen('{', r#"{"schema":"phiwatch.vendor_session/1","#, 1), &["e1"]);
}

/// What is kept in `raw`, and with which flags.
fn check_raw(record: &str, raw: Option<&str>, flags: Flags) {
    let decoded = decode(record.as_bytes());
    assert_eq!(decoded.rejects, [], "{record}");
    let event = decoded.batch.row(0);
    assert_eq!(event.raw(), raw, "{record}");
    assert_eq!(event.flags(), flags, "{record}");
}

#[test]
fn what_no_column_holds_is_kept() {
    check_raw(BASE, None, 0);
    check_raw(&plus(r#""x":{"y" : [1, 2.50] }"#), Some(r#"{"x":{"y":[1,2.50]}}"#), 0);
    check_raw(&with(r#""u1""#, r#""u1","badge":"b\n\u00e9""#), Some(r#"{"actor":{"badge":"b\n\u00e9"}}"#), 0);
    check_raw(&plus(r#""outcome":"odd""#), Some(r#"{"outcome":"odd"}"#), PARTIAL);
    check_raw(&with(r#""u1""#, r#""u1","kind":"robot""#), Some(r#"{"actor":{"kind":"robot"}}"#), PARTIAL);
    check_raw(&plus(r#""recorded":"0001-01-01T00:00:00Z""#), Some(r#"{"recorded":"0001-01-01T00:00:00Z"}"#), PARTIAL);
    check_raw(&plus(r#""raw":{ "a": 1 }"#), Some(r#"{"a":1}"#), 0);
    check_raw(&plus(r#""raw":{"a":1},"b":2"#), Some(r#"{"a":1,"b":2}"#), 0);
    check_raw(&plus(r#""raw":"text""#), Some(r#"{"raw":"text"}"#), 0);
    check_raw(&plus(r#""actor.id":"u2""#), Some(r#"{"actor.id":"u2"}"#), 0);
    check_raw(&plus(r#""site":"","query":"""#), None, 0);
}

#[test]
fn log_in_failures_belong_to_the_kind_that_the_record_tells() {
    let failed = with("read", "login_failed");
    let kind = |record: &str, carries| {
        let hints = Hints { carries, ..Hints::new("t") };
        decode_with(hints, &[record.as_bytes()]).batch.row(0).kind()
    };
    let with_field = |field: &str| failed.replacen('{', &format!("{{{field},"), 1);
    assert_eq!(kind(&failed, None), Kind::Access);
    assert_eq!(kind(&failed, Some(Kind::VendorSession)), Kind::VendorSession);
    assert_eq!(kind(&with_field(r#""vendor_id":"v""#), Some(Kind::Access)), Kind::VendorSession);
    assert_eq!(kind(&with_field(r#""target":{"host":"h"}"#), None), Kind::VendorSession);
    assert_eq!(kind(&with_field(r#""schema":"phiwatch.access/1""#), Some(Kind::VendorSession)), Kind::Access);
    assert_eq!(kind(BASE, Some(Kind::VendorSession)), Kind::Access);
}

#[test]
fn a_declared_format_is_not_guessed() {
    let hints = Hints { format: Format::Native, ..Hints::new("t") };
    let decoded = decode_with(hints, &[b"{}", b"hello", b"17", b"{\"a\":1}"]);
    assert_eq!(outcomes(&decoded), ["missing_field event_id", "syntax", "syntax", "missing_field event_id"]);
}

#[test]
fn tombstones_and_places() {
    let mut decoder = Decoder::new(Origin::topic("t", 0), Hints::new("t"), Limits::default());
    let at = Time::parse("2026-01-01T00:00:00Z");
    decoder.push(&RawRecord { offset: 5, byte: 0, at, value: None });
    let record = format!(" [ {BASE} , 7 ]");
    decoder.push(&RawRecord { offset: 9, byte: 100, at: None, value: Some(record.as_bytes()) });
    let decoded = decoder.finish(5, 10);
    assert_eq!(
        (decoded.rejects[0].reason, decoded.rejects[0].offset, decoded.rejects[0].at),
        (Reason::Tombstone, 5, at)
    );
    assert_eq!(decoded.rejects[1].byte, 100 + record.find('7').unwrap() as u64);
    assert_eq!(decoded.rejects[1].raw, b"7");
    assert_eq!(decoded.batch.row(0).offset(), 9);
}

proptest! {
    #[test]
    fn any_bytes_have_an_outcome(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(!outcomes(&decode(&bytes)).is_empty());
    }

    #[test]
    fn any_text_has_an_outcome(text in "[\\[\\]{},:\"a\\\\ 0-9é]{0,60}") {
        prop_assert!(!outcomes(&decode(text.as_bytes())).is_empty());
    }

    #[test]
    fn damaged_records_have_an_outcome(place in 0..BASE.len(), byte in any::<u8>(), cut in 0..BASE.len()) {
        let mut damaged = plus(r#""x":{"y":[1]},"patients":["p"]"#).into_bytes();
        damaged[place] = byte;
        prop_assert!(!outcomes(&decode(&damaged)).is_empty());
        prop_assert_eq!(outcomes(&decode(&BASE.as_bytes()[..cut])).len(), 1);
        let both = decode_with(Hints::new("t"), &[&damaged, BASE.as_bytes()]);
        prop_assert_eq!(both.batch.row(both.batch.len() - 1).event_id(), "e1");
    }
}
