//! What watches a row: the subject is met, the constants of its day are fixed, every detector sees it, and every rule.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Engine;
use super::budget::{Alphas, Budget};
use super::detect::{self, Findings, Seen};
use super::off::{self, Detectors};
use super::rule::detector::{Scene, Watcher};
use super::rule::{Row, RuleSet};
use super::settings::Settings;
use super::settle::DayConstants;
use super::subjects::{Presence, Subjects};
use super::triage::Triage;
use crate::event::alert::MadeBy;
use crate::event::facts::Account;
use crate::event::flags::{BACKFILL, FUTURE, Flags, UNDECLARED};
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
    pub detectors: &'a mut Detectors,
    pub rules: &'a mut Watcher,
    pub triage: &'a mut Triage,
    pub first_settled: Option<Day>,
}

impl Engine {
    /// The rules in force.
    pub fn rules(&self) -> &Arc<RuleSet> {
        self.rules.set()
    }

    /// Takes other rules into force.
    pub(super) fn replace_rules(&mut self, rules: Arc<RuleSet>, effects: &mut Effects) {
        self.made_by.rules = rules.hash().to_owned();
        let open: BTreeMap<Day, Alphas> = self.rules.open_days().map(|day| (day, self.fixed(day).alphas)).collect();
        let mut findings = Findings::new();
        self.rules.replace(rules, &|day| open[&day], &mut findings);
        effects.raised.extend(findings.into_iter().map(|finding| self.triage.admit(finding, &self.made_by)));
    }

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
            rules: &mut self.rules,
            triage: &mut self.triage,
            first_settled: self.first_settled,
        }
    }
}

/// Why a row counts in no open day.
pub(in crate::engine) fn aside(flags: Flags) -> Option<&'static str> {
    match flags {
        _ if flags & FUTURE != 0 => Some("future"),
        _ if flags & UNDECLARED != 0 => Some("undeclared"),
        _ if flags & BACKFILL != 0 => Some("backfill"),
        _ => None,
    }
}

/// Whether the one who acted is judged with others of its kind. What a source says of an account that no roster has is no reason to
/// judge it by the habits of people. A roster that lists machine accounts lacks this one all the same: that is said.
pub(in crate::engine) fn is_watched(roster: &Roster, event: &Event<'_>, facts: &Facts<'_>) -> bool {
    facts.account != Account::Unknown
        || match event.actor_kind() {
            Some(ActorKind::Device | ActorKind::Patient) => false,
            Some(ActorKind::Service) => roster.lists_machines(),
            _ => true,
        }
}

impl Watch<'_> {
    /// Shows a row to everything that watches; what is found is raised.
    pub fn show(&mut self, event: &Event<'_>, facts: &Facts<'_>, flags: Flags, effects: &mut Effects) {
        let aside = aside(flags);
        let mut findings = Findings::new();
        let counts = flags & (FUTURE | UNDECLARED) == 0;
        let presence = if counts { self.detect(event, facts, &mut findings) } else { None };
        if flags & BACKFILL != 0 {
            findings.iter_mut().for_each(|finding| finding.aside = aside);
        }
        if !self.rules.set().rules().is_empty() {
            let role = presence.map(|presence| self.subjects.role(presence.group));
            let scene = Scene { row: Row::new(*event, facts), roster: self.roster, role, aside };
            let (settings, subjects, budget, open) = (self.settings, &*self.subjects, self.budget, &mut *self.open);
            let mut alphas = |day: Day| -> Alphas {
                let fresh = || DayConstants::new(day, settings, subjects, budget);
                // The constants of a day that is not fixed yet are not kept.
                if counts { open.entry(day).or_insert_with(fresh).alphas } else { fresh().alphas }
            };
            self.rules.observe(&scene, &mut alphas, &mut findings);
        }
        for finding in findings {
            effects.raised.push(self.triage.admit(finding, self.made_by));
        }
    }

    /// Shows a row to the detectors; gives the presence of its subject, where somebody is watched.
    fn detect(&mut self, event: &Event<'_>, facts: &Facts<'_>, findings: &mut Findings) -> Option<Presence> {
        if !is_watched(self.roster, event, facts) {
            if matches!(event.actor_kind(), Some(ActorKind::Device | ActorKind::Patient)) {
                self.detect_claimed(event, facts, findings);
            }
            return None;
        }
        let service = facts.account == Account::Unknown && event.actor_kind() == Some(ActorKind::Service);
        let (subject, presence) = self.subjects.meet(self.roster, event, facts)?;
        let day = facts.day;
        self.fix(day);
        let constants = self.open[&day].constants(self.settings, self.roster, self.subjects, self.first_settled);
        let seen = Seen { event, facts, subject, presence };
        for spec in detect::ALL.iter().filter(|spec| !service || spec.family == detect::account::SPEC.family) {
            off::run(self.detectors, spec.family, findings, |detector, out| detector.observe(&seen, &constants, out));
        }
        Some(presence)
    }

    /// One who says to be a device or a patient belongs to no group; what goes beyond that is said. A day on which somebody did so settles
    /// also where nobody else was there.
    fn detect_claimed(&mut self, event: &Event<'_>, facts: &Facts<'_>, findings: &mut Findings) {
        if !detect::is_use(event) {
            return;
        }
        self.fix(facts.day);
        let constants = self.open[&facts.day].constants(self.settings, self.roster, self.subjects, self.first_settled);
        let before = findings.len();
        off::run(self.detectors, detect::account::SPEC.family, findings, |detector, out| {
            detector.claimed(event, facts, &constants, out);
        });
        if findings.len() > before {
            self.subjects.open_day(facts.day);
        }
    }

    /// Fixes the constants of a day that is entered.
    fn fix(&mut self, day: Day) {
        if !self.open.contains_key(&day) {
            self.open.insert(day, DayConstants::new(day, self.settings, self.subjects, self.budget));
        }
    }
}
