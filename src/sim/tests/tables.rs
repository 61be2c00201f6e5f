//! Damage to tables: Parquet files with bytes overwritten, CSV rosters and settings that say odd things.
//!
//! A file that is damaged gives what could be read and then one failure, whatever its reader thinks of it; nothing panics beyond
//! the reader, and nothing asks for more memory than the file is worth.

use std::sync::Arc;

use arrow::array::{ArrayRef, ListBuilder, RecordBatch, StringArray, StringBuilder, TimestampMicrosecondArray};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{WriterProperties, WriterVersion};
use proptest::prelude::*;

use super::awkward;
use super::fuzz::{ODD, read};
use crate::decode::{Hints, Limits};
use crate::engine::Engine;
use crate::event::{Time, Zone};
use crate::ingest::files::FileReader;
use crate::roster::{Intake, Roster, load};
use crate::settings::Settings;

/// Rows of an export.
fn export() -> RecordBatch {
    let text =
        |of: &dyn Fn(i64) -> String| -> ArrayRef { Arc::new((0..90).map(|n| Some(of(n))).collect::<StringArray>()) };
    let mut patients = ListBuilder::new(StringBuilder::new());
    (0..90).for_each(|n| patients.append_value([Some(format!("p{}", n % 7)), Some("p9".to_owned())]));
    let times: TimestampMicrosecondArray = (0..90).map(|n| Some(1_772_359_200_000_000 + n * 60_000_000)).collect();
    RecordBatch::try_from_iter([
        ("event_id", text(&|n| format!("e{n}"))),
        ("time", Arc::new(times.with_timezone("UTC")) as ArrayRef),
        ("source", text(&|_| "ehr".to_owned())),
        ("actor_id", text(&|n| format!("u{}", n % 5))),
        ("activity", text(&|_| "read".to_owned())),
        ("patients", Arc::new(patients.finish())),
    ])
    .unwrap()
}

/// The same rows as writers of several kinds put them down.
fn parquet(kind: usize) -> Vec<u8> {
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(40));
    let properties = match kind {
        0 => properties,
        1 => properties.set_compression(Compression::ZSTD(ZstdLevel::default())),
        2 => properties.set_compression(Compression::SNAPPY).set_writer_version(WriterVersion::PARQUET_2_0),
        _ => properties.set_dictionary_enabled(false).set_data_page_row_count_limit(10),
    };
    let rows = export();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, rows.schema(), Some(properties.build())).unwrap();
    writer.write(&rows).unwrap();
    writer.close().unwrap();
    bytes
}

thread_local! {
    static PARQUET: Vec<Vec<u8>> = (0..4).map(parquet).collect();
    static ROSTERS: Vec<(String, Vec<u8>)> = awkward::town(5).rosters;
}

/// Events and rejects that a file gives, and whether it fails.
fn outcome(bytes: &[u8]) -> (Vec<String>, usize, bool) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("export.parquet");
    std::fs::write(&path, bytes).unwrap();
    let Ok(mut reader) = FileReader::open(&path, Hints::new("f"), Limits::default()) else {
        return (Vec::new(), 0, true);
    };
    let (mut events, mut rejects) = (Vec::new(), 0);
    loop {
        match reader.next_chunk(16, u64::MAX) {
            Ok(Some(stretch)) => {
                events.extend(stretch.batch.rows().map(|event| event.event_id().to_owned()));
                rejects += stretch.rejects.len();
            }
            Ok(None) => return (events, rejects, false),
            Err(_) => return (events, rejects, true),
        }
    }
}

proptest! {
    #[test]
    fn parquet_with_bytes_overwritten(
        kind in 0_usize..4,
        damage in proptest::collection::vec((any::<u16>(), any::<u8>(), any::<bool>()), 1..4),
        cut in proptest::option::weighted(0.1, any::<u16>()),
    ) {
        let mut bytes = PARQUET.with(|files| files[kind].clone());
        for (at, byte, near_end) in damage {
            // The footer says where everything is: half of the damage falls there.
            let from = if near_end { bytes.len() - bytes.len().min(1_500) } else { 0 };
            let at = from + at as usize * (bytes.len() - from) / 65_536;
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut as usize * bytes.len() / 65_536);
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("export.parquet");
        std::fs::write(&path, &bytes).unwrap();
        read(&path);
        let (events, rejects, failed) = outcome(&bytes);
        prop_assert!(events.len() + rejects <= 90 + usize::from(failed), "{} events, {rejects} rejects", events.len());
    }

    #[test]
    fn rosters_with_odd_cells(
        file in 0_usize..9,
        cells in proptest::collection::vec((any::<u16>(), any::<u16>(), 0..ODD.len()), 1..6),
        manner in 0_usize..7,
    ) {
        let mut files = ROSTERS.with(Clone::clone);
        let (name, bytes) = &mut files[file];
        *bytes = odd(bytes, &cells, manner);
        let name = name.clone();
        let loaded = load(&files, Zone::utc(), &Intake { previous: None, at: Time(0), allow_shrink: true });
        for problem in &loaded.problems {
            for secret in ["Berg", "Holt", "Lind", "adr1", "adr2", "person1"] {
                prop_assert!(!problem.what.contains(secret), "a problem tells a cell");
            }
        }
        // The same files again are the same version, a minute later too.
        let later = Intake { previous: Some(&loaded.accepted), at: Time(60_000_000), allow_shrink: false };
        prop_assert_eq!(load(&files, Zone::utc(), &later).accepted.hash(), loaded.accepted.hash(), "{}", name);
        // What was accepted is kept as bytes, and is the same when it comes back.
        let again = crate::roster::Accepted::from_bytes(&loaded.accepted.to_bytes());
        prop_assert_eq!(again.map(|accepted| accepted.hash()), Some(loaded.accepted.hash()));
        let roster = Roster::from_accepted(&loaded.accepted, Zone::utc());
        prop_assert_eq!(roster.hash(), loaded.roster.hash());
    }

    #[test]
    fn settings_with_odd_values(changes in proptest::collection::vec((any::<u16>(), 0..VALUES.len()), 1..4)) {
        let example = std::str::from_utf8(include_bytes!("../../../docs/phiwatch.example.toml")).unwrap();
        let mut lines: Vec<String> = example.lines().map(|line| line.trim_start_matches("# ").to_owned()).collect();
        lines.retain(|line| line.starts_with('[') || line.contains('='));
        for (at, value) in changes {
            let at = at as usize * lines.len() / 65_536;
            match lines[at].split_once('=') {
                Some((key, _)) => lines[at] = format!("{key}= {}", VALUES[value]),
                None => drop(lines.remove(at)),
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("phiwatch.toml");
        std::fs::write(&path, lines.join("\n")).unwrap();
        match Settings::load(&path) {
            Ok(settings) => {
                // What was accepted can be worked with.
                let mut engine = Engine::new(settings.engine.clone(), Arc::new(Roster::empty(settings.default_zone)));
                for line in awkward::town(2).lines.iter().take(40) {
                    let stretch = super::fuzz::decode(line);
                    engine.step(Time(0), crate::engine::Input::Decoded(Box::new(stretch)));
                }
                engine.step(Time(0), crate::engine::Input::Close);
            }
            Err(problems) => prop_assert!(!problems.is_empty(), "refused without a reason"),
        }
    }
}

/// Values of settings that somebody has typed once.
const VALUES: [&str; 24] = [
    "0",
    "-1",
    "1",
    "1e9",
    "1e308",
    "-0.0",
    "nan",
    "inf",
    "9223372036854775807",
    "-9223372036854775808",
    "\"\"",
    "\" \"",
    "\"0\"",
    "\"-5h\"",
    "\"99999999999999999999d\"",
    "\"36h\"",
    "\"../..\"",
    "\"s3://bucket/x\"",
    "true",
    "[]",
    "[\"\"]",
    "[1]",
    "{}",
    "2026-01-01",
];

/// A table of CSV with odd cells, written in one of several manners.
fn odd(bytes: &[u8], cells: &[(u16, u16, usize)], manner: usize) -> Vec<u8> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes);
    let mut rows: Vec<Vec<String>> =
        reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect();
    for (row, column, value) in cells {
        let row = *row as usize * rows.len() / 65_536;
        let column = *column as usize * rows[row].len() / 65_536;
        // The header stays as it is: a file without its columns is refused whole.
        if row > 0 {
            rows[row][column] = ODD[*value].trim_matches('"').to_owned();
        }
    }
    match manner {
        // A column more, a column less, the header twice, no header.
        2 => rows.iter_mut().for_each(|row| row.push("x".to_owned())),
        3 => rows.iter_mut().for_each(|row| drop(row.pop())),
        4 => rows.insert(1, rows[0].clone()),
        5 => drop(rows.remove(0)),
        _ => {}
    }
    let mut writer = csv::WriterBuilder::new();
    match manner {
        1 => writer.quote_style(csv::QuoteStyle::Always).terminator(csv::Terminator::CRLF),
        6 => writer.delimiter(b';'),
        _ => &mut writer,
    };
    let mut writer = writer.flexible(true).from_writer(Vec::new());
    rows.iter().for_each(|row| writer.write_record(row).unwrap());
    writer.into_inner().unwrap()
}

#[test]
fn parquet_cut_and_changed_in_the_footer_byte_by_byte() {
    for kind in 0..4 {
        let whole = PARQUET.with(|files| files[kind].clone());
        assert_eq!(outcome(&whole), ((0..90).map(|n| format!("e{n}")).collect(), 0, false));
        for at in (0..whole.len()).step_by(97) {
            assert!(outcome(&whole[..at]).2 || at == 0, "kind {kind}, cut at {at}: the loss is told");
        }
        for at in (whole.len() - 400..whole.len()).step_by(3) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x81;
            outcome(&bytes);
        }
    }
}
