//! Scanning: events of a span of time, part by part in the order of time, in chosen columns, as far as they pass a filter.
//!
//! A part is a few files. The commits say which hours each file holds, so that whoever scans knows from which time on the parts that
//! follow may still bring something. Rows of a part come in no order. One part is read at a time, and what was read waits in a short
//! queue: memory does not grow with the history.

use arrow::array::RecordBatch;
use datafusion::logical_expr::{Expr, col};
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::prelude::DataFrame;
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::read::{self, Snapshot, failed};
use super::segment::Segment;
use super::tables::Table;
use super::{HistoryError, Reader};
use crate::event::Time;
use crate::event::time::HOUR;

/// Files are read together up to about this many rows; in tests few, so that there are several parts.
const PART_ROWS: usize = if cfg!(test) { 3_000 } else { 400_000 };
/// So many batches wait to be taken.
const QUEUED: usize = 8;

/// Files that are read together.
#[derive(Debug, Clone)]
pub struct Part {
    files: Vec<Segment>,
    /// Rows in them.
    pub rows: usize,
    /// No part behind this one has an event before; `None` where none is behind it.
    pub rest_begins: Option<Time>,
}

impl Reader {
    /// The files that may hold events from `from` on and before `until`, in parts by time.
    pub fn parts(&self, from: Option<Time>, until: Option<Time>) -> Vec<Part> {
        let first = |file: &Segment| file.hours.map_or(Time::MIN, |(first, _)| Time(i64::from(first) * HOUR));
        let wanted = |file: &&Segment| {
            let last = file.hours.map_or(Time::MAX, |(_, last)| Time((i64::from(last) + 1) * HOUR));
            from.is_none_or(|from| last > from) && until.is_none_or(|until| first(file) < until)
        };
        let mut files: Vec<Segment> = self.events().iter().filter(wanted).cloned().collect();
        files.sort_by(|a, b| (first(a), &a.name).cmp(&(first(b), &b.name)));
        let mut parts: Vec<Part> = Vec::new();
        for file in files {
            let (rows, begins) = (file.rows, first(&file));
            match parts.last_mut().filter(|part| part.rows + rows <= PART_ROWS) {
                Some(part) => {
                    part.rows += rows;
                    part.files.push(file);
                }
                None => {
                    if let Some(before) = parts.last_mut() {
                        before.rest_begins = Some(begins);
                    }
                    parts.push(Part { files: vec![file], rows, rest_begins: None });
                }
            }
        }
        parts
    }

    /// The rows of a part that pass `filter`, in `columns`.
    ///
    /// # Errors
    /// Where a file cannot be opened.
    pub async fn scan(&self, part: &Part, columns: &[String], filter: Expr) -> Result<Rows, HistoryError> {
        let frame = self.frame(part, columns.iter().map(String::as_str), filter).await?;
        Ok(Rows::of(frame.execute_stream().await.map_err(failed)?))
    }

    /// The distinct rows of a part in `columns`, as far as they pass `filter`.
    ///
    /// # Errors
    /// Where a file cannot be opened.
    pub async fn distinct(&self, part: &Part, columns: &[&str], filter: Expr) -> Result<Rows, HistoryError> {
        let frame = self.frame(part, columns.iter().copied(), filter).await?.distinct().map_err(failed)?;
        Ok(Rows::of(frame.execute_stream().await.map_err(failed)?))
    }

    async fn frame(
        &self,
        part: &Part,
        columns: impl Iterator<Item = &str>,
        filter: Expr,
    ) -> Result<DataFrame, HistoryError> {
        let snapshot = Snapshot::some(Table::Events, part.files.clone());
        let session = read::session(&self.dir, &self.keyring, &[snapshot])?;
        let frame = session.table(Table::Events.name()).await.map_err(failed)?;
        frame.filter(filter).and_then(|frame| frame.select(columns.map(col).collect::<Vec<_>>())).map_err(failed)
    }
}

/// Rows on their way. Whoever drops them ends the reading.
pub struct Rows {
    batches: mpsc::Receiver<Result<RecordBatch, HistoryError>>,
    // Its tasks end when it is dropped. A damaged file may take its task with it, and no more than that.
    reading: JoinSet<()>,
}

impl Rows {
    fn of(mut stream: SendableRecordBatchStream) -> Rows {
        let (give, batches) = mpsc::channel(QUEUED);
        let mut reading = JoinSet::new();
        reading.spawn(async move {
            while let Some(rows) = stream.next().await {
                if give.send(rows.map_err(failed)).await.is_err() {
                    break;
                }
            }
        });
        Rows { batches, reading }
    }

    /// The next rows; `None` at the end.
    ///
    /// # Errors
    /// Where a file cannot be read.
    pub async fn next(&mut self) -> Option<Result<RecordBatch, HistoryError>> {
        if let Some(rows) = self.batches.recv().await {
            return Some(rows);
        }
        let damaged = || HistoryError::Unreadable("reading ended early".into());
        match self.reading.join_next().await {
            Some(Err(_)) => Some(Err(damaged())),
            _ => None,
        }
    }
}
