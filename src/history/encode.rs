//! Encodes what is staged: the files of a commit, written side by side.
//!
//! Two of the tables take nearly all of the time. Files are all on the disk before the first commit names one, and the commits come one
//! after the other, in the order of the tables: what a crash or a failure leaves behind is files that no commit names.

use std::path::Path;

use arrow::error::ArrowError;

use super::HistoryError;
use super::log::{Positions, TableLog};
use super::segment::{self, Segment, When};
use super::stage::Stage;
use super::tables::Table;
use super::told::Told;
use crate::event::Time;
use crate::keys::Keyring;

/// What a commit adds to one table.
pub(super) struct Encoded {
    /// The new file, on the disk; `None` where there are no rows.
    pub segment: Option<Segment>,
    /// Positions that move.
    pub ahead: Positions,
}

/// What encoding needs of a history.
pub(super) struct Encoder<'a> {
    /// The folder.
    pub dir: &'a Path,
    /// `None` where encryption is off.
    pub keyring: Option<&'a Keyring>,
    /// What waits.
    pub stage: &'a Stage,
    /// The newest arrival among it.
    pub arrival: Time,
    /// The alerts on record.
    pub told: &'a Told,
    /// How far time has come, as positions.
    pub marks: &'a Positions,
}

impl Encoder<'_> {
    /// What the commit adds to each of these tables, in their order; a thread for each.
    pub fn all(&self, logs: &[TableLog]) -> Result<Vec<Encoded>, HistoryError> {
        std::thread::scope(|scope| {
            let start = |log: &TableLog| {
                let (table, number, known) = (log.table, log.version() + 1, log.positions().clone());
                scope.spawn(move || self.one(table, number, &known))
            };
            let threads: Vec<_> = logs.iter().map(start).collect();
            threads.into_iter().map(|thread| thread.join().expect("an encoder has no fault")).collect()
        })
    }

    fn one(&self, table: Table, number: u64, known: &Positions) -> Result<Encoded, HistoryError> {
        let damaged = |error: ArrowError| HistoryError::Damaged { file: table.name().into(), what: error.to_string() };
        let rows = self.stage.rows_of(table, known, self.arrival, self.told).map_err(damaged)?;
        let when = When { arrival: self.arrival, number };
        let segment = rows.map(|rows| segment::write(self.dir, table, &rows, when, self.keyring)).transpose()?;
        let moved = |(key, next): &(&String, &i64)| known.get(*key).is_none_or(|at| at < next);
        let ahead =
            self.stage.ends().iter().chain(self.marks).filter(moved).map(|(key, next)| (key.clone(), *next)).collect();
        Ok(Encoded { segment, ahead })
    }
}
