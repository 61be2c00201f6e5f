//! What waits for the next segment: stretches of origins and alerts, in memory.
//!
//! Each table takes from the stage only what its own position does not cover yet, so that a crash between two tables is healed by
//! staging the same stretches again.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;

use super::HistoryError;
use super::log::Positions;
use super::rows::{self, SpanRow};
use super::tables::Table;
use super::told::Told;
use super::touches::{needed, touches};
use crate::event::effects::Applied;
use crate::event::flags::{FUTURE, flags_parse};
use crate::event::{Origin, Raised, Reject, Time};

/// One stretch of an origin.
struct Stretch {
    key: String,
    events: RecordBatch,
    rejects: Vec<Reject>,
    span: SpanRow,
}

/// Stretches and alerts that are in no commit yet.
#[derive(Default)]
pub(super) struct Stage {
    stretches: Vec<Stretch>,
    raised: Vec<Raised>,
    ends: Positions,
    rows: usize,
    bytes: usize,
}

impl Stage {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.stretches.is_empty() && self.raised.is_empty()
    }

    /// Rows of events and rejects that wait.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// About how many bytes of memory they take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where each origin stands once this is committed.
    pub fn ends(&self) -> &Positions {
        &self.ends
    }

    /// Alerts that wait.
    pub fn raised(&self) -> &[Raised] {
        &self.raised
    }

    /// The events that wait, with the columns of `EVENTS`.
    pub fn events(&self) -> impl Iterator<Item = &RecordBatch> {
        self.stretches.iter().map(|stretch| &stretch.events)
    }

    /// Takes up stretches in their order: all of them, or none on an error. `key_of` gives the position key of an origin, `recorded`
    /// what is on record in every table already.
    pub fn extend(
        &mut self,
        applied: &[Applied],
        key_of: impl Fn(&Origin) -> String,
        recorded: &Positions,
    ) -> Result<(), HistoryError> {
        let mut ends = self.ends.clone();
        let mut stretches = Vec::with_capacity(applied.len());
        for one in applied {
            let (from, to) = (one.span.from, one.span.to);
            let key = key_of(&one.span.origin);
            let position = ends.get(&key).or(recorded.get(&key)).copied();
            let is_empty = one.enriched.batch.is_empty() && one.rejects.is_empty();
            assert!(from < to || is_empty, "{}: rows without a place at {from}", one.span.origin);
            if from == to || (!ends.contains_key(&key) && position.is_some_and(|position| to <= position)) {
                continue;
            }
            if let Some(position) = position.filter(|position| *position != from) {
                return Err(HistoryError::NotNext { origin: key, from, to, position });
            }
            ends.insert(key.clone(), to);
            let events = one.enriched.table();
            let span = SpanRow { position: key.clone(), span: one.span.clone(), times: times(&events) };
            stretches.push(Stretch { key, events, rejects: one.rejects.clone(), span });
        }
        for stretch in &stretches {
            let raw: usize = stretch.rejects.iter().map(|reject| reject.raw.len()).sum();
            self.rows += stretch.events.num_rows() + stretch.rejects.len();
            self.bytes += slice_bytes(&stretch.events) + raw;
        }
        self.ends = ends;
        self.stretches.append(&mut stretches);
        Ok(())
    }

    /// Takes up revisions of alerts.
    pub fn raise(&mut self, raised: &[Raised]) {
        self.bytes += raised.len() * 2_048;
        self.raised.extend_from_slice(raised);
    }

    /// Takes up what was staged after this.
    pub fn append(&mut self, mut later: Stage) {
        self.stretches.append(&mut later.stretches);
        self.raised.append(&mut later.raised);
        self.ends.append(&mut later.ends);
        self.rows += later.rows;
        self.bytes += later.bytes;
    }

    /// The rows of alerts that `told` does not have.
    pub fn alerts(&self, told: &Told) -> RecordBatch {
        rows::alerts(&told.choose(&self.raised), told.next)
    }

    /// The rows of `table`, which is not that of the alerts, that lie behind its positions.
    pub fn rows_of(&self, table: Table, positions: &Positions, arrival: Time) -> Result<RecordBatch, ArrowError> {
        let position = |key: &str| positions.get(key).copied().unwrap_or(i64::MIN);
        match table {
            Table::Events => self.events_after(position, None),
            Table::Touches => touches(&self.events_after(position, Some(&needed()))?),
            Table::Rejects => Ok(rows::rejects(&self.rejects_after(position), arrival)),
            Table::Spans => {
                let spans = self.spans_after(position);
                Ok(rows::spans(&spans.iter().collect::<Vec<_>>(), arrival))
            }
            Table::Alerts => Ok(RecordBatch::new_empty(Table::Alerts.schema())),
        }
    }

    /// The events that lie behind the positions, all columns of them or those with these numbers.
    fn events_after(
        &self,
        position: impl Fn(&str) -> i64,
        columns: Option<&[usize]>,
    ) -> Result<RecordBatch, ArrowError> {
        let mut batches = Vec::with_capacity(self.stretches.len());
        for stretch in &self.stretches {
            let at = position(&stretch.key);
            if stretch.span.span.to <= at && stretch.span.span.from < at {
                continue;
            }
            let all = if stretch.span.span.from < at { after(&stretch.events, at)? } else { stretch.events.clone() };
            batches.push(match columns {
                Some(columns) => all.project(columns)?,
                None => all,
            });
        }
        let schema = Table::Events.schema();
        let schema = columns.map_or(Ok(schema.clone()), |columns| schema.project(columns).map(Arc::new))?;
        concat_batches(&schema, &batches)
    }

    fn rejects_after(&self, position: impl Fn(&str) -> i64) -> Vec<&Reject> {
        let of = |stretch: &'_ Stretch| position(&stretch.key);
        self.stretches
            .iter()
            .flat_map(|s| s.rejects.iter().filter(move |r| r.offset >= of(s)).collect::<Vec<_>>())
            .collect()
    }

    /// Neighbours of one origin are joined: a row a segment, but a gap stands alone.
    fn spans_after(&self, position: impl Fn(&str) -> i64) -> Vec<SpanRow> {
        let mut open: BTreeMap<&str, Vec<SpanRow>> = BTreeMap::new();
        for stretch in self.stretches.iter().filter(|s| s.span.span.from >= position(&s.key)) {
            let spans = open.entry(&stretch.key).or_default();
            let rest = match spans.last_mut() {
                Some(last) => last.join(stretch.span.clone()),
                None => Some(stretch.span.clone()),
            };
            spans.extend(rest);
        }
        open.into_values().flatten().collect()
    }
}

/// The rows whose offset is `at` or later.
fn after(events: &RecordBatch, at: i64) -> Result<RecordBatch, ArrowError> {
    let offsets: &Int64Array = column::<Int64Type>(events, "offset")?;
    let keep: BooleanArray = offsets.iter().map(|offset| offset.map(|offset| offset >= at)).collect();
    filter_record_batch(events, &keep)
}

/// Oldest and newest time, those aside that were flagged as lying in the future: an answer is not complete up to there.
fn times(events: &RecordBatch) -> Option<(Time, Time)> {
    let times: &TimestampMicrosecondArray = column::<TimestampMicrosecondType>(events, "time").ok()?;
    let flags = events.column_by_name("flags")?.as_string::<i32>();
    let future = |flags: Option<&str>| flags.is_some_and(|flags| flags_parse(flags) & FUTURE != 0);
    let past = times.iter().zip(flags).filter(|(_, flags)| !future(*flags)).filter_map(|(time, _)| time);
    past.fold(None, |all: Option<(i64, i64)>, time| {
        Some(all.map_or((time, time), |(first, last)| (first.min(time), last.max(time))))
    })
    .map(|(first, last)| (Time(first), Time(last)))
}

fn column<'a, T: arrow::datatypes::ArrowPrimitiveType>(
    events: &'a RecordBatch,
    name: &str,
) -> Result<&'a arrow::array::PrimitiveArray<T>, ArrowError> {
    let column: Option<&ArrayRef> = events.column_by_name(name);
    let typed = column.and_then(|column| column.as_any().downcast_ref());
    typed.ok_or_else(|| ArrowError::SchemaError(format!("no column {name}")))
}

fn slice_bytes(rows: &RecordBatch) -> usize {
    rows.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or(0)).sum()
}
