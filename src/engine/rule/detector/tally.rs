//! What the hits of one rule on one subject's day amount to, in whatever order they came.

use std::collections::{BTreeMap, BTreeSet};

use rsigma_eval::EventValue;
use serde::{Deserialize, Serialize};

use super::super::sentence::{SAID_MAX, Sentence, listed};
use super::super::{Field, Row, Rule, window};
use super::Target;
use crate::engine::detect::cut;
use crate::engine::stats::distinct::Distinct;
use crate::engine::stats::evidence::Events;
use crate::engine::subjects::GroupIx;
use crate::event::{Severity, Time};

/// The field whose values follow each other as time does.
const HOUR: &str = "fact.hour";

/// A value as it is said; hours as they came, other numbers from the largest, texts in their order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Word {
    /// A number: the larger, the earlier.
    Number(std::cmp::Reverse<i64>),
    /// An hour of the clock, and when it was first met.
    Hour(Time, i64),
    /// A text.
    Text(String),
}

impl Word {
    /// A value of a field of an event that happened at `time`.
    pub fn of(field: &Field, time: Time, value: &EventValue<'_>) -> Option<Word> {
        match value {
            EventValue::Int(hour) if field.name() == HOUR => Some(Word::Hour(time, *hour)),
            EventValue::Int(number) => Some(Word::Number(std::cmp::Reverse(*number))),
            other => other.as_str().map(|text| Word::Text(text.into_owned())),
        }
    }

    /// As it is read.
    pub fn shown(&self) -> String {
        match self {
            Word::Number(number) => number.0.to_string(),
            Word::Hour(_, hour) => hour.to_string(),
            Word::Text(text) => text.clone(),
        }
    }
}

/// The values of one field over several hits: the first few, and how many there are.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Said {
    first: BTreeSet<Word>,
    all: Distinct,
}

impl Said {
    /// Adds a value.
    pub fn add(&mut self, word: Word) {
        self.all.insert(&word.shown());
        if let Word::Hour(first, hour) = &word {
            let same = |known: &&Word| matches!(known, Word::Hour(_, own) if own == hour);
            match self.first.iter().find(same).cloned() {
                Some(Word::Hour(known, _)) if known <= *first => return,
                Some(later) => _ = self.first.remove(&later),
                None => {}
            }
        }
        self.first.insert(word);
        if self.first.len() > SAID_MAX {
            self.first.pop_last();
        }
    }

    /// The first few, as they are read.
    pub fn shown(&self) -> Vec<String> {
        self.first.iter().map(Word::shown).collect()
    }

    /// As a part of a sentence.
    pub fn listed(&self) -> String {
        listed(&self.shown(), self.all.len() as u64)
    }
}

/// The values of the fields that a sentence names.
pub type Spoken = BTreeMap<String, Said>;

/// Adds what a row holds in the fields that a sentence names.
pub fn speak(sentence: &Sentence, row: &Row<'_>, spoken: &mut Spoken) {
    for field in sentence.fields() {
        field.see(row, &mut |value| {
            if let Some(word) = Word::of(field, row.event.time(), &value) {
                match spoken.get_mut(field.name()) {
                    Some(said) => said.add(word),
                    None => {
                        let mut said = Said::default();
                        said.add(word);
                        spoken.insert(field.name().to_owned(), said);
                    }
                }
            }
            false
        });
    }
}

/// Hits of a plain rule.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Tally {
    /// The events.
    pub events: Events,
    /// Their patients.
    pub patients: Distinct,
    /// What the sentence says of them.
    pub spoken: Spoken,
    /// Each severity that some hit has, as a bit.
    severities: u8,
    /// Times of the hits in order, where an age decides which of them count; of the reports of one request the first.
    times: Vec<i64>,
    /// When each request was first reported that more than one record may report.
    requests: BTreeMap<u64, i64>,
    /// The span of event time that is spoken of.
    pub window: Option<(Time, Time)>,
    /// The role of the subject, where it has one.
    pub role: Option<GroupIx>,
    /// What was told last.
    pub told: Option<u32>,
    /// How many events there were when something was said last.
    pub said: u64,
}

impl Tally {
    /// Adds a hit.
    pub fn add(&mut self, rule: &Rule, row: &Row<'_>, target: &Target) {
        let window = target.window;
        self.events.add(&row.event);
        row.patients().iter().for_each(|patient| self.patients.insert(patient.patient_id));
        speak(&rule.meta.sentence, row, &mut self.spoken);
        self.severities |= 1 << rule.meta.severity(rule.level, row) as u8;
        if rule.meta.suppress.is_some() {
            let fields = |name: &str| rsigma_eval::Event::get_field(row, name);
            self.add_time(row.event.time().0, window::request(target.day, &fields));
        }
        self.window = Some(self.window.map_or(window, |own| (own.0.min(window.0), own.1.max(window.1))));
    }

    /// Adds the time of a hit, which may be one report of a request.
    fn add_time(&mut self, time: i64, request: u64) {
        if request != 0 {
            match self.requests.get(&request).copied() {
                Some(first) if first <= time => return,
                Some(later) => _ = self.times.remove(self.times.partition_point(|other| *other < later)),
                None => {}
            }
            self.requests.insert(request, time);
        }
        let at = self.times.partition_point(|other| *other <= time);
        self.times.insert(at, time);
    }

    /// The same, when all of it was said.
    pub fn all_said(self, rule: &Rule) -> Tally {
        let (told, said) = (cut(self.quantity(rule)).max(self.told), self.events.count());
        Tally { told, said, ..self }
    }

    /// The worst severity of its hits.
    pub fn severity(&self) -> Severity {
        let bit = |severity: &&Severity| self.severities & (1 << **severity as u8) != 0;
        Severity::ALL.iter().rev().find(bit).copied().unwrap_or(Severity::Informational)
    }

    /// Hits that count: one a day, or as many as lie an age apart. The first in time counts, then the next that is far enough from it:
    /// no other choice gives more, so that a hit more never makes it less. Only an earlier report of a request may, by the one hit that it
    /// brings nearer to another.
    pub fn hits(&self, rule: &Rule) -> u64 {
        let Some(age) = rule.meta.suppress else { return u64::from(self.events.count() > 0) };
        let (mut count, mut free) = (0, i64::MIN);
        for time in &self.times {
            if *time >= free {
                count += 1;
                free = time.saturating_add(age);
            }
        }
        count
    }

    /// What crosses: the hits that count, doubled for each further severity, so that a worse hit is told at once.
    pub fn quantity(&self, rule: &Rule) -> f64 {
        window::doubled(self.hits(rule) as f64, self.severities)
    }
}
