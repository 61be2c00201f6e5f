//! Turns rows of `events` into rows of `touches`: one per event and patient.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, ListArray, RecordBatch, StringArray, StringBuilder, UInt32Array,
};
use arrow::compute::take;
use arrow::error::ArrowError;

use super::tables::TOUCHES;
use crate::event::schema::EVENTS;

/// The columns of `EVENTS` that touches are made of, by their numbers.
pub(super) fn needed() -> Vec<usize> {
    let lists = ["patients", "fact_patients", "fact_relations", "fact_explained_by", "fact_marks"];
    let names = TOUCHES.fields().iter().map(|field| source(field.name())).chain(lists);
    let mut needed: Vec<usize> = names.chain(["activity"]).filter_map(|name| EVENTS.index_of(name).ok()).collect();
    needed.sort_unstable();
    needed.dedup();
    needed
}

/// The column of `EVENTS` that a column of touches is taken from, where it is not made from lists.
fn source(name: &str) -> &str {
    match name {
        "person_id" => "fact_person_id",
        // The roster wins over the record, and enrichment has already chosen.
        "role" => "fact_role",
        "department" => "fact_department",
        "vendor_id" => "fact_vendor_id",
        name => name,
    }
}

/// The touches of `events` (the columns [`needed`] of `EVENTS`), in the order of the events.
pub(super) fn touches(events: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let recorded = Lists::of(events, "patients")?;
    let facts = Facts {
        patients: Lists::of(events, "fact_patients")?,
        relations: Lists::of(events, "fact_relations")?,
        explained_by: Lists::of(events, "fact_explained_by")?,
        marks: Lists::of(events, "fact_marks")?,
    };
    let mut rows = Rows::default();
    for event in 0..events.num_rows() {
        let patients = recorded.range(event);
        for index in 0..patients.len() {
            let patient = recorded.texts.value(patients.start + index);
            // A source that lists a record number twice speaks of one patient.
            if (0..index).any(|before| recorded.texts.value(patients.start + before) == patient) {
                continue;
            }
            rows.push(event, patient, &facts, index);
        }
    }
    rows.finish(events)
}

/// A column of lists of texts.
struct Lists<'a> {
    list: &'a ListArray,
    texts: &'a StringArray,
}

impl<'a> Lists<'a> {
    fn of(events: &'a RecordBatch, name: &str) -> Result<Lists<'a>, ArrowError> {
        let list: &ListArray = column(events, name)?.as_list();
        Ok(Lists { list, texts: list.values().as_string() })
    }

    /// Where the texts of an event lie; nowhere for one without a list.
    fn range(&self, event: usize) -> Range<usize> {
        let offsets = self.list.value_offsets();
        let start = offsets[event] as usize;
        if self.list.is_valid(event) { start..offsets[event + 1] as usize } else { start..start }
    }

    fn text(&self, event: usize, index: usize) -> Option<&'a str> {
        let at = self.range(event).nth(index)?;
        self.texts.is_valid(at).then(|| self.texts.value(at))
    }
}

/// The fact lists that run parallel to `patients`.
struct Facts<'a> {
    patients: Lists<'a>,
    relations: Lists<'a>,
    explained_by: Lists<'a>,
    marks: Lists<'a>,
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
    fn push(&mut self, event: usize, recorded: &str, facts: &Facts<'_>, index: usize) {
        self.event.push(event as u32);
        self.patient_id.append_value(facts.patients.text(event, index).unwrap_or(recorded));
        self.recorded.append_value(recorded);
        self.relation.append_option(facts.relations.text(event, index));
        self.explained_by.append_option(facts.explained_by.text(event, index));
        self.marks.append_option(facts.marks.text(event, index));
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
                "break_glass" => take(&break_glass(events)?, &index, None)?,
                name => take(column(events, source(name))?, &index, None)?,
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
