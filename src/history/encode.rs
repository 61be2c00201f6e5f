//! Encodes a closed segment: the files of a commit, written side by side. Two of the tables take nearly all of the time.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;

use super::HistoryError;
use super::log::Positions;
use super::segment::{self, Segment, When};
use super::stage::Stage;
use super::tables::Table;
use crate::event::Time;
use crate::keys::Keyring;

/// What a commit adds to one table.
pub(super) struct Encoded {
    /// The new file, on the disk; `None` where there are no rows.
    pub segment: Option<Segment>,
    /// Positions that move.
    pub ahead: Positions,
}

/// What encoding needs of a history. It holds on to nothing: it runs on any thread, while the history goes on.
pub(super) struct Encoder {
    /// The folder.
    pub dir: PathBuf,
    /// `None` where encryption is off.
    pub keyring: Option<Arc<Keyring>>,
    /// What the segment holds.
    pub stage: Arc<Stage>,
    /// The newest arrival among it.
    pub arrival: Time,
    /// Its rows of alerts, which depend on those on record.
    pub alerts: Option<RecordBatch>,
    /// How far time has come, as positions.
    pub marks: Positions,
    /// The tables in the order of commits, each with the number of its next commit and its positions.
    pub tables: Vec<(Table, u64, Positions)>,
}

impl Encoder {
    /// What the commit adds to each table, in their order; a thread for each.
    pub fn all(&self) -> Result<Vec<Encoded>, HistoryError> {
        std::thread::scope(|scope| {
            let start = |(table, number, known): &(Table, u64, Positions)| {
                let (table, number, known) = (*table, *number, known.clone());
                scope.spawn(move || self.one(table, number, &known))
            };
            let threads: Vec<_> = self.tables.iter().map(start).collect();
            threads.into_iter().map(|thread| thread.join().expect("an encoder has no fault")).collect()
        })
    }

    fn one(&self, table: Table, number: u64, known: &Positions) -> Result<Encoded, HistoryError> {
        let damaged = |error: ArrowError| HistoryError::Damaged { file: table.name().into(), what: error.to_string() };
        let rows = match table {
            Table::Alerts => self.alerts.clone(),
            _ => Some(self.stage.rows_of(table, known, self.arrival).map_err(damaged)?),
        };
        let rows = rows.filter(|rows| rows.num_rows() > 0);
        let when = When { arrival: self.arrival, number };
        let write = |rows| segment::write(&self.dir, table, &rows, when, self.keyring.as_deref());
        let moved = |(key, next): &(&String, &i64)| known.get(*key).is_none_or(|at| at < next);
        let ahead = self.stage.ends().iter().chain(&self.marks).filter(moved);
        let ahead = ahead.map(|(key, next)| (key.clone(), *next)).collect();
        Ok(Encoded { segment: rows.map(write).transpose()?, ahead })
    }
}
