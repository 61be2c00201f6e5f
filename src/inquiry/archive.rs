//! The history at one moment, with what every question needs: the window, completeness, gaps, and quoting.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use datafusion::common::ScalarValue;

use super::answer::{Answer, Gap};
use super::when::{Window, read_window};
use super::{AskError, Asked};
use crate::event::Time;
use crate::history::{HistoryError, KeySource, Reader};

/// Stand for an open end: all times of events lie between.
const OPEN: (&str, &str) = ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z");

/// How many rounds of merges are followed from one record number.
const MERGES: usize = 8;

/// The history as questions see it.
pub struct Archive {
    /// The tables.
    pub reader: Reader,
    /// Event time of the newest event on record.
    pub newest: Option<Time>,
}

impl Archive {
    /// Opens the history at `dir` as of now.
    pub async fn open(dir: &Path, key: &KeySource) -> Result<Archive, HistoryError> {
        let reader = Reader::open(dir, key).await?;
        let rows = reader.query("SELECT max(last_time) FROM spans", &[]).await?;
        let newest = times(&rows[0], 0).first().copied().flatten();
        Ok(Archive { reader, newest })
    }

    /// The time that was asked for.
    pub fn window(&self, asked: &Asked) -> Result<Window, AskError> {
        read_window(asked.since.as_deref(), asked.until.as_deref(), self.newest)
    }

    /// Runs a query over a window and makes an answer of its rows. In `sql`, `$1` is the first instant and `$2` the first after;
    /// `more` are `$3`, ...
    pub async fn answer(
        &self,
        question: &'static str,
        window: Window,
        sql: &str,
        more: &[&str],
    ) -> Result<Answer, AskError> {
        let mut values = ends(window).to_vec();
        values.extend(more.iter().map(|text| ScalarValue::from(*text)));
        let rows = self.reader.query(sql, &values).await?;
        self.complete(question, window, rows).await
    }

    /// Makes an answer of rows that were found.
    pub async fn complete(
        &self,
        question: &'static str,
        window: Window,
        rows: Vec<RecordBatch>,
    ) -> Result<Answer, AskError> {
        let columns = rows[0].schema();
        let gaps = self.gaps(window).await?;
        let notes = Vec::new();
        Ok(Answer { question, columns, rows, window, complete_to: self.newest, gaps, notes })
    }

    /// Every record number that means the same person as `patient`, itself included, as far as rows were recorded under both.
    pub async fn same_patient(&self, patient: &str) -> Result<BTreeSet<String>, AskError> {
        let mut all = BTreeSet::from([patient.to_string()]);
        for _ in 0..MERGES {
            let known = list(&all);
            let mut found = BTreeSet::new();
            for (wanted, other) in [("patient_id", "recorded_patient_id"), ("recorded_patient_id", "patient_id")] {
                let sql = format!("SELECT DISTINCT {other} FROM touches WHERE {wanted} IN ({known})");
                for rows in self.reader.query(&sql, &[]).await? {
                    found.extend(rows.column(0).as_string::<i32>().iter().flatten().map(str::to_string));
                }
            }
            let before = all.len();
            all.append(&mut found);
            if all.len() == before {
                break;
            }
        }
        Ok(all)
    }

    /// Gaps that may hold something of `window`: they lie between the times of the origin's events before and behind them.
    async fn gaps(&self, window: Window) -> Result<Vec<Gap>, AskError> {
        let sql = "SELECT position, \"from\", \"to\", gap, first_time, last_time, topic, partition, file FROM spans \
                   WHERE position IN (SELECT position FROM spans WHERE gap > 0) ORDER BY position, \"from\"";
        let mut origins: BTreeMap<String, Vec<Stretch>> = BTreeMap::new();
        for rows in self.reader.query(sql, &[]).await? {
            let (first, last) = (times(&rows, 4), times(&rows, 5));
            let integer = |column: usize, row: usize| rows.column(column).as_primitive::<Int64Type>().value(row);
            for row in 0..rows.num_rows() {
                let position = rows.column(0).as_string::<i32>().value(row).to_string();
                let offsets = (integer(1, row), integer(2, row));
                let stretch =
                    Stretch { offsets, gap: integer(3, row), times: (first[row], last[row]), name: origin(&rows, row) };
                origins.entry(position).or_default().push(stretch);
            }
        }
        Ok(origins.values().flat_map(|stretches| gaps_of(stretches, window)).collect())
    }
}

/// A row of `spans`.
struct Stretch {
    offsets: (i64, i64),
    gap: i64,
    times: (Option<Time>, Option<Time>),
    name: String,
}

/// The gaps among the stretches of one origin, which stand by offset.
fn gaps_of(stretches: &[Stretch], window: Window) -> Vec<Gap> {
    let mut gaps = Vec::new();
    for (index, stretch) in stretches.iter().enumerate().filter(|(_, stretch)| stretch.gap > 0) {
        // A gap with events in its own row lies somewhere among them.
        let after = match stretch.times.0 {
            Some(first) => Some(first),
            None => stretches[..index].iter().filter_map(|s| s.times.1).max(),
        };
        let before = match stretch.times.1 {
            Some(last) => Some(last),
            None => stretches[index + 1..].iter().filter_map(|s| s.times.0).min(),
        };
        let too_early = window.since.zip(before).is_some_and(|(since, before)| before < since);
        let too_late = window.until.zip(after).is_some_and(|(until, after)| until <= after);
        if !too_early && !too_late {
            let text = |time: Option<Time>| time.map(|time| time.to_string());
            let ((from, to), records) = (stretch.offsets, stretch.gap);
            gaps.push(Gap {
                origin: stretch.name.clone(),
                from,
                to,
                records,
                after: text(after),
                before: text(before),
            });
        }
    }
    gaps
}

fn origin(rows: &RecordBatch, row: usize) -> String {
    let (topic, file) = (rows.column(6).as_string::<i32>(), rows.column(8).as_string::<i32>());
    let partition = rows.column(7).as_primitive::<arrow::datatypes::Int32Type>();
    match topic.is_valid(row) {
        true => format!("{}/{}", topic.value(row), partition.value(row)),
        false => file.value(row).to_string(),
    }
}

/// The values of a column of instants.
pub(super) fn times(rows: &RecordBatch, column: usize) -> Vec<Option<Time>> {
    rows.column(column).as_primitive::<TimestampMicrosecondType>().iter().map(|time| time.map(Time)).collect()
}

/// Both ends of a window as values of a query; open ends lie beyond all events.
pub(super) fn ends(window: Window) -> [ScalarValue; 2] {
    let value = |time: Option<Time>, open: &str| {
        let time = time.or(Time::parse(open)).map(|time| time.0);
        ScalarValue::TimestampMicrosecond(time, Some("UTC".into()))
    };
    [value(window.since, OPEN.0), value(window.until, OPEN.1)]
}

/// Texts as a list of SQL literals.
pub(super) fn list(texts: &BTreeSet<String>) -> String {
    texts.iter().map(|text| quote(text)).collect::<Vec<_>>().join(", ")
}

/// A text as a SQL literal.
pub(super) fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
