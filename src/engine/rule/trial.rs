//! Rules alone over rows that are on record: what they would have said, without detectors and without everybody else's memory.
//!
//! Rows come with the facts that were stored with them, in any order within the days that are open; a day is settled when all of its
//! rows have been shown. Windows, tallies, settling and identity of alerts are those of the engine, whose parts these are. What is not
//! on record is the threshold of the budget on each day, which follows from all detectors: a budgeted rule is held against the one
//! that a site begins with. Exceptions are not looked at.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::detector::{Scene, Watcher};
use super::{Row, RuleSet};
use crate::engine::budget::{Alphas, Budget};
use crate::engine::detect::{Findings, in_order};
use crate::engine::subjects::{Presence, Subjects};
use crate::engine::triage::Triage;
use crate::engine::watch::{aside, is_watched};
use crate::event::alert::MadeBy;
use crate::event::flags::{BACKFILL, FUTURE, Flags, UNDECLARED};
use crate::event::{Class, Day, Event, Facts, Raised};
use crate::roster::Roster;

/// Rules on trial, with their memory.
pub struct Trial {
    watcher: Watcher,
    triage: Triage,
    subjects: Subjects,
    made_by: MadeBy,
    alphas: Alphas,
    by_rate: bool,
}

impl Trial {
    /// Rules without any memory, at a site that asks for `per_1000` budgeted alerts per 1,000 users and day.
    pub fn new(rules: Arc<RuleSet>, per_1000: f64) -> Trial {
        let by_rate = rules.rules().iter().any(|rule| rule.meta.class == Class::Budgeted);
        let made_by = MadeBy {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            settings: String::new(),
            rules: rules.hash().to_owned(),
            rosters: String::new(),
        };
        Trial {
            watcher: Watcher::new(rules),
            triage: Triage::default(),
            subjects: Subjects::default(),
            made_by,
            alphas: Budget::default().alphas(Day(0), per_1000),
            by_rate,
        }
    }

    /// The rules.
    pub fn rules(&self) -> &Arc<RuleSet> {
        self.watcher.set()
    }

    /// Whether some rule is judged by its rate, for which everybody has to be met who was there.
    pub fn by_rate(&self) -> bool {
        self.by_rate
    }

    /// Notes that the one who acted was there on the event's day.
    pub fn meet(&mut self, roster: &Roster, event: &Event<'_>, facts: &Facts<'_>, flags: Flags) -> Option<Presence> {
        let counts = flags & (FUTURE | UNDECLARED | BACKFILL) == 0;
        let met = (counts && is_watched(roster, event, facts)).then(|| self.subjects.meet(roster, event, facts));
        met.flatten().map(|(_, presence)| presence)
    }

    /// Shows a row to every rule.
    pub fn show(&mut self, roster: &Roster, event: &Event<'_>, facts: &Facts<'_>, flags: Flags) -> Vec<Raised> {
        let presence = if self.by_rate { self.meet(roster, event, facts, flags) } else { None };
        let role = presence.map(|presence| self.subjects.role(presence.group));
        let scene = Scene { row: Row::new(*event, facts), roster, role, aside: aside(flags) };
        let (alphas, mut findings) = (self.alphas, Findings::new());
        self.watcher.observe(&scene, &mut |_| alphas, &mut findings);
        self.admit(findings)
    }

    /// Settles every day up to `through`, one after the other.
    pub fn settle_through(&mut self, through: Day) -> Vec<Raised> {
        let days: BTreeSet<Day> = self.watcher.open_days().chain(self.subjects.open_days()).collect();
        let mut raised = Vec::new();
        for day in days.into_iter().filter(|day| *day <= through) {
            let present: Vec<Presence> =
                self.subjects.present_on(day).into_iter().map(|(_, presence)| presence).collect();
            let mut findings = Findings::new();
            self.watcher.settle(day, self.alphas, &present, &self.subjects, &mut findings);
            in_order(&mut findings);
            raised.extend(self.admit(findings));
            self.subjects.forget(day);
            self.triage.forget(day);
        }
        raised
    }

    /// Correlations whose windows left hits out since that was asked last, and how many.
    pub fn left_out(&mut self) -> Vec<(String, u64)> {
        self.watcher.left_out()
    }

    /// Rules that met a bug: what they found is not whole.
    pub fn switched_off(&self) -> Vec<String> {
        self.watcher.switched_off().map(|part| part.name).collect()
    }

    fn admit(&mut self, findings: Findings) -> Vec<Raised> {
        findings.into_iter().map(|finding| self.triage.admit(finding, &self.made_by)).collect()
    }
}
