//! `run` as its operator has it: numbers, health, signals, the socket, a lost state folder and a full disk. The broker is librdkafka's
//! mock in this process, so that no Java is needed.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::mocking::MockCluster;
use serde_json::{Value, json};

use crate::kafka::{LONG, produce, to};
use crate::program::{ask, phiwatch};
use crate::start::{Start, take_down};

/// A site with its own broker: one account that has left and is used all the same, which is a hard alert.
pub struct Site {
    pub dir: tempfile::TempDir,
    pub cluster: MockCluster<'static, rdkafka::producer::DefaultProducerContext>,
}

/// A `run` at work; killed when it is dropped.
pub struct Running {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
}

impl Site {
    pub fn new() -> Site {
        let site = Site { dir: tempfile::tempdir().unwrap(), cluster: MockCluster::new(1).unwrap() };
        site.cluster.create_topic("ehr", 2, 1).unwrap();
        std::fs::create_dir(site.path("rosters")).unwrap();
        site.rosters(&["u1,nurse,active,", "u2,nurse,terminated,2020-01-01"]);
        site.settings("");
        site
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    pub fn settings(&self, more: &str) {
        let brokers = self.cluster.bootstrap_servers();
        let text = format!(
            "[kafka]\nbrokers = [{brokers:?}]\ntopics = [\"ehr\"]\nends_millis = 100\n[rosters]\ndir = \"rosters\"\n\
             [history]\ndir = \"history\"\nsegment_age = 1\n[monitor]\nlisten = \"127.0.0.1:0\"\n\
             [[channels]]\nkind = \"file\"\npath = \"alerts.jsonl\"\n{more}"
        );
        std::fs::write(self.path("phiwatch.toml"), text).unwrap();
    }

    fn rosters(&self, users: &[&str]) {
        let text = format!("user_id,role,status,terminated_at\n{}\n", users.join("\n"));
        std::fs::write(self.path("rosters/users.csv"), text).unwrap();
    }

    pub fn produce(&self, partition: i32, values: impl IntoIterator<Item = String>) {
        produce(&to(&self.cluster.bootstrap_servers()), "ehr", partition, values);
    }

    pub fn run(&self) -> Running {
        let mut command = phiwatch(self.dir.path());
        let mut child =
            command.args(["run", "--config", "phiwatch.toml"]).stderr(Stdio::piped()).start().expect("it starts");
        let log = Arc::new(Mutex::new(Vec::new()));
        let (lines, pipe) = (log.clone(), BufReader::new(child.stderr.take().unwrap()));
        std::thread::spawn(move || {
            pipe.lines().map_while(Result::ok).for_each(|line| lines.lock().unwrap().push(line))
        });
        Running { child, log }
    }

    fn alerts(&self, args: &[&str]) -> Output {
        phiwatch(self.dir.path()).args(["alerts", "--config", "phiwatch.toml"]).args(args).answer().unwrap()
    }

    /// Lines that reached the channel, as (alert, revision), without those to the operator.
    fn told(&self) -> Vec<(String, u64)> {
        let text = std::fs::read_to_string(self.path("alerts.jsonl")).unwrap_or_default();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let people = lines.filter(|alert| alert["subject"]["kind"] == "user");
        people.map(|a| (a["alert_id"].as_str().unwrap().to_owned(), a["revision"].as_u64().unwrap())).collect()
    }
}

impl Running {
    pub fn said(&self, words: &str) -> usize {
        self.log.lock().unwrap().iter().filter(|line| line.contains(words)).count()
    }

    pub fn until(&self, what: &str, enough: impl Fn() -> bool) {
        let deadline = Instant::now() + 4 * LONG;
        while !enough() {
            assert!(Instant::now() < deadline, "waited in vain for {what}: {:#?}", self.log.lock().unwrap());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn address(&self) -> Option<String> {
        let log = self.log.lock().unwrap();
        let line: Value = log.iter().find(|line| line.contains("/metrics and /healthz are here"))?.parse().ok()?;
        Some(line["fields"]["address"].as_str()?.to_owned())
    }

    /// Status and body of a page.
    fn page(&self, path: &str) -> (u16, String) {
        self.until("the port", || self.address().is_some());
        let mut stream = TcpStream::connect(self.address().unwrap()).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// The samples of a family, by their labels as they are written.
    pub fn samples(&self, family: &str) -> BTreeMap<String, f64> {
        let (status, text) = self.page("/metrics");
        assert_eq!(status, 200, "{text}");
        let own = text.lines().filter_map(|line| line.strip_prefix(family));
        let samples = own.filter(|rest| rest.starts_with(['{', ' ']));
        samples
            .map(|rest| rest.rsplit_once(' ').map(|(labels, v)| (labels.to_owned(), v.parse().unwrap())).unwrap())
            .collect()
    }

    pub fn health(&self) -> (u16, Value) {
        let (status, body) = self.page("/healthz");
        (status, body.parse().unwrap())
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).finish().unwrap().success());
    }

    pub fn stop(mut self) {
        self.signal("TERM");
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{:#?}", self.log.lock().unwrap());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An access of `actor`, by number.
pub fn access(n: u32, actor: &str) -> String {
    let time = format!("2026-03-02T{:02}:{:02}:00Z", 10 + n / 60, n % 60);
    json!({"event_id": format!("e{n}"), "time": time, "source": "ehr", "actor": {"id": actor}, "activity": "read",
           "patients": [format!("canary-patient-{n}")]})
    .to_string()
}

/// A command that failed, with these words.
pub fn refused(output: &Output, words: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains(words), "{said}");
}

#[test]
fn numbers_agree_with_the_history_and_go_on_over_a_restart() {
    let site = Site::new();
    site.produce(0, (0..50).map(|n| access(n, "u1")).chain([access(7, "u1"), "{".to_owned(), String::new()]));
    site.produce(1, (50..80).map(|n| access(n, "u1")));
    let sums = |running: &Running| {
        let mut sums: BTreeMap<String, f64> = BTreeMap::new();
        for (labels, count) in running.samples("phiwatch_records_total") {
            let outcome = labels.split("outcome=\"").nth(1).unwrap().split('"').next().unwrap();
            *sums.entry(outcome.to_owned()).or_default() += count;
        }
        sums
    };
    let expected = BTreeMap::from([("event", 80.0), ("duplicate", 1.0), ("reject", 2.0), ("gap", 0.0)]);
    let expected: BTreeMap<String, f64> = expected.into_iter().map(|(name, n)| (name.to_owned(), n)).collect();
    for round in 0..2 {
        let running = site.run();
        running.until("all records", || sums(&running) == expected);
        let spans =
            ask(site.dir.path(), "SELECT SUM(events) e, SUM(duplicates) d, SUM(rejects) r, SUM(gap) g FROM spans");
        for (column, outcome) in [("e", "event"), ("d", "duplicate"), ("r", "reject"), ("g", "gap")] {
            assert_eq!(spans[column].as_f64(), Some(expected[outcome]), "round {round}: {spans}");
        }
        let reasons: f64 = running.samples("phiwatch_rejects_total").values().sum();
        assert_eq!(reasons, 2.0);
        running.until("no lag", || {
            let lags = running.samples("phiwatch_partition_lag");
            lags.len() == 2 && lags.values().all(|lag| *lag == 0.0)
        });
        let (status, health) = running.health();
        assert_eq!((status, &health["status"]), (200, &json!("ok")), "{health}");
        for page in ["/metrics", "/healthz"] {
            assert!(!running.page(page).1.contains("canary"), "{page} names a patient");
        }
        assert_eq!(running.page("/").0, 404);
        let address = running.address().unwrap();
        let text = std::fs::read_to_string(site.path("phiwatch.toml")).unwrap();
        std::fs::write(site.path("live.toml"), text.replace("127.0.0.1:0", &address)).unwrap();
        let live = phiwatch(site.dir.path()).args(["check", "--live", "--config", "live.toml"]).answer().unwrap();
        assert_eq!(crate::program::done(&live, "check --live"), "{\"reasons\":[],\"status\":\"ok\"}\n");
        running.stop();
    }
}

#[test]
fn sighup_takes_up_what_is_good_and_refuses_what_is_not() {
    let site = Site::new();
    site.produce(0, [access(1, "u1")]);
    let running = site.run();
    running.until("the first commit", || running.samples("phiwatch_segments_total").values().any(|n| *n > 0.0));
    site.rosters(&["u1,nurse,active,", "u2,nurse,terminated,2020-01-01", "u3,clerk,active,"]);
    site.settings("[budget]\nper_1000_users_per_day = 1.0\n");
    running.signal("HUP");
    running.until("the answer", || running.said("SIGHUP") == 1);
    assert_eq!(running.said("a restart is needed for what has changed in [budget]; new rosters are in force"), 1);
    site.settings("[budget]\nper_1000_users_per_day = -1.0\n");
    running.signal("HUP");
    running.until("the refusal", || running.said("SIGHUP: the settings were refused (1 problems)") == 1);
    running.until("the reason", || {
        let (status, health) = running.health();
        status == 200 && health["status"] == "degraded" && health.to_string().contains("settings")
    });
    // The old settings are still there: everything goes on.
    site.settings("");
    running.signal("HUP");
    running.until("all well", || running.health().1["status"] == "ok");
    site.produce(0, [access(2, "u1")]);
    running.until("the next record", || running.samples("phiwatch_records_total").values().sum::<f64>() == 2.0);
    running.stop();
    assert_eq!(site.alerts(&["list"]).status.code(), Some(0));
}

#[test]
fn verdicts_and_mutes_go_through_the_socket_and_a_lost_store_comes_back() {
    let site = Site::new();
    refused(&site.alerts(&["list"]), "holds no history");
    assert!(!site.path("history.state").exists(), "looking makes nothing");
    site.produce(0, (0..40).map(|n| access(n, if n % 4 == 0 { "u2" } else { "u1" })));
    site.produce(1, [access(50, "u1")]);
    let running = site.run();
    running.until("an alert", || !site.told().is_empty());
    let id = site.told()[0].0.clone();
    assert_eq!(site.alerts(&["verdict", &id, "justified", "--reason", " "]).status.code(), Some(2), "bad usage");
    refused(&site.alerts(&["verdict", "a-none", "justified", "--reason", "x"]), "there is no alert a-none");
    assert_eq!(site.alerts(&["mute", "account.*", "--days", "0", "--reason", "x"]).status.code(), Some(2), "bad usage");
    assert!(site.alerts(&["verdict", &id, "justified", "--reason", "she came back"]).status.success());
    assert!(site.alerts(&["mute", "account.*", "--reason", "audit week"]).status.success());
    // What it says is read by another thread, which may be a line behind. Bad usage does not come so far.
    running.until("three acts", || running.said("an act came through the socket") == 3);
    running.stop();
    let told = site.told();
    // Without a run the same commands take the lock themselves.
    assert!(site.alerts(&["verdict", &id, "confirmed", "--reason", "looked again"]).status.success());
    let again = site.run();
    again.until("a drain", || again.samples("phiwatch_audit_lines_total").values().any(|n| *n > 0.0));
    again.stop();
    let acts = std::fs::read_to_string(site.path("history.state/audit.jsonl")).unwrap();
    assert_eq!(acts.lines().count(), 1, "all but the last line were drained: {acts}");
    for entry in std::fs::read_dir(site.path("history.state")).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("phiwatch.sqlite") {
            std::fs::remove_file(path).unwrap();
        }
    }
    site.produce(1, [access(61, "u1")]);
    let fresh = site.run();
    fresh.until("the store", || fresh.said("the store was made again from the history") == 1);
    fresh.until("the last record", || fresh.samples("phiwatch_records_total").values().sum::<f64>() == 42.0);
    fresh.stop();
    assert_eq!(site.told(), told, "nothing was told twice");
    let shown = String::from_utf8(site.alerts(&["show", &id]).stdout).unwrap();
    assert!(shown.contains("she came back") && shown.contains("looked again"), "{shown}");
}

#[test]
fn a_line_of_the_self_audit_that_was_altered_is_told() {
    let site = Site::new();
    site.produce(0, [access(1, "u1")]);
    let running = site.run();
    running.until("the first commit", || running.samples("phiwatch_segments_total").values().any(|n| *n > 0.0));
    running.stop();
    for _ in 0..3 {
        ask(site.dir.path(), "SELECT 1 one");
    }
    let path = site.path("history.state/audit.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    let line = text.lines().nth(1).unwrap();
    std::fs::write(&path, text.replace(&format!("{line}\n"), "")).unwrap();
    let running = site.run();
    running.until("the alarm", || running.said("of the self-audit something was taken out") > 0);
    running.until("the alert", || {
        std::fs::read_to_string(site.path("alerts.jsonl")).is_ok_and(|text| text.contains("operator-audit"))
    });
    running.stop();
}

#[test]
fn a_history_from_an_older_copy_is_named_where_the_self_audit_does_not_fit_it() {
    let site = Site::new();
    site.produce(0, [access(1, "u1")]);
    let first = site.run();
    first.until("the first commit", || first.samples("phiwatch_segments_total").values().any(|n| *n > 0.0));
    first.stop();
    let copy = |from: &str, to: &str| {
        let done = Command::new("cp").arg("-a").args([site.path(from), site.path(to)]).status().unwrap();
        assert!(done.success());
    };
    copy("history", "older");
    for _ in 0..3 {
        ask(site.dir.path(), "SELECT 1 one");
    }
    let second = site.run();
    second.until("a drain", || second.samples("phiwatch_audit_lines_total").values().any(|n| *n > 0.0));
    second.stop();
    std::fs::rename(site.path("history"), site.path("newer")).unwrap();
    copy("older", "history");
    let third = site.run();
    third.until("the alarm", || third.said("The history is older than the state folder") > 0);
    third.stop();
    // What happened is open for the rest of its day, also after a restart. At four in the morning another day begins.
    let fourth = site.run();
    fourth.until("the trouble", || {
        fourth.health().1.to_string().contains("self-audit") || fourth.said("Its day is over") > 0
    });
    fourth.stop();
}

#[test]
fn the_end_of_the_self_audit_cannot_be_cut_off_unnoticed() {
    let site = Site::new();
    site.produce(0, [access(1, "u1")]);
    let running = site.run();
    running.until("the first commit", || running.samples("phiwatch_segments_total").values().any(|n| *n > 0.0));
    running.stop();
    let path = site.path("history.state/audit.jsonl");
    let lines = || std::fs::read_to_string(&path).unwrap();
    // What was drained stays as one line; the acts after it are cut off, one of them or all.
    for (kept, words) in
        [(2, "lines of the self-audit were cut off"), (1, "lines of the self-audit were cut off"), (0, "all lines")]
    {
        for _ in 0..3 {
            ask(site.dir.path(), "SELECT 1 one");
        }
        let whole = lines();
        let kept: Vec<&str> = whole.lines().take(kept).collect();
        std::fs::write(&path, kept.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
        let running = site.run();
        running.until("the alarm", || running.said(words) > 0);
        running.stop();
    }
}

/// The limit on the size of a file stands in for a full disk: it is lifted for a running process.
fn limit(running: &Running, bytes: &str) {
    let status =
        Command::new("prlimit").args(["--pid", &running.child.id().to_string(), &format!("--fsize={bytes}")]).finish();
    assert!(status.expect("prlimit, of util-linux").success());
}

/// New rosters are noted in the control log before they hold: where it cannot be written they are waited for.
#[test]
fn a_control_log_that_cannot_be_written_is_waited_for() {
    let site = Site::new();
    site.produce(0, [access(1, "u1")]);
    let running = site.run();
    let records = |running: &Running| running.samples("phiwatch_records_total").values().sum::<f64>();
    running.until("the first record", || records(&running) == 1.0);
    limit(&running, "512:unlimited");
    site.rosters(&["u1,nurse,active,", "u2,nurse,terminated,2020-01-01", "u3,clerk,active,"]);
    running.until("the wait", || running.health().0 == 503);
    std::thread::sleep(Duration::from_secs(7));
    assert_eq!(running.said("the history cannot be written; nothing is read until it can"), 1);
    limit(&running, "unlimited:unlimited");
    running.until("the end of it", || running.said("it can be written again") == 1);
    site.produce(0, [access(2, "u3")]);
    running.until("the next record", || records(&running) == 2.0);
    running.stop();
    let of =
        |actor: &str| ask(site.dir.path(), &format!("SELECT fact_account a FROM events WHERE actor_id = '{actor}'"));
    assert_eq!((&of("u1")["a"], &of("u3")["a"]), (&json!("user"), &json!("user")), "the new rosters hold");
}

#[test]
fn a_full_disk_is_waited_for_and_nothing_is_lost() {
    let site = Site::new();
    site.produce(0, [access(1, "u1")]);
    site.produce(1, [access(2, "u1")]);
    let running = site.run();
    let records = |running: &Running| running.samples("phiwatch_records_total").values().sum::<f64>();
    running.until("the first records", || records(&running) == 2.0);
    limit(&running, "512:unlimited");
    site.produce(0, (3..30).map(|n| access(n, "u2")));
    running.until("the wait", || running.health().0 == 503);
    let (_, health) = running.health();
    assert!(health["status"] == "failed" && health.to_string().contains("cannot be written"), "{health}");
    std::thread::sleep(Duration::from_secs(7));
    assert_eq!(running.said("nothing is read until it can"), 1, "one line, however often it is tried");
    limit(&running, "unlimited:unlimited");
    running.until("the rest", || records(&running) == 29.0);
    assert_eq!(running.said("it can be written again"), 1);
    running.until("the alert", || !site.told().is_empty());
    running.stop();
    let count = ask(site.dir.path(), "SELECT COUNT(*) n, COUNT(DISTINCT event_id) d FROM events");
    assert_eq!((count["n"].as_i64(), count["d"].as_i64()), (Some(29), Some(29)), "{count}");
}

#[test]
fn a_broker_that_is_away_is_one_line_and_one_when_it_is_back() {
    let site = Site::new();
    site.produce(0, [access(1, "u1")]);
    let running = site.run();
    let records = |running: &Running| running.samples("phiwatch_records_total").values().sum::<f64>();
    running.until("the first record", || records(&running) == 1.0);
    take_down(&site.cluster);
    running.until("the trouble", || running.said("\"WARN\"") > 0);
    std::thread::sleep(Duration::from_secs(8));
    site.cluster.broker_up(1).unwrap();
    running.until("the end", || running.said("the trouble is over") == 1);
    site.produce(0, [access(2, "u1")]);
    running.until("the next record", || records(&running) == 2.0);
    let kafka = |line: &&String| line.contains("kafka") && (line.contains("\"WARN\"") || line.contains("\"ERROR\""));
    let lines: Vec<String> = running.log.lock().unwrap().iter().filter(kafka).cloned().collect();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    running.stop();
}

#[test]
fn a_port_that_was_asked_for_has_to_be_free() {
    let site = Site::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let text = std::fs::read_to_string(site.path("phiwatch.toml")).unwrap();
    let asked = text.replace("127.0.0.1:0", &taken.local_addr().unwrap().to_string());
    std::fs::write(site.path("phiwatch.toml"), asked).unwrap();
    let output = phiwatch(site.dir.path()).args(["run", "--config", "phiwatch.toml"]).answer().unwrap();
    refused(&output, "[monitor] listen");
    assert!(Path::new(&site.path("history")).exists());
}
