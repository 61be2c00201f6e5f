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

/// A file of events that is on record.
#[derive(Debug, Clone)]
pub struct OnRecord(Segment);

impl OnRecord {
    /// Its place in the order of commits.
    pub fn number(&self) -> u64 {
        segment::number_of(&self.0.name)
    }

    /// The last of the places that its rows had: compaction joins files.
    pub fn through(&self) -> u64 {
        self.0.through
    }

    /// Rows in it.
    pub fn rows(&self) -> usize {
        self.0.rows
    }
}

impl History {
    /// The files of events in the order of commits, which is the order in which a replay reads them.
    ///
    /// # Errors
    /// Where the log of the table cannot be read.
    pub fn on_record(&self) -> Result<Vec<OnRecord>, HistoryError> {
        Ok(self.log(Table::Events).files()?.into_iter().map(OnRecord).collect())
    }

    /// What this history has in common with no other: the hash of the first commit of its table of spans.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn id(&self) -> Result<String, HistoryError> {
        let path = self.dir.join(Table::Spans.name()).join("_delta_log").join(format!("{:020}.json", 0));
        Ok(segment::sha256(&std::fs::read(&path).map_err(HistoryError::io(&path))?))
    }

    /// The number of the newest segment of events.
    pub fn newest_segment(&self) -> u64 {
        self.log(Table::Events).version()
    }

    /// The events of one file with their facts, one batch for each origin, by rising offset.
    ///
    /// # Errors
    /// [`HistoryError::Damaged`] where the file is not the one that was committed.
    pub fn replay(&self, file: &OnRecord) -> Result<Vec<Enriched>, HistoryError> {
        let wrong = |what: String| HistoryError::Damaged { file: segment::place(Table::Events, &file.0.name), what };
        let batches = self.read_segment(Table::Events, &file.0)?;
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
