//! What happens when a local day is over for everybody: sums, verdicts, learning, and the thresholds of later days.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::budget::{Alphas, Budget, BudgetStep};
use super::detect::{self, Constants, Findings, Settling};
use super::settings::Settings;
use super::stats::delayed::DELAY;
use super::subjects::{Presence, Sizes, SubjectIx, Subjects};
use super::{Engine, calendar, off};
use crate::event::{Class, Day, Disposition, Effects, Notice, State, Time, Unjudged};
use crate::roster::Roster;

/// Days without anybody are settled one by one only up to this many; a longer silence is passed over at once.
const STEPS_MAX: i32 = 4;
/// After a silence of everybody that is longer than this, watching begins anew.
const SILENCE_DAYS: i32 = 400;

/// The constants of an open day that are shared by all subjects, fixed when the day is entered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DayConstants {
    day: Day,
    sizes: Sizes,
    pub(super) alphas: Alphas,
}

impl DayConstants {
    /// What is known three days before `day`.
    pub fn new(day: Day, settings: &Settings, subjects: &Subjects, budget: &Budget) -> DayConstants {
        DayConstants { day, sizes: subjects.sizes(day), alphas: budget.alphas(day, settings.per_1000_users_per_day) }
    }

    /// As detectors see them.
    pub fn constants<'a>(
        &'a self,
        settings: &'a Settings,
        roster: &'a Roster,
        subjects: &'a Subjects,
        first_settled: Option<Day>,
    ) -> Constants<'a> {
        let (day, sizes, alphas) = (self.day, &self.sizes, self.alphas);
        Constants { day, settings, roster, subjects, sizes, alphas, first_settled }
    }
}

/// What follows from the newest settled day and the zones in force, kept because it is asked for each row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Horizon {
    /// The next day settles when the watermark reaches this.
    settles_at: Time,
    /// Every record before this falls into a day whose constants are fixed.
    pub(super) fixed_until: Time,
}

impl Engine {
    /// Settles every day whose end lies `settle` behind the watermark, in the westernmost zone.
    pub(super) fn settle_due(&mut self, effects: &mut Effects) {
        let Some(watermark) = self.watermark() else { return };
        if self.horizon.is_some_and(|horizon| watermark < horizon.settles_at) {
            return;
        }
        let due = calendar::settled_at(&self.roster, &self.settings, watermark);
        let settled = *self.settled.get_or_insert(due);
        self.began.get_or_insert(settled);
        self.settle_through(due, effects);
        let newest = due.max(settled);
        self.horizon = Some(Horizon {
            settles_at: calendar::settles_at(&self.roster, &self.settings, newest.plus(1)),
            fixed_until: calendar::earliest_start(&self.roster, newest.plus(DELAY + 1)),
        });
    }

    /// Settles the days up to `due`, one after the other.
    pub(super) fn settle_through(&mut self, due: Day, effects: &mut Effects) {
        let Some(settled) = self.settled else { return };
        let mut day = settled;
        while day < due {
            // Days without anybody settle in closed form: nothing is learnt from them.
            let next = self.open_days_with_anything().into_iter().find(|open| *open > day).unwrap_or(due);
            if next.0 - day.0 > SILENCE_DAYS {
                // What lies before such a silence says nothing about who was absent.
                self.first_settled = None;
            }
            day = if next.0 - day.0 > STEPS_MAX { next.min(due).plus(-1).max(day.plus(1)) } else { day.plus(1) };
            self.settle(day, effects);
        }
        if due > settled {
            self.gate.wake();
        }
    }

    /// Settles the day after `settled` although time has not come that far: at the end of the input nothing else can.
    pub(super) fn settle_next(&mut self, settled: Day, effects: &mut Effects) {
        self.settle(settled.plus(1), effects);
        self.horizon = None;
        self.gate.wake();
    }

    /// At the end of the input every open day settles.
    pub(super) fn settle_all(&mut self, effects: &mut Effects) {
        for day in self.open_days_with_anything() {
            if self.settled.is_none_or(|settled| day > settled) {
                self.settle(day, effects);
            }
        }
    }

    /// Days with somebody present, or with hits of rules, that have not settled, oldest first.
    fn open_days_with_anything(&self) -> BTreeSet<Day> {
        self.subjects.open_days().into_iter().chain(self.rules.open_days()).collect()
    }

    /// Settles one day: two passes over those who were there, then learning.
    fn settle(&mut self, day: Day, effects: &mut Effects) {
        let mut present = self.subjects.present_on(day);
        if present.is_empty() {
            // Nobody who is watched was there; somebody who says to be a device or a patient may have gone beyond that, and rules see all.
            let findings = self.findings(day, &present, 0.0);
            effects.raised.extend(findings.into_iter().map(|finding| self.triage.admit(finding, &self.made_by)));
        } else {
            self.calendar.correct(day, &mut present);
            let humans = self.humans(day);
            let findings = self.findings(day, &present, humans);
            let (mut told, mut near) = (0.0, 0.0);
            for finding in findings {
                let raised = self.triage.admit(finding, &self.made_by);
                let is_shadow = raised.alert.disposition == Disposition::Shadow;
                // Who was told inside the day was interrupted, whatever explains it in the end.
                let counts = raised.alert.class == Class::Budgeted && raised.alert.disposition == Disposition::Notified;
                told += f64::from(u8::from(counts));
                let near_by = raised.alert.class == Class::Budgeted && raised.alert.state == State::Open && !is_shadow;
                near += f64::from(u8::from(near_by));
                effects.raised.push(raised);
            }
            // What honest p-values let pass is a quarter of what lies below 4α: misuse alone must not use up the threshold.
            self.teach_budget(day, (2.0 * told + near / 4.0) / 3.0, humans);
            for (detector, memory) in self.detectors.iter().filter(|(_, memory)| memory.unjudged() > 0) {
                let (judged, unjudged) = (memory.tested(), memory.unjudged());
                effects.unjudged.push(Unjudged { detector: (*detector).to_owned(), day, judged, unjudged, off: false });
            }
            for part in self.switched_off() {
                let unjudged = present.len() as u64;
                effects.unjudged.push(Unjudged { detector: part.name, day, judged: 0, unjudged, off: true });
            }
            self.subjects.settle(day);
            self.first_settled.get_or_insert(day);
        }
        for (about, count) in self.rules.left_out() {
            let at = self.watermark().unwrap_or(Time::MIN);
            effects.notices.push(Notice { kind: "window-limit", about, count, at });
        }
        // With the day go the counters of backfill that came for days before it.
        self.detectors.retain(|_, detector| off::is_sound(|| detector.forget(day)));
        self.subjects.forget(day);
        self.open = self.open.split_off(&day.plus(1));
        self.triage.forget(day);
        self.settled = Some(day);
        effects.settled.push(day);
    }

    /// What detectors and rules say of a day, by subject.
    fn findings(&mut self, day: Day, present: &[(SubjectIx, Presence)], humans: f64) -> Findings {
        let mut findings = self.judge(day, present, humans);
        findings.extend(self.judge_rules(day, present));
        detect::in_order(&mut findings);
        findings
    }

    fn judge(&mut self, day: Day, present: &[(SubjectIx, Presence)], humans: f64) -> Findings {
        let fixed = self.fixed(day);
        let constants = fixed.constants(&self.settings, &self.roster, &self.subjects, self.first_settled);
        let settling = Settling { constants: &constants, present, humans };
        let mut findings = Findings::new();
        let all = !present.is_empty();
        for spec in detect::ALL.iter().filter(|spec| all || spec.family == detect::account::SPEC.family) {
            off::run(&mut self.detectors, spec.family, &mut findings, |detector, out| {
                detector.sums(&settling);
                detector.settle(&settling, out);
            });
        }
        findings
    }

    /// The constants of a day that settles.
    pub(super) fn fixed(&self, day: Day) -> DayConstants {
        let known = self.open.get(&day).cloned();
        known.unwrap_or_else(|| DayConstants::new(day, &self.settings, &self.subjects, &self.budget))
    }

    fn judge_rules(&mut self, day: Day, present: &[(SubjectIx, Presence)]) -> Findings {
        let alphas = self.fixed(day).alphas;
        let present: Vec<Presence> = present.iter().map(|(_, presence)| *presence).collect();
        let mut findings = Findings::new();
        self.rules.settle(day, alphas, &present, &self.subjects, &mut findings);
        findings
    }

    /// Human accounts that may work on a day: those of the roster; where it names nobody, those that were seen of late.
    fn humans(&self, day: Day) -> f64 {
        if self.roster.user_ids().next().is_none() {
            return f64::from(self.subjects.humans(day));
        }
        self.roster.active_humans(self.roster.zone(None).day_start(day)) as f64
    }

    fn teach_budget(&mut self, day: Day, told: f64, humans: f64) {
        let target = self.settings.per_1000_users_per_day / 1_000.0 * humans;
        let tested = self.detectors.values().map(|detector| detector.tested()).sum::<u64>() as f64;
        let tests = tested + self.rules.tests();
        let unjudged = self.detectors.values().map(|detector| detector.unjudged()).sum::<u64>() as f64;
        let surge = self.detectors.values().map(|detector| detector.surge()).fold(1.0, f64::max);
        self.budget.teach(day, BudgetStep { target, tests, unjudged, told, surge });
    }
}
