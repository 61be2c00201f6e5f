//! Accounts that should not work: terminated, disabled, outside their dates, of an ended vendor, or unknown.
//!
//! ## What it finds
//! Any successful use of an account that the roster says is over, not yet begun, or nobody's. A log-in that was refused is no use.
//!
//! ## How
//! The state of the account at the time of the event, with 15 minutes of grace after the moment it ended
//! (`notes/detection.md`, section 5.4). These are hard: always told, no p-value. Unknown accounts are held to the budget: their p-value is
//! the share of unknown accounts among those active, so that a site with an incomplete roster is not flooded.
//!
//! ## When it is wrong
//! A late or wrong HR feed. The sentence names the moment that the roster gives.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Constants, Detection, Detector, Finding, Findings, Seen, Settling, Speaks, Spec, Stage, Verdict, counted, cut,
    facts, finding,
};
use crate::engine::stats::delayed::{Delayed, Learn};
use crate::engine::stats::distinct::Distinct;
use crate::engine::stats::evidence::Events;
use crate::engine::stats::open::OpenDays;
use crate::engine::subjects::{Presence, Sort, SubjectIx};
use crate::event::facts::{Account, Status};
use crate::event::time::MINUTE;
use crate::event::{Class, Day, Severity, Time};

/// The registry's entry.
pub static SPEC: Spec = Spec {
    family: "account",
    detections: &[TERMINATED, DISABLED, VENDOR_ENDED, OUTSIDE_DATES, UNKNOWN],
    speaks: Speaks::Crossing,
    new: || Box::new(Accounts::default()),
};

const GROWING: [Severity; 4] = [Severity::High, Severity::High, Severity::High, Severity::Critical];
const REFERENCES: &[&str] =
    &["45 CFR 164.308(a)(3)(ii)(C)", "45 CFR 164.308(a)(4)", "45 CFR 164.312(a)(1)", "runbook:account"];
const TERMINATED: Detection = Detection {
    id: "account.terminated",
    title: "Account used after termination",
    class: Class::Hard,
    severity: GROWING,
    references: REFERENCES,
};
const DISABLED: Detection = Detection {
    id: "account.disabled",
    title: "Disabled account used",
    class: Class::Hard,
    severity: GROWING,
    references: REFERENCES,
};
const VENDOR_ENDED: Detection = Detection {
    id: "account.vendor-ended",
    title: "Account of an ended or suspended vendor used",
    class: Class::Hard,
    severity: GROWING,
    references: REFERENCES,
};
const OUTSIDE_DATES: Detection = Detection {
    id: "account.outside-dates",
    title: "Account used outside its dates",
    class: Class::Hard,
    severity: [Severity::Medium, Severity::Medium, Severity::High, Severity::High],
    references: REFERENCES,
};
const UNKNOWN: Detection = Detection {
    id: "account.unknown",
    title: "Unknown account used",
    class: Class::Budgeted,
    severity: [Severity::Medium, Severity::Medium, Severity::Medium, Severity::High],
    references: REFERENCES,
};

/// The clocks of the HR feed and of the sources may differ by this much.
const GRACE: i64 = 15 * MINUTE;
const CAUSES: usize = 5;

/// Uses of one account on one day that should not have been possible, by cause in the order of `SPEC.detections`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Tally {
    causes: [Events; CAUSES],
    since: [Option<Time>; CAUSES],
    patients: Distinct,
    told: Option<u32>,
}

/// What is learnt of everybody: active accounts, and the unknown among them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Known {
    active: f64,
    unknown: f64,
}

impl Learn for Known {
    type Step = (f64, f64);
    fn fold(&mut self, _: Day, (active, unknown): &(f64, f64)) {
        self.active = 0.97 * self.active + active;
        self.unknown = 0.97 * self.unknown + unknown;
    }
}

impl Known {
    /// How usual an unknown account is; where nothing is known yet, one in a thousand is assumed.
    fn p(&self) -> f64 {
        (self.unknown + 0.1) / (self.active + 100.0)
    }
}

/// The detector.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Accounts {
    known: Delayed<Known>,
    open: OpenDays<Tally>,
}

impl Detector for Accounts {
    fn observe(&mut self, seen: &Seen<'_>, constants: &Constants<'_>, out: &mut Findings) {
        let Some((cause, since)) = cause(seen, constants) else { return };
        let tally = self.open.entry(constants.day, seen.subject, Tally::default);
        tally.causes[cause].add(seen.event);
        tally.since[cause] = tally.since[cause].max(since);
        for patient in &seen.facts.patients {
            tally.patients.insert(patient.patient_id);
        }
        let p = self.known.for_day(constants.day).p();
        let quantity = tally.quantity(p, constants);
        let Some(cut) = cut(quantity) else { return };
        if tally.told.is_none_or(|told| cut > told) {
            tally.told = Some(cut);
            let mut finding = describe(tally, p, seen.subject, seen.presence, constants);
            finding.raised_at = seen.event.time();
            finding.stage = Stage::Crossing(quantity);
            out.push(finding);
        }
    }

    fn settle(&mut self, day: &Settling<'_>, out: &mut Findings) {
        let known = self.known.for_day(day.constants.day);
        let mut unknown = 0.0;
        for (subject, presence) in day.present {
            let Some(tally) = self.open.take(day.constants.day, *subject) else { continue };
            unknown += f64::from(u8::from(tally.causes[CAUSES - 1].count() > 0));
            let quantity = tally.quantity(known.p(), day.constants);
            let held = known.p() <= day.constants.alphas.held;
            if quantity >= 1.0 || held {
                let mut finding = describe(&tally, known.p(), *subject, *presence, day.constants);
                finding.stage = Stage::Settled(Verdict { ratio: quantity, passes: quantity >= 1.0, held });
                out.push(finding);
            }
        }
        let active = day.present.iter().filter(|(_, presence)| presence.sort != Sort::Machine).count();
        self.known.teach(day.constants.day, (active as f64, unknown));
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

/// Which detection this use belongs to, and since when the account should not work.
fn cause(seen: &Seen<'_>, constants: &Constants<'_>) -> Option<(usize, Option<Time>)> {
    let event = seen.event;
    if !seen.is_use() {
        return None;
    }
    let id = event.actor_id()?;
    let ended = match seen.facts.account {
        // Where no roster names anybody, nobody is missing from it.
        Account::Unknown if constants.roster.user_ids().next().is_none() => return None,
        // A roster that lists machine accounts lacks this one; one that lists none says nothing of them.
        Account::Unknown if seen.presence.sort != Sort::Machine || constants.lists_machines => return Some((4, None)),
        Account::User => constants.roster.user(id, event.time())?.ended,
        Account::VendorAccount => constants.roster.vendor_account(id, event.time())?.ended,
        Account::Unknown | Account::Unresolved => return None,
    };
    if let Some((status, since)) = ended {
        let over = event.time() >= since.plus(GRACE);
        return over.then_some((usize::from(status != Status::Terminated), Some(since)));
    }
    if matches!(seen.facts.vendor_status, Some(Status::Ended | Status::Suspended))
        && seen.facts.account == Account::VendorAccount
    {
        return Some((2, None));
    }
    seen.facts.outside_dates.then_some((3, None))
}

impl Tally {
    /// The worst cause: the first in the list with a use.
    fn worst(&self) -> usize {
        self.causes.iter().position(|events| events.count() > 0).unwrap_or(CAUSES - 1)
    }

    /// Uses that are told: the hard ones always, those of an unknown account where unknown accounts are rare enough.
    fn quantity(&self, p: f64, constants: &Constants<'_>) -> f64 {
        let hard: u64 = self.causes[..CAUSES - 1].iter().map(Events::count).sum();
        let unknown = if p <= constants.alphas.told { self.causes[CAUSES - 1].count() } else { 0 };
        (hard + unknown) as f64
    }
}

fn describe(tally: &Tally, p: f64, subject: SubjectIx, presence: Presence, constants: &Constants<'_>) -> Finding {
    let worst = tally.worst();
    let events = &tally.causes[worst];
    let mut finding = finding(&SPEC.detections[worst], constants, subject, presence, events);
    let id = &finding.subject.id;
    let since = tally.since[worst].map(|time| time.to_string());
    let when = since.as_deref().map(|since| format!(" since {since}")).unwrap_or_default();
    let state = match worst {
        0 => format!("has been terminated{when}"),
        1 => format!("has been disabled{when}"),
        2 => "belongs to a vendor whose contract has ended or is suspended".to_owned(),
        3 => "is outside the dates for which the roster allows it".to_owned(),
        _ => "is in no roster".to_owned(),
    };
    let (uses, patients) = (events.count(), tally.patients.len());
    let first = events.first().map(|time| time.to_string()).unwrap_or_default();
    finding.reason = format!(
        "Account {id} {state} and was used on {}: {}, {}, first at {first}.",
        constants.day,
        counted(uses, "event"),
        counted(patients as u64, "patient"),
    );
    finding.p = (worst == CAUSES - 1).then_some(p);
    finding.patients = patients as u64;
    finding.facts =
        facts([("uses", json!(uses)), ("patients", json!(patients)), ("since", json!(since)), ("first", json!(first))]);
    finding
}
