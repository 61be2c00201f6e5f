//! Dormant accounts: used again after a long gap, or used for the first time long after they were made; and a weekly list.
//!
//! ## What it finds
//! An account that lay unused for longer than the policy allows and longer than its own rhythm explains, and is used again; an account
//! that was made, never used, and is used now. Once a week, the accounts that should be revoked. An account that should not work at
//! all is the business of the detector of accounts.
//!
//! ## How
//! Each account has a rate of active days, drawn to the rate of all (`notes/detection.md`, section 5.4). The p-value of a gap is the
//! beta-binomial probability of so many days without use, of which a weekend or holiday counts as much as it is used by everybody.
//! Days of known leave do not count, nor do days on which nobody at all was seen. Nothing before the first settled day is absence.
//!
//! Accounts differ more than any one rate can say: the consultant who comes twice a year ends a "dormancy" each time. So the p-value of
//! the alert is how often absences as improbable as this end at the site, in account-days: where that is usual it is held.
//!
//! ## When it is wrong
//! Leave that the roster does not show looks like dormancy: one alert on the first day back. The days after it are known to be no news
//! as soon as they are entered, although what they may know of the account is three days old.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Constants, Detection, Detector, Findings, Ruling, Seen, Settling, Speaks, Spec, Stage, account, cut};
use crate::engine::stats::delayed::{DELAY, Delayed, Learn};
use crate::engine::stats::dense::Dense;
use crate::engine::stats::distinct::Distinct;
use crate::engine::stats::evidence::Events;
use crate::engine::stats::open::OpenDays;
use crate::engine::stats::requests::Requests;
use crate::engine::stats::told::Told;
use crate::engine::subjects::{Seat, Sort, SubjectIx};
use crate::event::{Class, Day, Severity};

mod absence;
mod everybody;
mod review;
#[cfg(test)]
mod tests;

use absence::{absence, describe, judge};
use everybody::{Everybody, EverybodyStep, bin};

/// The registry's entry.
pub static SPEC: Spec = Spec {
    family: "dormant",
    detections: &[REACTIVATED, NEVER_USED, REVIEW],
    speaks: Speaks::Crossing,
    new: || Box::new(Dormant::default()),
};

const SEVERITY: [Severity; 4] = [Severity::Medium; 4];
const REFERENCES: &[&str] =
    &["45 CFR 164.308(a)(3)(ii)(C)", "45 CFR 164.308(a)(4)(ii)(C)", "45 CFR 164.312(a)(1)", "runbook:dormant"];
const REACTIVATED: Detection = Detection {
    id: "dormant.reactivated",
    title: "Dormant account used again",
    class: Class::Budgeted,
    severity: SEVERITY,
    references: REFERENCES,
};
const NEVER_USED: Detection = Detection {
    id: "dormant.never-used",
    title: "First use on record, long after the account was made",
    class: Class::Budgeted,
    severity: SEVERITY,
    references: REFERENCES,
};
const REVIEW: Detection = Detection {
    id: "dormant.review",
    title: "Accounts that should be revoked",
    class: Class::Informational,
    severity: [Severity::Informational; 4],
    references: REFERENCES,
};

const HALF_LIFE_DAYS: f64 = 180.0;
/// Fewer days than this without use are no absence.
const ABSENCE_MIN: i32 = 7;
/// Days of a gap that are looked at one by one; little is left of what lies further back.
const GAP_MAX: i32 = 1_500;
/// 1970-01-04 was a Sunday.
const SUNDAY_ZERO: i32 = 3;

/// One account's day. Of an account that was in use a few days before nothing is kept but that it was used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Used {
    #[default]
    Not,
    AsEver,
    /// There is a [`Back`] of it.
    Again,
}

/// The day of an account that may be back after an absence.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Back {
    events: Events,
    requests: Requests,
    patients: Distinct,
    told: Option<u8>,
}

/// What is learnt of one account: its use by day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Use {
    last: Option<Day>,
    /// Decayed days with use.
    active: f32,
    /// Decayed days without use: from Monday to Friday, and at weekends.
    idle: [f32; 2],
}

impl Learn for Use {
    type Step = ();
    fn fold(&mut self, day: Day, (): &()) {
        let last = self.last.unwrap_or(day.plus(-1));
        let left = |until: Day| 0.5_f64.powf(f64::from(day.0 - until.0) / HALF_LIFE_DAYS);
        let passed = left(last);
        self.active = (f64::from(self.active) * passed + 1.0) as f32;
        let mut idle = self.idle.map(|days| f64::from(days) * passed);
        for on in ((last.0 + 1).max(day.0 - GAP_MAX)..day.0).map(Day) {
            idle[usize::from(on.weekday() >= 5)] += left(on);
        }
        self.idle = idle.map(|days| days as f32);
        self.last = Some(day);
    }
}

impl Use {
    /// Whether use on `day` may end an absence: the last use, where one is known, is long enough ago.
    fn may_be_back(&self, day: Day) -> bool {
        self.last.is_none_or(|last| day.0 - last.0 > ABSENCE_MIN)
    }
}

/// The detector.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Dormant {
    uses: Dense<Delayed<Use>>,
    everybody: Delayed<Everybody>,
    open: OpenDays<Used>,
    /// Those who may be back, by day and seat.
    back: BTreeMap<(Day, Seat), Back>,
    /// Absences whose end was told, with the use before.
    told: Told<SubjectIx, Use>,
    /// The week of the newest settled day, counted from Sunday to Saturday.
    listed: Option<i32>,
}

impl Dormant {
    /// What a day may know of an account. A use that was confirmed as misuse ended no absence: what was before it stands.
    fn used(&self, subject: SubjectIx, day: Day) -> Use {
        let mut used = self.uses.get(subject).map(|known| known.for_day(day)).unwrap_or_default();
        let mut out: Vec<(Day, Use)> = self.told.left_out(&subject, day).map(|(day, before)| (day, *before)).collect();
        while let Some((_, before)) = out.pop_if(|(misused, _)| used.last == Some(*misused)) {
            used = before;
        }
        used
    }

    /// Whether the account is known to have come back on a day before this one, which is told of that day: after `last` it was used on one
    /// that has settled since, or on one that is still open.
    fn is_back(&self, subject: SubjectIx, last: Option<Day>, constants: &Constants<'_>) -> bool {
        let today = constants.day;
        let settled = self.uses.get(subject).and_then(|known| known.newest().last);
        let open = (1..DELAY).map(|back| today.plus(-back)).filter(|day| {
            let seat = constants.subjects.seat_on(*day, subject);
            seat.and_then(|seat| self.open.get(*day, seat)).is_some_and(|used| *used != Used::Not)
        });
        let mut days = settled.into_iter().chain(open);
        days.any(|day| last < Some(day) && day < today && !self.told.is_misuse(subject, day, today))
    }
}

impl Detector for Dormant {
    fn observe(&mut self, seen: &Seen<'_>, constants: &Constants<'_>, out: &mut Findings) {
        if !seen.is_use() {
            return;
        }
        let key = (constants.day, seen.presence.seat);
        let used = self.open.entry(key.0, key.1);
        if *used == Used::Not {
            let before = self.used(seen.subject, constants.day);
            let used = self.open.entry(key.0, key.1);
            *used = if before.may_be_back(constants.day) { Used::Again } else { Used::AsEver };
        }
        if *self.open.entry(key.0, key.1) == Used::AsEver {
            return;
        }
        // One cause, one alert.
        if account::is_over(seen, constants) {
            return;
        }
        let tally = self.back.entry(key).or_default();
        tally.events.add(seen.event);
        tally.requests.add(seen.event);
        for patient in &seen.facts.patients {
            tally.patients.insert(patient.patient_id);
        }
        let Some(cut) = cut(tally.requests.count() as f64) else { return };
        if tally.told.is_some_and(|told| cut <= u32::from(told)) || seen.presence.sort == Sort::Machine {
            return;
        }
        tally.told = Some(cut as u8);
        let used = self.used(seen.subject, constants.day);
        let tally = self.back.get(&key).expect("it was just counted on");
        let everybody = self.everybody.for_day(constants.day);
        let id = &constants.subjects.get(seen.subject).subject;
        if let Some(absence) = absence(&used, &everybody, id, seen.presence, constants)
            && absence.counts(constants)
            && absence.rank <= constants.alphas.told
            && !self.is_back(seen.subject, used.last, constants)
        {
            let mut finding = describe(tally, &absence, seen.subject, seen.presence, constants);
            finding.raised_at = seen.event.time();
            finding.stage = Stage::Crossing(tally.requests.count() as f64);
            out.push(finding);
        }
    }

    fn settle(&mut self, day: &Settling<'_>, out: &mut Findings) {
        let constants = day.constants;
        let everybody = self.everybody.for_day(constants.day);
        let mut step = EverybodyStep::default();
        for (subject, presence) in day.present {
            if self.open.take(constants.day, presence.seat) == Used::Not {
                continue;
            }
            let tally = self.back.remove(&(constants.day, presence.seat));
            step.active += f64::from(u8::from(presence.sort != Sort::Machine));
            if let Some(tally) = tally.filter(|tally| presence.sort != Sort::Machine && tally.events.count() > 0) {
                let id = &constants.subjects.get(*subject).subject;
                let used = self.used(*subject, constants.day);
                let ended = absence(&used, &everybody, id, *presence, constants);
                if let Some(ended) = ended.filter(|absence| absence.counts(constants)) {
                    // The days in between have settled since: the account may have been back before this day.
                    let last = self.uses.get(*subject).and_then(|known| known.newest().last);
                    let back = last.filter(|last| *last > ended.since && *last < constants.day);
                    let back = back.filter(|back| !self.told.is_misuse(*subject, *back, constants.day));
                    if back.is_none() {
                        step.ends.push((ended.detection.id == NEVER_USED.id, bin(ended.p)));
                    }
                    let found = judge(&tally, &ended, back, *subject, *presence, constants);
                    if found.is_some() {
                        self.told.note(*subject, constants.day, used, false);
                    }
                    out.extend(found);
                }
            }
            self.uses.entry(*subject).teach(constants.day, ());
        }
        self.told.forget(constants.day);
        step.idle = (day.humans - step.active).max(0.0);
        self.everybody.teach(constants.day, step);
        // The list of a week comes with the first day that settles after its Sunday began.
        let week = constants.day.0.saturating_sub(SUNDAY_ZERO).div_euclid(7);
        if self.listed.is_some_and(|listed| week > listed) {
            out.extend(self.review(day));
        }
        self.listed = Some(week);
    }

    fn ruled(&mut self, ruling: &Ruling<'_>) {
        let Some(subject) = ruling.subject else { return };
        self.told.rule(subject, ruling.day, ruling.in_force);
    }

    fn forget(&mut self, through: Day) {
        self.open.forget(through);
        self.back = self.back.split_off(&(through.plus(1), 0));
    }

    fn save(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("memory is plain values")
    }

    fn load(&mut self, bytes: &[u8]) -> bool {
        postcard::from_bytes(bytes).map(|memory| *self = memory).is_ok()
    }
}
