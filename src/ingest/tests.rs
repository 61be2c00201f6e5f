//! Files of every shape: framing, compression, damage, tables, conversion.
//!
//! Expectations come from the rules that the modules state; each case is the content of a file and its outcomes, by line.

use std::io::Write;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::files::{FileError, FileReader, convert};
use super::row_groups::tests::sample_parquet;
use crate::decode::{Format, Hints, Limits};
use crate::event::Reject;

mod csv_files;

/// A native record on one line.
fn event(id: &str) -> String {
    format!(
        r#"{{"event_id":"{id}","time":"2026-03-01T10:00:00Z","source":"s","actor":{{"id":"u"}},"activity":"read"}}"#
    )
}

/// The same over several lines, as pretty-printers write it.
fn pretty(id: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(&event(id)).unwrap();
    serde_json::to_string_pretty(&value).unwrap()
}

pub(super) struct Outcome {
    events: Vec<(String, i64)>,
    rejects: Vec<Reject>,
    pub(super) failure: Option<FileError>,
    to: i64,
}

pub(super) fn read_path(path: &Path, limits: Limits, rows: usize, bytes: u64) -> Outcome {
    let mut reader = match FileReader::open(path, Hints::new("f"), limits) {
        Ok(reader) => reader,
        Err(failure) => return Outcome { events: vec![], rejects: vec![], failure: Some(failure), to: 1 },
    };
    let mut outcome = Outcome { events: Vec::new(), rejects: Vec::new(), failure: None, to: 1 };
    loop {
        match reader.next_chunk(rows, bytes) {
            Ok(None) => break,
            Err(failure) => outcome.failure = Some(failure),
            Ok(Some(chunk)) => {
                assert_eq!(chunk.from, outcome.to, "stretches are chained");
                outcome.to = chunk.to;
                let rejects = chunk.rejects.iter().map(|reject| reject.offset);
                let offsets: Vec<i64> = chunk.batch.rows().map(|row| row.offset()).chain(rejects).collect();
                let outside = offsets.iter().find(|offset| !(chunk.from..chunk.to).contains(*offset));
                assert_eq!(outside, None, "{}..{} holds its records", chunk.from, chunk.to);
                outcome.events.extend(chunk.batch.rows().map(|row| (row.event_id().to_owned(), row.offset())));
                outcome.rejects.extend(chunk.rejects);
            }
        }
    }
    let counts = reader.counts();
    assert_eq!((counts.events, counts.rejects), (outcome.events.len() as u64, outcome.rejects.len() as u64));
    outcome
}

pub(super) fn file(name: &str, content: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    (folder, path)
}

/// Each outcome as `line id` or `line reason`: events first.
fn outcomes_of(name: &str, content: &[u8], limits: Limits, rows: usize) -> Vec<String> {
    let (_folder, path) = file(name, content);
    let outcome = read_path(&path, limits, rows, u64::MAX);
    assert!(outcome.failure.is_none(), "{:?}", outcome.failure);
    let events = outcome.events.iter().map(|(id, line)| format!("{line} {id}"));
    let rejects = outcome.rejects.iter().map(|reject| format!("{} {}", reject.offset, reject.reason.as_str()));
    events.chain(rejects).collect()
}

pub(super) fn check(name: &str, content: impl AsRef<[u8]>, expected: &[&str]) {
    let content = content.as_ref();
    for rows in [1, 2, 1_000] {
        let got = outcomes_of(name, content, Limits::default(), rows);
        assert_eq!(got, expected, "{rows} rows of {}", String::from_utf8_lossy(&content[..content.len().min(400)]));
    }
}

#[test]
fn json_over_lines() {
    let (a, b, c) = (event("a"), event("b"), event("c"));
    check("f.jsonl", "", &[]);
    check("f.jsonl", "\n \r\n\n", &[]);
    check("f.jsonl", "\u{feff}", &[]);
    check("f.jsonl", format!("{a}\n{b}\n"), &["1 a", "2 b"]);
    check("f.jsonl", format!("\u{feff}{a}\r\n\r\n{b}"), &["1 a", "3 b"]);
    check("f.jsonl", format!("{a}{b}\n{c}"), &["1 a", "1 b", "2 c"]);
    check("f.jsonl", format!("{a}\n{}", &b[..40]), &["1 a", "2 truncated"]);
    check("f.jsonl", format!("{}\n{b}\n{c}\n", &a[..40]), &["2 b", "3 c", "1 truncated"]);
    check("f.jsonl", format!("{{\"a\":[\"x\",\n{b}\n{c}\n"), &["2 b", "3 c", "1 truncated"]);
    check("f.jsonl", format!("{{\"a\":[\"x\",\n{b}"), &["2 b", "1 truncated"]);
    check("f.jsonl", format!("hello\n{b}\n17\n"), &["2 b", "1 unknown_format", "3 unknown_format"]);
    check("f.json", pretty("a"), &["1 a"]);
    check("f.json", format!("{}\n{}\n{b}\n", pretty("a"), pretty("c")), &["1 a", "10 c", "19 b"]);
    check("f.json", &pretty("a")[..60], &["1 truncated"]);
    check("f.json", format!("{}\n\"x\n{b}", &pretty("a")[..60]), &["8 b", "1 truncated", "7 unknown_format"]);
    check("f.json", "{\n\"resourceType\": \"Patient\"\n}\n", &["1 not_an_event"]);
}

#[test]
fn json_arrays_of_any_length() {
    let (a, b, c) = (event("a"), event("b"), event("c"));
    check("f.json", "[]", &["1 not_an_event"]);
    check("f.json", "[\n]\n", &["1 not_an_event"]);
    check("f.json", format!("[{a},{b}]"), &["1 a", "1 b"]);
    check("f.json", format!("[\n{a},\n{b}\n]\n{c}\n"), &["2 a", "3 b", "5 c"]);
    check("f.json", format!("[{a}\n,{b}\n,{c}]\n"), &["1 a", "2 b", "3 c"]);
    check("f.json", format!("[{},\n{}]", pretty("a"), pretty("b")), &["1 a", "10 b"]);
    check(
        "f.json",
        format!("[\n{a},\n 7 ,\"x]\", null\n,{b}\n]"),
        &["2 a", "4 b", "3 unknown_format", "3 unknown_format", "3 unknown_format"],
    );
    check("f.json", format!("[\n{a},\n{b}"), &["2 a", "3 b", "3 truncated"]);
    check("f.json", format!("[\n{a},\n{}", &b[..50]), &["2 a", "3 truncated"]);
    check("f.json", format!("[\n{},\n{b}\n]", &a[..20]), &["3 b", "2 truncated"]);
    check("f.json", format!("[\n{a}]]\n{b}"), &["2 a", "3 b", "2 unknown_format"]);
    // Longer than the bound of a record, on one line.
    let many: Vec<String> = (0..12_000).map(|i| event(&format!("e{i}"))).collect();
    let got = outcomes_of("f.json", format!("[{}]", many.join(",")).as_bytes(), Limits::default(), 1_000);
    assert_eq!((got.len(), got[11_999].as_str()), (12_000, "1 e11999"));
    let large = format!("[{a},{{\"x\":\"{}\"}},{b}]", "y".repeat(3 << 20));
    check("f.json", large, &["1 a", "1 b", "1 too_large"]);
}

/// A line that seems to open an array takes none of the lines after it, however few or many they are.
#[test]
fn a_damaged_line_is_no_array() {
    let cases = [
        ("[[[[[[[[", "truncated"),
        ("[{", "truncated"),
        ("[{\"x\":", "truncated"),
        ("[{\"x\":[1,", "truncated"),
        ("[{\"x", "truncated"),
        ("[[", "truncated"),
        ("[", "syntax"),
        ("[1,", "unknown_format"),
    ];
    for (damaged, reason) in cases {
        for more in [2, 3, 2_173] {
            let mut lines = vec![event("a"), event("b"), damaged.to_owned()];
            lines.extend((0..more).map(|i| event(&format!("e{i}"))));
            let mut expected = vec!["1 a".to_owned(), "2 b".to_owned()];
            expected.extend((0..more).map(|i| format!("{} e{i}", i + 4)));
            expected.push(format!("3 {reason}"));
            let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
            check("f.jsonl", lines.join("\n"), &expected);
        }
    }
    let (a, b, c) = (event("a"), event("b"), event("c"));
    check("f.jsonl", format!("[[[[\n{a}\n"), &["2 a", "1 truncated"]);
    check("f.jsonl", format!("[{{\"x\":\n{a}"), &["2 a", "1 truncated"]);
    check("f.jsonl", format!("[1,\n{a}"), &["2 a", "1 unknown_format"]);
    check("f.jsonl", format!("[[\n\n{a}\n[[\n{b}\n{c}\n"), &["3 a", "5 b", "6 c", "1 truncated", "4 truncated"]);
    check("f.jsonl", format!("[[\n{}\n{}\n{c}", pretty("a"), pretty("b")), &["2 a", "11 b", "20 c", "1 truncated"]);
    // Within a true array, a damaged element takes none of the others, and one missing comma is no end.
    check("f.json", format!("[\n{a},\n{{\"x\":\n{b},\n{c}\n]"), &["2 a", "4 b", "5 c", "3 truncated"]);
    check("f.json", format!("[\n  {{\"x\":\n  {b},\n  {c}\n]"), &["3 b", "4 c", "2 truncated"]);
    check("f.json", format!("[\n{a},\n{b}\n{c}\n]"), &["2 a", "3 b", "4 c"]);
    // A line after it that is longer than a record.
    let long = format!("{{\"x\":\"{}\"}}", "y".repeat((1 << 20) + 9));
    check("f.jsonl", format!("[[\n{long}\n{b}\n{c}"), &["3 b", "4 c", "1 truncated", "2 too_large"]);
}

#[test]
fn long_arrays_over_lines() {
    let ids: Vec<String> = (0..3_000).map(|i| format!("e{i}")).collect();
    let expected = |lines: i64| {
        let offsets = (0..).map(|i| 2 + i * lines);
        ids.iter().zip(offsets).map(|(id, offset)| format!("{offset} {id}")).collect::<Vec<_>>()
    };
    let lines: Vec<String> = ids.iter().map(|id| event(id)).collect();
    let values: Vec<String> = ids.iter().map(|id| pretty(id)).collect();
    let indented: Vec<String> = values.iter().map(|value| format!("  {}", value.replace('\n', "\n  "))).collect();
    for (elements, length) in [(lines, 1), (values, 9), (indented, 9)] {
        let text = format!("[\n{}\n]\n", elements.join(",\n"));
        assert_eq!(outcomes_of("f.json", text.as_bytes(), Limits::default(), 100), expected(length));
    }
}

#[test]
fn long_lines_are_kept_and_not_taken() {
    let (a, b) = (event("a"), event("b"));
    let long = format!("{a}\n{{\"x\":\"{}\"}}\n{b}\n", "y".repeat(10 << 20));
    check("f.jsonl", &long, &["1 a", "3 b", "2 too_large"]);
    let (_folder, path) = file("f.jsonl", long.as_bytes());
    let outcome = read_path(&path, Limits::default(), 10, u64::MAX);
    assert_eq!(outcome.rejects[0].raw.len(), r#"{"x":""}"#.len() + (10 << 20));
    let few = Limits { kept_bytes: 3 << 20, ..Limits::default() };
    assert_eq!(read_path(&path, few, 10, u64::MAX).rejects[0].raw.len(), 3 << 20);
    assert_eq!(outcome.rejects[0].byte, a.len() as u64 + 1);
    let exact = |extra: usize| {
        let fill = (1 << 20) - event("").len() + extra;
        event(&"z".repeat(fill))
    };
    assert_eq!(outcomes_of("f.jsonl", format!("{}\n{b}", exact(0)).as_bytes(), Limits::default(), 9).len(), 2);
    check("f.jsonl", format!("{}\n{b}", exact(1)), &["2 b", "1 too_large"]);
}

const HEADER: &str = "event_id,time,source,actor_id,activity";
const ROW: &str = "2026-03-01T10:00:00Z,s,u,read";

pub(super) fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn compressed_files_are_told_by_content() {
    let text = format!("{}\n{}\n", event("a"), event("b"));
    let zstd = zstd::encode_all(text.as_bytes(), 1).unwrap();
    check("f.jsonl", gzip(text.as_bytes()), &["1 a", "2 b"]);
    check("f.gz", &zstd, &["1 a", "2 b"]);
    check("f", [gzip(text.as_bytes()), gzip(event("c").as_bytes())].concat(), &["1 a", "2 b", "3 c"]);
    check("f", [zstd.clone(), zstd].concat(), &["1 a", "2 b", "3 a", "4 b"]);
    check("f.csv.gz", gzip(format!("id\n{}", event("x")).as_bytes()), &["2 syntax"]);
    check("f.csv.gz", gzip(event("x").as_bytes()), &["1 x"]);
    check("f.gz", gzip(b""), &[]);
}

#[test]
fn damage_in_the_middle_keeps_what_was_read() {
    let text: String = (0..2_000).map(|i| event(&format!("e{i}")) + "\n").collect();
    for packed in [gzip(text.as_bytes()), zstd::encode_all(text.as_bytes(), 1).unwrap()] {
        for (kind, bytes) in [
            ("cut", packed[..packed.len() / 2].to_vec()),
            ("changed", {
                let mut bytes = packed.clone();
                let middle = bytes.len() / 2;
                bytes[middle..middle + 8].fill(0x55);
                bytes
            }),
        ] {
            let (_folder, path) = file("f.gz", &bytes);
            let outcome = read_path(&path, Limits::default(), 100, u64::MAX);
            if kind == "cut" {
                let last = outcome.rejects.last().unwrap();
                assert_eq!((outcome.rejects.len(), last.reason.as_str()), (1, "truncated"));
                assert_eq!(last.offset, outcome.events.len() as i64 + 1);
                assert!(!outcome.events.is_empty() || outcome.to == 2);
            }
            let failure = outcome.failure.expect("damage is told");
            assert!(matches!(failure, FileError::Damaged { .. }) && !failure.retry(), "{failure}");
        }
    }
    let (_folder, path) = file("f.gz", &[0x1f, 0x8b, 1, 2, 3]);
    let outcome = read_path(&path, Limits::default(), 100, u64::MAX);
    assert!(matches!(outcome.failure, Some(FileError::Damaged { .. })));
}

#[test]
fn what_is_no_file_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().to_owned(), folder.path().join("none.jsonl")] {
        let outcome = read_path(&path, Limits::default(), 1, 1);
        assert!(matches!(outcome.failure, Some(FileError::Open { .. })));
    }
}

#[test]
fn the_hash_is_that_of_what_was_read() {
    use sha2::Digest;
    let text = format!("{}\n{}\n{}\n", event("a"), event("b"), event("c"));
    let (_folder, path) = file("f.jsonl.gz", &gzip(text.as_bytes()));
    let mut reader = FileReader::open(&path, Hints::new("f"), Limits::default()).unwrap();
    let line = event("a").len() + 1;
    for lines in 1..=3 {
        assert!(reader.next_chunk(1, u64::MAX).unwrap().is_some());
        let expected: [u8; 32] = sha2::Sha256::digest(&text.as_bytes()[..line * lines]).into();
        assert_eq!(reader.sha256_so_far(), expected);
    }
    assert!(reader.next_chunk(1, u64::MAX).unwrap().is_none());
    assert_eq!(Some(reader.bytes_read()), reader.bytes_total());
}

#[test]
fn stretches_end_by_bytes() {
    let text: String = (0..100).map(|i| event(&format!("e{i:02}")) + "\n").collect();
    let (_folder, path) = file("f.jsonl", text.as_bytes());
    let mut reader = FileReader::open(&path, Hints::new("f"), Limits::default()).unwrap();
    let bytes = 10 * (event("e00").len() as u64 + 1);
    let chunk = reader.next_chunk(usize::MAX, bytes).unwrap().unwrap();
    assert_eq!((chunk.batch.len(), chunk.from, chunk.to), (10, 1, 11));
}

#[test]
fn conversion_writes_events_and_rejects() {
    let folder = tempfile::tempdir().unwrap();
    let first = folder.path().join("a.jsonl");
    let second = folder.path().join("b.csv");
    std::fs::write(&first, format!("{}\n{{}}\n", event("a"))).unwrap();
    std::fs::write(&second, format!("{HEADER}\nb,{ROW}\n")).unwrap();
    let inputs = [first, folder.path().join("none"), second];
    let (mut out, mut rejects) = (Vec::new(), Vec::new());
    let mut bytes = 0;
    let read = &mut |more| bytes += more;
    let result = convert(&inputs, &Hints::new(""), &Limits::default(), &mut out, Some(&mut rejects), read);
    assert!(matches!(result, Err(FileError::Open { .. })));
    let length = |path| std::fs::metadata(path).unwrap().len();
    assert_eq!(bytes, length(&inputs[0]) + length(&inputs[2]));
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text.lines().count(), 2);
    check("again.jsonl", &text, &["1 a", "2 b"]);
    assert!(String::from_utf8(rejects).unwrap().contains(r#""line":2,"byte":"#));
    let counts = |hints: &Hints| {
        convert(&inputs[..1], hints, &Limits::default(), &mut std::io::sink(), None, &mut |_| ()).unwrap()
    };
    let auto = counts(&Hints::new(""));
    assert_eq!((auto.records, auto.events, auto.rejects), (2, 1, 1));
    let csv = counts(&Hints { format: Format::Csv, ..Hints::new("") });
    assert_eq!((csv.events, csv.rejects), (0, 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever stands in a file, the same records come out however the stretches are cut, and good lines around it are kept.
    #[test]
    fn any_text_between_good_lines(text in "[\\[\\]{},:\"a\\\\ 0\\n\\r]{0,60}", csv in any::<bool>()) {
        let content = if csv {
            format!("{HEADER}\na,{ROW}\n{text}\n")
        } else {
            format!("{}\n{text}\n", event("a"))
        };
        let all = outcomes_of("f.csv", content.as_bytes(), Limits::default(), 1_000);
        prop_assert!(all[0].ends_with(" a"));
        prop_assert_eq!(&outcomes_of("f.csv", content.as_bytes(), Limits::default(), 1)[0], &all[0]);
        prop_assert_eq!(outcomes_of("f.csv", content.as_bytes(), Limits::default(), 1).len(), all.len());
    }

    #[test]
    fn damaged_packing_never_panics(place in 0_usize..400, byte in any::<u8>(), cut in 0_usize..400) {
        let text = format!("{}\n{}\n", event("a"), event("b"));
        for mut packed in [gzip(text.as_bytes()), zstd::encode_all(text.as_bytes(), 1).unwrap(), sample_parquet()] {
            let (place, cut) = (place % packed.len(), cut % packed.len());
            packed[place] = byte;
            packed.truncate(packed.len() - cut / 4);
            let (_folder, path) = file("f", &packed);
            read_path(&path, Limits::default(), 10, u64::MAX);
        }
    }
}

/// Every published sample, as it was published: over many lines, alone and as lines of one file, is one event.
#[test]
#[ignore = "needs PHIWATCH_SAMPLES"]
fn published_fhir_files_are_read_as_they_are() {
    let samples =
        PathBuf::from(std::env::var("PHIWATCH_SAMPLES").expect("PHIWATCH_SAMPLES names the folder of samples"));
    let mut all = String::new();
    let mut files = 0;
    for set in ["hl7-spec-r4", "hl7-spec-r4b", "hl7-spec-r5", "ihe-balp-1.1.4", "ihe-mhd-4.2.3"] {
        for entry in std::fs::read_dir(samples.join("fhir").join(set)).unwrap() {
            let path = entry.unwrap().path();
            let outcome = read_path(&path, Limits::default(), 10, u64::MAX);
            assert_eq!((outcome.events.len(), outcome.rejects.len()), (1, 0), "{}", path.display());
            all += &std::fs::read_to_string(&path).unwrap();
            all.push('\n');
            files += 1;
        }
    }
    assert_eq!(files, 90);
    assert_eq!(outcomes_of("all.json", all.as_bytes(), Limits::default(), 7).len(), 90);
    let (_folder, path) = file("all.json", all.as_bytes());
    let mut out = Vec::new();
    let counts = convert(&[path], &Hints::new(""), &Limits::default(), &mut out, None, &mut |_| ()).unwrap();
    assert_eq!((counts.events, counts.rejects), (90, 0));
    let again = outcomes_of("native.jsonl", &out, Limits::default(), 1_000);
    assert_eq!(again.len(), 90, "what is written is native");
    assert!(again.iter().all(|outcome| !outcome.contains("unknown")));
}
