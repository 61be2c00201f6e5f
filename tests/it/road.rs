//! The whole program, as a user starts it: the same hospital through files, through the demo and through Apache Kafka, killed at random,
//! gives the same settled alerts, and every record ends in exactly one counted outcome.

use std::path::Path;
use std::time::Duration;

use phiwatch::event::Time;
use phiwatch::event::time::HOUR;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::kafka::{produce, to, unique};
use crate::kill::{Kills, Watched};
use crate::program::{Hospital, ask, check_same, check_sums, deal, done, phiwatch, settings, settled, shift};
use crate::real_kafka::{brokers, make_topic, sasl_client};
use crate::start::Start;

#[test]
fn the_demo_tells_what_scan_tells() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let output = phiwatch(dir).args(["demo", "--users", "40", "--days", "30", "--seed", "5", "--out", "h"]).answer();
    let shown = done(&output.unwrap(), "demo");
    assert!(shown.contains("Next:"), "{shown}");
    let found = settled(&dir.join("h/alerts.jsonl"));
    assert!(!found.is_empty());
    let simulate = ["simulate", "--seed", "5", "--users", "40", "--days", "30", "--out", "s"];
    done(&phiwatch(dir).args(simulate).answer().unwrap(), "simulate");
    let scan = ["scan", "--rosters", "s/rosters", "--alerts", "scan.jsonl", "s/events.jsonl.zst"];
    done(&phiwatch(dir).args(scan).answer().unwrap(), "scan");
    check_same(&settled(&dir.join("scan.jsonl")), &found);
}

/// At least this many deaths, and this many of either kind that the log has to name.
const DEATHS: (usize, usize) = (20, 3);

/// A topic of its own with settings to read it in `dir`.
pub fn prepare(dir: &Path, name: &str, partitions: i32) -> (&'static Hospital, String) {
    let hospital = Hospital::busy();
    let topic = unique(&name.replace(' ', "-"));
    make_topic(&brokers(), &topic, partitions);
    std::fs::write(dir.join("phiwatch.toml"), settings(hospital, &brokers(), &topic)).unwrap();
    (hospital, topic)
}

/// Nothing is lost and nothing is doubled, and what is told is what `scan` tells.
pub fn check_whole(dir: &Path, hospital: &Hospital) {
    check_sums(dir, hospital.lines.len());
    // What comes later than `settle` is outside of the promise: a filling must not hold any.
    assert_eq!(ask(dir, "SELECT count(*) AS n FROM events WHERE flags LIKE '%backfill%'")["n"], 0);
    check_same(&hospital.expected, &settled(&dir.join("alerts.jsonl")));
}

/// Everything is in the topic; `run --until-end` dies again and again and then comes to the end.
fn check_killed(name: &str, partitions: i32, seed: u64, fill: impl FnOnce(&Hospital, &str)) {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (hospital, topic) = prepare(dir, name, partitions);
    fill(hospital, &topic);
    let total = hospital.lines.len() as i64;
    let mut kills = Kills::new(seed + shift());
    kills.strike(dir, true, DEATHS, total * 9 / 10, total);
    kills.check(name, DEATHS.0, DEATHS.1);
    Watched::start(dir, true).finish();
    check_whole(dir, hospital);
}

#[test]
#[ignore = "needs Apache Kafka: see tests/kafka/start"]
fn killed_at_random_and_nothing_is_lost_or_doubled() {
    check_killed("three partitions", 3, 20, |hospital, topic| deal(&brokers(), topic, 3, hospital.lines.iter()));
}

#[test]
#[ignore = "needs Apache Kafka: see tests/kafka/start"]
fn killed_on_one_partition() {
    check_killed("one partition", 1, 21, |hospital, topic| deal(&brokers(), topic, 1, hospital.lines.iter()));
}

/// The records come from a client without encryption; the program reads them over SASL_SSL, with the password in a file.
#[test]
#[ignore = "needs Apache Kafka: see tests/kafka/start"]
fn read_over_sasl_ssl() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (hospital, topic) = prepare(dir, "sasl-ssl", 3);
    deal(&brokers(), &topic, 3, hospital.lines.iter());
    let trust = |ca: &str| {
        let (address, client) = sasl_client("password", ca);
        let text = settings(hospital, &address, &topic).replace("batch = ", &format!("{client}batch = "));
        std::fs::write(dir.join("phiwatch.toml"), text).unwrap();
    };
    trust("ca.pem");
    Watched::start(dir, true).finish();
    check_whole(dir, hospital);
    // With another certificate in its hands it reads nothing, and says why.
    trust("other-ca.pem");
    let output = phiwatch(dir).args(["check", "--online", "--config", "phiwatch.toml"]).answer().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).to_lowercase()).concat();
    assert!(said.contains("certificate verify failed"), "{said}");
    assert_eq!(output.status.code(), Some(2));
}

/// The first third of all time lies in the first partition, the last third in the last one.
#[test]
#[ignore = "needs Apache Kafka: see tests/kafka/start"]
fn killed_with_partitions_filled_one_after_the_other() {
    check_killed("one after the other", 3, 22, |hospital, topic| {
        for (partition, third) in hospital.lines.chunks(hospital.lines.len().div_ceil(3)).enumerate() {
            produce(&to(&brokers()), topic, partition as i32, third.iter().cloned());
        }
    });
}

/// One record in fifty comes 2 to 20 hours after its turn: with what the hospital itself is late by, less than `settle`.
#[test]
#[ignore = "needs Apache Kafka: see tests/kafka/start"]
fn killed_with_records_hours_late() {
    check_killed("two per cent late", 3, 23, |hospital, topic| {
        let mut rng = ChaCha8Rng::seed_from_u64(2 + shift());
        let (mut newest, mut late) = (Time(i64::MIN), 0);
        let turn = |line: &String| {
            let record: serde_json::Value = serde_json::from_str(line).unwrap();
            newest = newest.max(Time::parse(record["time"].as_str().unwrap()).unwrap());
            if rng.random_range(0..50) > 0 {
                return newest;
            }
            late += 1;
            newest.plus(rng.random_range(2 * HOUR..20 * HOUR))
        };
        let turns: Vec<Time> = hospital.lines.iter().map(turn).collect();
        assert!(late > hospital.lines.len() / 60, "{late} are late");
        let mut order: Vec<usize> = (0..hospital.lines.len()).collect();
        order.sort_by_key(|index| turns[*index]);
        deal(&brokers(), topic, 3, order.iter().map(|index| &hospital.lines[*index]));
    });
}

/// The producer stops for two minutes in the middle: every partition becomes idle, and then all of the rest comes at once.
#[test]
#[ignore = "needs Apache Kafka: see tests/kafka/start"]
fn killed_around_a_pause_of_two_minutes() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (hospital, topic) = prepare(dir, "pause", 3);
    let (total, half) = (hospital.lines.len(), hospital.lines.len() / 6 * 3);
    deal(&brokers(), &topic, 3, hospital.lines[..half].iter());
    let mut kills = Kills::new(24 + shift());
    kills.strike(dir, false, (DEATHS.0 / 2, 1), half as i64 * 9 / 10, half as i64);
    let run = Watched::start(dir, false);
    run.until("snapshot", half as i64);
    // Idle after a minute; the second one is for what idleness might bring about.
    std::thread::sleep(Duration::from_secs(120));
    deal(&brokers(), &topic, 3, hospital.lines[half..].iter());
    run.until("snapshot", half as i64 + 1);
    run.kill();
    kills.strike(dir, false, DEATHS, total as i64 * 9 / 10, total as i64);
    kills.check("a pause", DEATHS.0, DEATHS.1);
    Watched::start(dir, true).finish();
    check_whole(dir, hospital);
}
