//! librdkafka as this house uses it: how a client is made, and how its many words become few.
//!
//! A broker that is away makes librdkafka complain many times a second. Its complaints are kept as the reason of the trouble that the
//! reader tells, and are not logged; whatever else it says is logged once a minute for each kind.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::{ClientConfig, util::Timeout};

/// What Kafka did not do for us.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No broker answers in time, or none that can answer for the partition.
    #[error("{0}")]
    Away(String),
    /// A broker answers and refuses: certificate, password or rights.
    #[error("{0}")]
    Refused(String),
    /// The topic does not exist.
    #[error("topic {0} does not exist")]
    Missing(String),
    /// The client cannot be made with these settings.
    #[error("{0}")]
    Settings(String),
}

impl Failure {
    /// When to try again; `None` where it is of no use.
    pub fn retry(&self) -> Option<Duration> {
        match self {
            Failure::Away(_) => Some(Duration::from_secs(1)),
            Failure::Missing(_) => Some(Duration::from_secs(30)),
            Failure::Refused(_) => Some(Duration::from_secs(60)),
            Failure::Settings(_) => None,
        }
    }
}

/// A consumer whose words are heard by an [`Ear`].
pub(super) type Consumer = BaseConsumer<Callbacks>;

/// Makes a client; it connects by itself in the background.
pub(super) fn consumer(config: &ClientConfig, ear: &Arc<Ear>) -> KafkaResult<Consumer> {
    Consumer::from_config_and_context(config, Callbacks(ear.clone()))
}

/// Lets something through once in a while, and counts what it held back.
#[derive(Debug)]
pub(super) struct Limit {
    every: Duration,
    last: Option<Instant>,
    held: u64,
}

impl Limit {
    /// Lets one through in every stretch of this length.
    pub(super) fn new(every: Duration) -> Limit {
        Limit { every, last: None, held: 0 }
    }

    /// Whether it may pass now, and then how many were held back before it.
    pub(super) fn pass(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.duration_since(last) < self.every) {
            self.held += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.held))
    }
}

/// Hears what librdkafka says, on whichever thread it says it.
pub(super) struct Ear {
    about: String,
    kinds: Mutex<BTreeMap<String, Limit>>,
    reason: Mutex<Option<(Weight, String)>>,
}

/// The heavier reason wins: a refused password also makes all brokers "down".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    AllDown,
    Transport,
    Refused,
}

const MINUTE: Duration = Duration::from_secs(60);

impl Ear {
    /// An ear for the client of that group.
    pub(super) fn new(about: &str) -> Arc<Ear> {
        Arc::new(Ear { about: about.to_owned(), kinds: Mutex::default(), reason: Mutex::default() })
    }

    /// What librdkafka gave as the reason of its trouble since [`Ear::forget`].
    pub(super) fn reason(&self) -> Option<String> {
        lock(&self.reason).as_ref().map(|(_, text)| text.clone())
    }

    /// The trouble is over.
    pub(super) fn forget(&self) {
        *lock(&self.reason) = None;
    }

    /// Turns an error code into a failure, with the reason that was heard meanwhile.
    pub(super) fn failure(&self, topic: &str, error: &KafkaError) -> Failure {
        use RDKafkaErrorCode as Code;
        let heard = lock(&self.reason).clone();
        match error.rdkafka_error_code() {
            Some(
                Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition | Code::UnknownTopicId,
            ) => Failure::Missing(topic.to_owned()),
            Some(Code::TopicAuthorizationFailed) => Failure::Refused(format!("no right to read topic {topic}")),
            Some(Code::GroupAuthorizationFailed | Code::ClusterAuthorizationFailed) => {
                Failure::Refused(error.to_string())
            }
            _ => match heard {
                Some((Weight::Refused, why)) => Failure::Refused(why),
                Some((_, why)) => Failure::Away(why),
                None => Failure::Away(error.to_string()),
            },
        }
    }

    fn hear(&self, error: &KafkaError, reason: &str) {
        use RDKafkaErrorCode as Code;
        let weight = match error.rdkafka_error_code() {
            Some(Code::Authentication | Code::SaslAuthenticationFailed | Code::SSL) => Weight::Refused,
            Some(Code::AllBrokersDown) => Weight::AllDown,
            Some(Code::BrokerTransportFailure | Code::Resolve | Code::OperationTimedOut) => Weight::Transport,
            // Errors of single partitions reach the reader by another way; it asks the broker and says what is wrong.
            _ => return tracing::debug!(group = self.about, "kafka: {error}: {reason}"),
        };
        let mut kept = lock(&self.reason);
        if kept.as_ref().is_none_or(|(heaviest, _)| *heaviest <= weight) {
            *kept = Some((weight, reason.to_owned()));
        }
    }

    /// Whether a word of this kind may be logged now.
    fn may_say(&self, kind: &str) -> Option<u64> {
        let mut kinds = lock(&self.kinds);
        kinds.entry(kind.to_owned()).or_insert_with(|| Limit::new(MINUTE)).pass(Instant::now())
    }
}

/// A panic elsewhere does not make these texts wrong.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The end of librdkafka's callbacks.
pub(super) struct Callbacks(Arc<Ear>);

impl ClientContext for Callbacks {
    fn log(&self, level: RDKafkaLogLevel, kind: &str, text: &str) {
        let ear = &self.0;
        // A connection that fails comes by `error` too, and a question without an answer to who asked it: the reader tells both.
        if matches!(kind, "FAIL" | "ERROR" | "REQTMOUT" | "COMMITFAIL")
            || (level as i32) > (RDKafkaLogLevel::Notice as i32)
        {
            return tracing::debug!(group = ear.about, "kafka: {kind}: {text}");
        }
        if let Some(more) = ear.may_say(kind) {
            tracing::info!(group = ear.about, more, "kafka: {kind}: {text}");
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.hear(&error, reason);
    }
}

impl ConsumerContext for Callbacks {
    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            self.0.hint_failed(&error);
        }
    }

    fn main_queue_min_poll_interval(&self) -> Timeout {
        Timeout::After(Duration::from_millis(100))
    }
}

impl Ear {
    /// The group offset could not be written; nothing depends on it, so one line a minute is enough.
    pub(super) fn hint_failed(&self, error: &KafkaError) {
        if let Some(more) = self.may_say("hint") {
            tracing::info!(
                group = self.about,
                more,
                "the group offset on the Kafka side could not be updated: {error}"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_lets_one_through_in_each_stretch() {
        let start = Instant::now();
        let mut limit = Limit::new(MINUTE);
        let passed: Vec<_> = (0..150).map(|second| limit.pass(start + Duration::from_secs(second))).collect();
        let through: Vec<_> =
            passed.iter().enumerate().filter_map(|(second, pass)| pass.map(|held| (second, held))).collect();
        assert_eq!(through, vec![(0, 0), (60, 59), (120, 59)]);
    }

    #[test]
    fn the_heaviest_reason_is_told() {
        let ear = Ear::new("test");
        let heard = |code, text: &str| ear.hear(&KafkaError::Global(code), text);
        heard(RDKafkaErrorCode::BrokerTransportFailure, "connection refused");
        heard(RDKafkaErrorCode::AllBrokersDown, "1/1 brokers are down");
        assert_eq!(ear.reason().as_deref(), Some("connection refused"));
        heard(RDKafkaErrorCode::Authentication, "wrong password");
        heard(RDKafkaErrorCode::BrokerTransportFailure, "connection refused");
        let timed_out = KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut);
        assert_eq!(ear.failure("t", &timed_out), Failure::Refused("wrong password".to_owned()));
        ear.forget();
        assert!(matches!(ear.failure("t", &timed_out), Failure::Away(_)));
        let missing = KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition);
        assert_eq!(ear.failure("t", &missing), Failure::Missing("t".to_owned()));
    }
}
