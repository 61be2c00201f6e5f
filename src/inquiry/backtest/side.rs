//! One version of the rules on its way through the history, and what it has found so far.
//!
//! Alerts are kept by id with what the sums need, and a few with their sentences: those whose ids come first, which is a choice by
//! chance that does not depend on the order of reading.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use serde::Serialize;

use super::Days;
use crate::engine::rule::RuleSet;
use crate::engine::rule::trial::Trial;
use crate::event::stored::{StoredFacts, events};
use crate::event::{Day, Disposition, EventBatch, Raised, State, Subject};
use crate::roster::Roster;

/// So many alerts are shown with their sentences.
const SAMPLES: usize = 5;
/// More alerts than this are no answer to anybody: the scan ends.
pub const ALERTS_MAX: usize = 1_000_000;

/// An alert that would have been raised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The rule.
    pub detection: Arc<str>,
    /// Whom it is about.
    pub subject: Subject,
    /// The subject's local day.
    pub day: Day,
    /// What would have been done with it.
    pub disposition: Disposition,
    /// Whether it stands.
    pub state: State,
}

impl Kept {
    /// Whether somebody has to look at it; whether the rule is on trial makes no difference.
    pub fn is_told(&self) -> bool {
        self.disposition != Disposition::Held && self.state == State::Open
    }
}

/// An alert with its sentence.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sample {
    /// Its id, which is that of the alert where it was raised.
    pub alert_id: String,
    /// The subject's local day.
    pub day: String,
    /// How bad it is.
    pub severity: &'static str,
    /// The sentence.
    pub reason: String,
}

/// What some rules found.
#[derive(Debug, Default)]
pub struct Found {
    /// Alerts by id.
    pub alerts: BTreeMap<String, Kept>,
    samples: BTreeMap<String, Sample>,
    rules: BTreeSet<Arc<str>>,
}

impl Found {
    /// Takes up a revision; the last one of an alert holds.
    fn take(&mut self, raised: Raised, days: Days) {
        if !days.hold(raised.day) {
            return;
        }
        let alert = raised.alert;
        let detection = self.rules.get(alert.detection_id.as_str()).cloned().unwrap_or_else(|| {
            let detection: Arc<str> = alert.detection_id.as_str().into();
            self.rules.insert(detection.clone());
            detection
        });
        let kept = Kept {
            detection,
            subject: alert.subject,
            day: raised.day,
            disposition: alert.disposition,
            state: alert.state,
        };
        let may_show = self.samples.len() < SAMPLES
            || self.samples.last_key_value().is_some_and(|(last, _)| alert.alert_id <= *last);
        match (kept.is_told(), may_show) {
            (true, true) => {
                let (alert_id, severity) = (alert.alert_id.clone(), alert.severity.as_str());
                let sample = Sample { alert_id, day: raised.day.to_string(), severity, reason: alert.reason };
                self.samples.insert(alert.alert_id.clone(), sample);
                if self.samples.len() > SAMPLES {
                    self.samples.pop_last();
                }
            }
            (true, false) => {}
            (false, _) => _ = self.samples.remove(&alert.alert_id),
        }
        self.alerts.insert(alert.alert_id, kept);
    }

    /// The newest day of an alert.
    pub fn newest(&self) -> Option<Day> {
        self.alerts.values().map(|kept| kept.day).max()
    }

    /// Alerts that somebody has to look at.
    pub fn told(&self) -> impl Iterator<Item = (&String, &Kept)> {
        self.alerts.iter().filter(|(_, kept)| kept.is_told())
    }

    /// Whom the rules spoke of on which day.
    pub fn subject_days(&self) -> BTreeSet<(Day, &Subject)> {
        self.told().map(|(_, kept)| (kept.day, &kept.subject)).collect()
    }

    /// Some alerts with their sentences, by day.
    pub fn samples(&self) -> Vec<Sample> {
        let mut samples: Vec<Sample> = self.samples.values().cloned().collect();
        samples.sort_by(|a, b| (&a.day, &a.alert_id).cmp(&(&b.day, &b.alert_id)));
        samples
    }
}

/// Rules on their way through the history.
pub struct Side {
    trial: Trial,
    days: Days,
    /// What they found.
    pub found: Found,
}

impl Side {
    /// Rules before the first row.
    pub fn new(rules: Arc<RuleSet>, per_1000: f64, days: Days) -> Side {
        Side { trial: Trial::new(rules, per_1000), days, found: Found::default() }
    }

    /// The rules.
    pub fn rules(&self) -> &Arc<RuleSet> {
        self.trial.rules()
    }

    /// Whether it has to be shown everybody who was there.
    pub fn by_rate(&self) -> bool {
        self.trial.by_rate()
    }

    /// Shows rows.
    pub fn show(&mut self, roster: &Roster, events: &EventBatch, facts: &StoredFacts) {
        let rules = self.trial.rules().clone();
        for (row, event) in events.rows().enumerate() {
            // The rule is asked of few: facts are put together for those only that some rule may look at.
            if !rules.may_meet(event.activity()) {
                continue;
            }
            let facts = facts.row(row, event.time(), rules.columns());
            for raised in self.trial.show(roster, &event, &facts, event.flags()) {
                self.found.take(raised, self.days);
            }
        }
    }

    /// Notes who was there, from rows that are distinct in who and on which day.
    pub fn meet(&mut self, roster: &Roster, rows: &RecordBatch) {
        let (events, facts) = (events(rows), StoredFacts::of(rows));
        for (row, event) in events.rows().enumerate() {
            self.trial.meet(roster, &event, &facts.row(row, event.time(), &[]), event.flags());
        }
    }

    /// Settles the days up to `through`.
    pub fn settle_through(&mut self, through: Day) {
        for raised in self.trial.settle_through(through) {
            self.found.take(raised, self.days);
        }
    }

    /// What the limits of the windows left out.
    pub fn left_out(&mut self) -> Vec<(String, u64)> {
        self.trial.left_out()
    }

    /// Rules that met a bug on the way.
    pub fn switched_off(&self) -> Vec<String> {
        self.trial.switched_off()
    }
}
