//! What watches a row: the subject is met, the constants of its day are fixed, and every detector sees it.

use std::collections::BTreeMap;

use super::Engine;
use super::budget::Budget;
use super::detect::{self, Detector, Findings, Seen};
use super::settings::Settings;
use super::settle::DayConstants;
use super::subjects::Subjects;
use super::triage::Triage;
use crate::event::alert::MadeBy;
use crate::event::facts::Account;
use crate::event::flags::{BACKFILL, Flags};
use crate::event::{ActorKind, Day, Effects, Event, Facts};
use crate::roster::Roster;

/// The parts of the engine that see a row, apart from those that hold it.
pub(super) struct Watch<'a> {
    pub settings: &'a Settings,
    pub roster: &'a Roster,
    pub made_by: &'a MadeBy,
    pub subjects: &'a mut Subjects,
    pub budget: &'a Budget,
    pub open: &'a mut BTreeMap<Day, DayConstants>,
    pub detectors: &'a mut [Box<dyn Detector>],
    pub triage: &'a mut Triage,
    pub first_settled: Option<Day>,
}

impl Engine {
    /// The parts that see a row.
    pub(super) fn watch(&mut self) -> Watch<'_> {
        Watch {
            settings: &self.settings,
            roster: &self.roster,
            made_by: &self.made_by,
            subjects: &mut self.subjects,
            budget: &self.budget,
            open: &mut self.open,
            detectors: &mut self.detectors,
            triage: &mut self.triage,
            first_settled: self.first_settled,
        }
    }
}

impl Watch<'_> {
    /// Shows a row to everything that watches; what is found is raised.
    pub fn show(&mut self, event: &Event<'_>, facts: &Facts<'_>, flags: Flags, effects: &mut Effects) {
        // What a source says of an account that no roster has is no reason to judge it by the habits of people. A roster that
        // lists machine accounts lacks this one all the same: that is said.
        let unknown = facts.account == Account::Unknown;
        let service = unknown && event.actor_kind() == Some(ActorKind::Service);
        if service && !self.roster.lists_machines() {
            return;
        }
        if unknown && matches!(event.actor_kind(), Some(ActorKind::Device | ActorKind::Patient)) {
            return self.show_claimed(event, facts, flags, effects);
        }
        let Some((subject, presence)) = self.subjects.meet(self.roster, event, facts) else { return };
        let day = facts.day;
        self.fix(day);
        let constants = self.open[&day].constants(self.settings, self.roster, self.subjects, self.first_settled);
        let seen = Seen::new(event, facts, subject, presence);
        let mut findings = Findings::new();
        for (spec, detector) in detect::ALL.iter().zip(self.detectors.iter_mut()) {
            if !service || spec.family == detect::account::SPEC.family {
                detector.observe(&seen, &constants, &mut findings);
            }
        }
        self.raise(findings, flags, effects);
    }

    /// One who says to be a device or a patient belongs to no group; what goes beyond that is said. A day on which somebody did so settles
    /// also where nobody else was there.
    fn show_claimed(&mut self, event: &Event<'_>, facts: &Facts<'_>, flags: Flags, effects: &mut Effects) {
        if !detect::is_use(event) {
            return;
        }
        self.fix(facts.day);
        let constants = self.open[&facts.day].constants(self.settings, self.roster, self.subjects, self.first_settled);
        let mut findings = Findings::new();
        for detector in self.detectors.iter_mut() {
            detector.claimed(event, facts, &constants, &mut findings);
        }
        if !findings.is_empty() {
            self.subjects.open_day(facts.day);
        }
        self.raise(findings, flags, effects);
    }

    /// Fixes the constants of a day that is entered.
    fn fix(&mut self, day: Day) {
        if !self.open.contains_key(&day) {
            self.open.insert(day, DayConstants::new(day, self.settings, self.subjects, self.budget));
        }
    }

    fn raise(&mut self, findings: Findings, flags: Flags, effects: &mut Effects) {
        for finding in findings {
            effects.raised.push(self.triage.admit(finding, self.made_by, flags & BACKFILL != 0));
        }
    }
}
