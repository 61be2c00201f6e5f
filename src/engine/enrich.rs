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

use std::borrow::Cow;

use crate::event::facts::{Account, Agreement, Approval, BETWEEN_PATIENTS, Facts, PatientFacts, Privilege, Status};
use crate::event::time::{Day, HOUR, Local, Time};
use crate::event::{Event, Kind};
use crate::roster::{Actor, Near, RelationKind, Roster, User, UserKind, Vendor, VendorAccount};

/// Shifts further away than this say nothing about whether the roster of shifts covers the person at that time.
const SHIFTS_NEAR: i64 = 14 * 24 * HOUR;

/// The facts of an event.
pub fn enrich<'r>(roster: &'r Roster, event: &Event<'r>) -> Facts<'r> {
    let at = event.time();
    let who = identify(roster, event, at);
    let (user, account) = (who.user(), who.account());
    let vendor_id = event.vendor_id().or(account.map(|account| account.vendor_id));
    let vendor = vendor_id.and_then(|id| roster.vendor(id, at));
    // The hour is that of the company that the account belongs to, whichever the record names.
    let employer = account.and_then(|account| match vendor {
        Some(vendor) if vendor.id == account.vendor_id => Some(vendor),
        _ => roster.vendor(account.vendor_id, at),
    });
    let times = times(roster, event, at, &who, employer.as_ref());
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
        privilege: Privilege::None,
        entitlements: Vec::new(),
        vendor_id,
        vendor_status: vendor.map(|vendor| vendor.status),
        vendor_parent: vendor.and_then(|vendor| vendor.parent_vendor_id),
        baa: vendor.map(|vendor| agreement(&vendor, at)),
        approval: approval(roster, event, account.is_some(), vendor_id, at),
        in_window: account.and_then(|account| account.access_window).map(|window| {
            let clock = times.clock;
            window.contains(clock.date, u16::from(clock.hour) * 60 + u16::from(clock.minute))
        }),
        patients: Vec::new(),
        extra: Default::default(),
    };
    if let Some(id) = event.actor_id() {
        let mut valid = false;
        let expired = roster.entitlements(id, at, |entitlement, privileged| {
            valid |= privileged;
            facts.entitlements.push(entitlement);
        });
        facts.privilege = match (valid, expired) {
            (true, _) => Privilege::Valid,
            (false, true) => Privilege::Expired,
            (false, false) => Privilege::None,
        };
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

/// What explains that an account (with the role and department that it claims) opened a patient's chart, by these rosters: answers ask it
/// of what has become known since.
pub fn explanation(
    roster: &Roster,
    (account, role, department): (&str, Option<&str>, Option<&str>),
    patient: &str,
    at: Time,
) -> Option<&'static str> {
    let user = roster.user(account, at);
    let actor = roster.actor(account, user.as_ref(), role, department);
    let chart = roster.chart(patient, at)?;
    explained_by(&roster.near(&chart, &actor, at)?, &actor)
}

/// Adds the columns of the rosters that rules name, such as `user.union`; of several patients a cell each, also where it is empty, and of
/// several rows of one thing (shifts, entitlements, ...) one after the other.
pub fn columns<'r>(roster: &'r Roster, event: &Event<'r>, names: &'r [String], facts: &mut Facts<'r>) {
    if names.is_empty() {
        return;
    }
    let at = event.time();
    let who = identify(roster, event, at);
    let (id, vendor_id) = (event.actor_id(), facts.vendor_id);
    let vendor = vendor_id.and_then(|id| roster.vendor(id, at));
    for name in names {
        let Some((table, column)) = name.split_once('.') else { continue };
        let each = |cell: &dyn Fn(&str) -> Option<Cow<'r, str>>| {
            let cells: Vec<Cow<'_, str>> = event.patients().map(|id| cell(id).unwrap_or_default()).collect();
            cells.iter().any(|cell| !cell.is_empty()).then(|| Cow::Owned(cells.join(BETWEEN_PATIENTS)))
        };
        let site = || event.site().or(facts.home_site);
        let approved = |named| roster.approval_extras(named, (vendor_id, event.target_host()), at, column);
        let cell = match table {
            "user" => who.user().and_then(|user| user.extra(column)).map(Cow::Borrowed),
            "account" => who.account().and_then(|account| account.extra(column)).map(Cow::Borrowed),
            "vendor" => vendor.as_ref().and_then(|vendor| vendor.extra(column)).map(Cow::Borrowed),
            "patient" => each(&|id| roster.patient(id, at)?.extra(column).map(Cow::Borrowed)),
            "relation" => {
                let actor = id.map(|id| roster.actor(id, who.user(), facts.role, facts.department));
                each(&|patient| {
                    several(roster.relation_extras(&roster.chart(patient, at)?, actor.as_ref()?, at, column))
                })
            }
            "shift" => id.and_then(|id| several(roster.shift_extras(id, at, column))),
            "approval" => event.approval_ref().and_then(|named| several(approved(named))),
            "entitlement" => id.and_then(|id| several(roster.entitlement_extras(id, at, column))),
            "site" => site().and_then(|site| roster.site_extra(site, column)).map(Cow::Borrowed),
            table => unreachable!("rules name no column of {table}"),
        };
        if let Some(cell) = cell {
            facts.extra.insert(name, cell);
        }
    }
}

/// Cells of several rows, each once.
fn several<'r>(cells: impl Iterator<Item = &'r str>) -> Option<Cow<'r, str>> {
    let mut cells: Vec<&str> = cells.collect();
    cells.sort_unstable();
    cells.dedup();
    match cells[..] {
        [] => None,
        [one] => Some(Cow::Borrowed(one)),
        _ => Some(Cow::Owned(cells.join(";"))),
    }
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
            Who::User(user) if user.kind == UserKind::Service => Account::Service,
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
        let encounter = roster.encounter(None, at);
        return PatientFacts { patient_id: patient, encounter, ..PatientFacts::default() };
    };
    let mut facts = PatientFacts {
        patient_id: chart.id,
        days_deceased: roster.days_deceased(&chart, at),
        encounter: roster.encounter(Some(&chart), at),
        ..PatientFacts::default()
    };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::time::Zone;
    use crate::event::{Activity, Draft, EventBuilder, Origin};
    use crate::roster::{Intake, load};

    const FILES: [(&str, &str); 9] = [
        ("sites.csv", "site,timezone,holidays\nny,America/New_York,2026-07-03\nla,America/Los_Angeles,\n"),
        (
            "users.csv",
            "user_id,name,role,department,site,status,kind,hired_at,terminated_at,employment,patient_id,address_key,person_id,account_created_at,valid_from\n\
             nurse,Ana Bérg,nurse,ICU,ny,active,,,,employee,pn,adr1,person1,,\n\
             coder,Max Coe,medical coder,HIM,ny,active,,,,,,,,,\n\
             gone,Eve Roe,clerk,ICU,ny,terminated,,,2026-01-10,,pg,,,,\n\
             undated,Ian Poe,clerk,ER,,disabled,,,,,,,,,\n\
             fresh,Bo Noe,clerk,ER,la,leave,,2026-02-01,,,,,,2026-01-20,\n\
             late,Al Loe,clerk,ER,la,active,,,,,,,,,2026-03-01\n\
             second,Ana Bérg,nurse,,,active,,,,,,,person1,,\n",
        ),
        (
            "vendors.csv",
            "vendor_id,status,baa_signed_at,baa_expires_at,timezone\n\
             v1,active,2025-01-01,2026-01-31,Europe/Berlin\nv2,ended,,,\nv3,active,2026-06-01,,\n",
        ),
        (
            "vendor_accounts.csv",
            "account_id,vendor_id,person,status,access_window,account_created_at\n\
             a1,v1,kim,active,Mon-Fri 08:00-18:00,2025-06-01\na2,v2,,active,,\na3,v3,,active,22:00-06:00,\n",
        ),
        (
            "patients.csv",
            "patient_id,surname,address_key,vip,restricted,deceased_at,contacts,merged_into\n\
             p1,Smith,adr9,true,true,2026-01-15,,\np2,BERG,adr1,,,,nurse,\nold,Smith,,,,,,p1\npn,Berg,adr1,,,,p3,\np3,,,,,,,\npg,,,,,,,\n",
        ),
        (
            "relations.csv",
            "patient_id,kind,user_id,department,start,end\n\
             r1,encounter,,icu,2026-01-10T00:00:00Z,2026-01-12T00:00:00Z\n\
             r2,appointment,nurse,,2026-01-10T12:00:00Z,\n\
             r3,order,nurse,,2026-01-20T00:00:00Z,\n\
             r3,care_team,nurse,,2026-01-01T00:00:00Z,2026-01-10T00:00:00Z\n\
             r3,encounter,,ICU,2026-01-01T00:00:00Z,2026-01-20T00:00:00Z\n\
             r4,billing,other,,2026-01-12T00:00:00Z,\n\
             r4,research,other,,2026-01-01T00:00:00Z,\n\
             r5,research,nurse,,2025-01-01T00:00:00Z,\n\
             r6,encounter,,ER,2026-01-10T00:00:00Z,2026-01-20T00:00:00Z\n\
             r7,message,nurse,ICU,2026-01-12T00:00:00Z,\n\
             old,result,nurse,,2026-01-12T00:00:00Z,\n",
        ),
        (
            "shifts.csv",
            "user_id,start,end\nnurse,2026-01-05T12:00:00Z,2026-01-06T00:00:00Z\nnurse,2026-01-08T00:00:00Z,2026-01-08T12:00:00Z\n",
        ),
        ("approvals.csv", "approval_ref,vendor_id,start,end,target_host\nchg1,v1,2026-01-05,2026-01-09,db1\n"),
        (
            "entitlements.csv",
            "user_id,entitlement,privileged,granted_at,expires_at\n\
             nurse,chart,,,\nnurse,admin,true,2026-01-10,2026-01-11\na1,root,true,,\n",
        ),
    ];

    fn roster() -> Roster {
        let files: Vec<(String, Vec<u8>)> =
            FILES.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect();
        let intake = Intake { previous: None, at: Time(0), allow_shrink: false };
        load(&files, Zone::get("America/Chicago").expect("a zone"), &intake).roster
    }

    fn access<'a>(actor: &'a str, at: &str) -> Draft<'a> {
        let mut draft = Draft::new("e", Time::parse(at).expect("a time"), "ehr", Activity::Read);
        draft.actor_id = (!actor.is_empty()).then(|| actor.into());
        draft
    }

    /// Hands the facts of one event to `look`.
    fn check(draft: &Draft<'_>, look: impl FnOnce(&Facts<'_>)) {
        let roster = roster();
        let mut builder = EventBuilder::default();
        builder.push(draft, 1, 0);
        let batch = builder.finish(&Origin::File { name: "f".into() });
        look(&enrich(&roster, &batch.row(0)));
    }

    fn who(actor: &str, at: &str, expected: (Account, Option<&str>, Option<Status>, bool)) {
        check(&access(actor, at), |facts| {
            assert_eq!((facts.account, facts.person_id, facts.status, facts.outside_dates), expected, "{actor} {at}");
        });
    }

    #[test]
    fn accounts() {
        use Account::*;
        let day = "2026-01-20T12:00:00Z";
        who("nurse", day, (User, Some("person1"), Some(Status::Active), false));
        who("gone", "2026-01-11T04:59:59Z", (User, Some("gone"), Some(Status::Active), false));
        who("gone", "2026-01-11T05:00:00Z", (User, Some("gone"), Some(Status::Terminated), false));
        who("undated", day, (User, Some("undated"), None, false));
        who("fresh", "2026-01-20T07:59:59Z", (User, Some("fresh"), Some(Status::Leave), true));
        who("fresh", "2026-01-25T12:00:00Z", (User, Some("fresh"), Some(Status::Leave), true));
        who("fresh", "2026-02-01T08:00:00Z", (User, Some("fresh"), Some(Status::Leave), false));
        who("late", "2026-02-01T08:00:00Z", (User, Some("late"), Some(Status::Active), true));
        who("late", "2026-03-01T08:00:00Z", (User, Some("late"), Some(Status::Active), false));
        who("a1", day, (VendorAccount, Some("kim"), Some(Status::Active), false));
        who("a1", "2025-05-31T12:00:00Z", (VendorAccount, Some("kim"), Some(Status::Active), true));
        who("a2", day, (VendorAccount, Some("a2"), Some(Status::Active), false));
        who("stranger", day, (Unknown, Some("stranger"), None, false));
        who("", day, (Unresolved, None, None, false));
    }

    #[test]
    fn the_roster_wins_over_claims() {
        let mut draft = access("nurse", "2026-01-20T12:00:00Z");
        (draft.actor_role, draft.actor_department) = (Some("doctor".into()), Some("ER".into()));
        check(&draft, |facts| assert_eq!((facts.role, facts.department), (Some("nurse"), Some("ICU"))));
        draft.actor_id = Some("second".into());
        check(&draft, |facts| assert_eq!((facts.role, facts.department), (Some("nurse"), Some("ER"))));
        draft.actor_id = Some("stranger".into());
        check(&draft, |facts| assert_eq!((facts.role, facts.department), (Some("doctor"), Some("ER"))));
    }

    #[test]
    fn home_gives_the_day_and_the_event_the_hour() {
        let look = |actor: &str, site: Option<&str>, at: &str, expected: &str| {
            let mut draft = access(actor, at);
            draft.site = site.map(Into::into);
            check(&draft, |facts| {
                let off = if facts.off_day { " off" } else { "" };
                let shown = format!("{} {:02}:{:02}{off}", facts.day, facts.clock.hour, facts.clock.minute);
                assert_eq!(shown, expected, "{actor} {site:?} {at}");
            });
        };
        // Tuesday 04:30 in New York is 01:30 in Los Angeles, and still Monday's day only there.
        look("nurse", None, "2026-01-20T09:30:00Z", "2026-01-20 04:30");
        look("nurse", Some("la"), "2026-01-20T09:30:00Z", "2026-01-20 01:30");
        look("stranger", Some("la"), "2026-01-20T09:30:00Z", "2026-01-19 01:30");
        look("stranger", None, "2026-01-20T09:30:00Z", "2026-01-19 03:30");
        look("nurse", Some("moon"), "2026-01-20T09:30:00Z", "2026-01-20 03:30");
        // A vendor's hour is that of Berlin; one without a zone has that of the site.
        look("a1", Some("la"), "2026-01-20T09:30:00Z", "2026-01-19 10:30");
        look("a2", Some("la"), "2026-01-20T09:30:00Z", "2026-01-19 01:30");
        // The night in which clocks go forward: 01:59 is followed by 03:00.
        look("nurse", None, "2026-03-08T06:59:00Z", "2026-03-07 01:59 off");
        look("nurse", None, "2026-03-08T07:00:00Z", "2026-03-07 03:00 off");
        look("nurse", None, "2026-03-08T08:00:00Z", "2026-03-08 04:00 off");
        // The holiday is New York's, also while the work is done elsewhere; the small hours belong to the day before.
        look("nurse", Some("la"), "2026-07-03T16:00:00Z", "2026-07-03 09:00 off");
        look("stranger", Some("la"), "2026-07-03T16:00:00Z", "2026-07-03 09:00");
        look("nurse", None, "2026-07-03T07:59:00Z", "2026-07-02 03:59");
    }

    #[test]
    fn shifts() {
        let look = |actor: &str, at: &str, expected: Option<bool>| {
            check(&access(actor, at), |facts| assert_eq!(facts.on_shift, expected, "{actor} {at}"));
        };
        look("nurse", "2026-01-05T12:00:00Z", Some(true));
        look("nurse", "2026-01-06T00:00:00Z", Some(false));
        look("nurse", "2026-01-08T11:59:59Z", Some(true));
        look("nurse", "2025-12-22T12:00:00Z", Some(false));
        look("nurse", "2025-12-22T11:59:59Z", None);
        look("nurse", "2026-01-22T12:00:00Z", Some(false));
        look("nurse", "2026-01-22T12:00:01Z", None);
        look("coder", "2026-01-08T00:00:00Z", None);
    }

    #[test]
    fn entitlements() {
        let look = |actor: &str, at: &str, privilege: Privilege, expected: &[&str]| {
            check(&access(actor, at), |facts| {
                assert_eq!((facts.privilege, facts.entitlements.as_slice()), (privilege, expected), "{actor} {at}");
            });
        };
        look("nurse", "2026-01-10T05:59:59Z", Privilege::None, &["chart"]);
        look("nurse", "2026-01-10T06:00:00Z", Privilege::Valid, &["admin", "chart"]);
        // A plain date as an end includes that day; entitlements have no site, so it is Chicago's.
        look("nurse", "2026-01-12T05:59:59Z", Privilege::Valid, &["admin", "chart"]);
        look("nurse", "2026-01-12T06:00:00Z", Privilege::Expired, &["chart"]);
        look("a1", "2026-01-12T06:00:00Z", Privilege::Valid, &["root"]);
        look("stranger", "2026-01-12T06:00:00Z", Privilege::None, &[]);
    }

    #[test]
    fn vendors() {
        type Seen<'a> = (Option<&'a str>, Option<Status>, Option<Agreement>, Option<Approval>, Option<bool>);
        let look = |draft: &Draft<'_>, expected: Seen<'_>| {
            check(draft, |f| {
                assert_eq!((f.vendor_id, f.vendor_status, f.baa, f.approval, f.in_window), expected, "{draft:?}");
            });
        };
        let (active, ended) = (Some(Status::Active), Some(Status::Ended));
        // Berlin is one hour ahead: the window of 8 to 18 is 7 to 17 in UTC, on a Monday.
        let mut draft = access("a1", "2026-01-05T07:00:00Z");
        look(&draft, (Some("v1"), active, Some(Agreement::Valid), Some(Approval::Missing), Some(true)));
        draft.time = Time::parse("2026-01-05T17:00:00Z").expect("a time");
        draft.approval_ref = Some("chg1".into());
        draft.target_host = Some("DB1".into());
        look(&draft, (Some("v1"), active, Some(Agreement::Valid), Some(Approval::Valid), Some(false)));
        draft.target_host = Some("db2".into());
        look(&draft, (Some("v1"), active, Some(Agreement::Valid), Some(Approval::OtherHost), Some(false)));
        draft.vendor_id = Some("v2".into());
        look(&draft, (Some("v2"), ended, Some(Agreement::Missing), Some(Approval::Unknown), Some(false)));
        // The agreement holds to the end of 31 January in the default zone.
        look(
            &access("a1", "2026-02-01T05:59:59Z"),
            (Some("v1"), active, Some(Agreement::Valid), Some(Approval::Missing), Some(false)),
        );
        look(
            &access("a1", "2026-02-02T07:00:00Z"),
            (Some("v1"), active, Some(Agreement::Expired), Some(Approval::Missing), Some(true)),
        );
        // A window across midnight, in the zone of the site where the vendor has none.
        let mut night = access("a3", "2026-01-06T13:59:00Z");
        night.site = Some("la".into());
        look(&night, (Some("v3"), active, Some(Agreement::NotYet), Some(Approval::Missing), Some(true)));
        night.time = Time::parse("2026-01-06T14:00:00Z").expect("a time");
        look(&night, (Some("v3"), active, Some(Agreement::NotYet), Some(Approval::Missing), Some(false)));
        // Staff need no approval; where they name one, it is judged.
        look(&access("nurse", "2026-01-06T12:00:00Z"), (None, None, None, None, None));
        let mut named = access("nurse", "2026-01-06T12:00:00Z");
        named.approval_ref = Some("chg9".into());
        look(&named, (None, None, None, Some(Approval::Unknown), None));
        let mut session =
            Draft::new("e", Time::parse("2026-01-06T12:00:00Z").expect("a time"), "vpn", Activity::SessionStart);
        session.vendor_id = Some("v7".into());
        look(&session, (Some("v7"), None, None, Some(Approval::Missing), None));
    }

    #[test]
    fn explanations() {
        let look = |actor: &str, patient: &str, at: &str, relations: &[&str], explained_by: Option<&str>| {
            let mut draft = access(actor, at);
            draft.patients = vec![patient.into()];
            check(&draft, |facts| {
                let found = &facts.patients[0];
                assert_eq!(
                    (found.relations.as_slice(), found.explained_by),
                    (relations, explained_by),
                    "{actor} {patient} {at}"
                );
                assert_eq!(facts.unexplained(), usize::from(explained_by.is_none()));
            });
        };
        let unit = Some("own_unit:encounter");
        look("nurse", "r1", "2026-01-02T23:59:59Z", &[], None);
        look("nurse", "r1", "2026-01-03T00:00:00Z", &["encounter"], unit);
        look("nurse", "r1", "2026-02-10T23:59:59Z", &["encounter"], unit);
        look("nurse", "r1", "2026-02-11T00:00:00Z", &[], None);
        look("coder", "r1", "2026-01-11T00:00:00Z", &[], None);
        // What happens at one time does not last.
        look("nurse", "r2", "2026-02-09T11:59:59Z", &["appointment"], Some("appointment"));
        look("nurse", "r2", "2026-02-09T12:00:00Z", &[], None);
        // Own before the unit, nearest first; what explains goes by kind.
        look("nurse", "r3", "2026-01-14T00:00:00Z", &["care_team", "order", "encounter"], Some("order"));
        look("nurse", "r3", "2026-01-18T00:00:00Z", &["order", "care_team", "encounter"], Some("order"));
        look("nurse", "r3", "2026-01-05T00:00:00Z", &["care_team", "encounter"], Some("care_team"));
        // Bills explain the work of coders, whoever wrote them; a study explains only those whom it names.
        look("coder", "r4", "2026-01-13T00:00:00Z", &[], Some("billing"));
        look("nurse", "r4", "2026-01-13T00:00:00Z", &[], None);
        look("nurse", "r5", "2026-06-01T00:00:00Z", &["research"], Some("research"));
        look("nurse", "r6", "2026-01-13T00:00:00Z", &[], None);
        look("nurse", "r7", "2026-01-13T00:00:00Z", &["message"], Some("message"));
        // Paper under a number that was merged belongs to the number that lives on, and the other way round.
        look("nurse", "p1", "2026-01-13T00:00:00Z", &["result"], Some("result"));
        look("nurse", "old", "2026-01-13T00:00:00Z", &["result"], Some("result"));
        look("", "r1", "2026-01-11T00:00:00Z", &[], None);
        look("nurse", "nowhere", "2026-01-11T00:00:00Z", &[], None);
        // An account that only relations know; the study goes on, the bill was a day ago.
        look("other", "r4", "2026-01-13T00:00:00Z", &["research", "billing"], Some("billing"));
    }

    #[test]
    fn encounters_and_deaths() {
        use crate::event::facts::Encounter;
        let look = |patient: &str, at: &str, encounter: Encounter, days: Option<i32>| {
            let mut draft = access("nurse", at);
            draft.patients = vec![patient.into()];
            check(&draft, |facts| {
                let found = &facts.patients[0];
                assert_eq!((found.encounter, found.days_deceased), (Some(encounter), days), "{patient} {at}");
            });
        };
        look("r1", "2026-01-09T23:59:59Z", Encounter::None, None);
        look("r1", "2026-01-10T00:00:00Z", Encounter::Open, None);
        look("r1", "2026-01-11T23:59:59Z", Encounter::Open, None);
        look("r1", "2026-01-12T00:00:00Z", Encounter::Closed, None);
        look("r1", "2027-01-12T00:00:00Z", Encounter::Closed, None);
        look("r2", "2026-01-20T00:00:00Z", Encounter::None, None);
        look("nowhere", "2026-01-20T00:00:00Z", Encounter::None, None);
        look("p1", "2026-01-15T05:59:59Z", Encounter::None, None);
        look("p1", "2026-01-15T06:00:00Z", Encounter::None, Some(0));
        look("p1", "2026-01-17T05:59:59Z", Encounter::None, Some(1));
        look("old", "2026-01-17T06:00:00Z", Encounter::None, Some(2));
    }

    #[test]
    fn claims_of_a_department_count_for_strangers() {
        let mut draft = access("stranger", "2026-01-13T00:00:00Z");
        draft.patients = vec!["r6".into(), "r4".into()];
        draft.actor_department = Some("er".into());
        draft.actor_role = Some("Patient Billing".into());
        check(&draft, |facts| {
            let explained: Vec<_> = facts.patients.iter().map(|patient| patient.explained_by).collect();
            assert_eq!(explained, [Some("own_unit:encounter"), Some("billing")]);
        });
    }

    #[test]
    fn marks() {
        let look = |actor: &str, patient: &str, at: &str, id: &str, expected: &[&str]| {
            let mut draft = access(actor, at);
            draft.patients = vec![patient.into()];
            check(&draft, |facts| {
                let found = &facts.patients[0];
                assert_eq!((found.patient_id, found.marks.as_slice()), (id, expected), "{actor} {patient} {at}");
            });
        };
        let day = "2026-01-20T12:00:00Z";
        look("nurse", "p1", "2026-01-15T05:59:59Z", "p1", &["vip", "restricted"]);
        look("nurse", "p1", "2026-01-15T06:00:00Z", "p1", &["vip", "restricted", "deceased"]);
        look("nurse", "old", day, "p1", &["vip", "restricted", "deceased", "merged"]);
        look("nurse", "p2", day, "p2", &["same_surname", "same_address", "contact"]);
        look("coder", "p2", day, "p2", &[]);
        look("nurse", "pn", day, "pn", &["own_chart"]);
        // Two accounts of one person have one chart.
        look("second", "pn", day, "pn", &["own_chart"]);
        look("coder", "pn", day, "pn", &["staff"]);
        look("gone", "pn", day, "pn", &["staff", "colleague"]);
        look("nurse", "pg", day, "pg", &["staff", "colleague"]);
        // The nurse's own record names p3.
        look("nurse", "p3", day, "p3", &["contact"]);
        look("", "pn", day, "pn", &["staff"]);
        look("nurse", "nowhere", day, "nowhere", &[]);
    }
}
