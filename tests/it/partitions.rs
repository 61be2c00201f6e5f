//! Partitions that are stopped or hold time back, as an operator has them: what is said, what is decided, and what comes of it.

use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::mocking::MockCluster;
use serde_json::{Value, json};

use crate::kafka::{produce, to, unique};
use crate::operate::{Running, Site, access, refused};
use crate::program::{ask, done, phiwatch};
use crate::real_kafka::{Admin, brokers};
use crate::start::Start;

fn decide(dir: &Path, args: &[&str]) -> Output {
    let reason = ["--reason", "the cluster was restored", "--config", "phiwatch.toml"];
    phiwatch(dir).arg("partitions").args(args).args(reason).answer().unwrap()
}

fn records(running: &Running) -> f64 {
    running.samples("phiwatch_records_total").values().sum()
}

fn states(running: &Running, state: &str) -> usize {
    let samples = running.samples("phiwatch_partition_state");
    samples.iter().filter(|(labels, on)| labels.contains(&format!("state=\"{state}\"")) && **on == 1.0).count()
}

/// An answer with what it says of its own blindness.
fn answer(dir: &Path) -> Value {
    let words = ["ask", "--config", "phiwatch.toml", "--format", "json", "sources"];
    serde_json::from_str(&done(&phiwatch(dir).args(words).answer().unwrap(), "ask")).unwrap()
}

/// The first and the last offset that were read of each log, in order.
fn read(dir: &Path) -> Vec<(i64, i64)> {
    let sql = "SELECT position, CAST(min(\"from\") AS BIGINT) f, CAST(max(\"to\") AS BIGINT) t FROM spans GROUP BY position ORDER BY f, t";
    let words = ["ask", "--config", "phiwatch.toml", "--format", "json", "sql", sql];
    let found: Value = serde_json::from_str(&done(&phiwatch(dir).args(words).answer().unwrap(), "ask")).unwrap();
    let row = |row: &Value| (row["f"].as_i64().unwrap(), row["t"].as_i64().unwrap());
    found["rows"].as_array().unwrap().iter().map(row).collect()
}

/// The site has moved to a cluster of the same name for everything; what was read before is not there.
fn move_on(site: &mut Site) {
    site.cluster = MockCluster::new(1).unwrap();
    site.cluster.create_topic("ehr", 2, 1).unwrap();
    site.settings("");
}

#[test]
fn a_partition_that_was_stopped_is_read_again_by_command_while_run_runs() {
    let mut site = Site::new();
    site.produce(0, (0..10).map(|n| access(n, "u1")));
    site.produce(1, (10..20).map(|n| access(n, "u1")));
    let running = site.run();
    running.until("the first records", || records(&running) == 20.0);
    refused(&decide(site.dir.path(), &["resume", "ehr"]), "nothing of ehr is stopped");
    running.stop();
    move_on(&mut site);
    // Some of it was read before.
    site.produce(0, (5..25).map(|n| access(n, "u1")));
    site.produce(1, (25..30).map(|n| access(n, "u1")));
    let running = site.run();
    running.until("the stop", || states(&running, "stopped") == 2);
    let stopped = answer(site.dir.path());
    let unread = stopped["unread"].as_array().unwrap();
    assert_eq!(unread.iter().map(|one| &one["stands"]).collect::<Vec<_>>(), [&json!("stopped"), &json!("stopped")]);
    running.until("the health", || running.health().0 == 503);
    assert_eq!(records(&running), 20.0, "nothing is read until a person decides");
    refused(&decide(site.dir.path(), &["resume", "ehr", "1"]), "as a whole");
    refused(&decide(site.dir.path(), &["resume", "vpn"]), "nothing of vpn is stopped");
    let said = done(&decide(site.dir.path(), &["resume", "ehr"]), "resume");
    assert_eq!(said.matches("is read again, from offset 0 of the log that is there now").count(), 2, "{said}");
    running.until("the new log", || records(&running) == 45.0);
    running.until("the health", || running.health().1["status"] != "failed");
    assert_eq!(states(&running, "stopped"), 0);
    refused(&decide(site.dir.path(), &["resume", "ehr"]), "nothing of ehr is stopped");
    running.stop();
    // The decision outlives the process, and so do the positions.
    site.produce(1, [access(31, "u1")]);
    let running = site.run();
    running.until("the next record", || records(&running) == 46.0);
    assert_eq!(states(&running, "stopped"), 0);
    running.stop();
    assert_eq!(read(site.dir.path()), [(0, 6), (0, 10), (0, 10), (0, 20)]);
    let counted = ask(site.dir.path(), "SELECT COUNT(*) n, COUNT(DISTINCT event_id) d FROM events");
    assert_eq!((counted["n"].as_i64(), counted["d"].as_i64()), (Some(31), Some(31)), "{counted}");
    let after = answer(site.dir.path());
    let gaps = after["gaps"].as_array().unwrap();
    assert!(after["unread"] == json!([]) && gaps.len() == 2, "{after}");
    assert!(gaps.iter().all(|gap| gap["records"] == Value::Null && gap["from"] == 10), "{gaps:?}");
    let told = std::fs::read_to_string(site.path("alerts.jsonl")).unwrap();
    assert!(told.contains("operator-stopped") && told.contains("operator-gap"), "{told}");
}

#[test]
fn a_partition_that_was_stopped_is_read_again_by_command_without_a_run() {
    let mut site = Site::new();
    site.produce(0, (0..10).map(|n| access(n, "u1")));
    let running = site.run();
    running.until("the first records", || records(&running) == 10.0);
    running.stop();
    move_on(&mut site);
    site.produce(0, (40..43).map(|n| access(n, "u1")));
    // Up to an end that nobody may read to: it says so and fails.
    let until_end =
        || phiwatch(site.dir.path()).args(["run", "--until-end", "--config", "phiwatch.toml"]).answer().unwrap();
    refused(&until_end(), "not read to the end");
    refused(&decide(site.dir.path(), &["resume", "vpn"]), "nothing of vpn is stopped");
    let said = done(&decide(site.dir.path(), &["resume", "ehr"]), "resume");
    assert!(said.contains("ehr/0 is read again") && said.contains("from 10 on is a recorded gap"), "{said}");
    refused(&decide(site.dir.path(), &["resume", "ehr"]), "nothing of ehr is stopped");
    done(&until_end(), "run");
    assert_eq!(read(site.dir.path()), [(0, 3), (0, 10)]);
    let acts = std::fs::read_to_string(site.path("history.state/audit.jsonl")).unwrap();
    assert!(acts.contains("\"partitions resume\""), "{acts}");
}

/// Changes a word of the settings.
fn also(site: &Site, before: &str, after: &str) {
    let text = std::fs::read_to_string(site.path("phiwatch.toml")).unwrap();
    assert!(text.contains(before));
    std::fs::write(site.path("phiwatch.toml"), text.replace(before, after)).unwrap();
}

#[test]
fn where_reading_began_is_on_record_although_nothing_came() {
    let site = Site::new();
    also(&site, "ends_millis = 100", "ends_millis = 100\nstart = \"latest\"");
    site.produce(0, (0..3).map(|n| access(n, "u1")));
    site.produce(1, (3..6).map(|n| access(n, "u1")));
    let running = site.run();
    running.until("the beginning", || running.said("it is new and is read from here") == 2);
    site.produce(0, [access(10, "u1")]);
    running.until("the first record", || records(&running) == 1.0);
    running.stop();
    // What comes to the quiet one meanwhile is neither left out nor read with what the site did not want.
    site.produce(1, [access(11, "u1"), access(12, "u1")]);
    let running = site.run();
    running.until("the others", || records(&running) == 3.0);
    running.stop();
    assert_eq!(read(site.dir.path()), [(3, 4), (3, 5)]);
}

#[test]
fn a_topic_that_nobody_leads_at_the_start_goes_on_where_it_was_left() {
    let site = Site::new();
    site.cluster.create_topic("vpn", 1, 1).unwrap();
    also(&site, "[\"ehr\"]", "[\"ehr\", \"vpn\"]");
    let of_vpn = |numbers: std::ops::Range<u32>| {
        produce(&to(&site.cluster.bootstrap_servers()), "vpn", 0, numbers.map(|n| access(n, "u1")))
    };
    site.produce(0, (0..10).map(|n| access(n, "u1")));
    of_vpn(10..20);
    let running = site.run();
    running.until("the first records", || records(&running) == 20.0);
    running.stop();
    site.cluster.partition_leader("vpn", 0, None).unwrap();
    site.produce(0, [access(20, "u1")]);
    let running = site.run();
    running.until("the other topic", || records(&running) == 21.0);
    assert_eq!(states(&running, "stopped"), 0);
    site.cluster.partition_leader("vpn", 0, Some(1)).unwrap();
    of_vpn(21..26);
    running.until("the rest", || records(&running) == 26.0);
    running.stop();
    assert_eq!(read(site.dir.path()), [(0, 11), (0, 15)]);
    let counted = ask(site.dir.path(), "SELECT COUNT(*) n, COUNT(DISTINCT event_id) d FROM events");
    assert_eq!((counted["n"].as_i64(), counted["d"].as_i64()), (Some(26), Some(26)), "{counted}");
}

#[test]
fn a_steady_feed_is_read_on_although_every_answer_about_its_end_is_old() {
    let site = Site::new();
    site.produce(0, [on(2, 0)]);
    let running = site.run();
    running.until("the first record", || records(&running) == 1.0);
    let steady = (1..2_000).map(|n| {
        std::thread::sleep(Duration::from_millis(2));
        on(2, n)
    });
    site.produce(0, steady);
    running.until("all of it", || records(&running) == 2_000.0);
    assert_eq!(states(&running, "stopped"), 0);
    running.stop();
}

/// An access on a day of March, so that one partition can lag days behind another.
fn on(day: u32, n: u32) -> String {
    json!({"event_id": format!("d{day}-{n}"), "time": format!("2026-03-{day:02}T10:{:02}:{:02}Z", n / 60 % 60, n % 60), "source": "ehr",
           "actor": {"id": "u1"}, "activity": "read", "patients": ["p"]})
    .to_string()
}

/// One partition is eight days behind and gets a record every second, as much later as the one before, so that it is never idle and
/// always as far behind; the other waits for it.
fn while_one_dribbles(site: &Site, then: impl FnOnce(&Running)) {
    site.produce(1, (2..11).flat_map(|day| (0..20).map(move |n| on(day, n))));
    site.produce(0, [on(1, 0)]);
    let (over, brokers) = (AtomicBool::new(false), site.cluster.bootstrap_servers());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1.. {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                produce(&to(&brokers), "ehr", 0, [on(1, n)]);
                std::thread::sleep(Duration::from_secs(1));
            }
        });
        let running = site.run();
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| then(&running)));
        over.store(true, Ordering::Relaxed);
        match done {
            Ok(()) => running.stop(),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    });
}

fn check_left_behind(running: &Running, dir: &Path) {
    running.until("the partition to be left", || states(running, "left") == 1);
    // What waited is taken up, and days settle.
    running.until("the others", || ask(dir, "SELECT COUNT(*) n FROM events WHERE \"partition\" = 1")["n"] == 180);
    running.until("backfill", || {
        ask(dir, "SELECT COUNT(*) n FROM events WHERE \"partition\" = 0 AND flags LIKE '%backfill%'")["n"].as_i64()
            > Some(2)
    });
    let unread = answer(dir)["unread"].clone();
    assert_eq!(
        (&unread[0]["origin"], &unread[0]["stands"], &unread[0]["to"]),
        (&json!("ehr/0"), &json!("left"), &Value::Null)
    );
}

#[test]
fn time_goes_on_without_a_partition_by_command_and_waits_for_it_again() {
    let site = Site::new();
    while_one_dribbles(&site, |running| {
        let dir = site.dir.path();
        running.until("the wait", || states(running, "paused") == 1);
        assert!(ask(dir, "SELECT COUNT(*) n FROM events WHERE \"partition\" = 1")["n"].as_i64() < Some(180));
        refused(&decide(dir, &["leave", "ehr", "7"]), "ehr/7 is not read");
        assert!(done(&decide(dir, &["leave", "ehr", "0"]), "leave").contains("time does not wait for ehr/0 any more"));
        refused(&decide(dir, &["leave", "ehr", "0"]), "already");
        check_left_behind(running, dir);
        assert!(done(&decide(dir, &["resume", "ehr", "0"]), "resume").contains("time waits for ehr/0 again"));
        running.until("the end of it", || states(running, "left") == 0);
    });
    assert_ne!(answer(site.dir.path())["unread"][0]["to"], Value::Null);
}

#[test]
fn time_goes_on_without_a_partition_by_the_settings_until_it_has_caught_up() {
    let site = Site::new();
    let text = std::fs::read_to_string(site.path("phiwatch.toml")).unwrap();
    std::fs::write(site.path("phiwatch.toml"), text.replace("[monitor]\n", "[monitor]\nleave_after = \"5s\"\n"))
        .unwrap();
    while_one_dribbles(&site, |running| {
        check_left_behind(running, site.dir.path());
        assert!(running.said("Time does not wait for ehr/0") > 0);
        site.produce(0, (0..40).map(|n| on(11, n)));
        running.until("it to catch up", || states(running, "left") == 0);
    });
    assert_ne!(answer(site.dir.path())["unread"][0]["to"], Value::Null);
}

#[test]
#[ignore = "needs Apache Kafka: see tests/kafka/start"]
fn a_topic_made_again_is_read_again_by_command() {
    let site = Site::new();
    let (topic, admin) = (unique("again"), Admin::new(&brokers()));
    admin.create(&topic, 2);
    let text = std::fs::read_to_string(site.path("phiwatch.toml")).unwrap();
    let text =
        text.replace(&site.cluster.bootstrap_servers(), &brokers()).replace("[\"ehr\"]", &format!("[{topic:?}]"));
    std::fs::write(
        site.path("phiwatch.toml"),
        text.replace("ends_millis = 100", "ends_millis = 100\nmetadata_seconds = 1"),
    )
    .unwrap();
    let send = |partition: i32, numbers: std::ops::Range<u32>| {
        produce(&to(&brokers()), &topic, partition, numbers.map(|n| access(n, "u1")));
    };
    send(0, 0..50);
    send(1, 50..60);
    let running = site.run();
    running.until("the first records", || records(&running) == 60.0);
    admin.delete(&topic);
    std::thread::sleep(Duration::from_secs(3));
    admin.create(&topic, 2);
    send(0, 60..160);
    send(1, 160..165);
    running.until("the stop", || states(&running, "stopped") == 2);
    let said = done(&decide(site.dir.path(), &["resume", &topic]), "resume");
    assert_eq!(said.matches("is read again, from offset 0").count(), 2, "{said}");
    running.until("the new topic", || records(&running) == 165.0);
    running.stop();
    send(1, 165..170);
    let running = site.run();
    running.until("the next records", || records(&running) == 170.0);
    assert_eq!(states(&running, "stopped"), 0);
    running.stop();
    assert_eq!(read(site.dir.path()), [(0, 10), (0, 10), (0, 50), (0, 100)]);
    assert_eq!(ask(site.dir.path(), "SELECT COUNT(*) n FROM events")["n"], 170);
    assert_eq!(answer(site.dir.path())["gaps"].as_array().unwrap().len(), 2);
}
