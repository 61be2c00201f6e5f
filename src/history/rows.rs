//! Turns alerts, rejects and spans into the rows of their tables.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Float64Array, Int32Array, Int64Array, ListBuilder, RecordBatch,
    StringArray, StringBuilder, TimestampMicrosecondArray,
};

use super::tables::{ALERTS, REJECTS, SPANS};
use super::told::content;
use crate::event::{Alert, Origin, Raised, Reject, Span, Time};

/// The rows of `alerts`, numbered from `first`.
pub(super) fn alerts(raised: &[&Raised], first: i64) -> RecordBatch {
    let text = |value: fn(&Alert) -> &str| texts(raised.iter().map(|r| Some(value(&r.alert))));
    let number = |value: fn(&Alert) -> u64| integers(raised.iter().map(|r| Some(value(&r.alert) as i64)));
    let facts: Vec<String> = raised.iter().map(|r| json(&r.alert.facts)).collect();
    let parsed = |value: fn(&Alert) -> &str| times(raised.iter().map(|r| Time::parse(value(&r.alert))));
    let columns: Vec<ArrayRef> = vec![
        text(|a| &a.alert_id),
        number(|a| u64::from(a.revision)),
        booleans(raised.iter().map(|r| Some(r.alert.settled))),
        text(|a| &a.detection_id),
        text(|a| a.class.as_str()),
        text(|a| &a.title),
        text(|a| a.severity.as_str()),
        text(|a| a.subject.kind.as_str()),
        text(|a| &a.subject.id),
        Arc::new(Date32Array::from_iter_values(raised.iter().map(|r| r.day.0))),
        times(raised.iter().map(|r| Some(Time::parse(&r.alert.raised_at).unwrap_or(r.at)))),
        Arc::new(Float64Array::from_iter_values(raised.iter().map(|r| r.alert.score))),
        text(|a| &a.reason),
        texts(facts.iter().map(|facts| Some(facts.as_str()))),
        number(|a| a.evidence.count),
        lists(raised.iter().map(|r| r.alert.evidence.event_ids.as_slice())),
        number(|a| a.patients.count),
        lists(raised.iter().map(|r| r.alert.references.as_slice())),
        text(|a| a.state.as_str()),
        text(|a| a.disposition.as_str()),
        booleans(raised.iter().map(|r| Some(r.interrupts))),
        text(|a| &a.made_by.version),
        text(|a| &a.made_by.settings),
        text(|a| &a.made_by.rules),
        text(|a| &a.made_by.rosters),
        integers((first..).zip(raised).map(|(number, _)| Some(number))),
        integers(raised.iter().map(|r| Some(content(r) as i64))),
        parsed(|a| &a.window.start),
        parsed(|a| &a.window.end),
        Arc::new(Float64Array::from_iter(raised.iter().map(|r| r.alert.p_value))),
        texts(raised.iter().map(|r| r.alert.episode.as_deref())),
    ];
    RecordBatch::try_new(ALERTS.clone(), columns).expect("the columns follow the schema")
}

/// The rows of `rejects`; what has no time of its own gets the time of `arrival`.
pub(super) fn rejects(rejects: &[&Reject], arrival: Time) -> RecordBatch {
    let place: Vec<Place<'_>> = rejects.iter().map(|r| Place::of(&r.origin)).collect();
    let offset = |in_file: bool| {
        let offsets = rejects.iter().zip(&place).map(move |(r, p)| (p.file.is_some() == in_file).then_some(r.offset));
        integers(offsets)
    };
    let columns: Vec<ArrayRef> = vec![
        texts(rejects.iter().map(|r| Some(r.reason.as_str()))),
        integers(rejects.iter().map(|r| Some(r.byte as i64))),
        Arc::new(BinaryArray::from_iter_values(rejects.iter().map(|r| r.raw.as_slice()))),
        texts(place.iter().map(|p| p.topic)),
        Arc::new(Int32Array::from_iter(place.iter().map(|p| p.partition))),
        offset(false),
        texts(place.iter().map(|p| p.file)),
        offset(true),
        texts(rejects.iter().map(|r| r.field.as_deref())),
        times(rejects.iter().map(|r| Some(r.at.unwrap_or(arrival)))),
    ];
    RecordBatch::try_new(REJECTS.clone(), columns).expect("the columns follow the schema")
}

/// A span with what its row adds.
#[derive(Debug, Clone)]
pub(super) struct SpanRow {
    /// Key of the origin in the commits.
    pub position: String,
    /// The offsets and their outcomes.
    pub span: Span,
    /// Oldest and newest time of its events.
    pub times: Option<(Time, Time)>,
}

impl SpanRow {
    /// Takes up `next` where it follows without a gap in either; else gives it back.
    pub fn join(&mut self, next: SpanRow) -> Option<SpanRow> {
        let follows = self.position == next.position && self.span.origin == next.span.origin;
        if !follows || self.span.to != next.span.from || self.span.gap > 0 || next.span.gap > 0 {
            return Some(next);
        }
        self.span.extend(&next.span);
        self.times = match (self.times, next.times) {
            (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
            (mine, theirs) => mine.or(theirs),
        };
        None
    }
}

/// The rows of `spans`.
pub(super) fn spans(spans: &[&SpanRow], arrival: Time) -> RecordBatch {
    let place: Vec<Place<'_>> = spans.iter().map(|s| Place::of(&s.span.origin)).collect();
    let count = |value: fn(&Span) -> i64| integers(spans.iter().map(|s| Some(value(&s.span))));
    let columns: Vec<ArrayRef> = vec![
        texts(spans.iter().map(|s| Some(s.position.as_str()))),
        count(|s| s.from),
        count(|s| s.to),
        count(|s| s.events as i64),
        count(|s| s.duplicates as i64),
        count(|s| s.rejects as i64),
        count(|s| s.gap as i64),
        times(spans.iter().map(|_| Some(arrival))),
        texts(place.iter().map(|p| p.topic)),
        Arc::new(Int32Array::from_iter(place.iter().map(|p| p.partition))),
        texts(place.iter().map(|p| p.file)),
        times(spans.iter().map(|s| s.times.map(|t| t.0))),
        times(spans.iter().map(|s| s.times.map(|t| t.1))),
    ];
    RecordBatch::try_new(SPANS.clone(), columns).expect("the columns follow the schema")
}

/// An origin as columns.
struct Place<'a> {
    topic: Option<&'a str>,
    partition: Option<i32>,
    file: Option<&'a str>,
}

impl Place<'_> {
    fn of(origin: &Origin) -> Place<'_> {
        match origin {
            Origin::Topic { topic, partition } => Place { topic: Some(topic), partition: Some(*partition), file: None },
            Origin::File { name } => Place { topic: None, partition: None, file: Some(name) },
        }
    }
}

fn json(facts: &serde_json::Map<String, serde_json::Value>) -> String {
    serde_json::to_string(facts).expect("a JSON object is written as JSON")
}

fn texts<'s>(values: impl Iterator<Item = Option<&'s str>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

fn integers(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.collect::<Int64Array>())
}

fn booleans(values: impl Iterator<Item = Option<bool>>) -> ArrayRef {
    Arc::new(values.collect::<BooleanArray>())
}

fn times(values: impl Iterator<Item = Option<Time>>) -> ArrayRef {
    let values: TimestampMicrosecondArray = values.map(|time| time.map(|time| time.0)).collect();
    Arc::new(values.with_timezone("UTC"))
}

fn lists<'s>(values: impl Iterator<Item = &'s [String]>) -> ArrayRef {
    let mut builder = ListBuilder::new(StringBuilder::new());
    for list in values {
        builder.append_value(list.iter().map(Some));
    }
    Arc::new(builder.finish())
}
