//! What explains an opening by now: relations that became known after it stand in the newest roster, and not in its facts.
//!
//! Facts are those of the time of the event (DESIGN, decision 7). An answer shows both: `explained_by` as it was known then, and
//! `explained_later` where nothing was and the newest roster has something.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, TimestampMicrosecondType};
use arrow::error::ArrowError;

use crate::engine::enrich::explanation;
use crate::event::Time;
use crate::roster::Roster;

/// The column.
const EXPLAINED_LATER: &str = "explained_later";

/// What explains the openings of `patient` in rows with `actor_id`, `time`, `role` and `department`, by `roster`.
pub(super) fn explanations(
    rows: &RecordBatch,
    roster: Option<&Roster>,
    patient: &str,
) -> Result<Vec<Option<&'static str>>, ArrowError> {
    let Some(roster) = roster else { return Ok(vec![None; rows.num_rows()]) };
    let texts = ["actor_id", "role", "department"].map(|name| text(rows, name));
    let [actors, roles, departments] = texts;
    let (actors, roles, departments) = (actors?, roles?, departments?);
    let times = cast(column(rows, "time")?, &crate::event::schema::timestamp())?;
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let of = |row: usize| {
        let actor = value(&actors, row)?;
        let who = (actor, value(&roles, row), value(&departments, row));
        times.is_valid(row).then(|| explanation(roster, who, patient, Time(times.value(row))))?
    };
    Ok((0..rows.num_rows()).map(of).collect())
}

/// The same by account: each reason once, joined with `;`.
pub(super) fn by_actor(
    rows: &[RecordBatch],
    roster: Option<&Roster>,
    patient: &str,
) -> Result<BTreeMap<String, String>, ArrowError> {
    let mut found: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for rows in rows {
        let actors = text(rows, "actor_id")?;
        for (row, reason) in explanations(rows, roster, patient)?.into_iter().enumerate() {
            if let (Some(reason), Some(actor)) = (reason, value(&actors, row)) {
                found.entry(actor.to_owned()).or_default().insert(reason);
            }
        }
    }
    let joined = |reasons: BTreeSet<&str>| reasons.into_iter().collect::<Vec<_>>().join(";");
    Ok(found.into_iter().map(|(actor, reasons)| (actor, joined(reasons))).collect())
}

/// Puts the column behind `explained_by`; `of` says what stands in a row.
pub(super) fn beside<'v>(rows: &RecordBatch, of: impl Fn(usize) -> Option<&'v str>) -> Result<RecordBatch, ArrowError> {
    let at = 1 + rows.schema().index_of("explained_by")?;
    let (mut fields, mut columns) = (rows.schema().fields().to_vec(), rows.columns().to_vec());
    fields.insert(at, Arc::new(Field::new(EXPLAINED_LATER, DataType::Utf8, true)));
    columns.insert(at, Arc::new((0..rows.num_rows()).map(of).collect::<StringArray>()) as ArrayRef);
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

/// A column as texts.
pub(super) fn text(rows: &RecordBatch, name: &str) -> Result<StringArray, ArrowError> {
    Ok(cast(column(rows, name)?, &DataType::Utf8)?.as_string::<i32>().clone())
}

/// What stands in a row of it.
pub(super) fn value(texts: &StringArray, row: usize) -> Option<&str> {
    texts.is_valid(row).then(|| texts.value(row))
}

fn column<'r>(rows: &'r RecordBatch, name: &str) -> Result<&'r ArrayRef, ArrowError> {
    Ok(rows.column(rows.schema().index_of(name)?))
}
