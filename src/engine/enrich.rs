//! Enrichment: what the rosters know of an event, as of the event's own time.
//!
//! The roster wins over the claims of the source; where it is silent, the claim stands. Nothing here remembers anything: the same
//! event and the same roster give the same facts, in any order and on any thread.
//!
//! # What explains an access
//!
//! Only dated paperwork in `relations.csv` explains the opening of a chart, from 7 days before its start to 30 days after its end.
//! What lasts (`encounter`, `care_team`, `research`) goes on while its end is open; the other kinds last from their one date to the
//! same. The first line that fits is the answer; within a line the order is that of the kinds below.
//!
//! | relation | names | `explained_by` |
//! |---|---|---|
//! | `encounter`, `appointment`, `order`, `result`, `care_team`, `referral`, `message`, `billing`, `research` | the user | the kind |
//! | the same | the user's department | `own_unit:` and the kind |
//! | `billing` | anybody | `billing`, for roles and departments of bills, codes, claims and finance |
//!
//! Everything else explains nothing: a stay on another ward, a study of others, being a contact, a colleague or a namesake, and one's
//! own chart.

use crate::event::facts::{Account, Agreement, Approval, Facts, PatientFacts, Status};
use crate::event::time::{Day, HOUR, Local, Time};
use crate::event::{Event, Kind};
use crate::roster::{Actor, Near, RelationKind, Roster, User, Vendor, VendorAccount};

/// Shifts further away than this say nothing about whether the roster of shifts covers the person at that time.
const SHIFTS_NEAR: i64 = 14 * 24 * HOUR;

/// The facts of an event.
pub fn enrich<'r>(roster: &'r Roster, event: &Event<'r>) -> Facts<'r> {
    let at = event.time();
    let who = identify(roster, event, at);
    let (user, account) = (who.user(), who.account());
    let vendor_id = event.vendor_id().or(account.map(|account| account.vendor_id));
    let vendor = vendor_id.and_then(|id| roster.vendor(id, at));
    let times = times(roster, event, at, &who, account.and(vendor.as_ref()));
    let role = user.and_then(|user| user.role).or_else(|| event.actor_role());
    let department = user.and_then(|user| user.department).or_else(|| event.actor_department());
    let mut facts = Facts {
        account: who.kind(),
        person_id: who.person().or_else(|| event.actor_id()),
        role,
        department,
        home_site: user.and_then(|user| user.site),
        status: who.status(),
        employment: user.and_then(|user| user.employment),
        day: times.day,
        clock: times.clock,
        off_day: times.off_day,
        on_shift: user.and_then(|user| on_shift(roster.shifts(user.id), at)),
        outside_dates: who.outside_dates(at),
        privileged: false,
        entitlements: Vec::new(),
        vendor_id,
        vendor_status: vendor.map(|vendor| vendor.status),
        baa: vendor.map(|vendor| agreement(&vendor, at)),
        approval: approval(roster, event, account.is_some(), vendor_id, at),
        in_window: account.and_then(|account| account.access_window).map(|window| {
            let clock = times.clock;
            window.contains(clock.date, u16::from(clock.hour) * 60 + u16::from(clock.minute))
        }),
        patients: Vec::new(),
    };
    if let Some(id) = event.actor_id() {
        roster.entitlements(id, at, |entitlement, privileged| {
            facts.privileged |= privileged;
            facts.entitlements.push(entitlement);
        });
        facts.entitlements.sort_unstable();
        facts.entitlements.dedup();
    }
    let patients = event.patients();
    if patients.len() > 0 {
        let actor = event.actor_id().map(|id| roster.actor(id, user, role, department));
        facts.patients.reserve_exact(patients.len());
        facts.patients.extend(patients.map(|patient| patient_facts(roster, actor.as_ref(), patient, at)));
    }
    facts
}

/// Whose account it is.
enum Who<'r> {
    User(User<'r>),
    Account(VendorAccount<'r>),
    Unknown,
    Unresolved,
}

/// A vendor session belongs to a vendor's account where one has the name; everything else to a user where one has it.
fn identify<'r>(roster: &'r Roster, event: &Event<'r>, at: Time) -> Who<'r> {
    let Some(id) = event.actor_id() else { return Who::Unresolved };
    let user = || roster.user(id, at).map(Who::User);
    let account = || roster.vendor_account(id, at).map(Who::Account);
    let found = match event.kind() {
        Kind::VendorSession => account().or_else(user),
        Kind::Access => user().or_else(account),
    };
    found.unwrap_or(Who::Unknown)
}

impl<'r> Who<'r> {
    fn user(&self) -> Option<&User<'r>> {
        if let Who::User(user) = self { Some(user) } else { None }
    }

    fn account(&self) -> Option<&VendorAccount<'r>> {
        if let Who::Account(account) = self { Some(account) } else { None }
    }

    fn kind(&self) -> Account {
        match self {
            Who::User(_) => Account::User,
            Who::Account(_) => Account::VendorAccount,
            Who::Unknown => Account::Unknown,
            Who::Unresolved => Account::Unresolved,
        }
    }

    fn person(&self) -> Option<&'r str> {
        match self {
            Who::User(user) => user.person_id,
            Who::Account(account) => account.person,
            Who::Unknown | Who::Unresolved => None,
        }
    }

    /// An end without a date is a problem of the roster and gives no status, since an alert would rest on it.
    fn status(&self) -> Option<Status> {
        match self {
            Who::User(user) => Some(user.status).filter(|_| !user.undated_end),
            Who::Account(account) => Some(account.status).filter(|_| !account.undated_end),
            Who::Unknown | Who::Unresolved => None,
        }
    }

    fn outside_dates(&self, at: Time) -> bool {
        let before = |date: Option<Time>| date.is_some_and(|date| at < date);
        match self {
            Who::User(user) => before(user.created) || before(user.hired) || (user.outside_rows && !user.seen_later),
            Who::Account(account) => before(account.created) || (account.outside_rows && !account.seen_later),
            Who::Unknown | Who::Unresolved => false,
        }
    }
}

struct Times {
    day: Day,
    clock: Local,
    off_day: bool,
}

/// The home site gives the day, the event's site the hour; a vendor account's hour is that of its vendor.
fn times(roster: &Roster, event: &Event<'_>, at: Time, who: &Who<'_>, vendor: Option<&Vendor<'_>>) -> Times {
    let site = event.site().map(|site| roster.place(Some(site)));
    let home = who.user().and_then(User::home);
    let day_place = home.or(site).unwrap_or(0);
    let clock_place = vendor.and_then(Vendor::place).or(site).or(home).unwrap_or(0);
    let clock = roster.zone_at(clock_place).local(at);
    let day = if day_place == clock_place { clock.day } else { roster.zone_at(day_place).local(at).day };
    Times { day, clock, off_day: day.weekday() >= 5 || roster.holiday_at(day_place, day) }
}

/// Whether the time lies in a shift; `None` where no shift of the person is near, so that nothing is known.
fn on_shift(shifts: &[(Time, Time)], at: Time) -> Option<bool> {
    if shifts.is_empty() {
        return None;
    }
    // Shifts come by start, and none is longer than the distance that counts as near.
    let first = shifts.partition_point(|(start, _)| start.plus(2 * SHIFTS_NEAR) < at);
    let near = shifts[first..].iter().take_while(|(start, _)| *start <= at.plus(SHIFTS_NEAR));
    let mut known = None;
    for (start, end) in near {
        if *start <= at && at < *end {
            return Some(true);
        }
        if end.plus(SHIFTS_NEAR) >= at {
            known = Some(false);
        }
    }
    known
}

fn agreement(vendor: &Vendor<'_>, at: Time) -> Agreement {
    match (vendor.baa_signed, vendor.baa_expires) {
        (None, None) => Agreement::Missing,
        (Some(signed), _) if at < signed => Agreement::NotYet,
        (_, Some(expires)) if expires <= at => Agreement::Expired,
        _ => Agreement::Valid,
    }
}

/// The approval of a vendor's act, or the one that an event names; `None` where no approval is needed or the site keeps none.
fn approval(
    roster: &Roster,
    event: &Event<'_>,
    vendor_account: bool,
    vendor: Option<&str>,
    at: Time,
) -> Option<Approval> {
    if !roster.has_approvals() {
        return None;
    }
    match event.approval_ref() {
        Some(approval) => Some(roster.approval(approval, vendor, event.target_host(), at)),
        None if vendor_account || event.kind() == Kind::VendorSession => Some(Approval::Missing),
        None => None,
    }
}

fn patient_facts<'r>(roster: &'r Roster, actor: Option<&Actor>, patient: &'r str, at: Time) -> PatientFacts<'r> {
    let Some(chart) = roster.chart(patient, at) else {
        return PatientFacts { patient_id: patient, ..PatientFacts::default() };
    };
    let mut facts = PatientFacts { patient_id: chart.id, ..PatientFacts::default() };
    let actor = actor.unwrap_or(&Actor::NOBODY);
    if let Some(near) = roster.near(&chart, actor, at) {
        facts.relations = relations(&near);
        facts.explained_by = explained_by(&near, actor);
    }
    roster.marks(&chart, actor, at, &mut facts.marks);
    facts
}

/// Kinds that name the user, nearest first, then those that name only the department.
fn relations(near: &Near) -> Vec<&'static str> {
    let mut kinds = Vec::new();
    for (distances, others) in [(&near.own, None), (&near.unit, Some(&near.own))] {
        let first = kinds.len();
        for (kind, distance) in RelationKind::ALL.iter().zip(distances) {
            let told = others.is_some_and(|others| others[*kind as usize].is_some());
            if let Some(distance) = distance.filter(|_| !told) {
                kinds.push((distance, kind.as_str()));
            }
        }
        // The sort is stable: at the same distance the order is that of the kinds.
        kinds[first..].sort_by_key(|(distance, _)| *distance);
    }
    kinds.into_iter().map(|(_, kind)| kind).collect()
}

/// The first line of the table above that fits.
fn explained_by(near: &Near, actor: &Actor) -> Option<&'static str> {
    let first = |distances: &[Option<i64>; 9]| {
        RelationKind::ALL.iter().zip(distances).find(|(_, distance)| distance.is_some()).map(|(kind, _)| *kind)
    };
    if let Some(kind) = first(&near.own) {
        return Some(kind.as_str());
    }
    if let Some(kind) = first(&near.unit) {
        return Some(own_unit(kind));
    }
    (actor.billing && near.any[RelationKind::Billing as usize]).then_some(RelationKind::Billing.as_str())
}

fn own_unit(kind: RelationKind) -> &'static str {
    match kind {
        RelationKind::Encounter => "own_unit:encounter",
        RelationKind::Appointment => "own_unit:appointment",
        RelationKind::Order => "own_unit:order",
        RelationKind::Result => "own_unit:result",
        RelationKind::CareTeam => "own_unit:care_team",
        RelationKind::Referral => "own_unit:referral",
        RelationKind::Note => "own_unit:message",
        RelationKind::Billing => "own_unit:billing",
        RelationKind::Research => "own_unit:research",
    }
}
