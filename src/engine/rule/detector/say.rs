//! Findings of rules: the sentence with its places filled in, and the numbers behind it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::super::Rule;
use super::Reached;
use super::tally::{Spoken, Tally};
use crate::engine::detect::{Detected, Finding, Stage, counted, significant};
use crate::event::alert::Evidence;
use crate::event::{Day, Severity, Subject, Time};

/// What a plain rule says of a subject's day.
pub fn tally(rule: &Arc<Rule>, subject: &Subject, day: Day, tally: &Tally, p: Option<f64>) -> Finding {
    let evidence = tally.events.evidence();
    let counts = [
        ("count", json!(evidence.count)),
        ("patients", json!(tally.patients.len())),
        ("hits", json!(tally.hits(rule))),
    ];
    let window = tally.window.unwrap_or((Time::MIN, Time::MAX));
    let last = tally.events.last().unwrap_or(window.0);
    let patients = tally.patients.len() as u64;
    let (spoken, severity, began) = (&tally.spoken, tally.severity(), window.0);
    Parts { rule, subject, day, window, began, last, spoken, severity, evidence, patients, p }.finding(&counts)
}

/// What a correlation says of a subject's day.
pub fn reached(reached: &Reached, p: Option<f64>) -> Finding {
    let (together, target) = (&reached.together, &reached.target);
    let value =
        if reached.value.fract() == 0.0 { json!(reached.value as i64) } else { json!(significant(reached.value)) };
    let counts = [
        ("count", json!(together.evidence.count)),
        ("patients", json!(together.patients)),
        ("hits", json!(together.evidence.count)),
        ("value", value),
        ("threshold", json!(reached.threshold)),
        ("group", json!(reached.group.join(", "))),
    ];
    let parts = Parts {
        rule: &reached.rule,
        subject: &target.subject,
        day: target.day,
        window: target.window,
        began: reached.from,
        last: reached.to,
        spoken: &together.spoken,
        severity: together.severity,
        evidence: together.evidence.clone(),
        patients: together.patients,
        p,
    };
    parts.finding(&counts)
}

struct Parts<'a> {
    rule: &'a Arc<Rule>,
    subject: &'a Subject,
    day: Day,
    window: (Time, Time),
    /// The first event, which may lie before the day of a correlation.
    began: Time,
    last: Time,
    spoken: &'a Spoken,
    severity: Severity,
    evidence: Evidence,
    patients: u64,
    p: Option<f64>,
}

impl Parts<'_> {
    fn finding(self, counts: &[(&'static str, Value)]) -> Finding {
        let mut said: BTreeMap<&str, String> = BTreeMap::new();
        let mut facts = Map::new();
        for (name, value) in counts {
            let words = match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            said.insert(name, words);
            facts.insert((*name).to_owned(), value.clone());
        }
        for (field, values) in self.spoken {
            said.insert(field, values.listed());
            facts.insert(field.clone(), json!(values.shown()));
        }
        facts.insert("rule".to_owned(), json!(self.rule.hash));
        let mut reason = self.rule.meta.sentence.fill(&said);
        if let Some(rate) = self.p.map(significant) {
            facts.insert("rate".to_owned(), json!(rate));
        }
        if self.evidence.count > 1 && !self.rule.meta.sentence.counts("count") {
            let on = if self.began < self.window.0 { "up to" } else { "on" };
            reason = format!("{} ({} {on} {}.)", reason, counted(self.evidence.count, "event"), self.day);
        }
        Finding {
            detection: Detected::Rule(self.rule.clone(), self.severity),
            subject: self.subject.clone(),
            day: self.day,
            window: (self.window.0.min(self.began), self.window.1),
            raised_at: self.last,
            stage: Stage::Crossing(1.0),
            p: self.p,
            reason,
            facts,
            evidence: self.evidence,
            patients: self.patients,
            aside: None,
        }
    }
}
