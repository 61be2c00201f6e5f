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
//! Leave that the roster does not show looks like dormancy: one alert on the first day back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;
use statrs::function::beta::ln_beta;

use super::{
    Constants, Detection, Detector, Finding, Findings, Seen, Settling, Speaks, Spec, Stage, Verdict, account, counted,
    cut, date_of, facts, finding, home_zone, once_in, significant,
};
use crate::engine::stats::delayed::{Delayed, Learn};
use crate::engine::stats::dense::Dense;
use crate::engine::stats::distinct::Distinct;
use crate::engine::stats::evidence::Events;
use crate::engine::stats::open::OpenDays;
use crate::engine::stats::requests::Requests;
use crate::engine::subjects::{Presence, Seat, Sort, SubjectIx};
use crate::event::facts::Status;
use crate::event::time::DAY;
use crate::event::{Class, Day, Severity, Subject, SubjectKind, Time};

mod everybody;
mod review;
#[cfg(test)]
mod tests;

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

/// A gap has to be this improbable by the account's rhythm, whatever the budget.
const P_MAX: f64 = 1e-3;
const HALF_LIFE_DAYS: f64 = 180.0;
/// Weight of everybody's rate of active days in an account's own.
const PRIOR_DAYS: f64 = 10.0;
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
    /// The week of the newest settled day, counted from Sunday to Saturday.
    listed: Option<i32>,
}

/// An absence that has just ended.
#[derive(Debug, Clone, Copy)]
struct Absence {
    detection: &'static Detection,
    /// Last use, or when the account was made.
    since: Day,
    days: i32,
    /// The account is older than the record: whether it was used before is not known.
    older: bool,
    leave_days: i32,
    /// Days on which the log was silent.
    silent_days: i32,
    /// By the account's own rhythm.
    p: f64,
    /// Among the account-days of everybody.
    rank: f64,
}

impl Detector for Dormant {
    fn observe(&mut self, seen: &Seen<'_>, constants: &Constants<'_>, out: &mut Findings) {
        if !seen.is_use() {
            return;
        }
        let key = (constants.day, seen.presence.seat);
        let used = self.open.entry(key.0, key.1);
        if *used == Used::Not {
            let before = self.uses.get(seen.subject).map(|known| known.for_day(constants.day)).unwrap_or_default();
            *used = if before.may_be_back(constants.day) { Used::Again } else { Used::AsEver };
        }
        if *used == Used::AsEver {
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
        let used = self.uses.get(seen.subject).map(|known| known.for_day(constants.day)).unwrap_or_default();
        let everybody = self.everybody.for_day(constants.day);
        let id = &constants.subjects.get(seen.subject).subject;
        if let Some(absence) = absence(&used, &everybody, id, seen.presence, constants)
            && absence.counts(constants)
            && absence.rank <= constants.alphas.told
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
            let known = self.uses.entry(*subject);
            step.active += f64::from(u8::from(presence.sort != Sort::Machine));
            if let Some(tally) = tally.filter(|tally| presence.sort != Sort::Machine && tally.events.count() > 0) {
                let id = &constants.subjects.get(*subject).subject;
                let ended = absence(&known.for_day(constants.day), &everybody, id, *presence, constants);
                if let Some(ended) = ended.filter(|absence| absence.counts(constants)) {
                    // The days in between have settled since: the account may have been back before this day.
                    let back = known.newest().last.filter(|last| *last > ended.since && *last < constants.day);
                    if back.is_none() {
                        step.ends.push((ended.detection.id == NEVER_USED.id, bin(ended.p)));
                    }
                    out.extend(judge(&tally, &ended, back, *subject, *presence, constants));
                }
            }
            known.teach(constants.day, ());
        }
        step.idle = (day.humans - step.active).max(0.0);
        self.everybody.teach(constants.day, step);
        // The list of a week comes with the first day that settles after its Sunday began.
        let week = constants.day.0.saturating_sub(SUNDAY_ZERO).div_euclid(7);
        if self.listed.is_some_and(|listed| week > listed) {
            out.extend(self.review(day));
        }
        self.listed = Some(week);
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

impl Absence {
    /// Days without use after which it is an absence.
    fn policy(&self, constants: &Constants<'_>) -> i32 {
        // Of an account that is older than the record only the absence is known.
        if self.detection.id == NEVER_USED.id && !self.older {
            constants.settings.never_used_after_days
        } else {
            constants.settings.dormant_after_days
        }
    }

    /// Whether it is an absence by the policy, and improbable.
    fn counts(&self, constants: &Constants<'_>) -> bool {
        self.days - self.leave_days - self.silent_days >= self.policy(constants) && self.p < P_MAX
    }
}

/// The absence that use on this day ends, where there is one of at least a week.
fn absence(
    used: &Use,
    everybody: &Everybody,
    id: &Subject,
    presence: Presence,
    constants: &Constants<'_>,
) -> Option<Absence> {
    let first_settled = constants.first_settled?;
    let (detection, since) = match used.last {
        Some(last) => (&REACTIVATED, last),
        None => (&NEVER_USED, made(id, presence, constants)?),
    };
    // What lies before the first settled day was not seen: it is no absence.
    let from = since.max(first_settled.plus(-1));
    let older = since < from;
    let days = constants.day.0 - from.0 - 1;
    if days < ABSENCE_MIN {
        return None;
    }
    let (rate, off) = (everybody.rate(), everybody.eligible_off());
    let user = (id.kind == SubjectKind::User).then(|| constants.roster.user(&id.id, presence.start)).flatten();
    let site = user.and_then(|user| user.site);
    let (mut leave_days, mut silent_days, mut missed) = (0, 0, 0.0);
    for (on, why) in unused(id, from, (constants.day, presence.start), everybody, constants) {
        match why {
            Unused::Leave => leave_days += 1,
            Unused::Silent => silent_days += 1,
            Unused::Missed if on.weekday() >= 5 || constants.roster.holiday(site, on) => missed += off,
            Unused::Missed => missed += 1.0,
        }
    }
    let [work, weekends] = used.idle.map(f64::from);
    let (a, b) = (f64::from(used.active) + PRIOR_DAYS * rate, work + off * weekends + PRIOR_DAYS * (1.0 - rate));
    let p = (ln_beta(a, b + missed) - ln_beta(a, b)).exp();
    let rank = everybody.rank(used.last.is_none(), p);
    Some(Absence { detection, since, days, older, leave_days, silent_days, p, rank })
}

/// What settling says of an absence that has ended; `back` is a day of use that was not known inside the day.
fn judge(
    tally: &Back,
    ended: &Absence,
    back: Option<Day>,
    subject: SubjectIx,
    presence: Presence,
    constants: &Constants<'_>,
) -> Option<Finding> {
    let told = ended.rank <= constants.alphas.told;
    let held = ended.rank <= constants.alphas.held;
    if !told && (!held || back.is_some()) {
        return None;
    }
    let mut finding = describe(tally, ended, subject, presence, constants);
    let ratio = if told { tally.requests.count() as f64 } else { 0.0 };
    finding.stage = Stage::Settled(Verdict { ratio, passes: told && back.is_none(), held });
    if let Some(back) = back {
        finding.reason.push_str(&format!(" It had been used again before, on {back}."));
    }
    Some(finding)
}

/// When an account that was never used was made.
fn made(id: &Subject, presence: Presence, constants: &Constants<'_>) -> Option<Day> {
    let zone = constants.roster.zone(None);
    let made = match id.kind {
        SubjectKind::VendorAccount => constants.roster.vendor_account(&id.id, presence.start)?.created,
        _ => {
            let user = constants.roster.user(&id.id, presence.start)?;
            user.created.or(user.hired)
        }
    };
    made.map(|time| zone.local(time).date)
}

/// Why an account was not used on a day.
enum Unused {
    /// The roster knew the person to be on leave.
    Leave,
    /// Nobody was seen.
    Silent,
    /// It might have been.
    Missed,
}

/// The days after `from` and before `to`, which begins at `start`.
fn unused<'a>(
    id: &'a Subject,
    from: Day,
    (to, start): (Day, Time),
    everybody: &'a Everybody,
    constants: &'a Constants<'_>,
) -> impl Iterator<Item = (Day, Unused)> + 'a {
    (from.0 + 1..to.0).map(Day).map(move |on| {
        let at = start.plus(-i64::from(to.0 - on.0) * DAY);
        let user = (id.kind == SubjectKind::User).then(|| constants.roster.user(&id.id, at)).flatten();
        if user.is_some_and(|user| user.status == Status::Leave) {
            (on, Unused::Leave)
        } else if everybody.is_silent(on, to) {
            (on, Unused::Silent)
        } else {
            (on, Unused::Missed)
        }
    })
}

fn describe(
    tally: &Back,
    absence: &Absence,
    subject: SubjectIx,
    presence: Presence,
    constants: &Constants<'_>,
) -> Finding {
    let mut finding = finding(absence.detection, constants, subject, presence, &tally.events);
    let leave =
        if absence.leave_days > 0 { format!(", {} of them on leave", absence.leave_days) } else { String::new() };
    let (id, uses, made) = (&finding.subject.id, counted(tally.requests.count(), "event"), absence.since);
    let (date, days) = (date_of(constants, home_zone(constants, subject, presence), &tally.events), absence.days);
    finding.reason = if absence.detection.id != NEVER_USED.id {
        format!(
            "Account {id} was used on {date} after {days} days without use{leave} (last use {made}): {uses} that day; by \
             its rhythm such a gap is expected {} times.",
            once_in(absence.p)
        )
    } else if absence.older {
        format!(
            "Account {id} was used on {date} for the first time in the {days} days on record{leave}: {uses} that day; \
             it was made on {made}, before the record begins."
        )
    } else {
        format!(
            "Account {id} was used on {date} for the first time, after {days} days without use{leave} since it was made \
             on {made}: {uses} that day."
        )
    };
    finding.p = Some(absence.rank);
    finding.patients = tally.patients.len() as u64;
    finding.facts = facts([
        ("days_without_use", json!(absence.days)),
        ("leave_days", json!(absence.leave_days)),
        ("silent_days", json!(absence.silent_days)),
        ("p_of_gap", json!(significant(absence.p))),
        ("since", json!(absence.since.to_string())),
        ("policy_days", json!(absence.policy(constants))),
        ("events", json!(tally.requests.count())),
    ]);
    finding
}
