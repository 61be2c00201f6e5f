//! The board: how `run` stands at this moment, as the loop writes it and as whoever looks on reads it.
//!
//! Plain values, no clock, no file. Nothing here names a person or a record: topics, sources, channels and families are all there is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::event::{Origin, Severity, Time};
use crate::ingest::inbox::Status;
use crate::pipeline::{Commits, Outcomes};

/// The board where several threads look at it.
#[derive(Debug, Clone, Default)]
pub struct Shared(Arc<Mutex<Board>>);

impl Shared {
    /// The board of a process that begins at `now`, with what is on record already.
    pub fn new(now: Time, before: Outcomes) -> Shared {
        Shared(Arc::new(Mutex::new(Board { started: Some(now), before, ..Board::default() })))
    }

    /// Looks at it, or writes on it; a panic elsewhere does not make plain values wrong.
    pub fn lock(&self) -> MutexGuard<'_, Board> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How `run` stands.
#[derive(Debug, Clone, Default)]
pub struct Board {
    /// When the process began.
    pub started: Option<Time>,
    /// When the loop last did its chores.
    pub beat: Option<Time>,
    /// Partitions.
    pub lanes: BTreeMap<Origin, LaneStand>,
    /// The drop folder, where there is one.
    pub files: Option<Status>,
    /// How far time has come.
    pub watermark: Option<Time>,
    /// End of the newest settled day, were it a day of UTC.
    pub settled: Option<Time>,
    /// Local days that are open.
    pub open_days: usize,
    /// What became of the records on record before this process began: sums of table `spans` and `rejects`.
    pub before: Outcomes,
    /// What became of the records since.
    pub since: Outcomes,
    /// Records that were taken up last and could not be used, in a row, by topic.
    pub rejected: BTreeMap<String, u64>,
    /// What was made durable.
    pub commits: Commits,
    /// Rows and bytes that wait for the next segment.
    pub staged: (usize, usize),
    /// The rosters in force: their hash, and since when.
    pub roster: Option<(String, Time)>,
    /// What an operator should do something about.
    pub open: Vec<Trouble>,
    /// Why the loop stands still, where it waits for the disk.
    pub waits: Option<String>,
    /// What compaction has done: runs, files that were joined, files that were removed.
    pub upkeep: (u64, u64, u64),
    /// Free and all bytes of the file systems that hold the history and the state.
    pub disks: Vec<(&'static str, u64, u64)>,
    /// Lines of the self-audit and receipts that were drained into the history.
    pub drained: (u64, u64),
}

/// Something that an operator should do something about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Stable slug.
    pub kind: &'static str,
    /// The partition, source, channel or folder.
    pub about: String,
    /// In words; never a person.
    pub what: String,
    /// How bad.
    pub severity: Severity,
    /// Since when, by the clock.
    pub since: Time,
}

/// How a partition stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneStand {
    /// First offset that was not read.
    pub next: i64,
    /// First offset that does not exist yet.
    pub end: i64,
    /// Newest event time.
    pub newest: Option<Time>,
    /// Rows that were read and wait to be taken up.
    pub queued: usize,
    /// What it does.
    pub doing: Doing,
}

/// What a partition does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// It is read.
    Reading,
    /// It stands at its end.
    Idle,
    /// It waits for the others.
    Paused,
    /// It is read, and time does not wait for it.
    Left,
    /// It is not read until a person decides.
    Stopped,
}

impl Doing {
    /// Each of them.
    pub const ALL: [Doing; 5] = [Doing::Reading, Doing::Idle, Doing::Paused, Doing::Left, Doing::Stopped];

    /// In one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Doing::Reading => "reading",
            Doing::Idle => "idle",
            Doing::Paused => "paused",
            Doing::Left => "left",
            Doing::Stopped => "stopped",
        }
    }
}

impl LaneStand {
    /// Offsets that were not read yet; transaction markers count.
    pub fn lag(&self) -> i64 {
        (self.end - self.next).max(0)
    }
}
