//! Tests of the questions, over a small history with hand-made effects.

use std::path::Path;
use std::sync::Arc;

use crate::event::{Activity, Day, Effects, Origin, PatientFacts, Zone};
use crate::history::fixture::{Row, at, effects, event, key, read, stretch};
use crate::history::{History, KeySource, Settings};
use crate::roster::{Intake, Roster, load};

use super::{Asked, Format, ask};

mod blind;

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
        row.patients = vec![PatientFacts { patient_id: "patient-new", marks, ..PatientFacts::default() }];
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
    let since = Asked { since: Some("2d".into()), ..asked(&[]) };
    assert!(csv(&settings, "dormant", &since).await.contains("--since does not apply"));
}

/// A roster of hand-made files.
fn roster(files: &[(&str, &str)]) -> Option<Arc<Roster>> {
    let files: Vec<_> = files.iter().map(|(name, text)| (name.to_string(), text.as_bytes().to_vec())).collect();
    let intake = Intake { previous: None, at: at("2026-11-22T00:00:00Z"), allow_shrink: false };
    Some(Arc::new(load(&files, Zone::utc(), &intake).roster))
}

const USERS: &str =
    "user_id,name,role,department,status,kind,manager_id,account_created_at,terminated_at,valid_from,valid_to
user-a,Ann Before,nurse,icu,active,human,user-m,2020-01-01,,,2026-08-31
user-a,Ann After,nurse,icu,active,human,user-m,2020-01-01,,2026-09-01,
user-b,Bob,clerk,desk,active,human,,2020-01-01,,,
user-m,Mia,chief,icu,active,human,,2026-11-21,,,
user-gone,Gus,clerk,desk,terminated,human,,2020-01-01,2026-05-01,,
user-off,Ole,clerk,desk,disabled,human,,2020-01-01,,2026-03-01,
user-old,Ida,clerk,desk,active,human,user-m,2025-11-22,,,
svc-1,Backup,interface,it,active,service,,2024-01-01,,,
user-next,Nia,clerk,desk,active,human,,2027-01-01,,,
";

/// Decision 7: an answer shows what was known at the time, and beside it what has become known since.
#[tokio::test]
async fn what_became_known_later_stands_beside_what_was_known() {
    let dir = tempfile::tempdir().unwrap();
    let settings = history(dir.path(), &[accesses()]).await;
    let relations = "patient_id,kind,user_id,department,start,end
patient-new,care_team,user-b,,2026-11-21T08:00:00Z,2026-11-21T20:00:00Z
patient-new,care_team,user-a,,2026-11-20T08:00:00Z,2026-11-20T20:00:00Z
";
    let patients = "patient_id,merged_into\npatient-new,\npatient-old,patient-new\npatient-x,\n";
    let check = async |roster: Option<Arc<Roster>>, patient: &str, expected: &[&str]| {
        let of = Asked { roster, ..asked(&[patient]) };
        let wanted = ["actor_id", "explained_by", "explained_later"];
        assert_eq!(columns(&csv(&settings, "who-accessed", &of).await, &wanted), expected, "{patient}");
        let mut rows = columns(&csv(&settings, "patient-timeline", &of).await, &wanted);
        rows.reverse();
        rows.dedup();
        assert_eq!(rows, expected, "{patient}");
    };
    let known = || roster(&[("users.csv", USERS), ("patients.csv", patients), ("relations.csv", relations)]);
    // Nothing has to be added to what was explained at the time.
    for patient in ["patient-new", "patient-old"] {
        check(known(), patient, &["user-b||care_team", "user-a|encounter|"]).await;
    }
    check(known(), "patient-x", &["user-c|encounter|"]).await;
    check(None, "patient-new", &["user-b||", "user-a|encounter|"]).await;
}

#[tokio::test]
async fn names_stand_beside_identifiers() {
    let dir = tempfile::tempdir().unwrap();
    let mut claimed = read("e9", "2026-11-22T11:00:00Z", "stranger", &["patient-x"]);
    (claimed.draft.actor_name, claimed.role, claimed.department) = (Some("Claimed".into()), None, None);
    let settings = history(dir.path(), &[accesses(), effects(vec![stretch(0, 5, &[claimed])])]).await;
    let patients = "patient_id,surname,merged_into\npatient-x,Xaver,\npatient-new,Neumann,\npatient-older,Neumann,patient-new\n\
                    patient-quiet,Leise,\n";
    let roster = roster(&[("users.csv", USERS), ("patients.csv", patients)]);
    let asked = |words: &[&str]| Asked { roster: roster.clone(), ..asked(words) };
    let text = csv(&settings, "patient-timeline", &asked(&["patient-new"])).await;
    let expected = ["user-a|Ann Before|nurse", "user-a|Ann After|nurse", "user-b|Bob|nurse"];
    assert_eq!(columns(&text, &["actor_id", "name", "role"]), expected, "as of the event; the stored fact stays");
    let text = csv(&settings, "who-accessed", &asked(&["patient-older"])).await;
    assert_eq!(columns(&text, &["actor_id", "name"]), ["user-b|Bob", "user-a|Ann After"], "merged by the roster alone");
    let text = csv(&settings, "who-accessed", &asked(&["patient-x"])).await;
    assert_eq!(columns(&text, &["actor_id", "name"]), ["stranger|Claimed", "user-c|"]);
    let source = KeySource::beside(&settings.dir);
    let table = async |question: &str, words: &[&str]| {
        ask(&settings.dir, &source, question, &asked(words), Format::Table).await.unwrap().text
    };
    for (question, words, expected) in [
        ("who-accessed", &["patient-x"], "patient-x is Xaver"),
        ("who-accessed", &["patient-older"], "taken together: patient-new, patient-old, patient-older"),
        ("who-accessed", &["patient-quiet"], "patient-quiet is in the roster; no touch of the record is on record"),
        ("patient-timeline", &["patient-none"], "patient patient-none is unknown"),
        ("user-timeline", &["user-a"], "user-a is Ann After (nurse, icu, active)"),
        ("user-timeline", &["user-none"], "no event on record names account user-none"),
        ("user-timeline", &["stranger"], "stranger is in no roster"),
    ] {
        let text = table(question, words).await;
        assert!(text.contains(expected), "{question} {words:?}: {text}");
    }
}

#[tokio::test]
async fn dormant_accounts_are_those_that_could_still_be_used() {
    let dir = tempfile::tempdir().unwrap();
    let settings = history(dir.path(), &[accesses()]).await;
    let accounts = "account_id,vendor_id,person,status,account_created_at\nven-1,v1,Vic,active,2026-01-01\n";
    let roster = roster(&[
        ("users.csv", USERS),
        ("vendor_accounts.csv", accounts),
        ("vendors.csv", "vendor_id,name\nv1,Acme\n"),
    ]);
    let asked = |days, all| Asked { roster: roster.clone(), days, all, ..asked(&[]) };
    let wanted = ["actor_id", "kind", "status", "manager", "days", "events"];
    // The newest event is on 2026-11-22 at 10:30.
    let long = ["svc-1|service|active||1056|0", "user-old|human|active|Mia|365|0", "ven-1|vendor|active||325|0"];
    let text = csv(&settings, "dormant", &asked(None, false)).await;
    assert_eq!(columns(&text, &wanted), long);
    let text = csv(&settings, "dormant", &asked(Some(1), false)).await;
    let short = ["user-a|human|active|Mia|2|2", "user-b|human|active||1|1", "user-m|human|active||1|0"];
    assert_eq!(columns(&text, &wanted), [&long[..], &short[..]].concat());
    let text = csv(&settings, "dormant", &asked(None, true)).await;
    let ids: Vec<String> = columns(&text, &["actor_id", "status"]);
    assert!(ids.contains(&"user-gone|terminated".into()) && ids.contains(&"user-off|disabled".into()), "{ids:?}");
    assert!(!ids.iter().any(|id| id.starts_with("user-next")), "whose account is not made yet");
    let source = KeySource::beside(&settings.dir);
    let table = ask(&settings.dir, &source, "dormant", &asked(None, false), Format::Table).await.unwrap().text;
    for said in ["left out: 2;", "kind service", "without use for 90 days"] {
        assert!(table.contains(said), "{said}: {table}");
    }
    // A history of 113 days cannot speak of more.
    assert!(!table.contains("history begins"), "{table}");
    let table = ask(&settings.dir, &source, "dormant", &asked(Some(114), false), Format::Table).await.unwrap().text;
    assert!(table.contains("113 days before"), "{table}");
}

#[tokio::test]
async fn people_read_the_clock_of_their_site() {
    let dir = tempfile::tempdir().unwrap();
    let settings = history(dir.path(), &[accesses()]).await;
    let source = KeySource::beside(&settings.dir);
    let sites = "site,timezone\nmain,America/Chicago\n";
    let asked = Asked { roster: roster(&[("users.csv", USERS), ("sites.csv", sites)]), ..asked(&["user-c"]) };
    let table = ask(&settings.dir, &source, "user-timeline", &asked, Format::Table).await.unwrap().text;
    for said in ["2026-11-22 04:00:00 -06:00", "on the clock of America/Chicago", "empty columns left out: "] {
        assert!(table.contains(said), "{said}: {table}");
    }
    let text = csv(&settings, "user-timeline", &asked).await;
    assert_eq!(columns(&text, &["time"]), ["2026-11-22T10:00:00Z", "2026-11-22T10:30:00Z"]);
    // 2026-11-22 begins at 06:00 in UTC there: both are on it.
    let day = Asked { since: Some("2026-11-22".into()), until: Some("2026-11-22".into()), ..asked };
    assert_eq!(columns(&csv(&settings, "user-timeline", &day).await, &["event_id"]), ["e4", "e5"]);
}

#[tokio::test]
async fn sql_teaches() {
    let dir = tempfile::tempdir().unwrap();
    let settings = history(dir.path(), &[accesses()]).await;
    for (query, said) in [
        ("SELECT patien FROM touches", "Did you mean 'touches.patient_id'?"),
        ("SELECT * FROM event", "There are the tables rejects, touches, events, alerts, spans."),
        ("DELETE FROM events", "only questions are answered"),
        ("SELEC 1", "lists the tables and their columns"),
        ("SELECT 1; SELECT 2", "one question at a time"),
    ] {
        let text = csv(&settings, "sql", &asked(&[query])).await;
        assert!(text.contains(said), "{query}: {text}");
    }
    let kinds = "SELECT DATE '2026-11-22' AS d, 1.5 AS f, CAST(2.50 AS DECIMAL(5,2)) AS m, [1, 2] AS l, \
                 arrow_cast('x', 'Dictionary(Int32, Utf8)') AS k, X'6869' AS b, NULL AS n, true AS t, INTERVAL '2 hours' AS i";
    let wanted = ["d", "f", "m", "l", "k", "b", "n", "t", "i"];
    let text = csv(&settings, "sql", &asked(&[kinds])).await;
    assert_eq!(columns(&text, &wanted), ["2026-11-22|1.5|2.50|1;2|x|hi||true|2 hours"]);
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
