//! What tests of the Kafka source share: settings, a producer, and a listener that collects arrivals.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use phiwatch::event::Origin;
use phiwatch::ingest::kafka::{Arrival, Begin, Kafka, LogId, Plan, Settings, Source, survey};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

/// Nothing here takes that long; a test that waits longer has failed.
pub const LONG: Duration = Duration::from_secs(60);

/// Settings as a person would write them, with short intervals; `more` is further TOML.
pub fn plan(brokers: &str, topics: &[&str], more: &str) -> Plan {
    let brokers: Vec<&str> = brokers.split(',').collect();
    let text = format!(
        "brokers = {brokers:?}\ntopics = {topics:?}\ngroup = \"{}\"\nends_millis = 100\nmetadata_seconds = 2\nanswer_millis = 1000\n{more}",
        unique("group")
    );
    let settings: Settings = toml::from_str(&text).expect("settings");
    settings.check(Path::new("test.toml")).expect("a plan")
}

/// A name that no other test has.
pub fn unique(name: &str) -> String {
    format!("{name}-{:016x}", rand::random::<u64>())
}

/// Writes `values` to a partition and waits until they are there.
pub fn produce(config: &ClientConfig, topic: &str, partition: i32, values: impl IntoIterator<Item = String>) {
    let producer: BaseProducer = config.create().expect("a producer");
    for value in values {
        let mut record = BaseRecord::<(), str>::to(topic).partition(partition).payload(&value);
        while let Err((_, back)) = producer.send(record) {
            record = back;
            producer.poll(Duration::from_millis(10));
        }
    }
    producer.flush(LONG).expect("all records are there");
}

/// A producer's settings for these brokers.
pub fn to(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("acks", "all");
    config
}

/// Collects what a source says.
pub struct Listener {
    pub source: Box<Kafka>,
    /// All arrivals but `End`, in order.
    pub heard: Vec<Arrival>,
    /// The last `End` of each origin.
    pub ends: BTreeMap<Origin, (i64, Duration)>,
    next: BTreeMap<Origin, i64>,
    /// Topics of which something was known or heard: what is new of another one is only its beginning.
    known: BTreeSet<String>,
}

impl Listener {
    pub fn new(plan: &Plan, begin: Begin) -> Listener {
        let known = begin.positions.keys().map(topic_of).collect();
        let source = Box::new(Kafka::start(plan, begin).expect("a source"));
        Listener { source, heard: Vec::new(), ends: BTreeMap::new(), next: BTreeMap::new(), known }
    }

    /// Listens until `enough`, and checks that batches and gaps of each origin form a chain.
    pub fn until(&mut self, what: &str, enough: impl Fn(&Listener) -> bool) {
        let deadline = Instant::now() + LONG;
        while !enough(self) {
            assert!(
                Instant::now() < deadline,
                "waited in vain for {what}; heard {:?}, ends {:?}",
                self.heard,
                self.ends
            );
            if let Some(arrival) = self.source.next(Duration::from_millis(20)) {
                self.hear(arrival);
            }
        }
    }

    /// Listens for as long as that.
    pub fn during(&mut self, time: Duration) {
        let deadline = Instant::now() + time;
        while Instant::now() < deadline {
            if let Some(arrival) = self.source.next(Duration::from_millis(20)) {
                self.hear(arrival);
            }
        }
    }

    fn link(&mut self, origin: &Origin, from: i64, to: i64) {
        let next = self.next.insert(origin.clone(), to);
        assert!(next.is_none_or(|next| next == from), "{origin}: {from} follows {next:?}");
    }

    fn hear(&mut self, arrival: Arrival) {
        match &arrival {
            Arrival::NewPartition { origin, .. } if !self.known.contains(&topic_of(origin)) => return,
            _ => self.known.extend(arrival.origin().map(topic_of)),
        }
        match &arrival {
            Arrival::Batch(batch) => {
                assert!(!batch.is_empty());
                self.link(batch.origin(), batch.from(), batch.to());
            }
            Arrival::Gap { origin, from, to } => self.link(origin, *from, *to),
            // Begun anew: what follows belongs to another chain.
            Arrival::NewPartition { origin, .. } => _ = self.next.remove(origin),
            Arrival::End { origin, offset, stood, .. } => {
                self.ends.insert(origin.clone(), (*offset, *stood));
                return;
            }
            _ => {}
        }
        self.heard.push(arrival);
    }

    /// The values of a partition, in the order in which they came.
    pub fn values(&self, topic: &str, partition: i32) -> Vec<String> {
        self.records(topic, partition).into_iter().map(|(_, value)| value).collect()
    }

    /// Offsets and values of a partition, in the order in which they came.
    pub fn records(&self, topic: &str, partition: i32) -> Vec<(i64, String)> {
        let origin = Origin::topic(topic, partition);
        let mut records = Vec::new();
        for arrival in &self.heard {
            if let Arrival::Batch(batch) = arrival
                && *batch.origin() == origin
            {
                let text = |value: Option<&[u8]>| String::from_utf8(value.unwrap_or(b"(none)").to_vec()).expect("text");
                records.extend(batch.records().map(|record| (record.offset, text(record.value))));
            }
        }
        records
    }

    /// Whether the origin was said to stand at its end at `offset` or beyond.
    pub fn at_end(&self, topic: &str, partition: i32, offset: i64) -> bool {
        self.ends.get(&Origin::topic(topic, partition)).is_some_and(|(end, _)| *end >= offset)
    }

    /// The arrivals that are neither batches nor ends.
    pub fn words(&self) -> Vec<&Arrival> {
        self.heard.iter().filter(|arrival| !matches!(arrival, Arrival::Batch(_))).collect()
    }
}

fn topic_of(origin: &Origin) -> String {
    match origin {
        Origin::Topic { topic, .. } => topic.to_string(),
        Origin::File { .. } => String::new(),
    }
}

/// Which log the plan's only topic is.
pub fn log_of(plan: &Plan) -> LogId {
    let seen = survey(plan).expect("a survey");
    let described = seen.topics.values().next().expect("a topic").as_ref().expect("described");
    LogId { cluster: seen.cluster_id.clone(), topic: described.id.clone() }
}

/// `prefix0`, `prefix1`, ...
pub fn numbered(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}{n}")).collect()
}
