//! Tests of the whole history: what goes in is read back, once, whatever happens in between, and nothing of it stands in clear.

use std::path::Path;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;

use super::fixture::{at, effects, key, raised, read, stretch, stretch_of};
use super::{Change, History, HistoryError, KeySource, Reader, Settings};
use crate::event::print::{Print, Wanted};
use crate::event::{Effects, Origin, Time};

pub(super) fn arrival() -> Time {
    at("2026-11-22T12:00:00Z")
}

fn settings(dir: &Path, encrypt: bool) -> Settings {
    Settings { dir: dir.join("history"), encrypt, ..Settings::default() }
}

pub(super) async fn open(dir: &Path) -> History {
    let settings = settings(dir, true);
    History::open_or_create(&settings, &KeySource::beside(&settings.dir)).await.unwrap()
}

pub(super) async fn reader(dir: &Path) -> Reader {
    let dir = dir.join("history");
    Reader::open(&dir, &KeySource::beside(&dir)).await.unwrap()
}

/// Rows of a query with one text column.
pub(super) async fn texts(dir: &Path, sql: &str) -> Vec<String> {
    let batches = reader(dir).await.query(sql, &[]).await.unwrap();
    let values = |batch: &arrow::array::RecordBatch| {
        let column = arrow::compute::cast(batch.column(0), &arrow::datatypes::DataType::Utf8).unwrap();
        column.as_string::<i32>().iter().map(|v| v.unwrap_or("-").to_string()).collect::<Vec<_>>()
    };
    batches.iter().flat_map(values).collect()
}

pub(super) async fn count(dir: &Path, table: &str) -> i64 {
    let batches = reader(dir).await.query(&format!("SELECT count(*) FROM {table}"), &[]).await.unwrap();
    batches[0].column(0).as_primitive::<Int64Type>().value(0)
}

/// Two partitions, rejects, alerts.
pub(super) fn first() -> Effects {
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

pub(super) fn second() -> Effects {
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
    assert!(refused(&with, &other).await.starts_with("this key does not open this history: "));
    let missing = KeySource::File(dir.path().join("missing.key"));
    assert!(refused(&with, &missing).await.contains("does not exist"));
    assert!(!dir.path().join("missing.key").exists());
    std::fs::write(with.dir.join("history.json"), r#"{"form":"phiwatch.history/9"}"#).unwrap();
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
            let mut step =
                effects(vec![stretch_of(Origin::topic("ehr.access", 0), 2 * offset, &rows, &[b"patient-77"])]);
            step.raised = vec![raised("user-77", offset as u32 + 1)];
            history.stage(&step, key).unwrap();
            history.commit(arrival()).await.unwrap();
        }
        assert_eq!(history.positions()["cluster/ehr.access/0"], 42);
        history.control_append("verdict", arrival(), b"user-77 patient-77").unwrap();
        history.put_blob("roster", "ab12", arrival(), &|| b"user-77 patient-77".to_vec()).unwrap();
        drop(history);
        let history = History::open_or_create(&settings, &source).await.unwrap();
        assert_eq!(history.positions()["cluster/ehr.access/0"], 42);
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

/// What `known` says of the events of these stretches.
fn wanted(effects: &Effects) -> Vec<Wanted> {
    let rows = effects.applied.iter().flat_map(|applied| applied.enriched.batch.rows());
    rows.map(|event| Wanted { event_id: event.event_id().to_string(), print: Print::of(&event) }).collect()
}

#[tokio::test]
async fn old_records_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let mut history = open(dir.path()).await;
    history.stage(&first(), key).unwrap();
    history.commit(arrival()).await.unwrap();
    history.stage(&second(), key).unwrap();
    let (on_record, staged) = (wanted(&first()), wanted(&second()));
    // Another source, another day, other content, another identifier.
    let unlike =
        ["e9", "' OR 1=1 --"].map(|id| effects(vec![stretch(0, 9, &[read(id, "2026-11-22T10:00:00Z", "u", &[])])]));
    let elsewhere = effects(vec![stretch(0, 9, &[read("e1", "2026-11-23T10:00:00Z", "user-b", &[])])]);
    let other = effects(vec![stretch(0, 9, &[read("e1", "2026-11-22T10:30:00Z", "user-x", &[])])]);
    let prints = |wanted: &[Wanted]| {
        let mut prints: Vec<Print> = wanted.iter().map(|one| one.print).collect();
        prints.sort_unstable();
        prints
    };
    // Many at once are looked for in another way than few.
    let many: Vec<Wanted> = (0..100).flat_map(|_| on_record.clone()).collect();
    for (asked, expected) in [
        (on_record.clone(), prints(&on_record)),
        (staged.clone(), prints(&staged)),
        ([on_record.clone(), staged.clone()].concat(), prints(&[on_record.clone(), staged.clone()].concat())),
        (many, prints(&on_record)),
        (unlike.iter().flat_map(wanted).collect(), vec![]),
        (wanted(&elsewhere), vec![]),
        (wanted(&other), prints(&on_record[..1])),
    ] {
        assert_eq!(history.known(&asked).unwrap(), expected, "{asked:?}");
    }
    history.close_segment(arrival()).await.unwrap();
    assert_eq!(history.known(&staged).unwrap(), prints(&staged), "while it is encoded");
    history.commit(arrival()).await.unwrap();
    assert_eq!(history.known(&staged).unwrap(), prints(&staged), "after the commit");
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
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(8 * 24 * 3_600);
    for path in segments_below(dir.path()) {
        std::fs::File::options().write(true).open(path).unwrap().set_modified(old).unwrap();
    }
    assert_eq!(history.clear_away(std::time::Duration::ZERO).unwrap(), 2);
    assert_eq!(texts(dir.path(), sql).await, rows);
    drop(history);
    let mut again = open(dir.path()).await;
    again.stage(&effects(vec![stretch(0, 5, &other)]), key).unwrap();
    again.commit(at("2026-11-23T00:00:00Z")).await.unwrap();
    assert_eq!(count(dir.path(), "events").await, 6);
}

/// The files of events, in the order of commits.
fn segments_below(dir: &Path) -> Vec<std::path::PathBuf> {
    let listed = |dir: &Path| std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let days = listed(&dir.join("history/events"));
    let is_day = |path: &&std::path::PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("arrival_date=");
    let mut files: Vec<_> = days.iter().filter(is_day).flat_map(|day| listed(day)).collect();
    files.sort_by_key(|path| path.file_name().unwrap().to_owned());
    files
}

#[tokio::test]
async fn a_replay_reads_what_was_staged_in_the_order_of_commits() {
    let dir = tempfile::tempdir().unwrap();
    let mut history = open(dir.path()).await;
    let mut staged = Vec::new();
    // Arrival may go back (files are scanned at any time): the order of commits holds all the same.
    for (step, arrived) in [(first(), "2026-11-23T00:00:00Z"), (second(), "2026-11-22T00:00:00Z")] {
        history.stage(&step, key).unwrap();
        history.commit(at(arrived)).await.unwrap();
        staged.extend(step.applied.into_iter().map(|applied| applied.enriched));
    }
    let mut replayed = Vec::new();
    for segment in history.on_record().unwrap() {
        replayed.extend(history.replay(&segment).unwrap());
    }
    assert_eq!(replayed.len(), staged.len());
    for (replayed, staged) in replayed.iter().zip(&staged) {
        assert_eq!(replayed.batch.origin, staged.batch.origin);
        assert_eq!(replayed.table(), staged.table());
    }
    let name = segments_below(dir.path()).remove(0);
    std::fs::write(&name, b"PAR1").unwrap();
    let first = history.on_record().unwrap().remove(0);
    assert!(matches!(history.replay(&first), Err(HistoryError::Damaged { .. })));
}

#[tokio::test]
async fn what_a_change_parts_is_not_joined() {
    let dir = tempfile::tempdir().unwrap();
    let mut history = open(dir.path()).await;
    for step in 0..6 {
        let rows = [read("e1", "2026-11-22T10:00:00Z", "user-a", &["patient-1"])];
        history.stage(&effects(vec![stretch(0, step, &rows)]), key).unwrap();
        history.commit(arrival()).await.unwrap();
        if step == 2 {
            let change = Change::Verdict { id: "1".into(), ruled: None };
            history.note(arrival(), &change, None).unwrap();
            history.note(arrival(), &Change::Close, None).unwrap();
        }
    }
    history.compact(crate::event::Day::parse("2026-11-22").unwrap()).await.unwrap();
    let files: Vec<_> = history.on_record().unwrap().iter().map(|f| (f.number(), f.through(), f.rows())).collect();
    assert_eq!(files, [(1, 3, 3), (4, 6, 3)]);
    let places: Vec<_> = history.changes().unwrap().into_iter().map(|noted| noted.place.segment).collect();
    assert_eq!(places, [3, 3]);
    drop(history);
    let again = open(dir.path()).await;
    let files: Vec<_> = again.on_record().unwrap().iter().map(|f| (f.number(), f.through(), f.rows())).collect();
    assert_eq!(files, [(1, 3, 3), (4, 6, 3)], "as the log says");
}

#[tokio::test]
async fn of_a_revision_the_last_word_holds_and_the_same_is_recorded_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut history = open(dir.path()).await;
    let said = |score: f64| {
        let mut one = raised("user-a", 2);
        (one.alert.score, one.alert.settled) = (score, true);
        one
    };
    for (step, score) in [1.0, 1.0, 2.0, 2.0, 1.0].into_iter().enumerate() {
        let news = history.news(&[said(score)]).await.unwrap();
        assert_eq!(news.len(), usize::from([0, 2, 4].contains(&step)), "{step}");
        history.stage(&Effects { raised: news.clone(), ..Effects::default() }, key).unwrap();
        assert_eq!(history.news(&news).await.unwrap(), [], "staged");
        history.commit(arrival()).await.unwrap();
    }
    let scores = |history: &[crate::event::Raised]| history.iter().map(|one| one.alert.score).collect::<Vec<_>>();
    assert_eq!(scores(&history.alerts(Time::MIN).await.unwrap()), [1.0, 2.0, 1.0]);
    drop(history);
    let mut history = open(dir.path()).await;
    assert_eq!(history.news(&[said(1.0)]).await.unwrap(), []);
    assert_eq!(scores(&history.news(&[said(2.0), said(2.0), said(3.0)]).await.unwrap()), [2.0, 3.0]);
    let day = said(1.0).day;
    assert_eq!(history.provisional(day).await.unwrap().len(), 0);
    assert_eq!(history.provisional(day.plus(-1)).await.unwrap().len(), 1);
}

#[tokio::test]
async fn alerts_come_back_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let mut history = open(dir.path()).await;
    for step in [first(), second(), first()] {
        // The first alert is raised twice, as by a replay.
        let alerts = Effects { raised: step.raised, ..Effects::default() };
        history.stage(&alerts, key).unwrap();
        history.commit(arrival()).await.unwrap();
    }
    assert_eq!(history.alerts(Time::MIN).await.unwrap(), [raised("user-a", 1), raised("user-a", 2)]);
    assert_eq!(history.alerts(at("2027-01-01T00:00:00Z")).await.unwrap(), []);
}
