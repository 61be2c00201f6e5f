//! Damage by structure: records, files and rosters changed in the places that matter, so that they are nearly right.
//!
//! Nothing panics, every record ends as an event or a reject, a reject holds the bytes that came, and what was understood is written
//! back as native JSON that is understood alike. `PROPTEST_CASES` says how many cases are tried (see `.ci/long`).

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::super::rig;
use super::super::{Plan, generate};
use super::awkward;
use crate::decode::native::write;
use crate::decode::{Decoder, Hints, Limits, RawRecord};
use crate::engine::Engine;
use crate::event::effects::Decoded;
use crate::event::{Origin, Reason, Time, Zone};
use crate::ingest::files::FileReader;
use crate::roster::{Intake, load};

/// Values that have broken somebody's parser.
pub(super) const ODD: [&str; 44] = [
    "null",
    "true",
    "0",
    "-0",
    "1e400",
    "-1e-400",
    "0.1",
    "18446744073709551616",
    "-9223372036854775809",
    "9223372036854775807",
    "123456789012345678901234567890123456789012345678901234567890",
    "1.0",
    "01",
    "+1",
    "NaN",
    "\"\"",
    "\" \"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"\\udc00\\ud800\"",
    "\"\\ud83d\\ude00\"",
    "\"\u{feff}x\"",
    "\"\u{202e}txt\"",
    "\"a\\tb\\nc\"",
    "\"null\"",
    "\"12\"",
    "\"true\"",
    "[]",
    "{}",
    "[[]]",
    "[null]",
    "[\"\"]",
    "[\"a\",\"a\"]",
    "[1,\"a\"]",
    "{\"a\":{\"b\":[1,{\"c\":null}]}}",
    "{\"a\":1,\"a\":2}",
    "\"2026-03-08T02:30:00-06:00\"",
    "\"0001-01-01T00:00:00Z\"",
    "\"9999-12-31T23:59:59.999999999Z\"",
    "\"2016-12-31T23:59:60Z\"",
    "\"2026-01-05T24:00:00Z\"",
    "\"2026-01-05T12:00:00-00:00\"",
    "\"1999-12-31T23:59:59+00:00\"",
    "\"2026-01-05T12:00:00\"",
];

/// One change of a text; the numbers choose the place and the manner.
#[derive(Debug, Clone)]
enum Change {
    /// A value is replaced by an odd one.
    Value(u16, usize),
    /// A byte is overwritten.
    Byte(u16, u8),
    /// Bytes are taken out.
    Out(u16, u8),
    /// Bytes come twice.
    Twice(u16, u8),
    /// Something is put in.
    In(u16, usize),
    /// The end is missing.
    Cut(u16),
}

const SNIPPETS: [&[u8]; 14] = [
    b"\0",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\xc3",
    b"\r\n",
    b"\r",
    b"\n",
    b"\"",
    b"\\",
    b"}{",
    b"]",
    b"[[[[[[[[",
    b",",
    b"\"time\":\"x\",",
];

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        4 => (any::<u16>(), 0..ODD.len()).prop_map(|(at, odd)| Change::Value(at, odd)),
        1 => (any::<u16>(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        1 => (any::<u16>(), any::<u8>()).prop_map(|(at, length)| Change::Out(at, length)),
        1 => (any::<u16>(), any::<u8>()).prop_map(|(at, length)| Change::Twice(at, length)),
        1 => (any::<u16>(), 0..SNIPPETS.len()).prop_map(|(at, snippet)| Change::In(at, snippet)),
        1 => any::<u16>().prop_map(Change::Cut),
    ];
    proptest::collection::vec(change, 0..4)
}

/// The values of a JSON text that are no objects or lists: strings after a colon, numbers, words.
fn values(text: &[u8]) -> Vec<(usize, usize)> {
    let (mut found, mut at) = (Vec::new(), 0);
    while at < text.len() {
        if text[at] == b':' {
            let from = at + 1 + text[at + 1..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            let mut to = from;
            if text.get(from) == Some(&b'"') {
                to += 1;
                while to < text.len() && text[to] != b'"' {
                    to += if text[to] == b'\\' { 2 } else { 1 };
                }
                to = (to + 1).min(text.len());
            } else {
                while to < text.len() && !matches!(text[to], b',' | b'}' | b']' | b'[' | b'{') {
                    to += 1;
                }
            }
            found.extend((to > from).then_some((from, to)));
            at = to.max(at + 1);
        } else {
            at += 1;
        }
    }
    found
}

fn changed(text: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut text = text.to_vec();
    for change in changes {
        if text.is_empty() {
            break;
        }
        let place = |at: &u16| *at as usize * text.len() / 65_536;
        match change {
            Change::Value(at, odd) => {
                let values = values(&text);
                if let Some((from, to)) = values.get(*at as usize * values.len() / 65_536) {
                    text.splice(from..to, ODD[*odd].bytes());
                }
            }
            Change::Byte(at, byte) => {
                let at = place(at);
                text[at] = *byte;
            }
            Change::Out(at, length) => {
                let at = place(at);
                let to = text.len().min(at + *length as usize);
                text.drain(at..to);
            }
            Change::Twice(at, length) => {
                let at = place(at);
                let piece = text[at..text.len().min(at + *length as usize)].to_vec();
                text.splice(at..at, piece);
            }
            Change::In(at, snippet) => {
                let at = place(at);
                text.splice(at..at, SNIPPETS[*snippet].iter().copied());
            }
            Change::Cut(at) => {
                let at = place(at);
                text.truncate(at);
            }
        }
    }
    text
}

const FHIR_R4: &str = r#"{"resourceType":"AuditEvent","id":"e1","type":{"system":"http://terminology.hl7.org/CodeSystem/audit-event-type","code":"rest"},"subtype":[{"system":"http://hl7.org/fhir/restful-interaction","code":"read"}],"action":"R","recorded":"2026-03-05T10:00:00Z","outcome":"0","agent":[{"type":{"coding":[{"code":"humanuser"}]},"who":{"identifier":{"value":"u1"}},"requestor":true,"network":{"address":"10.1.2.3","type":"2"},"purposeOfUse":[{"coding":[{"code":"TREAT"}]}]}],"source":{"observer":{"reference":"Device/ehr"}},"entity":[{"what":{"reference":"Patient/p1"},"role":{"code":"1"}},{"query":"aHR0cHM6Ly94L1BhdGllbnQ/bmFtZT1h"}]}"#;
const FHIR_R5: &str = r#"{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"AuditEvent","category":[{"coding":[{"code":"rest"}]}],"code":{"coding":[{"code":"search-type"}]},"action":"E","severity":"informational","occurredDateTime":"2026-03-05T10:00:00.5+01:00","recorded":"2026-03-05T10:00:01Z","outcome":{"code":{"code":"4"}},"authorization":[{"coding":[{"code":"BTG"}]}],"agent":[{"who":{"reference":"Practitioner/u2"},"requestor":true,"networkString":"ws-1"}],"source":{"observer":{"display":"ehr"}},"patient":{"reference":"Patient/p2/_history/3"},"entity":[{"what":{"reference":"Patient/p3"},"role":{"coding":[{"code":"1"}]}}]}},{"resource":{"resourceType":"Patient","id":"x"}}]}"#;

/// Sound records of every format.
pub(super) fn sound() -> Vec<Vec<u8>> {
    let mut records: Vec<Vec<u8>> = awkward::town(3).lines.into_iter().step_by(61).collect();
    records.extend(generate(&Plan::new(2, 12, 2)).events().step_by(97).map(|event| event.line));
    let list = records.iter().take(3).map(|line| String::from_utf8_lossy(line).into_owned()).collect::<Vec<_>>();
    records.push(format!("[{}]", list.join(",\n")).into_bytes());
    records.extend([FHIR_R4.as_bytes().to_vec(), FHIR_R5.as_bytes().to_vec()]);
    records
}

pub(super) fn decode(value: &[u8]) -> Decoded {
    let mut decoder = Decoder::new(Origin::topic("t", 0), Hints::new("t"), Limits::default());
    decoder.push(&RawRecord { offset: 7, byte: 0, at: None, value: Some(value) });
    decoder.finish(7, 8)
}

/// An outcome at least; rejects that hold what came; events that are understood alike when they are written back.
pub(super) fn check(value: &[u8]) -> Result<(), TestCaseError> {
    let decoded = decode(value);
    prop_assert!(decoded.batch.len() + decoded.rejects.len() > 0, "no outcome");
    for reject in &decoded.rejects {
        let cut = reject.raw.len() == Limits::default().record_bytes;
        prop_assert!(memchr::memmem::find(value, &reject.raw).is_some() || cut, "a reject holds other bytes");
        prop_assert_eq!(reject.offset, 7);
    }
    let trimmed = value.strip_prefix(b"\xef\xbb\xbf").unwrap_or(value).trim_ascii();
    let alone = decoded.batch.is_empty() && decoded.rejects.len() == 1;
    if alone && !matches!(decoded.rejects[0].reason, Reason::Empty) {
        let raw = decoded.rejects[0].raw.as_slice();
        let whole = raw.len() + 2 >= trimmed.len().min(Limits::default().record_bytes);
        prop_assert!(
            whole || memchr::memmem::find(trimmed, b"\"Bundle\"").is_some() || trimmed.starts_with(b"["),
            "part of a record is gone"
        );
    }
    for event in decoded.batch.rows() {
        let mut line = Vec::new();
        write(&event, &mut line);
        let again = decode(&line);
        // What fills the bounds of a record alone goes beyond them inside another.
        if again.rejects.iter().any(|reject| reject.reason == Reason::TooDeep) {
            continue;
        }
        prop_assert_eq!(&again.rejects, &[], "{}", String::from_utf8_lossy(&line));
        prop_assert_eq!(again.batch.len(), 1);
        let mut twice = Vec::new();
        write(&again.batch.row(0), &mut twice);
        prop_assert_eq!(String::from_utf8_lossy(&twice), String::from_utf8_lossy(&line));
    }
    Ok(())
}

thread_local! {
    static SOUND: Vec<Vec<u8>> = sound();
    static ROSTERS: Vec<(String, Vec<u8>)> = awkward::town(5).rosters;
    static SNAPSHOT: Vec<u8> = snapshot();
}

proptest! {
    #[test]
    fn records_that_are_nearly_right(which in any::<usize>(), changes in changes()) {
        SOUND.with(|records| check(&changed(&records[which % records.len()], &changes)))?;
    }

    #[test]
    fn rosters_that_are_nearly_right(file in 0_usize..9, changes in changes(), json in any::<bool>()) {
        let mut files = ROSTERS.with(Clone::clone);
        let (name, bytes) = &mut files[file];
        if json {
            *bytes = as_json(bytes);
            *name = name.replace(".csv", ".jsonl");
        }
        *bytes = changed(bytes, &changes);
        let loaded = load(&files, Zone::utc(), &Intake { previous: None, at: Time(0), allow_shrink: true });
        for problem in &loaded.problems {
            // Names of people and patients, and record numbers, stand in cells alone.
            for secret in ["Berg", "Holt", "Lind", "adr1", "adr2", "person1"] {
                prop_assert!(!problem.what.contains(secret), "a problem tells a cell");
            }
        }
        let accepted = crate::roster::Accepted::from_bytes(&loaded.accepted.to_bytes());
        prop_assert_eq!(accepted.map(|a| a.hash()), Some(loaded.accepted.hash()));
    }

    #[test]
    fn snapshots_that_are_nearly_right(changes in changes()) {
        let bytes = SNAPSHOT.with(|bytes| changed(bytes, &changes));
        let roster = Arc::new(crate::roster::Roster::empty(Zone::utc()));
        // Taken or thrown away, never a crash.
        drop(Engine::load(crate::engine::settings::Settings::default(), roster, std::sync::Arc::default(), &bytes));
    }

    #[test]
    fn settings_that_are_nearly_right(changes in changes()) {
        let example = include_bytes!("../../../docs/phiwatch.example.toml");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("phiwatch.toml");
        std::fs::write(&path, changed(example, &changes)).unwrap();
        if let Err(problems) = crate::settings::Settings::load(&path) {
            prop_assert!(!problems.is_empty(), "refused without a reason");
        }
    }

    #[test]
    fn files_that_are_nearly_right(kind in 0_usize..4, pack in 0_usize..3, inner in changes(), outer in changes()) {
        let folder = tempfile::tempdir().unwrap();
        let content = changed(&file(kind), &inner);
        let path = folder.path().join("input");
        let packed = pack != 0;
        let bytes = match pack {
            1 => zstd::encode_all(content.as_slice(), 1).unwrap(),
            2 => gzip(&content),
            _ => content.clone(),
        };
        std::fs::write(&path, if packed { changed(&bytes, &outer) } else { bytes }).unwrap();
        let intact = !packed || outer.is_empty();
        let read = read(&path);
        if intact && kind == 0 {
            every_line_counts(&content, &read)?;
        }
    }
}

/// A file of each kind: JSON lines, an array, CSV, CRLF lines.
fn file(kind: usize) -> Vec<u8> {
    SOUND.with(|records| {
        let records = &records[..records.len().min(24)];
        match kind {
            0 => records.iter().flat_map(|line| [line.as_slice(), b"\n"].concat()).collect(),
            1 => [b"[".as_slice(), &records[..9].join(&b",\n"[..]), b"]\n"].concat(),
            2 => {
                let head = "event_id,time,source,actor.id,activity,patients,result_count,client.remote\n";
                let row = |n: i32| format!("c{n},2026-03-05T10:0{}:00Z,ehr,\"u,{n}\",read,p1;p{n},{n},true\n", n % 10);
                (head.to_owned() + &(0..20).map(row).collect::<String>()).into_bytes()
            }
            _ => records.iter().flat_map(|line| [line.as_slice(), b"\r\n"].concat()).collect(),
        }
    })
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Everything that a file gives: outcomes by line. It ends, its stretches chain, and it fails once at most.
pub(super) fn read(path: &Path) -> BTreeMap<i64, usize> {
    let mut outcomes = BTreeMap::new();
    let Ok(mut reader) = FileReader::open(path, Hints::new("f"), Limits::default()) else { return outcomes };
    let mut next = 1;
    while let Ok(Some(decoded)) = reader.next_chunk(7, 4_096) {
        assert_eq!(decoded.from, next, "stretches chain");
        assert!(decoded.to >= decoded.from);
        next = decoded.to;
        let offsets = decoded.batch.rows().map(|event| event.offset()).chain(decoded.rejects.iter().map(|r| r.offset));
        for offset in offsets {
            *outcomes.entry(offset).or_default() += 1;
        }
    }
    assert!(!matches!(reader.next_chunk(7, 4_096), Ok(Some(_))), "the end is the end");
    outcomes
}

/// A line that is an object by itself, whole or broken within the line, has its outcome, whatever stands around it.
fn every_line_counts(content: &[u8], read: &BTreeMap<i64, usize>) -> Result<(), TestCaseError> {
    for (number, line) in content.split(|byte| *byte == b'\n').enumerate() {
        let whole = serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok() && line.starts_with(b"{\"");
        // A line within a value that goes on belongs to that value: only what stands alone is asked for.
        let before = content.split(|byte| *byte == b'\n').take(number);
        let open = before.clone().any(|line| serde_json::from_slice::<serde::de::IgnoredAny>(line).is_err());
        if whole && !open {
            prop_assert!(read.contains_key(&(number as i64 + 1)), "line {} is lost", number + 1);
        }
    }
    Ok(())
}

/// CSV as JSON lines with the same names.
fn as_json(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for row in csv::Reader::from_reader(bytes).deserialize::<BTreeMap<String, String>>() {
        let mut row = row.unwrap();
        row.retain(|_, cell| !cell.is_empty());
        serde_json::to_writer(&mut out, &row).unwrap();
        out.push(b'\n');
    }
    out
}

fn snapshot() -> Vec<u8> {
    let world = awkward::town(1);
    let roster = rig::roster(&world.rosters, &world.zone);
    let mut engine = Engine::new(crate::engine::settings::Settings::default(), roster);
    let mut decoder = Decoder::new(Origin::topic("t", 0), Hints::new("t"), Limits::default());
    for (offset, line) in world.lines.iter().take(500).enumerate() {
        decoder.push(&RawRecord { offset: offset as i64, byte: 0, at: None, value: Some(line) });
    }
    engine.step(Time(0), crate::engine::Input::Decoded(Box::new(decoder.finish(0, 500))));
    engine.save()
}

#[test]
fn a_record_cut_at_any_byte_has_an_outcome() {
    for record in sound().iter().rev().take(6) {
        for at in 0..record.len() {
            check(&record[..at]).unwrap();
            assert!(!decode(&record[..at]).rejects.is_empty(), "cut at {at}");
        }
    }
}

#[test]
fn every_odd_value_in_every_place() {
    for record in sound().iter().rev().take(12) {
        let places = values(record);
        for (from, to) in places {
            for odd in ODD {
                let mut text = record.clone();
                text.splice(from..to, odd.bytes());
                check(&text).unwrap();
            }
        }
    }
}

#[test]
fn other_encodings_are_rejects() {
    let text = String::from_utf8(awkward::town(1).lines[0].clone()).unwrap();
    let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let marked = [b"\xff\xfe".as_slice(), &little].concat();
    for bytes in [&little, &big, &marked] {
        let decoded = decode(bytes);
        assert_eq!((decoded.batch.len(), decoded.rejects.len()), (0, 1));
        assert_eq!(decoded.rejects[0].reason, Reason::Encoding);
        assert_eq!(&decoded.rejects[0].raw, bytes);
    }
}
