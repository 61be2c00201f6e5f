//! Where records come from, and which of them were read: `Origin` and `Span`.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, StringArray, new_null_array};
use arrow::datatypes::DataType;
use serde::{Deserialize, Serialize};

/// A sequence of records that is read in order: a partition of a Kafka topic, or a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Origin {
    /// A partition of a topic; offsets are Kafka's.
    Topic {
        /// Name of the topic.
        topic: Arc<str>,
        /// Number of the partition.
        partition: i32,
    },
    /// A file, or standard input; offsets are line or record numbers, from 1.
    File {
        /// The name it was given on the command line; `-` is standard input.
        name: Arc<str>,
    },
}

impl Origin {
    /// A file by the name it was given.
    pub fn file(name: impl Into<Arc<str>>) -> Origin {
        Origin::File { name: name.into() }
    }

    /// A partition of a topic.
    pub fn topic(topic: impl Into<Arc<str>>, partition: i32) -> Origin {
        Origin::Topic { topic: topic.into(), partition }
    }

    /// Whether it is a file.
    pub fn is_file(&self) -> bool {
        matches!(self, Origin::File { .. })
    }

    /// The columns `topic`, `partition` and `file` for `rows` rows of this origin.
    pub fn columns(&self, rows: usize) -> (ArrayRef, ArrayRef, ArrayRef) {
        let texts =
            |text: &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, rows))) };
        match self {
            Origin::Topic { topic, partition } => (
                texts(topic),
                Arc::new(Int32Array::from_value(*partition, rows)),
                new_null_array(&DataType::Utf8, rows),
            ),
            Origin::File { name } => {
                (new_null_array(&DataType::Utf8, rows), new_null_array(&DataType::Int32, rows), texts(name))
            }
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Topic { topic, partition } => write!(f, "{topic}/{partition}"),
            Origin::File { name } => f.write_str(name),
        }
    }
}

/// A half-open range of offsets that was read, and what became of its records.
///
/// `events + duplicates + rejects + gap` is the number of records in the range (Kafka's transaction markers and compaction leave
/// offsets without a record).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Where the records stand.
    pub origin: Origin,
    /// First offset of the range.
    pub from: i64,
    /// First offset after the range.
    pub to: i64,
    /// Records that became events.
    pub events: u64,
    /// Records that repeated an event and were dropped.
    pub duplicates: u64,
    /// Records that could not be used.
    pub rejects: u64,
    /// Offsets that were lost before they could be read.
    pub gap: u64,
}

impl Span {
    /// An empty range at `offset`.
    pub fn at(origin: Origin, offset: i64) -> Span {
        Span { origin, from: offset, to: offset, events: 0, duplicates: 0, rejects: 0, gap: 0 }
    }

    /// Takes up the range that follows this one.
    ///
    /// # Panics
    /// Where `next` is of another origin or does not begin where this one ends: offsets would be lost or counted twice.
    pub fn extend(&mut self, next: &Span) {
        assert_eq!(self.origin, next.origin, "spans of one origin are chained");
        assert_eq!(self.to, next.from, "spans leave no hole and do not overlap");
        self.to = next.to;
        self.events += next.events;
        self.duplicates += next.duplicates;
        self.rejects += next.rejects;
        self.gap += next.gap;
    }
}
