//! What comes out of a source: batches of raw records, and what the pipeline must know about their order and their gaps.
//!
//! [`Source`] is the border between the outside world and the pipeline: Kafka implements it, and so does the fault simulator. The
//! types here hold bytes and offsets only; they know nothing of Kafka's client and nothing of what a record means.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::log_id::LogId;
use crate::event::effects::Decoded;
use crate::event::{Origin, Time};
use crate::ingest::known::End;

/// Where records come from, one at a time or many: the pipeline asks, the source answers within a bounded time.
///
/// For each origin the arrivals are in order: a batch begins where the last batch or gap of its origin ended, so that every offset
/// is in exactly one of them. Nothing is said twice and nothing is left out, whatever happens between.
pub trait Source: Send {
    /// The next arrival, as soon as there is one, or `None` when `timeout` has passed without any.
    ///
    /// After [`Arrival::Fatal`] it returns `None` at once.
    fn next(&mut self, timeout: Duration) -> Option<Arrival>;

    /// Stops reading these origins, also where a partition is not known yet. Arrivals that were already on their way still come.
    fn pause(&mut self, origins: &[Origin]);

    /// Reads these origins again, from where they stood.
    fn resume(&mut self, origins: &[Origin]);

    /// Tells the outside world how far the history reaches (first offset not stored), for its own display; nothing depends on it.
    fn commit_hint(&mut self, positions: &BTreeMap<Origin, i64>);

    /// Everything of these files that was given is on record, and what became of them is noted.
    fn recorded(&mut self, _files: &[Origin]) {}

    /// Reads an origin that was stopped again, as `log` and from offset `from`: [`Arrival::NewPartition`] says when it is there. Where
    /// the log turns out to be yet another one it is stopped again.
    fn begin_anew(&mut self, origin: &Origin, log: &LogId, from: i64);

    /// Stops, and waits at most `within` for everything to be closed; false where it was not closed by then.
    fn close(self: Box<Self>, within: Duration) -> bool;
}

/// What a source has to say.
#[derive(Debug, Clone, PartialEq)]
pub enum Arrival {
    /// Records of one origin.
    Batch(RawBatch),
    /// Files wait to be read whose records begin at this time; [`Time::MIN`] where that is not known yet, none where no file waits. Those
    /// that have begun are not among them.
    FilesWait(Option<Time>),
    /// A file begins; its stretches follow.
    FileBegin {
        /// The file.
        origin: Origin,
        /// The key of its positions, by its content.
        key: String,
    },
    /// Records of a file, which are decoded where they are read: how a file is cut depends on what is in it.
    Stretch(Box<Decoded>),
    /// Nothing more comes of a file; where it has not begun, nothing of it had to be read.
    FileEnd {
        /// The file.
        origin: Origin,
        /// First position that was not given; 0 where none was.
        to: i64,
        /// Where it ends, where it was read to there.
        end: Option<End>,
        /// Why it could not be read, or not to its end.
        failure: Option<String>,
    },
    /// The origin has been read up to the end of its log, as the broker said at the time.
    ///
    /// Said again and again while it stands there, and only when the broker has answered: a broker that is away makes nothing idle.
    End {
        /// The origin.
        origin: Origin,
        /// The end of the log: first offset that does not exist yet. Transaction markers count, so it may lie beyond the last record.
        offset: i64,
        /// For how long the origin has stood there, between the first and the last answer of the broker that said so.
        stood: Duration,
        /// When the broker was asked for it: records that were there before this moment were read.
        asked: Instant,
    },
    /// The records of `from..to` were deleted by the broker before they could be read; reading goes on at `to`.
    Gap {
        /// The origin.
        origin: Origin,
        /// First lost offset.
        from: i64,
        /// First offset that still exists.
        to: i64,
    },
    /// The log is not the one that was read before, or it ends before our position: the origin is stopped until a person decides.
    TopicMadeAgain {
        /// The origin.
        origin: Origin,
        /// Our position: first offset not read.
        position: i64,
        /// The end of the log now.
        end: i64,
        /// The log that was read before.
        expected: LogId,
        /// The log that is there now; the same where it only ends too early.
        found: LogId,
    },
    /// A partition that the pipeline does not know, or that is begun anew; its records follow.
    NewPartition {
        /// The origin.
        origin: Origin,
        /// Which log it is.
        log: LogId,
        /// First offset that is read.
        from: i64,
    },
    /// The outside world does not answer, or refuses. Said at most once a minute while it lasts; reading is tried again without end.
    Trouble {
        /// What is wrong, for an operator.
        what: String,
        /// The outside world answers, and only a topic does not exist.
        missing: bool,
    },
    /// The trouble that was told is over.
    Recovered {
        /// How long it lasted.
        after: Duration,
    },
    /// The client cannot go on; this is the last arrival. Nothing that came before it is in doubt.
    Fatal {
        /// What is wrong, for an operator.
        what: String,
    },
}

impl Arrival {
    /// The partition or file that it speaks of.
    pub fn origin(&self) -> Option<&Origin> {
        match self {
            Arrival::Batch(raw) => Some(raw.origin()),
            Arrival::End { origin, .. }
            | Arrival::Gap { origin, .. }
            | Arrival::TopicMadeAgain { origin, .. }
            | Arrival::NewPartition { origin, .. }
            | Arrival::FileBegin { origin, .. }
            | Arrival::FileEnd { origin, .. } => Some(origin),
            Arrival::Stretch(decoded) => Some(&decoded.batch.origin),
            Arrival::FilesWait(_) | Arrival::Trouble { .. } | Arrival::Recovered { .. } | Arrival::Fatal { .. } => None,
        }
    }
}

/// Records of one origin in one piece of memory, by rising offset.
#[derive(Clone, PartialEq, Eq)]
pub struct RawBatch {
    origin: Origin,
    from: i64,
    to: i64,
    bytes: Vec<u8>,
    records: Vec<Place>,
}

/// One record of a batch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RawRecord<'a> {
    /// Its offset.
    pub offset: i64,
    /// The broker's time of it, to the millisecond, where the broker keeps one.
    pub at: Option<Time>,
    /// Its bytes; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
}

#[derive(Clone, PartialEq, Eq)]
struct Place {
    offset: i64,
    at: Option<Time>,
    value: Option<Range<usize>>,
}

impl RawBatch {
    /// An empty batch that begins at offset `from`.
    pub fn new(origin: Origin, from: i64) -> RawBatch {
        RawBatch { origin, from, to: from, bytes: Vec::new(), records: Vec::new() }
    }

    /// Adds a record.
    ///
    /// # Panics
    /// Where its offset does not lie beyond those that are there: a record would be counted twice.
    pub fn push(&mut self, record: RawRecord<'_>) {
        assert!(record.offset >= self.to, "offsets of a batch rise");
        let value = record.value.map(|bytes| {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(bytes);
            start..self.bytes.len()
        });
        self.to = record.offset + 1;
        self.records.push(Place { offset: record.offset, at: record.at, value });
    }

    /// Where the records stand.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// First offset of the range: the end of the batch or gap before it. The first record may lie beyond it, where the log has holes.
    pub fn from(&self) -> i64 {
        self.from
    }

    /// First offset after the last record.
    pub fn to(&self) -> i64 {
        self.to
    }

    /// How many records.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes of all records together.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The records, by rising offset.
    pub fn records(&self) -> impl ExactSizeIterator<Item = RawRecord<'_>> {
        self.records.iter().map(|place| RawRecord {
            offset: place.offset,
            at: place.at,
            value: place.value.clone().map(|range| &self.bytes[range]),
        })
    }
}

impl std::fmt::Debug for RawBatch {
    /// Never the bytes: they name persons.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RawBatch({} {}..{}, {} records, {} bytes)", self.origin, self.from, self.to, self.len(), self.size())
    }
}

impl std::fmt::Debug for RawRecord<'_> {
    /// Never the bytes: they name persons.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RawRecord({}, {:?} bytes)", self.offset, self.value.map(<[u8]>::len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_keeps_records_apart_and_tombstones_too() {
        let mut batch = RawBatch::new(Origin::topic("t", 3), 5);
        assert!(batch.is_empty() && batch.from() == 5 && batch.to() == 5);
        let values: [Option<&[u8]>; 4] = [Some(b"one"), None, Some(b""), Some(b"three")];
        for (offset, value) in [5, 6, 9, 12].into_iter().zip(values) {
            batch.push(RawRecord { offset, at: Some(Time(offset)), value });
        }
        let seen: Vec<_> = batch.records().map(|r| (r.offset, r.value)).collect();
        assert_eq!(seen, vec![(5, values[0]), (6, None), (9, Some(&b""[..])), (12, values[3])]);
        assert_eq!((batch.from(), batch.to(), batch.len(), batch.size()), (5, 13, 4, 8));
        assert_eq!(format!("{batch:?}"), "RawBatch(t/3 5..13, 4 records, 8 bytes)");
        assert!(!format!("{:?}", batch.records().next()).contains("one"));
    }

    #[test]
    #[should_panic(expected = "offsets of a batch rise")]
    fn a_batch_refuses_an_offset_it_has() {
        let mut batch = RawBatch::new(Origin::topic("t", 0), 5);
        batch.push(RawRecord { offset: 5, at: None, value: None });
        batch.push(RawRecord { offset: 5, at: None, value: None });
    }
}
