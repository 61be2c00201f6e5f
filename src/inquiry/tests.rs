//! Tests of the questions, over a small history with hand-made effects.

use std::path::Path;

use crate::event::{Activity, Effects, Origin, PatientFacts};
use crate::history::fixture::{Row, at, effects, event, gap, key, read, stretch, stretch_of};
use crate::history::{History, KeySource, Settings};

use super::{Asked, Format, ask};

async fn history(dir: &Path, steps: &[Effects]) -> Settings {
    let settings = Settings { dir: dir.join("history"), ..Settings::default() };
    let source = KeySource::beside(&settings.dir);
    let mut history = History::open_or_create(&settings, &source).await.unwrap();
    for step in steps {
        history.stage(step, key).unwrap();
        history.commit(at("2026-11-22T12:00:00Z")).await.unwrap();
    }
    settings
}

fn asked(words: &[&str]) -> Asked {
    Asked { words: words.iter().map(|word| word.to_string()).collect(), ..Asked::default() }
}

async fn csv(settings: &Settings, question: &str, asked: &Asked) -> String {
    let source = KeySource::beside(&settings.dir);
    ask(&settings.dir, &source, question, asked, Format::Csv).await.map_or_else(|e| e.to_string(), |r| r.text)
}

/// The columns `wanted` of a CSV text, rows joined with `|`.
fn columns(text: &str, wanted: &[&str]) -> Vec<String> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().unwrap().clone();
    let index = |name: &&str| header.iter().position(|h| h == *name).unwrap_or_else(|| panic!("{name} in {header:?}"));
    let wanted: Vec<usize> = wanted.iter().map(index).collect();
    let row = |row: csv::StringRecord| wanted.iter().map(|i| row[*i].to_string()).collect::<Vec<_>>().join("|");
    reader.records().map(|record| row(record.unwrap())).collect()
}

/// `patient-old` was merged into `patient-new` between the two accesses of user-a.
fn accesses() -> Effects {
    let merged = |id: &str, time: &str| {
        let mut row = read(id, time, "user-b", &["patient-old"]);
        let marks = vec!["merged"];
        row.patients = vec![PatientFacts { patient_id: "patient-new", relations: vec![], explained_by: None, marks }];
        row
    };
    let mut glass = read("e4", "2026-11-22T10:00:00Z", "user-c", &["patient-x"]);
    glass.draft.break_glass = Some(true);
    glass.draft.purpose = vec!["BTG".into()];
    let mut formula = read("e5", "2026-11-22T10:30:00Z", "user-c", &["patient-x"]);
    formula.draft.client_host = Some("=cmd|' /C calc'!A0".into());
    effects(vec![stretch(
        0,
        0,
        &[
            read("e1", "2026-08-01T10:00:00Z", "user-a", &["patient-old", "patient-old"]),
            read("e2", "2026-11-20T10:00:00Z", "user-a", &["patient-new"]),
            merged("e3", "2026-11-21T10:00:00Z"),
            glass,
            formula,
        ],
    )])
}

#[tokio::test]
async fn who_accessed_follows_merges() {
    let dir = tempfile::tempdir().unwrap();
    let settings = history(dir.path(), &[accesses()]).await;
    let wanted = ["actor_id", "events", "first", "activities", "explained_by", "unexplained"];
    let all = ["user-b|1|2026-11-21T10:00:00Z|read||1", "user-a|2|2026-08-01T10:00:00Z|read|encounter|0"];
    for patient in ["patient-new", "patient-old"] {
        let text = csv(&settings, "who-accessed", &asked(&[patient])).await;
        assert_eq!(columns(&text, &wanted), all, "{patient}");
    }
    let late = Asked { since: Some("2d".into()), ..asked(&["patient-new"]) };
    assert_eq!(columns(&csv(&settings, "who-accessed", &late).await, &wanted), all[..1]);
    let early = Asked { until: Some("2026-08-01".into()), ..asked(&["patient-new"]) };
    let text = csv(&settings, "who-accessed", &early).await;
    assert_eq!(columns(&text, &["actor_id", "events"]), ["user-a|1"]);
    let hostile = csv(&settings, "who-accessed", &asked(&["x' OR '1'='1"])).await;
    assert!(columns(&hostile, &["actor_id"]).is_empty());
    let timeline = csv(&settings, "patient-timeline", &asked(&["patient-old"])).await;
    let wanted = ["time", "actor_id", "recorded_patient_id", "marks"];
    assert_eq!(
        columns(&timeline, &wanted),
        [
            "2026-08-01T10:00:00Z|user-a|patient-old|",
            "2026-11-20T10:00:00Z|user-a|patient-new|",
            "2026-11-21T10:00:00Z|user-b|patient-old|merged",
        ]
    );
}

#[tokio::test]
async fn users_overrides_and_dormancy() {
    let dir = tempfile::tempdir().unwrap();
    let settings = history(dir.path(), &[accesses()]).await;
    let text = csv(&settings, "user-timeline", &asked(&["user-c"])).await;
    assert_eq!(columns(&text, &["event_id", "client_host"]), ["e4|", "e5|'=cmd|' /C calc'!A0"]);
    let text = csv(&settings, "break-glass", &asked(&[])).await;
    assert_eq!(columns(&text, &["actor_id", "patients", "purpose"]), ["user-c|patient-x|BTG"]);
    let days = Asked { days: Some(1), ..asked(&[]) };
    let text = csv(&settings, "dormant", &days).await;
    assert_eq!(columns(&text, &["actor_id", "last"]), ["user-a|2026-11-20T10:00:00Z", "user-b|2026-11-21T10:00:00Z"]);
    let roster = Asked { days: Some(2), accounts: vec!["user-z".into(), "user-c".into()], ..asked(&[]) };
    let text = csv(&settings, "dormant", &roster).await;
    assert_eq!(columns(&text, &["actor_id", "events"]), ["user-a|2", "user-z|"]);
}

fn session(id: &str, time: &str, activity: Activity, session: &'static str) -> Row {
    let mut row = event(id, time, "vendor-1", activity);
    row.draft.source = "vpn".into();
    row.draft.session_id = Some(session.into());
    row.draft.target_host = Some("pacs".into());
    row.vendor = Some("acme");
    row
}

#[tokio::test]
async fn vendor_sessions_are_paired() {
    let dir = tempfile::tempdir().unwrap();
    let mut files = session("v3", "2026-11-21T10:05:00Z", Activity::FileTransfer, "s1");
    (files.draft.detail_files, files.draft.detail_bytes) = (Some(3), Some(4_096));
    let rows = [
        session("v1", "2026-11-21T10:00:00Z", Activity::SessionStart, "s1"),
        session("v2", "2026-11-21T10:04:00Z", Activity::Command, "s1"),
        files,
        session("v4", "2026-11-21T10:30:00Z", Activity::SessionEnd, "s1"),
        session("v5", "2026-11-22T10:00:00Z", Activity::SessionStart, "s2"),
        read("e1", "2026-11-21T10:10:00Z", "vendor-1", &["p1", "p2"]),
        read("e2", "2026-11-21T11:00:00Z", "vendor-1", &["p3"]),
        read("e3", "2026-11-21T10:10:00Z", "user-a", &["p4"]),
    ];
    let settings = history(dir.path(), &[effects(vec![stretch(0, 0, &rows)])]).await;
    let wanted =
        ["session_id", "state", "minutes", "commands", "files", "bytes", "ehr_opens", "ehr_patients", "vendor_id"];
    let all = ["s1|whole|30.0|1|3|4096|1|2|acme", "s2|no end||0|0|0|0|0|acme"];
    for words in [&[] as &[&str], &["acme"]] {
        assert_eq!(columns(&csv(&settings, "vendor-sessions", &asked(words)).await, &wanted), all);
    }
    assert!(columns(&csv(&settings, "vendor-sessions", &asked(&["other"])).await, &wanted).is_empty());
    let since = Asked { since: Some("2026-11-22".into()), ..asked(&[]) };
    assert_eq!(columns(&csv(&settings, "vendor-sessions", &since).await, &wanted), all[1..]);
}

#[tokio::test]
async fn answers_name_gaps_and_completeness() {
    let dir = tempfile::tempdir().unwrap();
    let file = stretch_of(Origin::file("a.jsonl"), 1, &[read("f1", "2026-11-19T10:00:00Z", "u", &[])], &[b"bad"]);
    let steps = [
        effects(vec![stretch(0, 0, &[read("e1", "2026-11-20T10:00:00Z", "u", &[])]), gap(0, 1, 6)]),
        effects(vec![stretch(0, 6, &[read("e2", "2026-11-22T10:00:00Z", "u", &[])]), file]),
    ];
    let settings = history(dir.path(), &steps).await;
    let source = KeySource::beside(&settings.dir);
    let gaps = async |since: &str, until: &str| {
        let asked = Asked { since: Some(since.into()), until: Some(until.into()), ..asked(&["u"]) };
        let json = ask(&settings.dir, &source, "user-timeline", &asked, Format::Json).await.unwrap().text;
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["complete_to"], "2026-11-22T10:00:00Z");
        json["gaps"].clone()
    };
    let expected = serde_json::json!([{
        "origin": "ehr.access/0", "from": 1, "to": 6, "records": 5,
        "after": "2026-11-20T10:00:00Z", "before": "2026-11-22T10:00:00Z",
    }]);
    assert_eq!(gaps("2026-11-21", "2026-11-21").await, expected);
    assert_eq!(gaps("2026-11-18", "2026-11-19").await, serde_json::json!([]));
    assert_eq!(gaps("2026-11-23", "2026-11-24").await, serde_json::json!([]));
    let table = ask(&settings.dir, &source, "sources", &asked(&[]), Format::Table).await.unwrap().text;
    assert!(table.contains("complete to 2026-11-22T10:00:00Z"), "{table}");
    assert!(table.contains("gap: 5 records of ehr.access/0 were lost between"), "{table}");
    let text = csv(&settings, "sources", &asked(&[])).await;
    let wanted = ["topic", "source", "events", "topic_records", "topic_rejects", "topic_gap"];
    assert_eq!(columns(&text, &wanted), ["a.jsonl|ehr|1|2|1|0", "ehr.access|ehr|2|7|0|5"]);
}

#[tokio::test]
async fn only_questions_are_answered() {
    let dir = tempfile::tempdir().unwrap();
    let settings = history(dir.path(), &[accesses()]).await;
    let secret = dir.path().join("secret.csv");
    std::fs::write(&secret, "a,b\n1,2\n").unwrap();
    let path = secret.display();
    for bad in [
        format!("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '{path}'"),
        format!("COPY (SELECT 1) TO '{path}.out'"),
        format!("SELECT * FROM '{path}'"),
        format!("SELECT * FROM read_csv('{path}')"),
        "INSERT INTO events SELECT * FROM events".into(),
        "DROP TABLE events".into(),
        "CREATE VIEW v AS SELECT 1".into(),
        "SET datafusion.execution.batch_size = 1".into(),
        "SELECT 1; SELECT 2".into(),
        "EXPLAIN ANALYZE COPY (SELECT 1) TO 'x'".into(),
        "DELETE FROM events".into(),
    ] {
        let said = csv(&settings, "sql", &asked(&[&bad])).await;
        assert!(said.starts_with("the query failed"), "{bad}: {said}");
    }
    let text = csv(&settings, "sql", &asked(&["SELECT count(*) AS n FROM events"])).await;
    assert_eq!(columns(&text, &["n"]), ["5"]);
    let source = KeySource::beside(&settings.dir);
    for (question, words) in [("who-accessed", &[] as &[&str]), ("nonsense", &[]), ("break-glass", &["x"])] {
        let refused = ask(&settings.dir, &source, question, &asked(words), Format::Table).await;
        assert!(matches!(refused, Err(super::AskError::Usage(_))), "{question}");
    }
}

#[tokio::test]
async fn an_empty_history_answers_every_question() {
    let dir = tempfile::tempdir().unwrap();
    let settings = history(dir.path(), &[]).await;
    let source = KeySource::beside(&settings.dir);
    for spec in super::ALL {
        let words: &[&str] = match spec.name {
            "sql" => &["SELECT * FROM alerts"],
            _ if spec.words.0 == 1 => &["x"],
            _ => &[],
        };
        for format in [Format::Table, Format::Json, Format::Csv] {
            let answer = ask(&settings.dir, &source, spec.name, &asked(words), format).await;
            assert!(answer.is_ok(), "{}: {:?}", spec.name, answer.err());
        }
    }
}
