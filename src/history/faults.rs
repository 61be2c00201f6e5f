//! Tests of the history under faults: crashes between tables, commits that report an error, readers beside a writer, damaged files.

use std::path::Path;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;

use super::fixture::{effects, key, read, stretch};
use super::tests::{arrival, count, first, open, reader, second, texts};
use super::{HistoryError, KeySource, Reader, fuse};

/// All rows in a few words, table by table.
async fn dump(dir: &Path) -> Vec<Vec<String>> {
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
}

/// Stops after each number of tables, in the first and in the second segment, opens again, replays, and compares all rows.
#[tokio::test]
async fn a_crash_between_tables_is_healed() {
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
            // Nothing is left of what was broken off: a replay and the positions say the same.
            let rows: usize = again.on_record().unwrap().iter().map(|file| file.rows()).sum();
            let covered: i64 = again.positions().values().sum();
            assert_eq!((rows, covered), [[(0, 0), (3, 11)], [(3, 11), (4, 12)]][segment][usize::from(tables == 5)]);
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

/// What comes while a segment is encoded is for the next one; where a commit of the closed one fails, both are staged again.
#[tokio::test]
async fn a_closed_segment_is_committed_before_what_came_since() {
    let whole = tempfile::tempdir().unwrap();
    let mut history = open(whole.path()).await;
    for step in [first(), second()] {
        history.stage(&step, key).unwrap();
        history.commit(arrival()).await.unwrap();
    }
    let (expected, positions) = (dump(whole.path()).await, history.positions());
    for fails_after in 0..=5 {
        let dir = tempfile::tempdir().unwrap();
        let mut history = open(dir.path()).await;
        history.stage(&first(), key).unwrap();
        history.close_segment(arrival()).await.unwrap();
        let closed = history.staged();
        history.stage(&second(), key).unwrap();
        assert!(closed.rows > 0 && history.staged().rows > closed.rows, "both are in memory");
        assert_eq!(history.reached(), positions);
        assert_eq!(history.news(&[first().raised, second().raised].concat()).await.unwrap(), []);
        fuse::set((fails_after < 5).then_some(fails_after));
        let committed = history.commit_closed().await;
        fuse::set(None);
        assert_eq!(committed.is_err(), fails_after < 5, "{committed:?}");
        history.commit(arrival()).await.unwrap();
        assert_eq!((history.positions(), history.staged().rows), (positions.clone(), 0));
        let found = dump(dir.path()).await;
        // The joined span of one commit stands for the two of two commits.
        let tables = if fails_after < 5 { 4 } else { 5 };
        assert_eq!(found[..tables], expected[..tables], "{fails_after}");
        let sums = "SELECT sum(\"to\" - \"from\") FROM spans";
        assert_eq!(texts(dir.path(), sums).await, ["5"], "{fails_after}");
        let numbers = "SELECT concat(count(*), ' ', count(DISTINCT number)) FROM alerts";
        assert_eq!(texts(dir.path(), numbers).await, texts(whole.path(), numbers).await, "{fails_after}");
        assert!(history.commit_closed().await.unwrap().is_none());
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
    let (mut refused, mut named) = (0, 0);
    for i in (0..whole.len()).step_by(whole.len() / 61) {
        let mut broken = whole.clone();
        broken[i] ^= 0x10;
        std::fs::write(path(0), &broken).unwrap();
        let reader = Reader::open(&folder, &KeySource::beside(&folder)).await.unwrap();
        // Some bytes are not needed for this answer (`verify` hashes every byte), but no answer is ever wrong.
        match reader.query(all, &[]).await {
            Err(error) => {
                refused += 1;
                named += usize::from(error.to_string().contains(&files[0].name));
            }
            Ok(answer) => assert_eq!(answer, right, "byte {i}"),
        }
        let asked = reader.user_query(all, 9, std::time::Duration::from_secs(60)).await;
        if let Err(error @ HistoryError::Damaged { .. }) = asked {
            assert!(error.to_string().contains(&files[0].name), "byte {i}: {error}");
        }
    }
    assert!(refused > 20 && named > 20, "{refused}, of which {named} name the file");
    std::fs::write(path(0), &whole[..whole.len() - 1]).unwrap();
    check("cut").await;
    std::fs::remove_file(path(0)).unwrap();
    check("missing").await;
    let other = std::fs::read(path(1)).unwrap();
    std::fs::write(path(0), &other).unwrap();
    check("exchanged").await;
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
    let write = || {
        segment::write(
            &folder,
            Table::Spans,
            &rows,
            segment::When { arrival: arrival(), number: 1 },
            history.keyring.as_deref(),
        )
        .unwrap()
    };
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
