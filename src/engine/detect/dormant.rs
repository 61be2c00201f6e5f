//! Dormant accounts: used again after a long gap, or used for the first time long after they were made; and a weekly list.
//!
//! ## What it finds
//! An account that lay unused for longer than the policy allows and longer than its own rhythm explains, and is used again; an account
//! that was made, never used, and is used now. Once a week, the accounts that should be revoked.
//!
//! ## How
//! Each account has a rate of active days, drawn to the rate of all (`notes/detection.md`, section 5.4). The p-value of a gap is the
//! beta-binomial probability of so many days without use. Days of known leave do not count. Nothing before the first settled day is
//! absence.
//!
//! ## When it is wrong
//! Leave that the roster does not show looks like dormancy: one alert on the first day back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use statrs::function::beta::ln_beta;

use super::{
    Constants, Detection, Detector, Finding, Findings, Seen, Settling, Speaks, Spec, Stage, Verdict, counted, cut,
    facts, finding, one_in,
};
use crate::engine::stats::delayed::{Delayed, Learn};
use crate::engine::stats::distinct::Distinct;
use crate::engine::stats::evidence::Events;
use crate::engine::stats::open::OpenDays;
use crate::engine::subjects::{Presence, Sort, SubjectIx};
use crate::event::facts::Status;
use crate::event::time::DAY;
use crate::event::{Class, Day, Severity, Subject, SubjectKind, Time};

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
    title: "Account used for the first time, long after it was made",
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

/// A gap has to be this improbable, whatever the budget.
const P_MAX: f64 = 1e-3;
const HALF_LIFE_DAYS: f64 = 180.0;
/// Weight of everybody's rate of active days in an account's own.
const PRIOR_DAYS: f64 = 10.0;
/// Fewer days than this without use are no absence.
const ABSENCE_MIN: i32 = 7;
/// 1970-01-04 was a Sunday.
const SUNDAY_ZERO: i32 = 3;

/// One account's day. Of an account that was in use a few days before nothing is kept but that it was used.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Tally(Option<Box<Back>>);

/// The day of an account that may be back after an absence.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Back {
    events: Events,
    patients: Distinct,
    told: Option<u32>,
}

/// What is learnt of one account: its use by day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Use {
    first: Option<Day>,
    last: Option<Day>,
    /// Decayed days with and without use.
    active: f64,
    idle: f64,
}

impl Learn for Use {
    type Step = ();
    fn fold(&mut self, day: Day, (): &()) {
        let gap = self.last.map_or(0, |last| day.0 - last.0 - 1).max(0);
        let l = 0.5_f64.powf(1.0 / HALF_LIFE_DAYS);
        let over = l.powi(gap);
        self.active = self.active * over * l + 1.0;
        // Days without use decay as they pass: a geometric sum.
        self.idle = (self.idle * over + (1.0 - over) / (1.0 - l)) * l;
        self.first = self.first.or(Some(day));
        self.last = Some(day);
    }
}

impl Use {
    /// Whether use on `day` may end an absence: the last use, where one is known, is long enough ago.
    fn may_be_back(&self, day: Day) -> bool {
        self.last.is_none_or(|last| day.0 - last.0 > ABSENCE_MIN)
    }
}

/// What is learnt of everybody: active accounts against accounts that might have been.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Everybody {
    active: f64,
    idle: f64,
}

impl Learn for Everybody {
    type Step = (f64, f64);
    fn fold(&mut self, _: Day, (active, idle): &(f64, f64)) {
        self.active = 0.97 * self.active + active;
        self.idle = 0.97 * self.idle + idle;
    }
}

/// The detector.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Dormant {
    uses: BTreeMap<SubjectIx, Delayed<Use>>,
    everybody: Delayed<Everybody>,
    open: OpenDays<Tally>,
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
    leave_days: i32,
    p: f64,
}

impl Detector for Dormant {
    fn observe(&mut self, seen: &Seen<'_>, constants: &Constants<'_>, out: &mut Findings) {
        if !seen.is_use() {
            return;
        }
        let uses = &self.uses;
        let tally = self.open.entry(constants.day, seen.subject, || {
            let used = uses.get(&seen.subject).map(|known| known.for_day(constants.day)).unwrap_or_default();
            Tally(used.may_be_back(constants.day).then(Box::default))
        });
        let Some(tally) = &mut tally.0 else { return };
        tally.events.add(seen.event);
        for patient in &seen.facts.patients {
            tally.patients.insert(patient.patient_id);
        }
        let Some(cut) = cut(tally.events.count() as f64) else { return };
        if tally.told.is_some_and(|told| cut <= told) || seen.presence.sort == Sort::Machine {
            return;
        }
        tally.told = Some(cut);
        let used = self.uses.get(&seen.subject).map(|known| known.for_day(constants.day)).unwrap_or_default();
        let everybody = self.everybody.for_day(constants.day);
        let id = &constants.subjects.get(seen.subject).subject;
        if let Some(absence) = absence(&used, &everybody, id, seen.presence, constants)
            && absence.passes(constants)
        {
            let mut finding = describe(tally, &absence, seen.subject, seen.presence, constants);
            finding.raised_at = seen.event.time();
            finding.stage = Stage::Crossing(tally.events.count() as f64);
            out.push(finding);
        }
    }

    fn settle(&mut self, day: &Settling<'_>, out: &mut Findings) {
        let constants = day.constants;
        let everybody = self.everybody.for_day(constants.day);
        let mut active = 0.0;
        for (subject, presence) in day.present {
            let Some(Tally(tally)) = self.open.take(constants.day, *subject) else { continue };
            let known = self.uses.entry(*subject).or_default();
            active += f64::from(u8::from(presence.sort != Sort::Machine));
            if let Some(tally) = tally.filter(|_| presence.sort != Sort::Machine) {
                let id = &constants.subjects.get(*subject).subject;
                let count = tally.events.count() as f64;
                let crossed = absence(&known.for_day(constants.day), &everybody, id, *presence, constants);
                if let Some(crossed) = crossed.filter(|absence| absence.passes(constants)) {
                    // The days in between have settled since: the account may have been back before this day.
                    let back = known.newest().last.filter(|last| *last > crossed.since && *last < constants.day);
                    let mut finding = describe(&tally, &crossed, *subject, *presence, constants);
                    finding.stage = Stage::Settled(Verdict { ratio: count, passes: back.is_none(), held: true });
                    if let Some(back) = back {
                        finding.reason.push_str(&format!(" It had been used again before, on {back}."));
                    }
                    out.push(finding);
                }
            }
            known.teach(constants.day, ());
        }
        let all = constants.roster.active_humans(constants_start(day)) as f64;
        self.everybody.teach(constants.day, (active, (all - active).max(0.0)));
        // The list of a week comes with the first day that settles after its Sunday began.
        let week = constants.day.0.saturating_sub(SUNDAY_ZERO).div_euclid(7);
        if self.listed.is_some_and(|listed| week > listed) {
            out.extend(self.review(day));
        }
        self.listed = Some(week);
    }

    fn forget(&mut self, through: Day) {
        self.open.forget(through);
    }

    fn save(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("memory is plain values")
    }

    fn load(&mut self, bytes: &[u8]) -> bool {
        postcard::from_bytes(bytes).map(|memory| *self = memory).is_ok()
    }
}

fn constants_start(day: &Settling<'_>) -> Time {
    day.constants.roster.zone(None).day_start(day.constants.day)
}

impl Absence {
    fn passes(&self, constants: &Constants<'_>) -> bool {
        let policy = if self.detection.id == NEVER_USED.id {
            constants.settings.never_used_after_days
        } else {
            constants.settings.dormant_after_days
        };
        self.days - self.leave_days >= policy && self.p < P_MAX
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
        // An account that has ended is the business of the detector of accounts: one cause, one alert.
        None if constants.roster.user(&id.id, presence.end).is_some_and(|user| user.ended.is_some()) => return None,
        None => (&NEVER_USED, made(id, presence, constants)?),
    };
    // What lies before the first settled day was not seen: it is no absence.
    let from = since.max(first_settled.plus(-1));
    let days = constants.day.0 - from.0 - 1;
    if days < ABSENCE_MIN {
        return None;
    }
    let leave_days = leave(id, from, constants.day, presence, constants);
    let rate = if everybody.active + everybody.idle < 50.0 {
        0.5
    } else {
        (everybody.active / (everybody.active + everybody.idle)).clamp(0.05, 0.95)
    };
    let (a, b) = (used.active + PRIOR_DAYS * rate, used.idle + PRIOR_DAYS * (1.0 - rate));
    let p = (ln_beta(a, b + f64::from(days - leave_days).max(0.0)) - ln_beta(a, b)).exp();
    Some(Absence { detection, since, days, leave_days, p })
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

/// Days of the absence on which the roster knew the person to be on leave, looked at once a day.
fn leave(id: &Subject, from: Day, to: Day, presence: Presence, constants: &Constants<'_>) -> i32 {
    if id.kind != SubjectKind::User {
        return 0;
    }
    let on_leave = |back: i32| {
        let at = presence.start.plus(-i64::from(back) * DAY);
        constants.roster.user(&id.id, at).is_some_and(|user| user.status == Status::Leave)
    };
    (1..to.0 - from.0).filter(|back| on_leave(*back)).count() as i32
}

fn describe(
    tally: &Back,
    absence: &Absence,
    subject: SubjectIx,
    presence: Presence,
    constants: &Constants<'_>,
) -> Finding {
    let mut finding = finding(absence.detection, constants, subject, presence, &tally.events);
    let id = &finding.subject.id;
    let leave =
        if absence.leave_days > 0 { format!(", {} of them on leave", absence.leave_days) } else { String::new() };
    let uses = tally.events.count();
    finding.reason = if absence.detection.id == NEVER_USED.id {
        format!(
            "Account {id} was made on {} and used on {} for the first time in the {} days{leave} that it was watched: {} that day.",
            absence.since,
            constants.day,
            absence.days,
            counted(uses, "event")
        )
    } else {
        format!(
            "Account {id} was used on {} after {} days without use{leave} (last use {}): {} that day; with its \
             rhythm such a gap is expected about once in {}.",
            constants.day,
            absence.days,
            absence.since,
            counted(uses, "event"),
            one_in(absence.p)
        )
    };
    finding.p = Some(absence.p.max(1e-300));
    finding.patients = tally.patients.len() as u64;
    finding.facts = facts([
        ("days_without_use", json!(absence.days)),
        ("leave_days", json!(absence.leave_days)),
        ("since", json!(absence.since.to_string())),
        ("policy_days", json!(constants.settings.dormant_after_days)),
        ("events", json!(uses)),
    ]);
    finding
}

impl Dormant {
    /// The weekly list: accounts that may log in, were watched for longer than the policy, and were not used.
    fn review(&self, day: &Settling<'_>) -> Option<Finding> {
        let constants = day.constants;
        let at = constants_start(day);
        let watched_since = constants.first_settled?;
        let mut accounts: Vec<Value> = Vec::new();
        let mut list = |kind: SubjectKind, id: &str, since: Option<Time>| {
            let last = constants.subjects.find(kind, id).and_then(|ix| self.uses.get(&ix)?.newest().last);
            let made = since.map(|time| constants.roster.zone(None).local(time).date);
            let from = last.or(made).unwrap_or(watched_since).max(watched_since);
            let days = constants.day.0 - from.0;
            if days >= constants.settings.dormant_after_days {
                let last = last.map(|day| day.to_string());
                accounts.push(json!({"account": id, "kind": kind.as_str(), "last_use": last, "days": days}));
            }
        };
        for id in constants.roster.user_ids() {
            if let Some(user) = constants.roster.user(id, at).filter(|u| u.ended.is_none() && !u.outside_rows) {
                list(SubjectKind::User, id, user.created.or(user.hired));
            }
        }
        for id in constants.roster.vendor_account_ids() {
            if let Some(account) =
                constants.roster.vendor_account(id, at).filter(|a| a.ended.is_none() && !a.outside_rows)
            {
                list(SubjectKind::VendorAccount, id, account.created);
            }
        }
        let verdict = Verdict { ratio: 0.0, passes: true, held: true };
        (!accounts.is_empty()).then(|| Finding {
            detection: &REVIEW,
            subject: Subject { kind: SubjectKind::System, id: "accounts".to_owned() },
            day: constants.day,
            window: (at, constants.roster.zone(None).day_start(constants.day.plus(1))),
            raised_at: constants.roster.zone(None).day_start(constants.day.plus(1)),
            stage: Stage::Settled(verdict),
            p: None,
            reason: format!(
                "{} accounts that may log in were not used for {} days or more by {}.",
                accounts.len(),
                constants.settings.dormant_after_days,
                constants.day
            ),
            facts: facts([
                ("accounts", json!(accounts)),
                ("policy_days", json!(constants.settings.dormant_after_days)),
            ]),
            evidence: Events::default().evidence(),
            patients: 0,
        })
    }
}
