//! Which log a partition is, and the key under which the history keeps its position.
//!
//! A topic that was made again under its name, and one on a cluster that was restored, are other logs: their offsets say nothing of
//! what was read before. A log that lost its end keeps its ids; begun anew by command it is another one all the same.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::event::Origin;

/// The cluster and the topic's id in it, as far as the broker tells them.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LogId {
    /// The cluster's id.
    pub cluster: Option<String>,
    /// The id that the topic was given when it was made.
    pub topic: Option<String>,
}

impl LogId {
    /// Whether both can be the same: what is not known contradicts nothing.
    pub fn may_be(&self, other: &LogId) -> bool {
        let agree = |a: &Option<String>, b: &Option<String>| a.as_ref().zip(b.as_ref()).is_none_or(|(a, b)| a == b);
        agree(&self.cluster, &other.cluster) && agree(&self.topic, &other.topic)
    }

    /// The same with what `other` knows besides.
    pub fn with(&self, other: &LogId) -> LogId {
        let either = |a: &Option<String>, b: &Option<String>| a.clone().or_else(|| b.clone());
        LogId { cluster: either(&self.cluster, &other.cluster), topic: either(&self.topic, &other.topic) }
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |id: &Option<String>| id.clone().unwrap_or_else(|| "(unknown)".to_owned());
        write!(f, "topic id {} of cluster {}", word(&self.topic), word(&self.cluster))
    }
}

/// The key under which the position of a partition is kept: its text names the log, not only the topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PositionKey {
    /// Topic and number of the partition.
    pub origin: Origin,
    /// Which log.
    pub log: LogId,
    /// How often it was begun anew by command.
    pub anew: u32,
}

impl PositionKey {
    /// The key that has this text; `None` where it is none of a partition.
    pub fn parse(text: &str) -> Option<PositionKey> {
        let mut parts = text.strip_prefix("kafka:")?.split(':');
        let (cluster, topic, id) = (parts.next()?, parts.next()?, parts.next()?);
        let partition = parts.next()?.parse().ok()?;
        let (id, anew) = match id.split_once('~') {
            Some((id, anew)) => (id, anew.parse().ok()?),
            None => (id, 0),
        };
        let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let log = LogId { cluster: known(cluster), topic: known(id) };
        parts.next().is_none().then(|| PositionKey { origin: Origin::topic(topic, partition), log, anew })
    }
}

impl fmt::Display for PositionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Origin::Topic { topic, partition } = &self.origin else { return write!(f, "{}", self.origin) };
        let word = |id: &Option<String>| id.clone().unwrap_or_default();
        let (cluster, id) = (word(&self.log.cluster), word(&self.log.topic));
        let anew = if self.anew > 0 { format!("~{}", self.anew) } else { String::new() };
        write!(f, "kafka:{cluster}:{topic}:{id}{anew}:{partition}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(cluster: &str, topic: &str) -> LogId {
        let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        LogId { cluster: known(cluster), topic: known(topic) }
    }

    #[test]
    fn keys_turn_round() {
        let check = |text: &str, expected: Option<(LogId, &str, u32, i32)>| {
            let found = PositionKey::parse(text);
            let expected = expected.map(|(log, topic, anew, partition)| {
                let origin = Origin::topic(topic, partition);
                PositionKey { origin, log, anew }
            });
            assert_eq!(found, expected, "{text}");
            assert!(found.is_none_or(|key| key.to_string() == text), "{text}");
        };
        check("kafka:c1:ehr.access:id:3", Some((log("c1", "id"), "ehr.access", 0, 3)));
        check("kafka::ehr::0", Some((log("", ""), "ehr", 0, 0)));
        check("kafka:c1:ehr:id~2:0", Some((log("c1", "id"), "ehr", 2, 0)));
        check("kafka:c1:ehr:~1:0", Some((log("c1", ""), "ehr", 1, 0)));
        for text in ["file:abc", "kafka:c1:ehr:id:x", "kafka:c1:ehr:id~x:0", "kafka:c1:ehr:id:0:1", "engine:watermark"]
        {
            check(text, None);
        }
    }

    #[test]
    fn what_is_not_known_contradicts_nothing() {
        for (one, other, expected) in [
            (log("c", "t"), log("c", "t"), true),
            (log("c", "t"), log("", ""), true),
            (log("c", ""), log("", "t"), true),
            (log("c", "t"), log("d", "t"), false),
            (log("c", "t"), log("c", "u"), false),
            (log("", "t"), log("d", "u"), false),
        ] {
            assert_eq!((one.may_be(&other), other.may_be(&one)), (expected, expected), "{one} {other}");
        }
        assert_eq!(log("c", "").with(&log("d", "t")), log("c", "t"));
    }
}
