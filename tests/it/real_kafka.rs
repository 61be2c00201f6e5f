//! The Kafka source against Apache Kafka itself: `tests/kafka/start run cargo test --test it -- --ignored real_kafka`.
//!
//! The node's addresses come by environment; the test that kills a node starts one of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use phiwatch::event::Origin;
use phiwatch::ingest::kafka::{Arrival, Begin, Failure, LogId, Plan, Settings, Source, peek, probe, survey};
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::kafka::{LONG, Listener, log_of, numbered, plan, produce, to, unique};
use crate::start::Start;

fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run by tests/kafka/start run"))
}

/// Where the node listens without encryption.
pub fn brokers() -> String {
    env("PHIWATCH_KAFKA")
}

/// What only an administrator may do.
pub struct Admin {
    client: AdminClient<DefaultClientContext>,
    runtime: tokio::runtime::Runtime,
}

/// Makes a topic.
pub fn make_topic(brokers: &str, topic: &str, partitions: i32) {
    Admin::new(brokers).create(topic, partitions);
}

impl Admin {
    /// An administrator of this cluster.
    pub fn new(brokers: &str) -> Admin {
        let client = to(brokers).create().expect("an admin client");
        Admin {
            client,
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime"),
        }
    }

    /// Makes a topic.
    pub fn create(&self, topic: &str, partitions: i32) {
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let made = self.runtime.block_on(self.client.create_topics([&new], &wait())).expect("an answer");
        assert!(made.iter().all(Result::is_ok), "{made:?}");
    }

    /// Deletes a topic.
    pub fn delete(&self, topic: &str) {
        let gone = self.runtime.block_on(self.client.delete_topics(&[topic], &wait())).expect("an answer");
        assert!(gone.iter().all(Result::is_ok), "{gone:?}");
    }

    fn widen(&self, topic: &str, partitions: usize) {
        let new = NewPartitions::new(topic, partitions);
        let made = self.runtime.block_on(self.client.create_partitions([&new], &wait())).expect("an answer");
        assert!(made.iter().all(Result::is_ok), "{made:?}");
    }

    /// Lets the log begin at `offset`.
    fn cut(&self, topic: &str, partition: i32, offset: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(offset)).expect("an offset");
        self.runtime.block_on(self.client.delete_records(&list, &wait())).expect("an answer");
    }
}

fn wait() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(LONG)).request_timeout(Some(LONG))
}

/// A topic of its own, with `count` records in each partition.
fn topic(name: &str, partitions: i32, count: usize) -> String {
    let topic = unique(name);
    Admin::new(&brokers()).create(&topic, partitions);
    for partition in 0..partitions {
        produce(&to(&brokers()), &topic, partition, numbered(&format!("{partition}."), count));
    }
    topic
}

#[test]
#[ignore = "needs Apache Kafka: see tests/kafka/start"]
fn plaintext_reads_once_and_in_order() {
    let topic = topic("plain", 3, 2_000);
    let mut listener = Listener::new(&plan(&brokers(), &[&topic], ""), Begin::default());
    listener.until("all ends", |l| (0..3).all(|p| l.at_end(&topic, p, 2_000)));
    for partition in 0..3 {
        assert_eq!(listener.values(&topic, partition), numbered(&format!("{partition}."), 2_000));
    }
    assert!(listener.words().is_empty(), "{:?}", listener.words());
    listener.source.commit_hint(&BTreeMap::from([(Origin::topic(topic.as_str(), 0), 1_234)]));
    listener.during(Duration::from_millis(500));
    assert!(listener.source.close(LONG));
    assert_eq!(probe(&plan(&brokers(), &[&topic], "")), vec![]);
}

#[test]
#[ignore = "needs Apache Kafka: see tests/kafka/start"]
fn start_at_a_time() {
    let topic = topic("time", 1, 10);
    let newest = peek(&plan(&brokers(), &[&topic], ""), &topic, 1).expect("a record");
    let later = newest[0].at.expect("a time").plus(1_000);
    std::thread::sleep(Duration::from_millis(20));
    produce(&to(&brokers()), &topic, 0, numbered("later", 5));
    let mut listener = Listener::new(&plan(&brokers(), &[&topic], &format!("start = \"{later}\"")), Begin::default());
    listener.until("the end", |l| l.at_end(&topic, 0, 15));
    assert_eq!(listener.values(&topic, 0), numbered("later", 5));
}

/// The listener with SASL_SSL, and what a client needs to use it: `password` and `ca` are files beside the broker's.
pub fn sasl_client(password: &str, ca: &str) -> (String, String) {
    let folder = PathBuf::from(env("PHIWATCH_KAFKA_DIR"));
    let file = |name: &str| folder.join(name).display().to_string();
    let client = format!(
        "client = {{ \"security.protocol\" = \"SASL_SSL\", \"sasl.mechanism\" = \"SCRAM-SHA-512\", \"sasl.username\" = {:?}, \
         \"sasl.password\" = {{ file = {:?} }}, \"ssl.ca.location\" = {:?} }}\n",
        env("PHIWATCH_KAFKA_USER"),
        file(password),
        file(ca),
    );
    (env("PHIWATCH_KAFKA_SASL"), client)
}

fn sasl(topic: &str, password: &str, ca: &str) -> Plan {
    let (brokers, client) = sasl_client(password, ca);
    let group = unique("group");
    let text =
        format!("brokers = [{brokers:?}]\ntopics = [{topic:?}]\ngroup = {group:?}\nanswer_millis = 5000\n{client}");
    let settings: Settings = toml::from_str(&text).expect("settings");
    settings.check(Path::new("test.toml")).expect("a plan")
}

#[test]
#[ignore = "needs Apache Kafka: see tests/kafka/start"]
fn sasl_ssl_reads_and_refuses_in_words() {
    let topic = topic("sasl", 1, 100);
    let good = sasl(&topic, "password", "ca.pem");
    assert_eq!(probe(&good), vec![]);
    let mut listener = Listener::new(&good, Begin::default());
    listener.until("the end", |l| l.at_end(&topic, 0, 100));
    assert_eq!(listener.values(&topic, 0), numbered("0.", 100));
    for (password, ca, expected) in
        [("wrong-password", "ca.pem", "authentication"), ("password", "other-ca.pem", "certificate verify failed")]
    {
        let plan = sasl(&topic, password, ca);
        match survey(&plan) {
            Err(failure @ Failure::Refused(_)) => assert!(failure.retry().is_some()),
            other => panic!("{other:?}"),
        }
        let problems = probe(&plan);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].what.to_lowercase().contains(expected), "{}", problems[0].what);
        let mut listener = Listener::new(&plan, Begin::default());
        listener.until("the trouble", |l| !l.words().is_empty());
        match listener.words()[..] {
            [Arrival::Trouble { what, missing: false }] => assert!(what.to_lowercase().contains(expected), "{what}"),
            ref other => panic!("{other:?}"),
        }
    }
}

#[test]
#[ignore = "needs Apache Kafka: see tests/kafka/start"]
fn a_missing_topic_is_a_problem_and_is_read_when_it_is_made() {
    let here = topic("here", 1, 5);
    let missing = unique("missing");
    let plan = plan(&brokers(), &[&here, &missing], "start = \"latest\"");
    let problems = probe(&plan);
    assert_eq!(problems.len(), 1);
    assert!(problems[0].what.contains(&format!("topic {missing} does not exist")), "{}", problems[0].what);
    let mut listener = Listener::new(&plan, Begin::default());
    listener.until("the trouble", |l| !l.words().is_empty() && l.at_end(&here, 0, 5));
    Admin::new(&brokers()).create(&missing, 1);
    produce(&to(&brokers()), &missing, 0, numbered("", 7));
    listener.until("the end", |l| l.at_end(&missing, 0, 7));
    assert_eq!(listener.values(&missing, 0), numbered("", 7), "made later, so it is new from its beginning");
    assert!(listener.values(&here, 0).is_empty());
}

#[test]
#[ignore = "needs Apache Kafka: see tests/kafka/start"]
fn aborted_records_are_unseen_and_markers_are_passed() {
    let topic = topic("transactions", 1, 1);
    let mut config = to(&brokers());
    config.set("transactional.id", unique("id"));
    let producer: BaseProducer = config.create().expect("a producer");
    producer.init_transactions(LONG).expect("ready");
    for (round, commit) in [false, true, false].into_iter().enumerate() {
        producer.begin_transaction().expect("begun");
        for value in numbered(&format!("{round}-{commit}-"), 3) {
            producer.send(BaseRecord::<(), str>::to(&topic).partition(0).payload(&value)).expect("room");
        }
        producer.flush(LONG).expect("sent");
        if commit {
            producer.commit_transaction(LONG).expect("committed");
        } else {
            producer.abort_transaction(LONG).expect("aborted");
        }
    }
    // 1 record, then three times 3 records and a marker.
    let mut listener = Listener::new(&plan(&brokers(), &[&topic], ""), Begin::default());
    listener.until("the end beyond the last marker", |l| l.at_end(&topic, 0, 13));
    let mut expected = numbered("0.", 1);
    expected.extend(numbered("1-true-", 3));
    assert_eq!(listener.values(&topic, 0), expected);
    assert!(listener.words().is_empty(), "{:?}", listener.words());
    assert_eq!(peek(&plan(&brokers(), &[&topic], ""), &topic, 2).expect("records").len(), 2);
}

#[test]
#[ignore = "needs Apache Kafka: see tests/kafka/start"]
fn records_deleted_before_they_were_read_are_a_gap() {
    let topic = topic("gap", 2, 100);
    let origin = Origin::topic(topic.as_str(), 0);
    let admin = Admin::new(&brokers());
    admin.cut(&topic, 0, 60);
    let begin = |position| Begin { positions: BTreeMap::from([(origin.clone(), position)]), ..Begin::default() };
    let mut listener = Listener::new(&plan(&brokers(), &[&topic], ""), begin(10));
    listener.until("the end", |l| l.at_end(&topic, 0, 100) && l.at_end(&topic, 1, 100));
    assert_eq!(listener.values(&topic, 0), numbered("0.", 100)[60..]);
    let gap = Arrival::Gap { origin: origin.clone(), from: 10, to: 60 };
    let new = new_partition(&topic, 1, &log_of(&plan(&brokers(), &[&topic], "")));
    assert_eq!(listener.words(), vec![&new, &gap]);
    // The same while it runs: the log is cut under a paused partition.
    listener.source.pause(std::slice::from_ref(&origin));
    listener.during(Duration::from_millis(500));
    produce(&to(&brokers()), &topic, 0, numbered("more", 50));
    admin.cut(&topic, 0, 120);
    listener.source.resume(std::slice::from_ref(&origin));
    listener.until("the end", |l| l.at_end(&topic, 0, 150));
    assert_eq!(listener.values(&topic, 0)[40..], numbered("more", 50)[20..]);
    let later = Arrival::Gap { origin, from: 100, to: 120 };
    assert_eq!(listener.words(), vec![&new, &gap, &later]);
}

fn new_partition(topic: &str, partition: i32, log: &LogId) -> Arrival {
    Arrival::NewPartition { origin: Origin::topic(topic, partition), log: log.clone(), from: 0 }
}

#[test]
#[ignore = "needs Apache Kafka: see tests/kafka/start"]
fn a_topic_made_again_is_noticed() {
    let topic = topic("again", 1, 100);
    let plan = plan(&brokers(), &[&topic], "");
    let first_log = log_of(&plan);
    assert!(first_log.cluster.is_some() && first_log.topic.is_some());
    let mut listener = Listener::new(&plan, Begin::default());
    listener.until("the end", |l| l.at_end(&topic, 0, 100));
    let admin = Admin::new(&brokers());
    admin.delete(&topic);
    listener.during(Duration::from_secs(3));
    admin.create(&topic, 1);
    // Longer than the first one: by offsets alone it would not be noticed.
    produce(&to(&brokers()), &topic, 0, numbered("new", 300));
    let again = |a: &Arrival| matches!(a, Arrival::TopicMadeAgain { .. });
    listener.until("the alarm", |l| l.words().into_iter().any(again));
    let second_log = log_of(&plan);
    assert_ne!(first_log.topic, second_log.topic);
    match listener.words().into_iter().find(|a| again(a)) {
        Some(Arrival::TopicMadeAgain { position, expected, found, .. }) => {
            assert_eq!((*position, expected, found), (100, &first_log, &second_log));
        }
        other => panic!("{other:?}"),
    }
    listener.during(Duration::from_secs(2));
    assert_eq!(listener.values(&topic, 0), numbered("0.", 100), "nothing of the other log is taken up");
    // A person decides that it is to be read.
    listener.source.begin_anew(&Origin::topic(topic.as_str(), 0), &second_log, 0);
    listener.until("the end of the other log", |l| l.at_end(&topic, 0, 300));
    assert_eq!(listener.values(&topic, 0)[100..], numbered("new", 300));
    assert_eq!(listener.words().last(), Some(&&new_partition(&topic, 0, &second_log)));
    drop(listener);
    // After a restart the id that the history holds tells.
    let begin = Begin {
        positions: BTreeMap::from([(Origin::topic(topic.as_str(), 0), 100)]),
        logs: BTreeMap::from([(topic.clone(), first_log.clone())]),
        ..Begin::default()
    };
    let mut listener = Listener::new(&plan, begin.clone());
    listener.until("the alarm", |l| l.words().into_iter().any(again));
    listener.during(Duration::from_secs(1));
    assert!(listener.values(&topic, 0).is_empty() && listener.ends.is_empty());
    // Another cluster is another log too.
    let elsewhere = LogId { cluster: Some("elsewhere".to_owned()), topic: None };
    let begin = Begin { logs: BTreeMap::from([(topic.clone(), elsewhere)]), ..begin };
    let mut listener = Listener::new(&plan, begin);
    listener.until("the alarm", |l| l.words().into_iter().any(again));
    assert!(listener.values(&topic, 0).is_empty());
}

#[test]
#[ignore = "needs Apache Kafka: see tests/kafka/start"]
fn new_partitions_are_read_from_their_beginning() {
    let topic = topic("wider", 1, 10);
    let mut listener = Listener::new(&plan(&brokers(), &[&topic], "start = \"latest\""), Begin::default());
    listener.until("the end", |l| l.at_end(&topic, 0, 10));
    Admin::new(&brokers()).widen(&topic, 3);
    for partition in 1..3 {
        produce(&to(&brokers()), &topic, partition, numbered("new", 20));
    }
    listener.until("the new ends", |l| l.at_end(&topic, 1, 20) && l.at_end(&topic, 2, 20));
    assert_eq!(listener.values(&topic, 1), numbered("new", 20));
    assert_eq!(listener.values(&topic, 2), numbered("new", 20));
    let log = log_of(&plan(&brokers(), &[&topic], ""));
    assert_eq!(listener.words(), vec![&new_partition(&topic, 1, &log), &new_partition(&topic, 2, &log)]);
}

/// A node of its own, stopped when it is dropped.
pub struct Node {
    folder: tempfile::TempDir,
}

impl Node {
    /// Starts it; gives its address too.
    pub fn start() -> (Node, String) {
        let node = Node { folder: tempfile::tempdir().expect("a folder") };
        node.order("up");
        let env = std::fs::read_to_string(node.folder.path().join("env")).expect("addresses");
        let brokers = env.lines().find_map(|line| line.strip_prefix("export PHIWATCH_KAFKA=")).expect("an address");
        (node, brokers.to_owned())
    }

    /// `up`, `down` or `kill`.
    pub fn order(&self, word: &str) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka/start");
        let status = Command::new(script).arg(word).arg(self.folder.path()).finish().expect("the script runs");
        assert!(status.success(), "{word}");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.order("kill");
    }
}

/// Every line that is logged at `WARN` or above, from all threads.
fn lines() -> &'static Mutex<Vec<u8>> {
    static LINES: OnceLock<Mutex<Vec<u8>>> = OnceLock::new();
    LINES.get_or_init(|| {
        struct Keep;
        impl std::io::Write for Keep {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                lines().lock().expect("no panic").extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let logs = tracing_subscriber::fmt().with_max_level(tracing::Level::INFO).with_ansi(false).with_writer(|| Keep);
        tracing::subscriber::set_global_default(logs.finish()).expect("the only one in this binary");
        Mutex::default()
    })
}

fn lines_with(word: &str) -> Vec<String> {
    let text = String::from_utf8(lines().lock().expect("no panic").clone()).expect("text");
    text.lines().filter(|line| line.contains(word)).map(str::to_owned).collect()
}

#[test]
#[ignore = "needs Apache Kafka: see tests/kafka/start"]
fn a_broker_that_is_killed_and_comes_back_costs_one_line_and_no_record() {
    let (node, brokers) = Node::start();
    lines();
    Admin::new(&brokers).create("t", 3);
    for partition in 0..3 {
        produce(&to(&brokers), "t", partition, numbered("before", 500));
    }
    let group = unique("killed");
    let text = format!(
        "brokers = [{brokers:?}]\ntopics = [\"t\"]\ngroup = {group:?}\nends_millis = 200\nanswer_millis = 2000\n"
    );
    let settings: Settings = toml::from_str(&text).expect("settings");
    let mut listener = Listener::new(&settings.check(Path::new("t")).expect("a plan"), Begin::default());
    listener.until("the ends", |l| (0..3).all(|p| l.at_end("t", p, 500)));
    node.order("kill");
    listener.ends.clear();
    listener.during(Duration::from_secs(10));
    assert!(listener.ends.is_empty(), "nothing is idle while no broker answers");
    node.order("up");
    for partition in 0..3 {
        produce(&to(&brokers), "t", partition, numbered("after", 500));
    }
    listener.until("the ends", |l| (0..3).all(|p| l.at_end("t", p, 1_000)));
    for partition in 0..3 {
        let expected: Vec<_> = numbered("before", 500).into_iter().chain(numbered("after", 500)).collect();
        assert_eq!(listener.values("t", partition), expected);
    }
    assert!(
        matches!(listener.words()[..], [Arrival::Trouble { .. }, Arrival::Recovered { .. }]),
        "{:?}",
        listener.words()
    );
    let (told, rest): (Vec<_>, Vec<_>) =
        lines_with(&group).into_iter().partition(|line| line.contains("WARN") || line.contains("ERROR"));
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(rest.iter().filter(|line| !line.contains("the trouble is over")).count() == 0, "{rest:?}");
    assert!(listener.source.close(LONG), "closed in time");
}
