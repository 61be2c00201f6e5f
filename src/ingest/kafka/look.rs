//! Two short looks at a cluster: `probe` for `check --online`, and `peek` for the newest records of a topic. Neither leaves a trace on
//! the broker: no group is used and nothing is committed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::client::{Consumer, Ear, Failure, consumer};
use super::settings::Plan;
use super::survey::{Surveyor, Topic};
use crate::event::{Origin, Problem, Time};

/// A record as `peek` found it.
#[derive(Clone, PartialEq, Eq)]
pub struct Peeked {
    /// Where it stands.
    pub origin: Origin,
    /// Its offset.
    pub offset: i64,
    /// The broker's time of it.
    pub at: Option<Time>,
    /// Its bytes; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
}

impl std::fmt::Debug for Peeked {
    /// Never the bytes: they name persons.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Peeked({} {}, {:?} bytes)", self.origin, self.offset, self.value.as_ref().map(Vec::len))
    }
}

/// Tries what the source will need: a broker that answers, certificate and password, every topic, and the right to read it.
///
/// Waits a few of the plan's answer times at most.
pub fn probe(plan: &Plan) -> Vec<Problem> {
    let (look, survey) = match Look::new(plan).and_then(|mut look| look.survey().map(|survey| (look, survey))) {
        Ok(both) => both,
        Err(failure) => return vec![plan.problem(failure.to_string())],
    };
    let mut problems = Vec::new();
    for (topic, seen) in survey {
        match seen {
            Err(failure) => problems.push(plan.problem(failure.to_string())),
            Ok(described) if described.partitions.is_empty() => {
                problems.push(plan.problem(format!("topic {topic} has no partition")));
            }
            Ok(described) => {
                // One record, or the end of the log, shows that reading is allowed.
                let from =
                    described.partitions.iter().map(|(partition, log)| (*partition, log.high.max(log.low))).collect();
                if let Err(failure) = look.read(&topic, &from, &from, |_| {}) {
                    problems.push(plan.problem(format!("topic {topic} cannot be read: {failure}")));
                }
            }
        }
    }
    problems
}

/// The newest `n` records of a topic over all its partitions, by the broker's time, oldest first.
///
/// # Errors
/// Where the topic cannot be read.
pub fn peek(plan: &Plan, topic: &str, n: usize) -> Result<Vec<Peeked>, Failure> {
    let mut look = Look::new(&plan.only(topic))?;
    let described = match look.survey()?.into_values().next() {
        Some(seen) => seen?,
        None => return Err(Failure::Missing(topic.to_owned())),
    };
    let mut newest = Vec::new();
    for (partition, log) in &described.partitions {
        let mut window = i64::try_from(n).unwrap_or(i64::MAX).max(1);
        loop {
            // Compaction and aborted transactions leave holes: where a window holds too few records, a larger one is read.
            let from = log.high.saturating_sub(window).max(log.low);
            let mut found = Vec::new();
            let ends = BTreeMap::from([(*partition, log.high)]);
            look.read(topic, &BTreeMap::from([(*partition, from)]), &ends, |record| found.push(record))?;
            if found.len() >= n || from <= log.low {
                newest.extend(found.split_off(found.len().saturating_sub(n)));
                break;
            }
            window = window.saturating_mul(8);
        }
    }
    newest.sort_by(|a, b| (a.at, &a.origin, a.offset).cmp(&(b.at, &b.origin, b.offset)));
    Ok(newest.split_off(newest.len().saturating_sub(n)))
}

/// A broker that has nothing to send answers only after this time; the default of `fetch.wait.max.ms`, twice.
const LONG_POLL: Duration = Duration::from_secs(1);

struct Look {
    client: Consumer,
    ear: Arc<Ear>,
    surveyor: Surveyor,
    answer: Duration,
}

impl Look {
    fn new(plan: &Plan) -> Result<Look, Failure> {
        let ear = Ear::new("look");
        let client = consumer(&plan.client, &ear).map_err(|error| Failure::Settings(error.to_string()))?;
        let surveyor = Surveyor::new(plan, ear.clone())?;
        Ok(Look { client, ear, surveyor, answer: plan.answer })
    }

    /// The topics, or the failure where no topic could be described because no broker answers.
    #[allow(clippy::type_complexity, reason = "the shape is that of `Survey::topics`")]
    fn survey(&mut self) -> Result<BTreeMap<Arc<str>, Result<Topic, Failure>>, Failure> {
        let topics = self.surveyor.all().topics;
        let hopeless = |seen: &Result<Topic, Failure>| matches!(seen, Err(Failure::Away(_) | Failure::Refused(_)));
        if topics.values().all(hopeless)
            && let Some(Err(failure)) = topics.values().max_by_key(|seen| matches!(seen, Err(Failure::Refused(_))))
        {
            return Err(failure.clone());
        }
        Ok(topics)
    }

    /// Reads a topic from some offsets up to others.
    fn read(
        &self,
        topic: &str,
        from: &BTreeMap<i32, i64>,
        to: &BTreeMap<i32, i64>,
        mut found: impl FnMut(Peeked),
    ) -> Result<(), Failure> {
        let mut list = TopicPartitionList::new();
        let failure = |error: KafkaError| self.ear.failure(topic, &error);
        for (partition, offset) in from {
            list.add_partition_offset(topic, *partition, Offset::Offset(*offset)).map_err(failure)?;
        }
        self.client.assign(&list).map_err(failure)?;
        let mut open: Vec<i32> = from.keys().copied().collect();
        let mut quiet_since = Instant::now();
        while !open.is_empty() {
            match self.client.poll(Duration::from_millis(100)) {
                Some(Ok(record)) => {
                    quiet_since = Instant::now();
                    let (partition, offset) = (record.partition(), record.offset());
                    let end = to.get(&partition).copied().unwrap_or(0);
                    if offset + 1 >= end {
                        open.retain(|still| *still != partition);
                    }
                    if offset < end {
                        let at = record.timestamp().to_millis().map(|millis| Time(millis.saturating_mul(1_000)));
                        let value = record.payload().map(<[u8]>::to_vec);
                        found(Peeked { origin: Origin::topic(topic, partition), offset, at, value });
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    quiet_since = Instant::now();
                    open.retain(|still| *still != partition);
                }
                Some(Err(error)) => {
                    let failed = self.ear.failure(topic, &error);
                    if !matches!(failed, Failure::Away(_)) {
                        return Err(failed);
                    }
                }
                None => {}
            }
            if quiet_since.elapsed() > self.answer + LONG_POLL {
                return Err(Failure::Away(
                    self.ear.reason().unwrap_or_else(|| "no broker sends records in time".to_owned()),
                ));
            }
        }
        self.client.unassign().map_err(failure)
    }
}
