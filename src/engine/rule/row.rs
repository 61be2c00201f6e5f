//! A row as rules see it: an event with its facts, asked by field, without a copy of any text.

use std::borrow::Cow;

use rsigma_eval::{Event as Asked, EventValue};

use super::fields::{self, Field};
use crate::event::{Event, Facts, PatientFacts};

/// An event and its facts.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    /// What was recorded.
    pub event: Event<'a>,
    /// What is known of it.
    pub facts: &'a Facts<'a>,
    /// Only this patient of the event is looked at: for rules whose alert is about one patient.
    pub only: Option<usize>,
}

impl<'a> Row<'a> {
    /// A row with all its patients.
    pub fn new(event: Event<'a>, facts: &'a Facts<'a>) -> Row<'a> {
        Row { event, facts, only: None }
    }

    /// What is known of its patients.
    pub fn patients(&self) -> &'a [PatientFacts<'a>] {
        match self.only {
            Some(index) => self.facts.patients.get(index..=index).unwrap_or(&[]),
            None => &self.facts.patients,
        }
    }

    /// The record numbers of its patients, as recorded.
    pub fn record_numbers(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let (skip, take) = self.only.map_or((0, usize::MAX), |index| (index, 1));
        self.event.patients().skip(skip).take(take)
    }

    /// The values of a field in order: none where it is absent, several where it is a list.
    pub fn values(&self, field: &Field) -> Vec<EventValue<'a>> {
        let mut values = Vec::new();
        field.see(self, &mut |value| {
            values.push(value);
            false
        });
        values
    }
}

/// Values as the evaluator of Sigma takes them: a list of one is its only value, since a field matches where one of its values does.
pub fn joined<'a>(mut values: Vec<EventValue<'a>>) -> Option<EventValue<'a>> {
    match values.len() {
        0 => None,
        1 => values.pop(),
        _ => Some(EventValue::Array(values)),
    }
}

impl Asked for Row<'_> {
    fn get_field(&self, path: &str) -> Option<EventValue<'_>> {
        joined(self.values(&Field::find(path)?))
    }

    fn any_string_value(&self, pred: &dyn Fn(&str) -> bool) -> bool {
        let mut test = |value: EventValue<'_>| matches!(&value, EventValue::Str(text) if pred(text));
        fields::ALL.iter().filter(|field| field.is_recorded()).any(|field| (field.see)(self, &mut test))
    }

    fn all_string_values(&self) -> Vec<Cow<'_, str>> {
        let mut texts = Vec::new();
        for field in fields::ALL.iter().filter(|field| field.is_recorded()) {
            (field.see)(self, &mut |value| {
                if let EventValue::Str(text) = value {
                    texts.push(text);
                }
                false
            });
        }
        texts
    }

    fn to_json(&self) -> serde_json::Value {
        let mut map = serde_json::Map::new();
        for field in fields::ALL {
            if let Some(value) = joined(self.values(&Field::Known(field))) {
                map.insert(field.name.to_owned(), value.to_json());
            }
        }
        map.into()
    }
}
