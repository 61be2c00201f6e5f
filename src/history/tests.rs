//! Tests of the whole history: what goes in is read back, once, whatever happens in between, and nothing of it stands in clear.

use std::path::Path;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;

use super::fixture::{at, effects, key, raised, read, stretch, stretch_of};
use super::{History, HistoryError, KeySource, Reader, Settings};
use crate::event::{Effects, Origin, Time};

fn arrival() -> Time {
    at("2026-11-22T12:00:00Z")
}

fn settings(dir: &Path, encrypt: bool) -> Settings {
    Settings { dir: dir.join("history"), encrypt, ..Settings::default() }
}

async fn open(dir: &Path) -> History {
    let settings = settings(dir, true);
    History::open_or_create(&settings, &KeySource::beside(&settings.dir)).await.unwrap()
}

async fn reader(dir: &Path) -> Reader {
    let dir = dir.join("history");
    Reader::open(&dir, &KeySource::beside(&dir)).await.unwrap()
}

/// Rows of a query with one text column.
async fn texts(dir: &Path, sql: &str) -> Vec<String> {
    let batches = reader(dir).await.query(sql, &[]).await.unwrap();
    let values = |batch: &arrow::array::RecordBatch| {
        let column = arrow::compute::cast(batch.column(0), &arrow::datatypes::DataType::Utf8).unwrap();
        column.as_string::<i32>().iter().map(|v| v.unwrap_or("-").to_string()).collect::<Vec<_>>()
    };
    batches.iter().flat_map(values).collect()
}

async fn count(dir: &Path, table: &str) -> i64 {
    let batches = reader(dir).await.query(&format!("SELECT count(*) FROM {table}"), &[]).await.unwrap();
    batches[0].column(0).as_primitive::<Int64Type>().value(0)
}

/// Two partitions, rejects, alerts.
fn first() -> Effects {
    let rows = [
        read("e1", "2026-11-22T10:00:00Z", "user-b", &["patient-2", "patient-1"]),
        read("e2", "2026-11-22T10:01:00Z", "user-a", &["patient-1"]),
    ];
    let other = [read("e3", "2026-11-22T10:02:00Z", "user-a", &[])];
    let raw: [&[u8]; 1] = [b"{\"patient-9\""];
    let mut all = effects(vec![stretch_of(Origin::topic("ehr.access", 0), 0, &rows, &raw), stretch(1, 7, &other)]);
    all.raised = vec![raised("user-a", 1)];
    all
}

fn second() -> Effects {
    let rows = [read("e4", "2026-11-22T10:03:00Z", "user-a", &["patient-1"])];
    let mut all = effects(vec![stretch(0, 3, &rows)]);
    all.raised = vec![raised("user-a", 2)];
    all
}

#[tokio::test]
async fn what_goes_in_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut history = open(dir.path()).await;
    assert_eq!(history.made_key(), Some(dir.path().join("history.key").as_path()));
    history.stage(&first(), key).unwrap();
    history.commit(arrival()).await.unwrap();
    history.stage(&second(), key).unwrap();
    history.commit(arrival()).await.unwrap();
    drop(history);

    let again = open(dir.path()).await;
    assert_eq!(again.made_key(), None);
    let positions: Vec<_> = again.positions().into_iter().collect();
    assert_eq!(positions, [("cluster/ehr.access/0".to_string(), 4), ("cluster/ehr.access/1".to_string(), 8)]);
    let ids = texts(dir.path(), "SELECT event_id FROM events ORDER BY event_id").await;
    assert_eq!(ids, ["e1", "e2", "e3", "e4"]);
    let who = "SELECT event_id FROM touches WHERE patient_id = 'patient-1' ORDER BY event_id";
    assert_eq!(texts(dir.path(), who).await, ["e1", "e2", "e4"]);
    assert_eq!(texts(dir.path(), "SELECT revision FROM alerts ORDER BY revision").await, ["1", "2"]);
    assert_eq!(texts(dir.path(), "SELECT reason FROM rejects").await, ["syntax"]);
    let sums = "SELECT sum(events + duplicates + rejects + gap) FROM spans";
    assert_eq!(texts(dir.path(), sums).await, ["5"]);
}

#[tokio::test]
async fn a_second_writer_and_other_forms_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path()).await;
    let with = settings(dir.path(), true);
    let source = KeySource::beside(&with.dir);
    let refused = async |settings: &Settings, source: &KeySource| {
        History::open_or_create(settings, source).await.err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert!(refused(&with, &source).await.contains("another process writes"));
    drop(first);
    assert!(refused(&settings(dir.path(), false), &source).await.contains("encrypt"));
    let other = KeySource::File(dir.path().join("other.key"));
    other.create().unwrap();
    assert_eq!(refused(&with, &other).await, "this key does not open this history");
    let missing = KeySource::File(dir.path().join("missing.key"));
    assert!(refused(&with, &missing).await.contains("does not exist"));
    assert!(!dir.path().join("missing.key").exists());
    std::fs::write(with.dir.join("history.json"), r#"{"form":"phiwatch.history/2"}"#).unwrap();
    assert!(refused(&with, &source).await.contains("another version"));
}

#[tokio::test]
async fn stretches_follow_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let mut history = open(dir.path()).await;
    history.stage(&first(), key).unwrap();
    history.commit(arrival()).await.unwrap();
    // What is on record is left out.
    assert_eq!(history.stage(&effects(first().applied), key).unwrap().rows, 0);
    let row = || [read("e9", "2026-11-22T10:03:00Z", "user-a", &[])];
    for from in [1, 4] {
        let rows = [row(), row(), row()].into_iter().flatten().collect::<Vec<_>>();
        let late = history.stage(&effects(vec![stretch(1, 8, &row()), stretch(0, from, &rows)]), key);
        assert!(matches!(late, Err(HistoryError::NotNext { position: 3, .. })), "from {from}");
        assert_eq!(history.staged().rows, 0, "all or nothing");
    }
}

/// Stops after each number of tables, in the first and in the second segment, opens again, replays, and compares all rows.
#[tokio::test]
async fn a_crash_between_tables_is_healed() {
    let dump = async |dir: &Path| {
        let mut all = Vec::new();
        for sql in [
            "SELECT concat(event_id, ' ', \"offset\") AS t FROM events ORDER BY t",
            "SELECT concat(patient_id, ' ', event_id) AS t FROM touches ORDER BY t",
            "SELECT concat(alert_id, ' ', revision) AS t FROM alerts ORDER BY t",
            "SELECT concat(\"offset\", ' ', topic) AS t FROM rejects ORDER BY t",
            "SELECT concat(position, ' ', \"from\", ' ', \"to\") AS t FROM spans ORDER BY t",
        ] {
            all.push(texts(dir, sql).await);
        }
        all
    };
    let whole = tempfile::tempdir().unwrap();
    let mut history = open(whole.path()).await;
    for step in [first(), second()] {
        history.stage(&step, key).unwrap();
        history.commit(arrival()).await.unwrap();
    }
    let expected = dump(whole.path()).await;
    for segment in 0..2 {
        for tables in 0..=5 {
            let dir = tempfile::tempdir().unwrap();
            let mut history = open(dir.path()).await;
            if segment == 1 {
                history.stage(&first(), key).unwrap();
                history.commit(arrival()).await.unwrap();
            }
            let before = dump(dir.path()).await;
            history.stage(&[first(), second()][segment], key).unwrap();
            history.commit_and_die(arrival(), tables).await.unwrap();
            let seen = dump(dir.path()).await;
            // Readers see a segment in every table or in none; alerts that move no position may be there before.
            assert_eq!(seen[4] != before[4], tables == 5, "{segment} {tables}");
            assert_eq!((&seen[0], &seen[1]) != (&before[0], &before[1]), tables == 5, "{segment} {tables}");
            let mut again = open(dir.path()).await;
            for step in [first(), second()] {
                again.stage(&step, key).unwrap();
            }
            again.commit(arrival()).await.unwrap();
            // The joined span of one commit stands for the two of two commits.
            let healed = dump(dir.path()).await;
            assert_eq!(healed[..4], expected[..4], "{segment} {tables}");
            let sums = "SELECT sum(\"to\" - \"from\") FROM spans";
            assert_eq!(texts(dir.path(), sums).await, ["5"], "{segment} {tables}");
        }
    }
}

/// Every file below `dir` with its bytes, unpacked where it is packed.
fn bytes_below(dir: &Path, found: &mut Vec<Vec<u8>>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        found.push(path.to_string_lossy().into_owned().into_bytes());
        if path.is_dir() {
            bytes_below(&path, found);
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let as_parquet =
            parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes.clone()));
        if let Ok(builder) = as_parquet {
            for batch in builder.build().unwrap() {
                found.push(format!("{:?}", batch.unwrap()).into_bytes());
            }
        }
        found.push(bytes);
    }
}

#[tokio::test]
async fn nothing_stands_in_clear() {
    for encrypt in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(dir.path(), encrypt);
        let source = KeySource::beside(&settings.dir);
        let mut history = History::open_or_create(&settings, &source).await.unwrap();
        // Enough commits for a checkpoint of the Delta log.
        for offset in 0..21 {
            let rows = [read("event-77", "2026-11-22T10:00:00Z", "user-77", &["patient-77"])];
            let mut step = effects(vec![stretch(0, offset, &rows)]);
            step.raised = vec![raised("user-77", offset as u32 + 1)];
            history.stage(&step, key).unwrap();
            history.commit(arrival()).await.unwrap();
        }
        assert_eq!(history.positions()["cluster/ehr.access/0"], 21);
        drop(history);
        let history = History::open_or_create(&settings, &source).await.unwrap();
        assert_eq!(history.positions()["cluster/ehr.access/0"], 21);
        assert!(settings.dir.join("events/_delta_log/_last_checkpoint").exists());
        let files = history.log(super::Table::Events).files().unwrap();
        assert_eq!(files.len(), 21);
        assert!(files.iter().all(|file| file.sha256.len() == 64), "tags survive a checkpoint");
        let mut found = Vec::new();
        bytes_below(&settings.dir, &mut found);
        for planted in ["patient-77", "user-77", "event-77"] {
            let seen = found.iter().any(|bytes| bytes.windows(planted.len()).any(|w| w == planted.as_bytes()));
            assert_eq!(seen, !encrypt, "{planted}");
        }
        assert_eq!(count(dir.path(), "events").await, 21);
    }
}

#[tokio::test]
async fn exchanged_cut_and_missing_files_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut history = open(dir.path()).await;
    for step in [first(), second()] {
        history.stage(&step, key).unwrap();
        history.commit(arrival()).await.unwrap();
    }
    let files = history.log(super::Table::Events).files().unwrap();
    let path = |index: usize| dir.path().join("history/events").join(&files[index].name);
    let whole = std::fs::read(path(0)).unwrap();
    let check = async |what: &str| {
        let folder = dir.path().join("history");
        let said = match Reader::open(&folder, &KeySource::beside(&folder)).await {
            Err(error) => error.to_string(),
            Ok(reader) => match reader.query("SELECT count(DISTINCT event_id) FROM events", &[]).await {
                Err(error) => error.to_string(),
                Ok(_) => "answered".into(),
            },
        };
        assert!(said != "answered" && !said.contains("user-"), "{what}: {said}");
    };
    let folder = dir.path().join("history");
    let all = "SELECT event_id, actor_id, time, patients, fact_role FROM events ORDER BY event_id";
    let right = reader(dir.path()).await.query(all, &[]).await.unwrap();
    let mut refused = 0;
    for i in (0..whole.len()).step_by(whole.len() / 61) {
        let mut broken = whole.clone();
        broken[i] ^= 0x10;
        std::fs::write(path(0), &broken).unwrap();
        let reader = Reader::open(&folder, &KeySource::beside(&folder)).await.unwrap();
        // Some bytes are not needed for this answer (`verify` hashes every byte), but no answer is ever wrong.
        match reader.query(all, &[]).await {
            Err(_) => refused += 1,
            Ok(answer) => assert_eq!(answer, right, "byte {i}"),
        }
    }
    assert!(refused > 20, "{refused}");
    std::fs::write(path(0), &whole[..whole.len() - 1]).unwrap();
    check("cut").await;
    std::fs::remove_file(path(0)).unwrap();
    check("missing").await;
    let other = std::fs::read(path(1)).unwrap();
    std::fs::write(path(0), &other).unwrap();
    check("exchanged").await;
}

#[tokio::test]
async fn old_identifiers_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let mut history = open(dir.path()).await;
    history.stage(&first(), key).unwrap();
    history.commit(arrival()).await.unwrap();
    history.stage(&second(), key).unwrap();
    let wanted = [("ehr", "e1"), ("ehr", "e4"), ("vpn", "e1"), ("ehr", "e9"), ("ehr", "' OR 1=1 --")];
    let wanted = wanted.map(|(source, id)| (source.to_string(), id.to_string())).into_iter().collect();
    let found = history.known(&wanted).await.unwrap();
    let said: Vec<_> =
        found.iter().map(|((_, id), known)| (id.as_str(), known.len(), known[0].patients.join(";"))).collect();
    assert_eq!(said, [("e1", 1, "patient-2;patient-1".to_string()), ("e4", 1, "patient-1".to_string())]);
    assert_eq!(found.values().next().unwrap()[0].time, at("2026-11-22T10:00:00Z"));
}

#[tokio::test]
async fn compaction_keeps_every_row_and_what_it_leaves_is_cleared_later() {
    let dir = tempfile::tempdir().unwrap();
    let mut history = open(dir.path()).await;
    let day = crate::event::Day::parse("2026-11-22").unwrap();
    for (step, arrived) in [(first(), "2026-11-22T00:00:00Z"), (second(), "2026-11-22T23:59:59Z")] {
        history.stage(&step, key).unwrap();
        history.commit(at(arrived)).await.unwrap();
    }
    let other = [read("e8", "2026-11-22T10:03:00Z", "user-a", &[])];
    history.stage(&effects(vec![stretch(0, 4, &other)]), key).unwrap();
    history.commit(at("2026-11-23T00:00:00Z")).await.unwrap();
    let sql = "SELECT concat(event_id, actor_id, \"time\", flags, fact_roster) AS t FROM events ORDER BY t";
    let (rows, positions) = (texts(dir.path(), sql).await, history.positions());
    let before = reader(dir.path()).await;
    // Events, touches, alerts, spans: two files each; rejects has one.
    assert_eq!(history.compact(day).await.unwrap(), 8);
    assert_eq!(history.compact(day).await.unwrap(), 0);
    assert_eq!(history.log(super::Table::Events).files().unwrap().len(), 2);
    assert_eq!(texts(dir.path(), sql).await, rows);
    assert_eq!(history.positions(), positions);
    assert_eq!(before.query(sql, &[]).await.unwrap()[0].num_rows(), 5, "a reader of the moment before still reads");
    assert_eq!(history.clear_away(std::time::Duration::ZERO).unwrap(), 0);
    let events = dir.path().join("history/events");
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(8 * 24 * 3_600);
    for entry in std::fs::read_dir(&events).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::File::options().write(true).open(path).unwrap().set_modified(old).unwrap();
        }
    }
    assert_eq!(history.clear_away(std::time::Duration::ZERO).unwrap(), 2);
    assert_eq!(texts(dir.path(), sql).await, rows);
    drop(history);
    let mut again = open(dir.path()).await;
    again.stage(&effects(vec![stretch(0, 5, &other)]), key).unwrap();
    again.commit(at("2026-11-23T00:00:00Z")).await.unwrap();
    assert_eq!(count(dir.path(), "events").await, 6);
}

/// The Delta library may report an error for a commit that landed, and accepts an old `txn`: the log alone decides.
#[tokio::test]
async fn after_an_error_the_log_decides() {
    use super::log::{Positions, TableLog};
    use super::{Table, segment};
    let dir = tempfile::tempdir().unwrap();
    let history = open(dir.path()).await;
    let folder = dir.path().join("history");
    let spans = async || TableLog::open(&folder, Table::Spans).await.unwrap().unwrap();
    let (mut a, mut b, mut c) = (spans().await, spans().await, spans().await);
    let rows = arrow::array::RecordBatch::new_empty(Table::Spans.schema());
    let write = || segment::write(&folder, Table::Spans, &rows, arrival(), history.keyring.as_deref()).unwrap();
    let (ours, theirs) = (write(), write());
    let to = |next: i64| Positions::from([("cluster/t/0".to_string(), next)]);
    a.append(Some(&ours), &to(5)).await.unwrap();
    // The same commit again, from a version before it: it has landed.
    b.append(Some(&ours), &to(5)).await.unwrap();
    assert_eq!(b.files().unwrap().len(), 1);
    // Another writer's file for the same offsets: nothing of it is added.
    let refused = c.append(Some(&theirs), &to(5)).await;
    assert!(matches!(refused, Err(HistoryError::Overtaken { table: "spans" })));
    let again = spans().await;
    assert_eq!((again.files().unwrap().len(), again.positions()), (1, &to(5)));
}

/// Whatever moment a reader meets, what it sees of a segment is the same in every table.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_beside_a_writer_see_whole_segments() {
    let dir = tempfile::tempdir().unwrap();
    let mut history = open(dir.path()).await;
    let writer = tokio::spawn(async move {
        for step in 0..12 {
            let rows = [
                read("e1", "2026-11-22T10:00:00Z", "user-a", &["patient-1"]),
                read("e2", "2026-11-22T10:00:00Z", "user-b", &["patient-1"]),
            ];
            history.stage(&effects(vec![stretch(0, 2 * step, &rows)]), key).unwrap();
            history.commit(arrival()).await.unwrap();
            if step == 8 {
                history.compact(crate::event::Day::parse("2026-11-22").unwrap()).await.unwrap();
            }
        }
    });
    let sql = "SELECT (SELECT count(*) FROM events) - (SELECT coalesce(sum(events), 0) FROM spans) + \
               1000 * ((SELECT count(*) FROM touches) - (SELECT count(*) FROM events))";
    while !writer.is_finished() {
        let rows = reader(dir.path()).await.query(sql, &[]).await.unwrap();
        assert_eq!(rows[0].column(0).as_primitive::<Int64Type>().value(0), 0);
    }
    writer.await.unwrap();
    assert_eq!(count(dir.path(), "touches").await, 24);
}
