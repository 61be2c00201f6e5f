//! Reads segments back: the events and their facts, for a replay of the engine and for compaction.
//!
//! Whole files are read, their hash is checked first, and the rows of an origin come by rising offset, as they were staged.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;

use super::segment::{self, Segment};
use super::tables::Table;
use super::{History, HistoryError};
use crate::event::schema::{FACTS, RECORDED};
use crate::event::{Enriched, EventBatch, Origin};

impl History {
    /// The names of the segments of events, in the order of commits: the order in which a replay reads them.
    pub fn segments(&self) -> Result<Vec<String>, HistoryError> {
        Ok(self.log(Table::Events).files()?.into_iter().map(|file| file.name).collect())
    }

    /// As [`Self::segments`], without the one whose commit was broken off before every table had it: its records are read again.
    ///
    /// # Errors
    /// Where the log of the table cannot be read.
    pub fn segments_on_record(&self) -> Result<Vec<String>, HistoryError> {
        let mut segments = self.segments()?;
        if *self.log(Table::Events).positions() != self.positions() {
            segments.pop();
        }
        Ok(segments)
    }

    /// The events of one segment with their facts, one batch for each origin, by rising offset.
    ///
    /// # Errors
    /// [`HistoryError::Damaged`] where the file is not the one that was committed, or is in the history no more.
    pub fn replay(&self, segment: &str) -> Result<Vec<Enriched>, HistoryError> {
        let wrong = |what: String| HistoryError::Damaged { file: segment::place(Table::Events, segment), what };
        let files = self.log(Table::Events).files()?;
        let file = files.iter().find(|file| file.name == segment);
        let file = file.ok_or_else(|| wrong("no commit names it".into()))?;
        let batches = self.read_segment(Table::Events, file)?;
        let rows = concat_batches(&Table::Events.schema(), &batches).map_err(|error| wrong(error.to_string()))?;
        by_origin(&rows).map_err(|error| wrong(error.to_string()))
    }

    /// All rows of one file; the bytes are those that were committed.
    pub(super) fn read_segment(&self, table: Table, file: &Segment) -> Result<Vec<RecordBatch>, HistoryError> {
        segment::read(&self.dir, table, file, self.keyring.as_ref())
    }
}

/// Splits rows of `events` by where they were found.
fn by_origin(rows: &RecordBatch) -> Result<Vec<Enriched>, ArrowError> {
    let column = |name: &str| -> Result<&ArrayRef, ArrowError> {
        rows.column_by_name(name).ok_or_else(|| ArrowError::SchemaError(format!("no column {name}")))
    };
    let (topics, files) = (column("topic")?.as_string::<i32>(), column("file")?.as_string::<i32>());
    let partitions = column("partition")?.as_primitive::<Int32Type>();
    let offsets = column("offset")?.as_primitive::<Int64Type>();
    let times = column("time")?.as_primitive::<TimestampMicrosecondType>();
    let mut found: BTreeMap<Origin, Vec<u32>> = BTreeMap::new();
    for row in 0..rows.num_rows() {
        let origin = match topics.is_valid(row) {
            true => Origin::topic(topics.value(row), partitions.value(row)),
            false => Origin::file(files.value(row)),
        };
        found.entry(origin).or_default().push(row as u32);
    }
    let mut all = Vec::with_capacity(found.len());
    for (origin, mut index) in found {
        // One record may hold several events; those keep the order of their times.
        index.sort_by_key(|row| (offsets.value(*row as usize), times.value(*row as usize)));
        let rows = take_record_batch(rows, &UInt32Array::from(index))?;
        let width = RECORDED.fields().len();
        let (recorded, facts) = rows.columns().split_at(width);
        all.push(Enriched {
            batch: EventBatch::new(origin, RecordBatch::try_new(RECORDED.clone(), recorded.to_vec())?),
            facts: RecordBatch::try_new(FACTS.clone(), facts.to_vec())?,
        });
    }
    Ok(all)
}
