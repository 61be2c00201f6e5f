//! Turns rows of `events` into rows of `touches`: one per event and patient.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, ListArray, RecordBatch, StringArray, StringBuilder, UInt32Array,
};
use arrow::compute::take;
use arrow::error::ArrowError;

use super::tables::TOUCHES;

/// The touches of `events` (columns of `EVENTS`), in the order of the events.
pub(super) fn touches(events: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let recorded = list(events, "patients")?;
    let facts = Facts {
        patients: list(events, "fact_patients")?,
        relations: list(events, "fact_relations")?,
        explained_by: list(events, "fact_explained_by")?,
        marks: list(events, "fact_marks")?,
    };
    let mut rows = Rows::default();
    for event in 0..events.num_rows() {
        let patients = recorded.value(event);
        let patients: &StringArray = patients.as_string();
        let known = facts.at(event);
        for index in 0..patients.len() {
            // A source that lists a record number twice speaks of one patient.
            if (0..index).any(|before| patients.value(before) == patients.value(index)) {
                continue;
            }
            rows.push(event, patients.value(index), &known, index);
        }
    }
    rows.finish(events)
}

/// The fact lists that run parallel to `patients`.
struct Facts<'a> {
    patients: &'a ListArray,
    relations: &'a ListArray,
    explained_by: &'a ListArray,
    marks: &'a ListArray,
}

/// The fact lists of one event.
struct Known {
    patients: Option<ArrayRef>,
    relations: Option<ArrayRef>,
    explained_by: Option<ArrayRef>,
    marks: Option<ArrayRef>,
}

impl Facts<'_> {
    fn at(&self, event: usize) -> Known {
        let value = |list: &ListArray| list.is_valid(event).then(|| list.value(event));
        Known {
            patients: value(self.patients),
            relations: value(self.relations),
            explained_by: value(self.explained_by),
            marks: value(self.marks),
        }
    }
}

fn text(list: &Option<ArrayRef>, index: usize) -> Option<&str> {
    let texts: &StringArray = list.as_ref()?.as_string();
    (index < texts.len() && texts.is_valid(index)).then(|| texts.value(index))
}

#[derive(Default)]
struct Rows {
    event: Vec<u32>,
    patient_id: StringBuilder,
    recorded: StringBuilder,
    relation: StringBuilder,
    explained_by: StringBuilder,
    marks: StringBuilder,
}

impl Rows {
    fn push(&mut self, event: usize, recorded: &str, known: &Known, index: usize) {
        self.event.push(event as u32);
        self.patient_id.append_value(text(&known.patients, index).unwrap_or(recorded));
        self.recorded.append_value(recorded);
        self.relation.append_option(text(&known.relations, index));
        self.explained_by.append_option(text(&known.explained_by, index));
        self.marks.append_option(text(&known.marks, index));
    }

    fn finish(mut self, events: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let index = UInt32Array::from(std::mem::take(&mut self.event));
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(TOUCHES.fields().len());
        for field in TOUCHES.fields() {
            columns.push(match field.name().as_str() {
                "patient_id" => Arc::new(self.patient_id.finish()),
                "recorded_patient_id" => Arc::new(self.recorded.finish()),
                "relation" => Arc::new(self.relation.finish()),
                "explained_by" => Arc::new(self.explained_by.finish()),
                "marks" => Arc::new(self.marks.finish()),
                "person_id" => take(column(events, "fact_person_id")?, &index, None)?,
                // The roster wins over the record, and enrichment has already chosen.
                "role" => take(column(events, "fact_role")?, &index, None)?,
                "department" => take(column(events, "fact_department")?, &index, None)?,
                "vendor_id" => take(column(events, "fact_vendor_id")?, &index, None)?,
                "break_glass" => take(&break_glass(events)?, &index, None)?,
                name => take(column(events, name)?, &index, None)?,
            });
        }
        RecordBatch::try_new(TOUCHES.clone(), columns)
    }
}

/// The record's own word, and true for the activity itself.
fn break_glass(events: &RecordBatch) -> Result<BooleanArray, ArrowError> {
    let stated = column(events, "break_glass")?.as_boolean();
    let activity: &StringArray = column(events, "activity")?.as_string();
    let rows = stated.iter().zip(activity.iter());
    Ok(rows.map(|(stated, activity)| if activity == Some("break_glass") { Some(true) } else { stated }).collect())
}

fn column<'a>(events: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef, ArrowError> {
    events.column_by_name(name).ok_or_else(|| ArrowError::SchemaError(format!("no column {name}")))
}

fn list<'a>(events: &'a RecordBatch, name: &str) -> Result<&'a ListArray, ArrowError> {
    Ok(column(events, name)?.as_list())
}
