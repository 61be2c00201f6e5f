//! An absence that use of an account has ended: its days, how improbable it is, and what is said of it.

use serde_json::json;
use statrs::function::beta::ln_beta;

use super::everybody::Everybody;
use super::{ABSENCE_MIN, Back, NEVER_USED, REACTIVATED, Use};
use crate::engine::detect::{
    Constants, Detection, Finding, Stage, Verdict, counted, date_of, facts, finding, home_zone, once_in, significant,
};
use crate::engine::subjects::{Presence, SubjectIx};
use crate::event::facts::Status;
use crate::event::time::DAY;
use crate::event::{Day, Subject, SubjectKind, Time};

/// A gap has to be this improbable by the account's rhythm, whatever the budget.
const P_MAX: f64 = 1e-3;
/// Weight of everybody's rate of active days in an account's own.
const PRIOR_DAYS: f64 = 10.0;
/// With so many days of use an account has a rhythm of its own.
const OWN_DAYS: f64 = 5.0;

/// An absence that has just ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Absence {
    pub(super) detection: &'static Detection,
    /// Last use, or when the account was made.
    pub(super) since: Day,
    pub(super) days: i32,
    /// The account is older than the record: whether it was used before is not known.
    pub(super) older: bool,
    pub(super) leave_days: i32,
    /// Days on which the log was silent.
    pub(super) silent_days: i32,
    /// By the account's own rhythm, or by that of all where it has too few days of its own.
    pub(super) p: f64,
    pub(super) own: bool,
    /// Among the account-days of everybody.
    pub(super) rank: f64,
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
    pub(super) fn counts(&self, constants: &Constants<'_>) -> bool {
        self.days - self.leave_days - self.silent_days >= self.policy(constants) && self.p < P_MAX
    }
}

/// The absence that use on this day ends, where there is one of at least a week.
pub(super) fn absence(
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
    let (own, rank) = (f64::from(used.active) >= OWN_DAYS, everybody.rank(used.last.is_none(), p));
    Some(Absence { detection, since, days, older, leave_days, silent_days, p, own, rank })
}

/// What settling says of an absence that has ended; `back` is a day of use that was not known inside the day.
pub(super) fn judge(
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
    finding.stage = Stage::Settled(Verdict { ratio, times: ratio, passes: told && back.is_none(), held });
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
pub(super) enum Unused {
    /// The roster knew the person to be on leave.
    Leave,
    /// Nobody was seen.
    Silent,
    /// It might have been.
    Missed,
}

/// The days after `from` and before `to`, which begins at `start`.
pub(super) fn unused<'a>(
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

pub(super) fn describe(
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
             {} such a gap is expected {} times.",
            if absence.own { "its rhythm" } else { "how often accounts here are used" },
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
