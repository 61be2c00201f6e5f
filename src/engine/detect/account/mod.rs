//! Accounts that should not work: terminated, disabled, outside their dates, of an ended vendor, or unknown.
//!
//! ## What it finds
//! Any successful use of an account that the roster says is over, not yet begun, or nobody's. A log-in that was refused is no use.
//!
//! ## How
//! The state of the account at the time of the event, with 15 minutes of grace after the moment it ended
//! (`notes/detection.md`, section 5.4). These are hard: always told, no p-value. Unknown accounts are held to the budget: their p-value is
//! the share of unknown accounts among those active, so that a site with an incomplete roster is not flooded. Those that say of themselves
//! to be a device or a patient are unknown where they go beyond that (`claimed`).
//!
//! ## When it is wrong
//! A late or wrong HR feed. The sentence names the moment that the roster gives.

mod claimed;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::json;

use claimed::Claims;

use super::{
    Constants, Detection, Detector, Finding, Findings, Ruling, Seen, Settling, Speaks, Spec, Stage, Verdict, counted,
    cut, facts, finding, home_zone,
};
use crate::engine::stats::delayed::{Delayed, Learn};
use crate::engine::stats::distinct::Distinct;
use crate::engine::stats::evidence::Events;
use crate::engine::stats::requests::Requests;
use crate::engine::stats::told::Told;
use crate::engine::subjects::{Presence, Seat, Sort, SubjectIx};
use crate::event::facts::{Account, Status};
use crate::event::time::MINUTE;
use crate::event::{Class, Day, Event, Facts, Severity, SubjectKind, Time};

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
    /// What is counted: two records of one request are one use.
    requests: [Requests; CAUSES],
    since: [Option<Time>; CAUSES],
    patients: Distinct,
    told: Option<u32>,
}

/// What is learnt of everybody: active accounts, and the unknown among them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Known {
    active: f64,
    unknown: f64,
    as_of: Option<Day>,
}

/// What is kept of a count from one day to the next.
const KEEP: f64 = 0.97;

impl Learn for Known {
    type Step = (f64, f64);
    fn fold(&mut self, day: Day, (active, unknown): &(f64, f64)) {
        self.active = KEEP * self.active + active;
        self.unknown = KEEP * self.unknown + unknown;
        self.as_of = Some(day);
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
    /// Unknown accounts that were told.
    told: Told<String, ()>,
    /// Few accounts have any, so they lie apart: by day and seat.
    open: BTreeMap<(Day, Seat), Tally>,
    claims: Claims,
}

impl Accounts {
    /// How usual unknown accounts are on a day, as far as nobody confirmed that they were misuse.
    fn known(&self, day: Day) -> Known {
        let mut known = self.known.for_day(day);
        for (_, taught, (), _) in self.told.ruled().filter(|(_, taught, _, rulings)| rulings.leave_out(*taught, day)) {
            let age = known.as_of.map_or(0, |as_of| as_of.0 - taught.0);
            known.unknown = (known.unknown - KEEP.powi(age)).max(0.0);
        }
        known
    }
}

impl Detector for Accounts {
    fn observe(&mut self, seen: &Seen<'_>, constants: &Constants<'_>, out: &mut Findings) {
        let Some((cause, since)) = cause(seen, constants) else { return };
        let tally = self.open.entry((constants.day, seen.presence.seat)).or_default();
        tally.causes[cause].add(seen.event);
        tally.requests[cause].add(seen.event);
        tally.since[cause] = tally.since[cause].max(since);
        for patient in &seen.facts.patients {
            tally.patients.insert(patient.patient_id);
        }
        let quiet = tally.causes[CAUSES - 1].count() == 0;
        let p = if quiet { 1.0 } else { self.known(constants.day).p() };
        let tally = self.open.get_mut(&(constants.day, seen.presence.seat)).expect("it was just counted on");
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

    fn claimed(&mut self, event: &Event<'_>, facts: &Facts<'_>, constants: &Constants<'_>, out: &mut Findings) {
        // Where no roster names anybody, nobody is missing from it.
        let Some(id) = event.actor_id().filter(|_| constants.roster.user_ids().next().is_some()) else { return };
        let known = self.known(constants.day);
        let of_day = self.claims.entry(constants.day).or_default();
        if !of_day.contains_key(id) {
            of_day.insert(id.to_owned(), Default::default());
        }
        let claimed = of_day.get_mut(id).expect("it was there or was made");
        claimed.add(constants.roster, event, facts);
        let p = known.p();
        let quantity = if claimed.is_beyond() { unknown(claimed.requests.count(), p, constants) } else { 0.0 };
        let Some(cut) = cut(quantity) else { return };
        if claimed.told.is_none_or(|told| cut > told) {
            claimed.told = Some(cut);
            let mut finding = claimed.describe(id, p, constants);
            finding.raised_at = event.time();
            finding.stage = Stage::Crossing(quantity);
            out.push(finding);
        }
    }

    fn settle(&mut self, day: &Settling<'_>, out: &mut Findings) {
        let known = self.known(day.constants.day);
        // Accounts that are judged as unknown by what they did without such a claim.
        let mut judged = BTreeSet::new();
        for (subject, presence) in day.present {
            let Some(tally) = self.open.remove(&(day.constants.day, presence.seat)) else { continue };
            if tally.causes[CAUSES - 1].count() > 0 {
                judged.insert(*subject);
            }
            let quantity = tally.quantity(known.p(), day.constants);
            let held = known.p() <= day.constants.alphas.held;
            if quantity >= 1.0 || held {
                let mut finding = describe(&tally, known.p(), *subject, *presence, day.constants);
                finding.stage =
                    Stage::Settled(Verdict { ratio: quantity, times: quantity, passes: quantity >= 1.0, held });
                if judged.contains(subject) {
                    self.told.note(finding.subject.id.clone(), day.constants.day, (), false);
                }
                out.push(finding);
            }
        }
        let mut beyond = 0;
        for (id, claimed) in self.claims.remove(&day.constants.day).unwrap_or_default() {
            let subject = day.constants.subjects.find(SubjectKind::User, &id);
            if !claimed.is_beyond() || subject.is_some_and(|subject| judged.contains(&subject)) {
                continue;
            }
            beyond += 1;
            let quantity = unknown(claimed.requests.count(), known.p(), day.constants);
            let held = known.p() <= day.constants.alphas.held;
            if quantity >= 1.0 || held {
                let mut finding = claimed.describe(&id, known.p(), day.constants);
                finding.stage =
                    Stage::Settled(Verdict { ratio: quantity, times: quantity, passes: quantity >= 1.0, held });
                self.told.note(id, day.constants.day, (), false);
                out.push(finding);
            }
        }
        self.told.forget(day.constants.day);
        let active = day.present.iter().filter(|(_, presence)| presence.sort != Sort::Machine).count() + beyond;
        // A day without anybody teaches nothing.
        if active == 0 && day.present.is_empty() {
            return;
        }
        self.known.teach(day.constants.day, (active as f64, (judged.len() + beyond) as f64));
    }

    fn ruled(&mut self, ruling: &Ruling<'_>) {
        self.told.rule(ruling.about.id.clone(), ruling.day, ruling.in_force);
    }

    fn forget(&mut self, through: Day) {
        self.open = self.open.split_off(&(through.plus(1), 0));
        self.claims = self.claims.split_off(&through.plus(1));
    }

    fn save(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("memory is plain values")
    }

    fn load(&mut self, bytes: &[u8]) -> bool {
        postcard::from_bytes(bytes).map(|memory| *self = memory).is_ok()
    }
}

/// Whether the account should not work any more or not yet: then its use is told here, whatever else is strange about it.
pub(super) fn is_over(seen: &Seen<'_>, constants: &Constants<'_>) -> bool {
    cause(seen, constants).is_some_and(|(cause, _)| cause < CAUSES - 1)
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
        Account::Unknown if seen.presence.sort != Sort::Machine => return Some((4, None)),
        Account::User | Account::Service => constants.roster.user(id, event.time())?.ended,
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
    seen.facts.outside_dates.then(|| (3, edge(id, event.time(), seen.facts.account, constants)))
}

/// Where the dates of an account that is outside of them begin, or ended.
fn edge(id: &str, at: Time, account: Account, constants: &Constants<'_>) -> Option<Time> {
    let (begins, from, to) = if account == Account::VendorAccount {
        let account = constants.roster.vendor_account(id, at)?;
        ([account.created, None], account.row_from, account.row_to)
    } else {
        let user = constants.roster.user(id, at)?;
        ([user.created, user.hired], user.row_from, user.row_to)
    };
    let begin = begins.into_iter().flatten().max().max(from).filter(|begin| at < *begin);
    begin.or(to.filter(|end| *end <= at))
}

impl Tally {
    /// The worst cause: the first in the list with a use.
    fn worst(&self) -> usize {
        self.causes.iter().position(|events| events.count() > 0).unwrap_or(CAUSES - 1)
    }

    /// Uses that are told: the hard ones always, those of an unknown account where unknown accounts are rare enough.
    fn quantity(&self, p: f64, constants: &Constants<'_>) -> f64 {
        let hard: u64 = self.requests[..CAUSES - 1].iter().map(Requests::count).sum();
        hard as f64 + unknown(self.requests[CAUSES - 1].count(), p, constants)
    }
}

/// Uses of an unknown account, where unknown accounts are rare enough to be told.
fn unknown(uses: u64, p: f64, constants: &Constants<'_>) -> f64 {
    if p <= constants.alphas.told { uses as f64 } else { 0.0 }
}

fn describe(tally: &Tally, p: f64, subject: SubjectIx, presence: Presence, constants: &Constants<'_>) -> Finding {
    let worst = tally.worst();
    let events = &tally.causes[worst];
    let mut finding = finding(&SPEC.detections[worst], constants, subject, presence, events);
    let id = &finding.subject.id;
    let (since, zone) = (tally.since[worst], home_zone(constants, subject, presence));
    let clock = |time: Time| {
        let local = zone.local(time);
        format!("{} {:02}:{:02}", local.date, local.hour, local.minute)
    };
    let when = since.map(|since| format!(" since {}", clock(since))).unwrap_or_default();
    let state = match worst {
        0 => format!("has been terminated{when}"),
        1 => format!("has been disabled{when}"),
        2 => "belongs to a vendor whose contract has ended or is suspended".to_owned(),
        3 => match since {
            Some(edge) if events.first().is_some_and(|first| first < edge) => {
                format!("is outside its dates, which begin on {},", clock(edge))
            }
            Some(edge) => format!("is outside its dates, which ended on {},", clock(edge)),
            None => "is outside the dates for which the roster allows it".to_owned(),
        },
        _ => "is in no roster".to_owned(),
    };
    let (uses, patients) = (tally.requests[worst].count(), tally.patients.len());
    let first = events.first().unwrap_or(presence.start);
    finding.reason = format!(
        "Account {id} {state} and was used from {} on: {}, {} (clock of {}).",
        clock(first),
        counted(uses, "event"),
        counted(patients as u64, "patient"),
        zone.name(),
    );
    finding.p = (worst == CAUSES - 1).then_some(p);
    finding.patients = patients as u64;
    finding.facts = facts([
        ("uses", json!(uses)),
        ("patients", json!(patients)),
        ("since", json!(since.map(|time| time.to_string()))),
        ("first", json!(first.to_string())),
    ]);
    finding
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::engine::settings::Settings;
    use crate::engine::{Engine, Input};
    use crate::event::effects::Decoded;
    use crate::event::{Activity, ActorKind, Alert, Draft, EventBuilder, Origin, Outcome, Zone};
    use crate::roster::{Intake, load};

    const USERS: &str = "user_id,role,site,status,kind,account_created_at,hired_at,terminated_at,valid_from,valid_to\n\
        left,nurse,main,terminated,,,,2026-01-10,,\n\
        west,nurse,la,terminated,,,,2026-01-10,,\n\
        spring,nurse,main,terminated,,,,2026-03-08,,\n\
        autumn,nurse,main,terminated,,,,2026-11-01,,\n\
        noon,nurse,main,terminated,,,,2026-01-10T12:00:00Z,,\n\
        stale,nurse,main,active,,,,2026-01-10,,\n\
        again,nurse,main,active,,,2026-02-01,2026-01-10,,\n\
        vague,nurse,main,terminated,,,,,,\n\
        off,nurse,main,active,,,,,,2026-01-09\n\
        off,nurse,main,disabled,,,,,2026-01-10,\n\
        leave,nurse,main,leave,,,,,,\n\
        made,nurse,main,active,,2026-01-10,,,,\n\
        hired,nurse,main,active,,,2026-01-10T12:00:00Z,,,\n\
        guest,nurse,main,active,,,,,2026-01-05,2026-01-10\n\
        gap,nurse,main,active,,,,,,2026-01-05\n\
        gap,nurse,main,active,,,,,2026-01-10,\n\
        nowhere,nurse,,terminated,,,,2026-01-10,,\n\
        feed,interface,main,active,service,,,,,\n";
    const OTHERS: [(&str, &str); 3] = [
        ("sites.csv", "site,timezone\nmain,America/Chicago\nla,America/Los_Angeles\n"),
        ("vendors.csv", "vendor_id,status,timezone\nv1,active,\nv2,ended,\nv3,suspended,\nv4,ended,Europe/Berlin\n"),
        (
            "vendor_accounts.csv",
            "account_id,vendor_id,status,account_created_at,terminated_at\n\
             a1,v1,active,2026-01-10,\na2,v2,active,,\na3,v3,active,,\na5,v4,active,,\na4,v1,disabled,,2026-01-10T12:00:00Z\n",
        ),
    ];

    fn alerts(users: &str, draft: &Draft<'_>) -> Vec<String> {
        alerts_of(users, &[draft])
    }

    fn alerts_of(users: &str, drafts: &[&Draft<'_>]) -> Vec<String> {
        settled(users, drafts).into_iter().map(|alert| alert.detection_id).collect()
    }

    fn settled(users: &str, drafts: &[&Draft<'_>]) -> Vec<Alert> {
        let mut files = vec![("users.csv".to_owned(), users.as_bytes().to_vec())];
        files.extend(OTHERS.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())));
        let zone = Zone::get("America/New_York").expect("a zone");
        let loaded = load(&files, zone, &Intake { previous: None, at: Time(0), allow_shrink: false });
        let mut engine = Engine::new(Settings::default(), Arc::new(loaded.roster));
        let origin = Origin::file("x");
        let mut builder = EventBuilder::default();
        let to = 1 + drafts.len() as i64;
        (1..to).zip(drafts).for_each(|(offset, draft)| builder.push(draft, offset, 0));
        let decoded = Decoded { batch: builder.finish(&origin), rejects: Vec::new(), from: 1, to, gap: 0 };
        engine.step(Time(0), Input::Open(origin.clone()));
        let mut effects = vec![engine.step(Time(0), Input::Decoded(Box::new(decoded)))];
        effects.push(engine.step(Time(0), Input::Close));
        effects.into_iter().flat_map(|e| e.raised).map(|raised| raised.alert).filter(|alert| alert.settled).collect()
    }

    fn draft<'a>(actor: &'a str, at: &str) -> Draft<'a> {
        let mut draft = Draft::new("e1", Time::parse(at).expect("a time"), "ehr", Activity::Read);
        draft.actor_id = Some(actor.into());
        draft
    }

    /// INTERFACES, section 3: intervals are half-open, a plain date begins at local midnight and as an end lasts that whole day, in
    /// the zone of the site, else in the default one; an end counts 15 minutes later. Times worked out by hand.
    #[test]
    fn boundaries() {
        let check = |actor: &str, at: &str, expected: &[&str]| {
            assert_eq!(alerts(USERS, &draft(actor, at)), expected, "{actor} {at}");
        };
        let (over, off, outside) = (&["account.terminated"], &["account.disabled"], &["account.outside-dates"]);
        for (actor, end) in [
            // The 10th ends at midnight: 06:00 UTC in Chicago, 08:00 in Los Angeles, 05:00 in New York, the default.
            ("left", "2026-01-11T06:"),
            ("west", "2026-01-11T08:"),
            ("nowhere", "2026-01-11T05:"),
            ("noon", "2026-01-10T12:"),
            ("stale", "2026-01-11T06:"),
            // The night between has changed the clocks.
            ("spring", "2026-03-09T05:"),
            ("autumn", "2026-11-02T06:"),
        ] {
            check(actor, &format!("{end}14:59.999999Z"), &[]);
            check(actor, &format!("{end}15:00Z"), over);
        }
        check("again", "2026-02-03T12:00:00Z", &[]);
        check("vague", "2026-02-03T12:00:00Z", &[]);
        check("leave", "2026-02-03T12:00:00Z", &[]);
        check("off", "2026-01-10T05:59:59Z", &[]);
        check("off", "2026-01-10T06:14:59Z", &[]);
        check("off", "2026-01-10T06:15:00Z", off);
        check("made", "2026-01-10T05:59:59.999999Z", outside);
        check("made", "2026-01-10T06:00:00Z", &[]);
        check("hired", "2026-01-10T11:59:59Z", outside);
        check("hired", "2026-01-10T12:00:00Z", &[]);
        check("guest", "2026-01-05T05:59:59Z", outside);
        check("guest", "2026-01-05T06:00:00Z", &[]);
        check("guest", "2026-01-11T05:59:59Z", &[]);
        check("guest", "2026-01-11T06:00:00Z", outside);
        check("gap", "2026-01-07T12:00:00Z", outside);
        check("gap", "2026-01-10T06:00:00Z", &[]);
        // Vendors' accounts: no site, so the default zone.
        check("a1", "2026-01-10T04:59:59Z", outside);
        check("a1", "2026-01-10T05:00:00Z", &[]);
        check("a2", "2026-01-10T12:00:00Z", &["account.vendor-ended"]);
        check("a3", "2026-01-10T12:00:00Z", &["account.vendor-ended"]);
        check("a4", "2026-01-10T12:14:59Z", &[]);
        check("a4", "2026-01-10T12:15:00Z", off);
    }

    /// What accounts that no roster has do in one day, under what they say to be. Each case is an account of its own.
    #[test]
    fn who_says_to_be_a_device_or_a_patient_may_do_what_such_do() {
        let (patient, device) = (ActorKind::Patient, ActorKind::Device);
        let cases: &[(&str, ActorKind, Activity, usize, usize, bool)] = &[
            // Says to be, does, so often, with so many patients in all, and is told.
            ("own chart", patient, Activity::Read, 40, 1, false),
            ("a family", patient, Activity::Read, 40, 6, false),
            ("more than a family", patient, Activity::Read, 40, 7, true),
            ("asks for them without opening", patient, Activity::Search, 40, 7, true),
            ("what is their own on paper", patient, Activity::Print, 5, 1, false),
            ("what is their own to take away", patient, Activity::Export, 5, 2, false),
            ("an export that names nobody", patient, Activity::Export, 1, 0, true),
            ("override", patient, Activity::BreakGlass, 1, 1, true),
            ("rights", patient, Activity::PermissionChange, 1, 0, true),
            ("messages and dates", patient, Activity::Create, 30, 1, false),
            ("results of a laboratory", device, Activity::Create, 300, 300, false),
            ("worklists", device, Activity::Search, 300, 300, false),
            ("priors of a scanner", device, Activity::Read, 90, 50, false),
            ("a reader", device, Activity::Read, 90, 51, true),
            ("paper", device, Activity::Print, 1, 1, true),
            ("copies", device, Activity::Export, 1, 1, true),
            ("settings", device, Activity::Admin, 1, 0, true),
        ];
        for (name, kind, activity, times, patients, told) in cases {
            let numbers: Vec<String> = (0..*patients).map(|n| format!("p{n}")).collect();
            let drafts: Vec<Draft<'_>> = (0..*times)
                .map(|n| {
                    let at = Time::parse("2026-02-03T12:00:00Z").unwrap().plus(n as i64 * MINUTE);
                    let mut draft = Draft::new(format!("e{n}"), at, "ehr", *activity);
                    (draft.actor_id, draft.actor_kind) = (Some("stranger".into()), Some(*kind));
                    draft.patients =
                        numbers.get(n % numbers.len().max(1)).map(|p| p.as_str().into()).into_iter().collect();
                    draft
                })
                .collect();
            // Somebody is there that day.
            let known = draft("leave", "2026-02-03T12:00:00Z");
            let all: Vec<&Draft<'_>> = drafts.iter().chain([&known]).collect();
            assert_eq!(alerts_of(USERS, &all), vec!["account.unknown"; usize::from(*told)], "{name}");
            // The same in the reverse order, and where nobody else is there.
            let reverse: Vec<&Draft<'_>> = drafts.iter().rev().collect();
            assert_eq!(alerts_of(USERS, &reverse), vec!["account.unknown"; usize::from(*told)], "{name} alone");
            let nobody = USERS.lines().next().map(|header| format!("{header}\n")).unwrap_or_default();
            assert_eq!(alerts_of(&nobody, &all), Vec::<String>::new(), "{name}: a roster without anybody");
        }
    }

    #[test]
    fn sentences_say_since_when_on_the_clock_of_the_site() {
        for (actor, at, expected) in [
            (
                "left",
                "2026-01-12T12:00:00Z",
                "has been terminated since 2026-01-11 00:00 and was used from 2026-01-12 06:00 on",
            ),
            (
                "off",
                "2026-01-12T12:00:00Z",
                "has been disabled since 2026-01-10 00:00 and was used from 2026-01-12 06:00 on",
            ),
            (
                "made",
                "2026-01-09T12:00:00Z",
                "is outside its dates, which begin on 2026-01-10 00:00, and was used from 2026-01-09 06:00 on",
            ),
            (
                "guest",
                "2026-01-12T12:00:00Z",
                "is outside its dates, which ended on 2026-01-11 00:00, and was used from 2026-01-12 06:00 on",
            ),
            (
                "gap",
                "2026-01-07T12:00:00Z",
                "is outside its dates, which ended on 2026-01-06 00:00, and was used from 2026-01-07 06:00 on",
            ),
            // No site: the default zone.
            (
                "a1",
                "2026-01-09T12:00:00Z",
                "is outside its dates, which begin on 2026-01-10 00:00, and was used from 2026-01-09 07:00 on",
            ),
        ] {
            let said: Vec<String> =
                settled(USERS, &[&draft(actor, at)]).into_iter().map(|alert| alert.reason).collect();
            let zone = if actor == "a1" { "New_York" } else { "Chicago" };
            assert_eq!(said, [format!("Account {actor} {expected}: 1 event, 0 patients (clock of America/{zone}).")]);
        }
    }

    /// Who has no home is told by the clock of the places at which the day was lived, of a vendor with a clock of its own by that one;
    /// in whatever order the events came.
    #[test]
    fn the_clock_is_that_of_the_place() {
        let check = |actor: &'static str, sites: [Option<&'static str>; 2], expected: &str| {
            let at = ["2026-01-13T07:00:00Z", "2026-01-13T08:00:00Z"];
            let [first, second] = [0, 1].map(|index| {
                let mut draft = draft(actor, at[index]);
                draft.event_id = format!("e{index}").into();
                draft.site = sites[index].map(Into::into);
                draft
            });
            for order in [[&first, &second], [&second, &first]] {
                let said: Vec<String> = settled(USERS, &order).into_iter().map(|alert| alert.reason).collect();
                assert!(said.len() == 1 && said[0].contains(expected), "{actor} {sites:?}: {said:?}");
            }
        };
        let la = Some("la");
        check(
            "stranger",
            [la, la],
            "used from 2026-01-12 23:00 on: 2 events, 0 patients (clock of America/Los_Angeles)",
        );
        check(
            "stranger",
            [la, Some("main")],
            "used from 2026-01-13 01:00 on: 2 events, 0 patients (clock of America/Chicago)",
        );
        check(
            "stranger",
            [None, None],
            "used from 2026-01-13 02:00 on: 2 events, 0 patients (clock of America/New_York)",
        );
        check("a2", [la, la], "used from 2026-01-12 23:00 on: 2 events, 0 patients (clock of America/Los_Angeles)");
        check("a5", [la, la], "used from 2026-01-13 08:00 on: 2 events, 0 patients (clock of Europe/Berlin)");
        check("left", [la, la], "used from 2026-01-13 01:00 on: 2 events, 0 patients (clock of America/Chicago)");
    }

    /// INTERFACES, section 1: records of one source with the same correlation id report one request, which counts once.
    #[test]
    fn a_request_counts_once() {
        let check = |actor: &str, records: &[(&'static str, Option<String>)], uses: u64, severity: Severity| {
            let drafts: Vec<Draft<'_>> = (0..)
                .zip(records)
                .map(|(place, (source, id))| {
                    let at = Time::parse("2026-02-03T12:00:00Z").unwrap().plus(i64::from(place) * MINUTE);
                    let mut draft = Draft::new(format!("e{place}"), at, *source, Activity::Export);
                    draft.actor_id = Some(actor.into());
                    draft.actor_kind = (actor == "portal").then_some(ActorKind::Patient);
                    draft.correlation_id = id.as_deref().map(Into::into);
                    draft
                })
                .collect();
            let found = settled(USERS, &drafts.iter().collect::<Vec<_>>());
            let [alert] = &found[..] else { panic!("{actor} {records:?}: {found:#?}") };
            let said = format!(": {}, 0 patients", counted(uses, "event"));
            assert!(alert.reason.contains(&said), "{actor} {records:?}: {}", alert.reason);
            assert_eq!((alert.severity, &alert.facts["uses"]), (severity, &json!(uses)), "{actor} {records:?}");
            assert_eq!(alert.evidence.count, records.len() as u64, "every record is evidence: {actor} {records:?}");
        };
        let pairs = |count: u32| -> Vec<_> { (0..2 * count).map(|n| ("ehr", Some(format!("r{}", n / 2)))).collect() };
        for (actor, few) in [("left", Severity::High), ("stranger", Severity::Medium), ("portal", Severity::Medium)] {
            check(actor, &pairs(4), 4, few);
            check(actor, &pairs(1), 1, few);
        }
        // Eight requests; the same word of two sources is not the same request.
        let many: Vec<_> = (0..8).map(|_| ("ehr", None)).collect();
        let two: Vec<_> = (0..4).flat_map(|n| ["ehr", "lab"].map(|source| (source, Some(format!("r{n}"))))).collect();
        for records in [pairs(8), many, two] {
            check("left", &records, 8, Severity::Critical);
            check("stranger", &records, 8, Severity::High);
        }
    }

    #[test]
    fn a_log_in_that_was_refused_is_no_use() {
        for (activity, outcome, expected) in [
            (Activity::Read, Outcome::Success, 1),
            (Activity::Login, Outcome::Unknown, 1),
            (Activity::Read, Outcome::Denied, 1),
            (Activity::Export, Outcome::Failure, 1),
            (Activity::Login, Outcome::Denied, 0),
            (Activity::Login, Outcome::Failure, 0),
            (Activity::LoginFailed, Outcome::Unknown, 0),
            (Activity::Logout, Outcome::Success, 0),
        ] {
            let mut draft = draft("left", "2026-02-03T12:00:00Z");
            (draft.activity, draft.outcome) = (activity, outcome);
            assert_eq!(alerts(USERS, &draft).len(), expected, "{activity:?} {outcome:?}");
        }
    }

    /// An account that no roster knows is unknown, whatever it says of itself, where the roster lists accounts of its kind.
    #[test]
    fn unknown_accounts() {
        let people_only = USERS.replace("feed,interface,main,active,service,,,,,\n", "");
        let nobody = USERS.lines().next().map(|header| format!("{header}\n")).unwrap_or_default();
        for (users, kind, expected) in [
            (USERS, None, 1),
            (USERS, Some(ActorKind::Human), 1),
            (USERS, Some(ActorKind::Service), 1),
            (people_only.as_str(), Some(ActorKind::Service), 0),
            (USERS, Some(ActorKind::Patient), 0),
            (nobody.as_str(), None, 0),
        ] {
            let mut draft = draft("stranger", "2026-02-03T12:00:00Z");
            draft.actor_kind = kind;
            let found = alerts(users, &draft);
            assert_eq!(found, vec!["account.unknown"; expected], "{kind:?}");
        }
    }
}
