//! Bad input and a bad world against the built program: what it says, how it exits, and that nothing is lost.

use std::fmt::Write as _;
use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rdkafka::mocking::MockCluster;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::kafka::{produce, to, unique};
use crate::kill::Watched;
use crate::program::{ask, done, phiwatch};
use crate::real_kafka::{Admin, Node, brokers};
use crate::start::Start;

/// A usable record.
fn access(id: &str, time: &str) -> String {
    record(&format!(r#""event_id":"{id}","time":"{time}","actor":{{"id":"u1"}},"activity":"read","patients":["p1"]"#))
}

fn record(fields: &str) -> String {
    format!(r#"{{{fields},"source":"ehr"}}"#)
}

const NOON: &str = "2026-03-02T12:00:00Z";
const LATER: &str = "2026-03-02T12:00:01Z";

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Checks exit code and words of a command; gives back everything it said.
fn check(output: &Output, exit: i32, words: &[&str]) -> String {
    let said = said(output);
    assert_eq!(output.status.code(), Some(exit), "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in {said}");
    }
    said
}

/// Scans `input` with a roster that knows u1: exit 0, the sums, further words, and the reasons of its rejects.
fn check_scan(name: &str, input: &[u8], sums: &str, words: &[&str], reasons: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::create_dir(dir.join("rosters")).unwrap();
    std::fs::write(dir.join("rosters/users.csv"), "user_id,name,status\nu1,One,active\n").unwrap();
    std::fs::write(dir.join("in.jsonl"), input).unwrap();
    let scan = ["scan", "--rosters", "rosters", "--history", "history", "in.jsonl"];
    let first = phiwatch(dir).args(scan).answer().unwrap();
    let all = check(&first, 0, words);
    assert!(all.contains(sums), "{name}: {sums:?} is not in {all}");
    // The folder's name is the test's own, and any letters may stand in it.
    let said = all.replace(&dir.display().to_string(), "");
    assert!(!said.contains("p1") && !said.contains("u1"), "{name}: no name is said: {all}");
    // The same once more adds nothing.
    check(&phiwatch(dir).args(scan).answer().unwrap(), 0, &["0 events, 0 duplicates, 0 rejects"]);
    let sql = |sql: &str| {
        let output =
            phiwatch(dir).args(["ask", "--history", "history", "--format", "json", "sql", sql]).answer().unwrap();
        serde_json::from_str::<Value>(&done(&output, name)).unwrap()["rows"].clone()
    };
    let found = sql("SELECT reason FROM rejects ORDER BY line");
    let found: Vec<&str> = found.as_array().unwrap().iter().filter_map(|row| row["reason"].as_str()).collect();
    assert_eq!(found, reasons, "{name}");
    let counted = sql(
        "SELECT coalesce(sum(events), 0) AS events, coalesce(sum(duplicates), 0) AS duplicates, coalesce(sum(rejects), 0) AS rejects FROM spans",
    );
    let counted = &counted[0];
    let spans =
        format!("{} events, {} duplicates, {} rejects", counted["events"], counted["duplicates"], counted["rejects"]);
    assert_eq!(spans, sums, "{name}: what is said is what is on record");
    // What could not be used is kept whole, up to the limit of a record.
    for raw in sql("SELECT length(raw) AS n FROM rejects").as_array().unwrap() {
        assert!(raw["n"].as_i64() > Some(0), "{name}");
    }
}

#[test]
fn files_of_bad_records() {
    let good = access("a", NOON);
    let lines = |lines: &[&str]| (lines.join("\n") + "\n").into_bytes();
    let half = format!("{good}\n{}", &access("b", NOON)[..40]).into_bytes();
    let long = lines(&[&good, &"x".repeat(10 << 20), &access("b", NOON)]);
    let number = record(r#""event_id":"t1","time":17,"actor":{"id":"u1"},"activity":"read""#);
    let list =
        record(&format!(r#""event_id":"t2","time":"{NOON}","actor":{{"id":"u1"}},"activity":"read","patients":{{}}"#));
    let text = record(&format!(
        r#""event_id":"t3","time":"{NOON}","actor":{{"id":"u1"}},"activity":"read","result_count":"many""#
    ));
    let look = record(&format!(r#""event_id":"a1","time":"{NOON}","actor":{{"id":"u1"}},"activity":"look""#));
    let timeless = record(r#""event_id":"a2","actor":{"id":"u1"},"activity":"read""#);
    let mut ahead = vec![good.clone(), access("f", "2026-03-03T13:00:00Z")];
    ahead.extend((0..40).map(|n| access(&format!("n{n}"), &format!("2026-03-02T12:01:{n:02}Z"))));
    let mut zeros = String::new();
    for second in 0..50 {
        writeln!(zeros, "{}", access("0", &format!("2026-03-02T12:00:{second:02}Z"))).unwrap();
    }
    check_scan("an empty file", b"", "0 events, 0 duplicates, 0 rejects", &[], &[]);
    check_scan("only a line feed", b"\n", "0 events, 0 duplicates, 0 rejects", &[], &[]);
    check_scan("half a line", &half, "1 events, 0 duplicates, 1 rejects", &[], &["truncated"]);
    check_scan("a line of 10 MiB", &long, "2 events, 0 duplicates, 1 rejects", &[], &["too_large"]);
    check_scan(
        "wrong types",
        &lines(&[&number, &list, &good, &text]),
        "1 events, 0 duplicates, 3 rejects",
        &[],
        &["wrong_type", "wrong_type", "wrong_type"],
    );
    check_scan("an unknown activity", &lines(&[&look]), "0 events, 0 duplicates, 1 rejects", &[], &["unknown_value"]);
    check_scan("no time", &lines(&[&timeless, &good]), "1 events, 0 duplicates, 1 rejects", &[], &["missing_field"]);
    check_scan(
        "a day ahead",
        (ahead.join("\n") + "\n").as_bytes(),
        "42 events, 0 duplicates, 0 rejects",
        &["future: 1 records of ehr"],
        &[],
    );
    check_scan(
        "told twice",
        &lines(&[&good, &good, &access("b", NOON), &good]),
        "2 events, 2 duplicates, 0 rejects",
        &[],
        &[],
    );
    check_scan(
        "one id for two things",
        &lines(&[&good, &access("a", LATER)]),
        "2 events, 0 duplicates, 0 rejects",
        &["id-conflict: 1 records of ehr"],
        &[],
    );
    check_scan(
        "an id that is always 0",
        zeros.as_bytes(),
        "50 events, 0 duplicates, 0 rejects",
        &["id-conflict: 49 records of ehr"],
        &[],
    );
}

#[test]
fn an_unknown_account_is_kept_counted_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::create_dir(dir.join("rosters")).unwrap();
    std::fs::write(dir.join("rosters/users.csv"), "user_id,name,status\nu1,One,active\n").unwrap();
    let stranger = access("s", NOON).replace("u1", "stranger");
    std::fs::write(dir.join("in.jsonl"), [access("a", NOON), stranger].join("\n")).unwrap();
    let output = phiwatch(dir).args(["scan", "--rosters", "rosters", "in.jsonl"]).answer().unwrap();
    check(&output, 0, &["2 events, 0 duplicates, 0 rejects"]);
    let alerts: Vec<Value> =
        String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!alerts.is_empty());
    for alert in &alerts {
        assert_eq!(
            (alert["detection_id"].as_str(), alert["subject"]["id"].as_str()),
            (Some("account.unknown"), Some("stranger"))
        );
    }
}

#[test]
fn rosters_with_bad_rows_are_named_line_by_line() {
    for (text, problem) in [
        ("user_id,name\nu1,A\nu1,B\n", "users.csv:3: overlaps an earlier row of the same key; the row is refused"),
        (
            "user_id,valid_from,valid_to\nu1,2026-01-01,2026-02-01\nu1,2026-01-15,\n",
            "users.csv:3: overlaps an earlier row of the same key; the row is refused",
        ),
        (
            "user_id,status\nu1,retired\nu2,active\n",
            "users.csv:2: `status` is not active, leave, disabled or terminated; the row is refused",
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        std::fs::create_dir(dir.join("rosters")).unwrap();
        std::fs::write(dir.join("rosters/users.csv"), text).unwrap();
        std::fs::write(dir.join("phiwatch.toml"), "[rosters]\ndir = \"rosters\"\n").unwrap();
        std::fs::write(dir.join("in.jsonl"), access("a", NOON)).unwrap();
        check(&phiwatch(dir).args(["check", "--config", "phiwatch.toml"]).answer().unwrap(), 2, &[problem]);
        let scan = phiwatch(dir).args(["scan", "--config", "phiwatch.toml", "in.jsonl"]).answer().unwrap();
        check(&scan, 0, &[problem, "1 events"]);
    }
}

#[test]
fn a_roster_folder_that_is_named_has_to_know_somebody() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::create_dir(dir.join("rosters")).unwrap();
    std::fs::write(dir.join("in.jsonl"), access("a", NOON)).unwrap();
    let scan = || phiwatch(dir).args(["scan", "--rosters", "rosters", "in.jsonl"]).answer().unwrap();
    check(&scan(), 2, &["rosters: the roster folder holds no users.csv with a usable row"]);
    std::fs::write(dir.join("rosters/users.csv"), "user_id,status\nu1,retired\n").unwrap();
    check(&scan(), 2, &["rosters/users.csv:2", "no users.csv with a usable row"]);
    std::fs::remove_dir_all(dir.join("rosters")).unwrap();
    check(&scan(), 2, &["the folder rosters does not exist"]);
    // Nothing is made of a history where the scan cannot begin.
    let kept = |rosters: &str, input: &str| {
        let arguments = ["scan", "--rosters", rosters, "--history", "history", input];
        phiwatch(dir).args(arguments).answer().unwrap()
    };
    check(&kept("rosters", "in.jsonl"), 2, &["the folder rosters does not exist"]);
    std::fs::create_dir(dir.join("rosters")).unwrap();
    std::fs::write(dir.join("rosters/users.csv"), "user_id,status\nu1,active\n").unwrap();
    check(&kept("rosters", "out.jsonl"), 1, &["out.jsonl: No such file"]);
    for left in ["history", "history.key", "history.state"] {
        assert!(!dir.join(left).exists(), "{left} was made");
    }
    check(&kept("rosters", "in.jsonl"), 0, &["1 events"]);
}

#[test]
fn every_problem_of_the_settings_is_named_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let settings = "[budget]\nper_1000 = 2\n[rosters]\ndir = \"none\"\n[[channels]]\nkind = \"file\"\npaht = \"x\"\n";
    std::fs::write(dir.join("phiwatch.toml"), settings).unwrap();
    let said = phiwatch(dir).args(["check", "--config", "phiwatch.toml"]).answer().unwrap();
    let words = [
        "phiwatch.toml:2: unknown key `per_1000` in budget; do you mean `per_1000_users_per_day`?",
        "phiwatch.toml:5: `path` is missing in channels",
        "phiwatch.toml:7: unknown key `paht` in channels; do you mean `path`?",
        "none: the folder none does not exist",
        "4 problems",
    ];
    check(&said, 2, &words);
}

#[test]
fn decode_keeps_what_cannot_be_used() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let bad = record(r#""event_id":"a2","actor":{"id":"u1"},"activity":"read""#);
    std::fs::write(dir.join("in.jsonl"), [access("a", NOON), bad.clone(), bad[..30].to_owned()].join("\n")).unwrap();
    let output = phiwatch(dir).args(["decode", "--rejects", "rejects.jsonl", "in.jsonl"]).answer().unwrap();
    assert_eq!(done(&output, "decode").lines().count(), 1);
    let rejects = std::fs::read_to_string(dir.join("rejects.jsonl")).unwrap();
    let reasons: Vec<Value> =
        rejects.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["reason"].clone()).collect();
    assert_eq!(reasons, ["missing_field", "truncated"]);
    let none = phiwatch(dir).args(["decode", "none.jsonl"]).answer().unwrap();
    check(&none, 1, &["none.jsonl: cannot be opened"]);
}

/// A hash of everything below a folder but the self-audit, which notes the attempt.
fn fingerprint(dir: &Path) -> Vec<u8> {
    let mut paths: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    // The self-audit notes each question, one that was refused too, and its head goes with it.
    paths.retain(|path| !path.ends_with("audit.jsonl") && !path.ends_with("audit.head"));
    paths.sort();
    let mut hash = Sha256::new();
    for path in paths {
        hash.update(path.to_string_lossy().as_bytes());
        hash.update(if path.is_dir() { fingerprint(&path) } else { std::fs::read(&path).unwrap() });
    }
    hash.finalize().to_vec()
}

/// A history that cannot be used is left as it is, and is as good as before once the cause is gone.
/// The settings know nothing of the history that the command line names.
#[test]
fn a_history_that_is_named_holds_no_key_and_no_state() {
    for (settings, words) in [
        ("[keys]\nfile = \"h/key\"\n", "h/key: the key lies inside the history"),
        ("[state]\ndir = \"x/../h/state\"\n", "h/state: the state folder lies inside the history"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        std::fs::write(dir.join("in.jsonl"), access("a", NOON)).unwrap();
        std::fs::write(dir.join("phiwatch.toml"), settings).unwrap();
        let scan = ["scan", "--config", "phiwatch.toml", "--history", "h", "in.jsonl"];
        check(&phiwatch(dir).args(scan).answer().unwrap(), 2, &[words]);
        assert!(!dir.join("h").exists(), "nothing was made");
    }
}

#[test]
fn histories_that_cannot_be_used_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::write(dir.join("in.jsonl"), access("a", NOON)).unwrap();
    std::fs::write(dir.join("more.jsonl"), access("b", NOON)).unwrap();
    let scan = |input: &str| phiwatch(dir).args(["scan", "--history", "history", input]).answer().unwrap();
    done(&scan("in.jsonl"), "scan");
    // The key of another history.
    done(&phiwatch(dir).args(["scan", "--history", "other", "in.jsonl"]).answer().unwrap(), "scan");
    let form = std::fs::read_to_string(dir.join("history/history.json")).unwrap();
    let key = std::fs::read_to_string(dir.join("history.key")).unwrap();
    let other_key = std::fs::read_to_string(dir.join("other.key")).unwrap();
    let cases: [(&str, &str, String, &[&str]); 7] = [
        (
            "another version",
            "history/history.json",
            form.replace("history/2", "history/9"),
            &["is a history of another version", "phiwatch.history/9", "this program reads phiwatch.history/2"],
        ),
        ("half a form", "history/history.json", form[..form.len() / 2].to_owned(), &["history.json is damaged"]),
        ("a wrong key", "history.key", other_key, &["this key does not open this history"]),
        ("no key in the file", "history.key", "hello\n".to_owned(), &["history.key is not a key file"]),
        ("a key for everybody", "history.key", key.clone(), &["can be read by others (mode 644); set it to 600"]),
        ("a damaged keyring", "history/keyring.json", "{".to_owned(), &["keyring.json", "put it back from the backup"]),
        ("a lost keyring", "history/keyring.json", String::new(), &["keyring.json is missing", "put it back"]),
    ];
    for (name, file, text, words) in cases {
        let path = dir.join(file);
        let good = std::fs::read(&path).unwrap();
        match name {
            "a lost keyring" => std::fs::remove_file(&path).unwrap(),
            _ => std::fs::write(&path, text).unwrap(),
        }
        let mode = if name == "a key for everybody" { 0o644 } else { 0o600 };
        if path.exists() {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        }
        let before = (fingerprint(&dir.join("history")), fingerprint(&dir.join("history.state")));
        check(&scan("more.jsonl"), 1, words);
        check(&phiwatch(dir).args(["ask", "--history", "history", "sources"]).answer().unwrap(), 1, words);
        let after = (fingerprint(&dir.join("history")), fingerprint(&dir.join("history.state")));
        assert!(before == after, "{name}: nothing was changed");
        std::fs::write(&path, good).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    }
    check(&scan("more.jsonl"), 0, &["1 events"]);
    let counted = ["ask", "--history", "history", "--format", "csv", "sql", "SELECT count(*) AS n FROM events"];
    let output = phiwatch(dir).args(counted).answer().unwrap();
    assert_eq!(done(&output, "ask").lines().last(), Some("2"));
}

/// A run on a disk that takes no more: every file may grow to a few kilobytes only. It waits for room where waiting may help, and is then
/// asked to stop. Gives back its exit code and what it said.
fn on_a_full_disk(dir: &Path, kilobytes: usize, words: &[&str]) -> (Option<i32>, String) {
    let script = format!("trap '' XFSZ; ulimit -f {kilobytes}; exec \"$0\" \"$@\"");
    let mut command = Command::new("bash");
    command.current_dir(dir).args(["-c", &script, env!("CARGO_BIN_EXE_phiwatch")]).args(words);
    let mut run = command.stdin(Stdio::null()).stderr(Stdio::piped()).start().unwrap();
    let (mut said, mut asked) = (String::new(), false);
    for line in BufReader::new(run.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        if line.contains("nothing is read until it can") && !asked {
            asked = Command::new("kill").arg(run.id().to_string()).finish().unwrap().success();
        }
        said += &(line + "\n");
    }
    (run.wait().unwrap().code(), said)
}

#[test]
fn a_full_disk_stops_with_a_sentence_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 1, 1).unwrap();
    let time = |n: usize| format!("2026-03-02T{:02}:{:02}:{:02}Z", 8 + n / 3_600, n / 60 % 60, n % 60);
    let lines: Vec<String> = (0..4_000).map(|n| access(&format!("e{n}"), &time(n))).collect();
    produce(&to(&cluster.bootstrap_servers()), "t", 0, lines.iter().cloned());
    let settings = format!(
        "[kafka]\nbrokers = [{:?}]\ntopics = [\"t\"]\nbatch = {{ rows = 500 }}\n[history]\ndir = \"history\"\nsegment_rows = 500\n\
         [[channels]]\nkind = \"file\"\npath = \"alerts.jsonl\"\n",
        cluster.bootstrap_servers()
    );
    std::fs::write(dir.join("phiwatch.toml"), settings).unwrap();
    let run = ["run", "--config", "phiwatch.toml", "--until-end"];
    let mut full = 0;
    for kilobytes in [1, 4, 16, 40, 70, 100] {
        let (code, said) = on_a_full_disk(dir, kilobytes, &run);
        if code == Some(1) {
            full += 1;
            assert!(said.contains("File too large") || said.contains("disk I/O error"), "{kilobytes} KiB: {said}");
        } else {
            assert_eq!(code, Some(0), "{kilobytes} KiB: {said}");
        }
        assert!(said.lines().count() < 20, "{kilobytes} KiB: {said}");
    }
    assert!(full >= 3, "{full} runs met a full disk");
    done(&phiwatch(dir).args(run).answer().unwrap(), "run");
    let counted =
        ask(dir, "SELECT sum(events) AS events, sum(events + duplicates + rejects + gap) AS all_of_them FROM spans");
    assert_eq!((&counted["events"], &counted["all_of_them"]), (&Value::from(4_000), &Value::from(4_000)));
    let rows = ask(dir, "SELECT count(*) AS n, count(DISTINCT event_id) AS once FROM events");
    assert_eq!((&rows["n"], &rows["once"]), (&Value::from(4_000), &Value::from(4_000)));
}

#[test]
fn alerts_that_cannot_be_written_stop_a_scan() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::create_dir(dir.join("rosters")).unwrap();
    std::fs::write(dir.join("rosters/users.csv"), "user_id\nsomebody-else\n").unwrap();
    std::fs::write(dir.join("in.jsonl"), access("a", NOON)).unwrap();
    let scan =
        phiwatch(dir).args(["scan", "--rosters", "rosters", "--alerts", "/dev/full", "in.jsonl"]).answer().unwrap();
    check(&scan, 1, &["alerts cannot be written", "No space left on device"]);
}

/// Settings of a run on real Kafka.
fn settle_in(dir: &Path, brokers: &str, topics: &[&str]) {
    let settings = format!(
        "[kafka]\nbrokers = [{brokers:?}]\ntopics = {topics:?}\nends_millis = 200\nanswer_millis = 2000\n\
         [history]\ndir = \"history\"\nsegment_age = 1\n"
    );
    std::fs::write(dir.join("phiwatch.toml"), settings).unwrap();
}

#[test]
#[ignore = "needs Apache Kafka: see tests/kafka/start"]
fn a_topic_that_does_not_exist() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let missing = unique("missing");
    settle_in(dir, &brokers(), &[&missing]);
    let sentence = format!("topic {missing} does not exist");
    let online = phiwatch(dir).args(["check", "--config", "phiwatch.toml", "--online"]).answer().unwrap();
    check(&online, 2, &[&sentence]);
    let run = phiwatch(dir).args(["run", "--config", "phiwatch.toml", "--until-end"]).answer().unwrap();
    check(&run, 1, &[&sentence]);
    // The daemon waits for it, says so once, and reads it when it is made.
    let run = Watched::start(dir, false);
    std::thread::sleep(Duration::from_secs(12));
    Admin::new(&brokers()).create(&missing, 1);
    produce(&to(&brokers()), &missing, 0, [access("a", NOON)]);
    run.until("snapshot", 1);
    let said = run.stop();
    let lines = said.iter().filter(|line| line.contains(&sentence)).count();
    assert_eq!(lines, 1, "{said:#?}");
}

#[test]
#[ignore = "needs Apache Kafka: see tests/kafka/start"]
fn a_topic_made_again_under_its_name_is_not_taken_for_the_old_one() {
    let admin = Admin::new(&brokers());
    // Shorter than the one before, as long, and longer: offsets alone tell only the first.
    for second in [2, 3, 5] {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let topic = unique("again");
        settle_in(dir, &brokers(), &[&topic]);
        let fill = |name: &str, count: usize| {
            admin.create(&topic, 1);
            produce(&to(&brokers()), &topic, 0, (0..count).map(|n| access(&format!("{name}{n}"), NOON)));
        };
        fill("old", 3);
        let run = || phiwatch(dir).args(["run", "--config", "phiwatch.toml", "--until-end"]).answer().unwrap();
        check(&run(), 0, &["3 events, 0 duplicates, 0 rejects"]);
        admin.delete(&topic);
        std::thread::sleep(Duration::from_secs(1));
        fill("new", second);
        check(&run(), 1, &["the topic was made again", &topic]);
        let counted = ask(dir, "SELECT count(*) AS n FROM events");
        assert_eq!(counted["n"], 3, "what is on record stays, and nothing of the other log is taken up");
    }
}

#[test]
#[ignore = "needs Apache Kafka: see tests/kafka/start"]
fn a_broker_that_goes_away_for_a_minute() {
    let (node, brokers) = Node::start();
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    settle_in(dir, &brokers, &["t"]);
    Admin::new(&brokers).create("t", 2);
    let fill = |name: &str| {
        for partition in 0..2 {
            let records = (0..500).map(|n| access(&format!("{name}-{partition}-{n}"), NOON));
            produce(&to(&brokers), "t", partition, records);
        }
    };
    fill("before");
    let run = Watched::start(dir, false);
    run.until("snapshot", 1_000);
    let gone = Instant::now();
    node.order("kill");
    std::thread::sleep(Duration::from_secs(60).saturating_sub(gone.elapsed()));
    node.order("up");
    fill("after");
    run.until("snapshot", 2_000);
    let said = run.stop();
    let about = |line: &&String| line.contains("refused") || line.contains("does not answer");
    let told: Vec<&String> = said.iter().filter(about).collect();
    // Told when it begins, and once more where more than a minute has passed.
    assert!((1..=2).contains(&told.len()), "{told:#?}");
    assert!(said.len() < 20, "{said:#?}");
    assert!(said.iter().any(|line| line.contains("the trouble is over")), "{said:#?}");
    let counted = ask(dir, "SELECT sum(events) AS events, sum(gap) AS gap FROM spans");
    assert_eq!((&counted["events"], &counted["gap"]), (&Value::from(2_000), &Value::from(0)));
}
