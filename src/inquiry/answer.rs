//! An answer: rows, and what has to be said with them.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use serde::Serialize;

use super::blind::{Behind, Silence};
use super::ledger::{Learning, Stale, Unread};
use super::when::Window;
use crate::event::{Time, Zone};
use crate::history::HistoryError;

/// What a question found.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The question's name.
    pub question: &'static str,
    /// The columns.
    pub columns: SchemaRef,
    /// The rows.
    pub rows: Vec<RecordBatch>,
    /// The time that was asked for.
    pub window: Window,
    /// Up to this event time every feed was read that is not named below: what happened later may be missing. `None` where nothing is
    /// on record.
    pub complete_to: Option<Time>,
    /// Feeds that hold `complete_to` back behind the newest event.
    pub behind: Vec<Behind>,
    /// Recorded gaps that may hold something of the time asked for.
    pub gaps: Vec<Gap>,
    /// Partitions that were not read, or not waited for, in the time asked for.
    pub unread: Vec<Unread>,
    /// When the rosters were old in the time asked for.
    pub stale: Vec<Stale>,
    /// Sources that were silent in the time asked for.
    pub silent: Vec<Silence>,
    /// What detectors could not judge in the time asked for.
    pub learning: Vec<Learning>,
    /// What else has to be known to read the rows rightly.
    pub notes: Vec<String>,
    /// The zone in which people read the times; programs get UTC.
    pub zone: Zone,
}

/// Records that were lost before they could be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// Topic and partition, or file.
    pub origin: String,
    /// First offset lost.
    pub from: i64,
    /// First offset after it; `None` where the log is gone and nobody knows.
    pub to: Option<i64>,
    /// Records lost; `None` where nobody knows.
    pub records: Option<i64>,
    /// Newest event time of the origin before the gap, where there is one.
    pub after: Option<String>,
    /// Oldest event time of the origin behind the gap, where there is one.
    pub before: Option<String>,
}

impl Answer {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.iter().map(RecordBatch::num_rows).sum()
    }

    /// Changes the rows, all in the same way.
    pub(super) fn change(
        &mut self,
        change: impl Fn(&RecordBatch) -> Result<RecordBatch, ArrowError>,
    ) -> Result<(), HistoryError> {
        let changed = self.rows.iter().map(change).collect::<Result<Vec<_>, _>>();
        self.rows = changed.map_err(|error| HistoryError::Query(error.to_string()))?;
        self.columns = self.rows[0].schema();
        Ok(())
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
