//! What tests of the built program share: starting it, reading its alerts and answers, and the hospital that they are about.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use phiwatch::sim::Plan;
use serde_json::Value;

use crate::kafka::{produce, to};
use crate::start::Start;

/// Settled alerts by id, each as the line that stands in the file: the newest where there are several.
pub type Settled = BTreeMap<String, String>;

/// What the seeds of hospitals and kills are shifted by: nothing, or what `PHIWATCH_SEED` says (see `.ci/long`).
pub fn shift() -> u64 {
    std::env::var("PHIWATCH_SEED").map_or(0, |text| text.parse().expect("PHIWATCH_SEED is a number"))
}

/// The program, at work in `dir`, with nothing on its standard input.
pub fn phiwatch(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_phiwatch"));
    command.current_dir(dir).stdin(Stdio::null());
    command
}

/// Its standard output, where it ended well.
pub fn done(output: &Output, what: &str) -> String {
    assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The settled alerts in a file of alerts.
pub fn settled(path: &Path) -> Settled {
    let text = std::fs::read_to_string(path).unwrap();
    let alerts = text.lines().map(|line| (serde_json::from_str::<Value>(line).unwrap(), line));
    alerts
        .filter(|(alert, _)| alert["settled"] == true)
        .map(|(alert, line)| (alert["alert_id"].as_str().unwrap().to_owned(), line.to_owned()))
        .collect()
}

/// The alerts in a file that were told before they settled, by id.
pub fn crossed(path: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let alerts = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    alerts.filter(|alert| alert["settled"] == false).map(|alert| alert["alert_id"].to_string()).collect()
}

/// The same alerts, byte for byte.
pub fn check_same(expected: &Settled, found: &Settled) {
    let ids = |alerts: &Settled| alerts.keys().cloned().collect::<BTreeSet<_>>();
    let (expected_ids, found_ids) = (ids(expected), ids(found));
    let missing: Vec<_> = expected_ids.difference(&found_ids).map(|id| &expected[id]).collect();
    let more: Vec<_> = found_ids.difference(&expected_ids).map(|id| &found[id]).collect();
    assert!(missing.is_empty() && more.is_empty(), "missing: {missing:#?}\nmore: {more:#?}");
    for (id, alert) in expected {
        assert_eq!(alert, &found[id]);
    }
}

/// The first row of an answer.
pub fn ask(dir: &Path, sql: &str) -> Value {
    let output = phiwatch(dir).args(["ask", "--config", "phiwatch.toml", "--format", "json", "sql", sql]).answer();
    let answer: Value = serde_json::from_str(&done(&output.unwrap(), sql)).unwrap();
    answer["rows"][0].clone()
}

/// A hospital that many tests share: it is simulated and scanned once.
pub struct Hospital {
    /// Where its files are: `events.jsonl.zst` and `rosters`.
    pub dir: PathBuf,
    /// Its records in order of arrival.
    pub lines: Vec<String>,
    /// How many of them `scan` counts as events.
    pub events: u64,
    /// What `scan` tells of them in the end.
    pub expected: Settled,
    /// The alerts that it told before their day settled, by id.
    pub crossed: BTreeSet<String>,
}

impl Hospital {
    /// More than 200,000 records with many planted misuses.
    pub fn busy() -> &'static Hospital {
        static BUSY: OnceLock<Hospital> = OnceLock::new();
        BUSY.get_or_init(|| {
            let hospital = Hospital::new("busy", &Plan { misuses: 6.0, ..Plan::new(5 + shift(), 80, 56) });
            assert!(hospital.lines.len() > 200_000, "{} records", hospital.lines.len());
            let detections: Vec<Value> =
                hospital.expected.values().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect();
            let mut families: BTreeMap<&str, usize> = BTreeMap::new();
            for alert in &detections {
                let family = alert["detection_id"].as_str().and_then(|id| id.split('.').next()).unwrap();
                *families.entry(family).or_default() += 1;
            }
            println!("scan tells {} settled alerts: {families:?}", detections.len());
            assert!(detections.len() >= 50, "{families:?}");
            for family in ["mass-query", "after-hours", "dormant", "account"] {
                assert!(families.contains_key(family), "{family}: {families:?}");
            }
            hospital
        })
    }

    /// A small clinic over a year and three weeks.
    pub fn long() -> &'static Hospital {
        static LONG: OnceLock<Hospital> = OnceLock::new();
        LONG.get_or_init(|| Hospital::new("long", &Plan { misuses: 6.0, ..Plan::new(7 + shift(), 14, 386) }))
    }

    fn new(name: &str, plan: &Plan) -> Hospital {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("hospital-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        phiwatch::sim::write(plan, &dir, |_| {}).unwrap();
        let packed = std::fs::File::open(dir.join("events.jsonl.zst")).unwrap();
        let text = String::from_utf8(zstd::decode_all(packed).unwrap()).unwrap();
        let lines = text.lines().map(str::to_owned).collect();
        std::fs::write(dir.join("scan.toml"), ENGINE).unwrap();
        let scan = ["scan", "--config", "scan.toml", "--rosters", "rosters", "--alerts", "scan.jsonl"];
        let output = phiwatch(&dir).args(scan).arg("events.jsonl.zst").answer();
        let output = output.unwrap();
        done(&output, "scan");
        let tally = String::from_utf8_lossy(&output.stderr);
        let events = tally.split(" events, ").next().and_then(|n| n.rsplit('\n').next()).unwrap().parse().unwrap();
        let expected = settled(&dir.join("scan.jsonl"));
        let crossed = crossed(&dir.join("scan.jsonl"));
        Hospital { dir, lines, events, expected, crossed }
    }
}

/// What the engine reads of the settings: a budget that so many misuses fit into.
const ENGINE: &str = "[budget]\nper_1000_users_per_day = 4.0\n";

/// Settings of `run` on a topic, alerts to `alerts.jsonl`, with segments that are small enough for many commits.
pub fn settings(hospital: &Hospital, brokers: &str, topic: &str) -> String {
    format!(
        "{ENGINE}[rosters]\ndir = {:?}\n[kafka]\nbrokers = [{brokers:?}]\ntopics = [{topic:?}]\nbatch = {{ rows = 2000 }}\n\
         [history]\ndir = \"history\"\nsegment_rows = 4000\nsegment_age = 2\n[[channels]]\nkind = \"file\"\npath = \"alerts.jsonl\"\n",
        hospital.dir.join("rosters")
    )
}

/// Nothing is lost and nothing is doubled: the sums over all records that were produced.
pub fn check_sums(dir: &Path, records: usize) {
    let topic = "WHERE topic IS NOT NULL";
    let all = "sum(events + duplicates + rejects + gap) AS all_of_them, sum(gap) AS gap";
    let counted = ask(dir, &format!("SELECT {all} FROM spans {topic}"));
    assert_eq!((&counted["all_of_them"], &counted["gap"]), (&Value::from(records), &Value::from(0)));
    let rows = ask(dir, "SELECT count(*) AS n, count(DISTINCT source || ' ' || event_id) AS once FROM events");
    assert_eq!(rows["n"], rows["once"], "no record is an event twice");
    let spans = ask(dir, "SELECT sum(events) AS events, sum(rejects) AS rejects FROM spans");
    assert_eq!(rows["n"], spans["events"]);
    assert_eq!(ask(dir, "SELECT count(*) AS n FROM rejects")["n"], spans["rejects"]);
}

/// Writes records to the partitions of a topic, the next of them to the next partition.
pub fn deal<'l>(brokers: &str, topic: &str, partitions: usize, lines: impl Iterator<Item = &'l String> + Clone) {
    for partition in 0..partitions {
        let own = lines.clone().skip(partition).step_by(partitions).cloned();
        produce(&to(brokers), topic, partition as i32, own);
    }
}
