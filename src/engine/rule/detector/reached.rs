//! What the windows say, taken out of them: of whom, how much, and which of several answers is told.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::meta::About;
use super::super::window::{Answer, doubled};
use super::super::{Rule, RuleSet};
use super::note::{Note, Together};
use super::target::Target;
use crate::event::{Subject, SubjectKind, Time};

/// What the windows of a rule have come to that are about one subject, of whatever groups.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Crossed {
    pub ratio: f64,
    pub grades: u8,
    /// What was told last.
    pub told: Option<u32>,
}

impl Crossed {
    pub fn add(&mut self, reached: &Reached) {
        self.ratio = self.ratio.max(reached.ratio);
        self.grades |= reached.grades;
    }

    /// What crosses.
    pub fn quantity(&self) -> f64 {
        doubled(self.ratio, self.grades)
    }
}

/// An answer of the windows, taken out of them.
pub(super) struct Reached {
    pub rule: Arc<Rule>,
    pub target: Target,
    pub together: Together,
    pub group: Vec<String>,
    pub value: f64,
    pub threshold: i64,
    pub ratio: f64,
    pub grades: u8,
    pub holds: bool,
    /// The first and the last of its events.
    pub from: Time,
    pub to: Time,
}

impl Reached {
    /// Whether this and not the other is what is said of a rule and subject.
    pub fn is_beyond(&self, other: &Reached) -> bool {
        let grave = |reached: &Reached| (reached.holds, reached.together.severity);
        let order = grave(self).cmp(&grave(other)).then(self.ratio.total_cmp(&other.ratio));
        order.then(other.to.cmp(&self.to)).then_with(|| other.group.cmp(&self.group)).is_gt()
    }
}

/// Takes an answer out of the windows; none where no rule speaks for the correlation.
pub(super) fn taken(set: &RuleSet, answer: &Answer<'_, Arc<Note>>) -> Option<Reached> {
    let rule = set.speaks(answer.number)?.clone();
    let notes = answer.evidence();
    let last = answer.last()?;
    let together = Together::of(notes.iter().map(|(_, note)| &***note));
    let group = answer.group().iter().map(|value| value.as_deref().unwrap_or("unknown").to_owned()).collect();
    // An event may name others beside the patient who is the group's.
    let patient = (rule.meta.about == About::Patient).then(|| answer.correlation.patient_field()).flatten();
    let patient = patient.and_then(|at| answer.group()[at].as_deref());
    let patient = patient.filter(|patient| notes.iter().any(|(_, note)| note.names(patient)));
    let subject =
        patient.map_or_else(|| last.subject.clone(), |id| Subject { kind: SubjectKind::Patient, id: id.to_owned() });
    let target = Target { subject, day: answer.day, window: last.window, role: last.role };
    Some(Reached {
        rule,
        target,
        group,
        value: answer.value,
        threshold: answer.correlation.bound(),
        ratio: answer.ratio,
        grades: answer.grades,
        holds: answer.is_satisfied,
        from: notes.first()?.0,
        to: answer.to,
        together,
    })
}
