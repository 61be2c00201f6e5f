//! What the broker says of the topics: their ids, their partitions, and where each log begins and ends.
//!
//! All calls here wait for the broker, so that they run on a thread of their own (`warden`), never on the one that reads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::client::{Consumer, Ear, Failure, consumer};
use super::settings::{Plan, Start};
use crate::ingest::topic_id::topic_ids;

/// The topics as the broker describes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// The cluster's id, where the broker tells one.
    pub cluster_id: Option<String>,
    /// Each topic of the plan, or why nothing is known of it.
    pub topics: BTreeMap<Arc<str>, Result<Topic, Failure>>,
    /// Before the first question was asked: everything here was true at this moment or later.
    pub(super) asked: Instant,
}

impl Survey {
    /// What a broker might have said at `asked`.
    #[cfg(test)]
    pub(crate) fn new(
        cluster_id: Option<String>,
        topics: BTreeMap<Arc<str>, Result<Topic, Failure>>,
        asked: Instant,
    ) -> Survey {
        Survey { cluster_id, topics, asked }
    }
}

/// One topic.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Topic {
    /// The id that the broker gave it when it was made, where the broker tells one.
    pub id: Option<String>,
    /// Its partitions by number.
    pub partitions: BTreeMap<i32, Log>,
}

/// One partition's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// First offset that is still there.
    pub low: i64,
    /// First offset that does not exist yet; records of open transactions and what follows them do not count.
    pub high: i64,
    /// Where to begin if the history does not know the topic, by the plan's `start`.
    pub start: i64,
}

/// Asks the broker once, through a client of its own.
///
/// # Errors
/// Where the client cannot be made, or no topic could be described; the failure of a single topic is in its place in the survey.
pub fn survey(plan: &Plan) -> Result<Survey, Failure> {
    let survey = Surveyor::new(plan, Ear::new(&plan.group))?.all();
    let failures: Vec<_> = survey.topics.values().filter_map(|topic| topic.as_ref().err()).collect();
    match failures.first() {
        Some(first) if failures.len() == survey.topics.len() => Err((*first).clone()),
        _ => Ok(survey),
    }
}

/// Asks again and again, and remembers what rarely changes.
pub(super) struct Surveyor {
    topics: Vec<Arc<str>>,
    start: Start,
    answer: Duration,
    client: Consumer,
    ear: Arc<Ear>,
    cluster_id: Option<String>,
    known: BTreeMap<Arc<str>, Topic>,
}

impl Surveyor {
    /// Makes a client of its own: on a connection that is also read from, every question would wait for the next records.
    ///
    /// # Errors
    /// Where the client cannot be made.
    pub(super) fn new(plan: &Plan, ear: Arc<Ear>) -> Result<Surveyor, Failure> {
        let mut alone = plan.client.clone();
        alone.remove("group.id");
        let client = consumer(&alone, &ear).map_err(|error| Failure::Settings(error.to_string()))?;
        let (topics, start, answer) = (plan.topics.clone(), plan.start, plan.answer);
        Ok(Surveyor { topics, start, answer, client, ear, cluster_id: None, known: BTreeMap::new() })
    }

    /// Asks for everything: ids, partitions and ends.
    pub(super) fn all(&mut self) -> Survey {
        self.known.clear();
        self.cluster_id = None;
        self.ends()
    }

    /// Asks for the ends of the logs, and for the rest only where it is not known.
    pub(super) fn ends(&mut self) -> Survey {
        let asked = Instant::now();
        let mut topics = BTreeMap::new();
        let mut failed: Option<Failure> = None;
        let mut away = false;
        for name in self.topics.clone() {
            // A broker that is away is not asked for every topic: each question would wait in vain.
            away = away || (failed.is_some() && self.client.fetch_metadata(None, self.answer).is_err());
            let seen = match &failed {
                Some(failure) if away => Err(failure.clone()),
                _ => self.topic(&name),
            };
            failed = seen.as_ref().err().filter(|failure| !matches!(failure, Failure::Missing(_))).cloned();
            topics.insert(name, seen);
        }
        self.add_ids(&mut topics);
        if failed.is_none() && self.cluster_id.is_none() {
            self.cluster_id = self.client.client().fetch_cluster_id(self.answer);
        }
        let described = |(name, seen): (&Arc<str>, &Result<Topic, Failure>)| Some((name.clone(), seen.clone().ok()?));
        self.known = topics.iter().filter_map(described).collect();
        self.listen(Duration::ZERO);
        Survey { cluster_id: self.cluster_id.clone(), topics, asked }
    }

    /// Ids are asked for after the ends: a topic that is made again in between then shows as another, never as ours.
    fn add_ids(&self, topics: &mut BTreeMap<Arc<str>, Result<Topic, Failure>>) {
        let fresh = |(name, seen): (&Arc<str>, &Result<Topic, Failure>)| {
            (seen.is_ok() && !self.known.contains_key(name)).then(|| name.clone())
        };
        let fresh: Vec<Arc<str>> = topics.iter().filter_map(fresh).collect();
        let names: Vec<&str> = fresh.iter().map(|name| &**name).collect();
        let mut ids = topic_ids(self.client.client(), &names, self.answer);
        for name in &fresh {
            if let Some(Ok(topic)) = topics.get_mut(name) {
                topic.id = ids.remove(&**name);
            }
        }
    }

    fn topic(&self, name: &Arc<str>) -> Result<Topic, Failure> {
        let failure = |error: KafkaError| self.failure(name, &error);
        let (id, partitions, fresh) = match self.known.get(name) {
            Some(known) => (known.id.clone(), known.partitions.keys().copied().collect(), false),
            None => (None, self.partitions(name).map_err(failure)?, true),
        };
        // The topic is there, or was when it was last asked for: what is missing is a broker that leads a partition of it.
        let failure = |error: KafkaError| match failure(error) {
            Failure::Missing(_) => Failure::Away(format!("topic {name} has a partition that no broker serves now")),
            other => other,
        };
        let high = self.offsets(name, &partitions, Offset::End).map_err(failure)?;
        let low = self.offsets(name, &partitions, Offset::Beginning).map_err(failure)?;
        let begin = match self.start {
            Start::At(time) if fresh => {
                let millis = Offset::Offset(time.0.max(0).div_euclid(1_000));
                self.offsets(name, &partitions, millis).map_err(failure)?
            }
            Start::Latest => high.clone(),
            _ => low.clone(),
        };
        let log = |partition: i32| {
            let (low, high) = (*low.get(&partition)?, *high.get(&partition)?);
            // Where no record is that young, the broker gives no offset: the end.
            let start = begin.get(&partition).copied().filter(|offset| *offset >= 0).unwrap_or(high);
            Some((partition, Log { low, high, start }))
        };
        Ok(Topic { id, partitions: partitions.iter().filter_map(|partition| log(*partition)).collect() })
    }

    /// The reason of a refusal comes as an event of its own, perhaps a little after the answer that failed for it.
    fn failure(&self, name: &str, error: &KafkaError) -> Failure {
        self.listen(Duration::from_millis(100));
        self.ear.failure(name, error)
    }

    /// No records come to this client: polling only lets it say what went wrong.
    fn listen(&self, patience: Duration) {
        let mut patience = patience;
        while self.client.poll(patience).is_some() {
            patience = Duration::ZERO;
        }
    }

    fn partitions(&self, name: &str) -> KafkaResult<Vec<i32>> {
        let metadata = self.client.fetch_metadata(Some(name), self.answer)?;
        let code = |error: rdkafka::types::RDKafkaRespErr| KafkaError::MetadataFetch(error.into());
        let topic = metadata.topics().iter().find(|topic| topic.name() == name);
        match topic {
            Some(topic) => match topic.error() {
                Some(error) => Err(code(error)),
                None => Ok(topic.partitions().iter().map(|partition| partition.id()).collect()),
            },
            None => Err(code(rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)),
        }
    }

    /// One question to each leader; `which` is the beginning, the end, or a time in milliseconds since 1970.
    fn offsets(&self, topic: &str, partitions: &[i32], which: Offset) -> KafkaResult<BTreeMap<i32, i64>> {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            list.add_partition_offset(topic, *partition, which)?;
        }
        if partitions.is_empty() {
            return Ok(BTreeMap::new());
        }
        let answer = self.client.offsets_for_times(list, self.answer)?;
        let mut offsets = BTreeMap::new();
        for element in answer.elements() {
            element.error()?;
            offsets.insert(element.partition(), element.offset().to_raw().unwrap_or(-1));
        }
        Ok(offsets)
    }
}
