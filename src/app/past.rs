//! What is on record already when `run` begins: the sums from which its numbers go on.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use datafusion::common::ScalarValue;

use crate::event::time::DAY;
use crate::event::{Origin, Reason, Time};
use crate::history::{HistoryError, KeySource, Reader};
use crate::pipeline::{Counts, Outcomes};

/// A source that was heard of within so many days is expected to be heard of again.
const EXPECTED_DAYS: i64 = 7;

/// The sums of the tables `spans` and `rejects`, and the sources of the last days.
///
/// # Errors
/// Where the history cannot be read.
pub(super) async fn outcomes(dir: &Path, key: &KeySource, now: Time) -> Result<Outcomes, HistoryError> {
    let history = Reader::open(dir, key).await?;
    let mut outcomes = Outcomes::default();
    let spans =
        "SELECT topic, partition, SUM(events), SUM(duplicates), SUM(rejects), SUM(gap) FROM spans GROUP BY 1, 2";
    for rows in history.query(spans, &[]).await? {
        for row in 0..rows.num_rows() {
            let count = |column| number(&rows, column, row);
            let counts = Counts { events: count(2), duplicates: count(3), rejects: count(4), gap: count(5) };
            outcomes.lanes.entry(origin(&rows, row)).or_default().add(counts);
        }
    }
    for rows in history.query("SELECT reason, COUNT(*) FROM rejects GROUP BY 1", &[]).await? {
        for row in 0..rows.num_rows() {
            if let Some(reason) = text(&rows, 0, row).and_then(|text| Reason::parse(&text)) {
                *outcomes.reasons.entry(reason).or_default() += number(&rows, 1, row);
            }
        }
    }
    let since = ScalarValue::TimestampMicrosecond(Some(now.0 - EXPECTED_DAYS * DAY), Some("UTC".into()));
    let sources = "SELECT source, COUNT(*), MAX(time) FROM events WHERE time >= $1 GROUP BY 1";
    for rows in history.query(sources, &[since]).await? {
        for row in 0..rows.num_rows() {
            let newest = rows.column(2).as_primitive::<TimestampMicrosecondType>().value(row);
            if let Some(source) = text(&rows, 0, row) {
                outcomes.sources.insert(source, (number(&rows, 1, row), Time(newest)));
            }
        }
    }
    Ok(outcomes)
}

/// A partition; all files are one.
fn origin(rows: &RecordBatch, row: usize) -> Origin {
    match text(rows, 0, row) {
        Some(topic) => Origin::topic(Arc::<str>::from(topic), rows.column(1).as_primitive::<Int32Type>().value(row)),
        None => Origin::file("(files)"),
    }
}

fn text(rows: &RecordBatch, column: usize, row: usize) -> Option<String> {
    let texts = rows.column(column).as_string_opt::<i32>()?;
    texts.is_valid(row).then(|| texts.value(row).to_owned())
}

fn number(rows: &RecordBatch, column: usize, row: usize) -> u64 {
    rows.column(column).as_primitive_opt::<Int64Type>().map_or(0, |numbers| numbers.value(row).unsigned_abs())
}
