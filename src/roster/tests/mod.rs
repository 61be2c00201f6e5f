//! Cases for as-of look-up, as data; those for acceptance are in `intake`.

mod intake;

use super::*;
use crate::event::facts::{Approval, Status};
use crate::event::time::{Day, Time, Zone};

type Given<'a> = &'a [(&'a str, &'a str)];

fn files(given: Given<'_>) -> Vec<(String, Vec<u8>)> {
    given.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect()
}

fn chicago() -> Zone {
    Zone::get("America/Chicago").unwrap()
}

fn time(text: &str) -> Time {
    Time::parse(text).or_else(|| Day::parse(text).map(|day| chicago().midnight(day))).unwrap()
}

fn first(given: Given<'_>) -> Loaded {
    let intake = Intake { previous: None, at: time("2026-01-10T08:00:00Z"), allow_shrink: false };
    load(&files(given), chicago(), &intake)
}

fn next(previous: &Loaded, at: &str, given: Given<'_>) -> Loaded {
    let intake = Intake { previous: Some(&previous.accepted), at: time(at), allow_shrink: false };
    load(&files(given), chicago(), &intake)
}

fn roster(given: Given<'_>) -> Roster {
    let loaded = first(given);
    assert_eq!(loaded.problems, [], "these files are sound");
    loaded.roster
}

fn problems(loaded: &Loaded) -> Vec<String> {
    loaded.problems.iter().map(ToString::to_string).collect()
}

/// The accepted content of a file without its header.
fn accepted<'a>(loaded: &'a Loaded, name: &str) -> Vec<&'a str> {
    let file = loaded.accepted.files().iter().find(|(own, _)| own == name);
    file.map_or(Vec::new(), |(_, bytes)| std::str::from_utf8(bytes).unwrap().lines().skip(1).collect())
}

/// `status[@since] role outside`, as of a time.
fn shown(roster: &Roster, id: &str, at: &str) -> String {
    let Some(user) = roster.user(id, time(at)) else { return "nobody".into() };
    let since = user.ended.map_or(String::new(), |(_, since)| format!("@{since}"));
    let undated = if user.undated_end { "?" } else { "" };
    let outside = if user.outside_rows { " outside" } else { "" };
    format!("{}{undated}{since} {}{outside}", user.status.as_str(), user.role.unwrap_or("-"))
}

const SITES: (&str, &str) =
    ("sites.csv", "site,timezone,holidays\nny,America/New_York,2026-07-03;2026-12-25\nla,America/Los_Angeles,\n");

#[test]
fn rows_hold_at_their_own_time() {
    let roster = roster(&[
        SITES,
        (
            "users.csv",
            "user_id,role,site,valid_from,valid_to\nu1,clerk,ny,,2026-03-07\nu1,nurse,la,2026-03-08,2026-03-31\nu2,x,,2026-05-01,\n",
        ),
    ]);
    let check = |id: &str, at: &str, expected: &str| assert_eq!(shown(&roster, id, at), expected, "{id} at {at}");
    // A plain date as an end is the end of that day in New York, as a start the midnight in Los Angeles: three hours lie between.
    check("u1", "2026-03-08T04:59:59Z", "active clerk");
    check("u1", "2026-03-08T05:00:00Z", "active clerk outside");
    check("u1", "2026-03-08T08:00:00Z", "active nurse");
    // Daylight time began on 8 March: the end of the month is seven hours from UTC.
    check("u1", "2026-04-01T06:59:59Z", "active nurse");
    check("u1", "2026-04-01T07:00:00Z", "active nurse outside");
    check("u2", "2026-05-01T04:59:59Z", "active x outside");
    check("u2", "2026-05-01T05:00:00Z", "active x");
    check("u3", "2026-05-01T05:00:00Z", "nobody");
    check("U1", "2026-03-20", "nobody");
}

#[test]
fn ends_count_from_their_date() {
    let header = "user_id,role,status,valid_from,valid_to,hired_at,terminated_at\n";
    let check = |rows: &str, asked: &[(&str, &str)]| {
        let roster = first(&[("users.csv", &format!("{header}{rows}\n"))]).roster;
        for (at, expected) in asked {
            assert_eq!(shown(&roster, "u1", at), *expected, "{rows} at {at}");
        }
    };
    // Chicago is six hours behind in winter: the 15th ends on the 16th at 06:00 in UTC.
    check(
        "u1,r,terminated,,,,2026-01-15",
        &[("2026-01-16T05:59:59Z", "active r"), ("2026-01-16T06:00:00Z", "terminated@2026-01-16T06:00:00Z r")],
    );
    check(
        "u1,r,active,,,,2026-01-15T12:00:00Z",
        &[("2026-01-15T11:59:59Z", "active r"), ("2026-01-15T12:00:00Z", "terminated@2026-01-15T12:00:00Z r")],
    );
    check("u1,r,leave,,,,2026-01-15T12:00:00Z", &[("2026-01-15T11:59:59Z", "leave r")]);
    check(
        "u1,r,disabled,2026-01-15,,,",
        &[("2026-01-14", "active r outside"), ("2026-01-15", "disabled@2026-01-15T06:00:00Z r")],
    );
    check(
        "u1,r,disabled,2026-01-15,,,2026-01-20T00:00:00Z",
        &[("2026-01-19", "active r"), ("2026-01-20", "disabled@2026-01-20T00:00:00Z r")],
    );
    check("u1,r,terminated,,,,", &[("2026-01-15", "active? r")]);
    // Hired again: the old date of the end is stale. Where the row says terminated, it is not.
    check("u1,r,active,,,2026-02-01,2025-06-30", &[("2026-03-01", "active r")]);
    check("u1,r,active,,,2020-02-01,2025-06-30", &[("2026-03-01", "terminated@2025-07-01T05:00:00Z r")]);
    // A row that comes late speaks of the days before it.
    check(
        "u1,old,active,,2026-01-31,,\nu1,new,terminated,2026-02-01,,,2026-01-20",
        &[
            ("2026-01-20", "active old"),
            ("2026-01-21", "terminated@2026-01-21T06:00:00Z old"),
            ("2026-02-01", "terminated@2026-01-21T06:00:00Z new"),
        ],
    );
}

#[test]
fn ends_without_a_date_are_problems() {
    let loaded = first(&[
        ("users.csv", "user_id,status\nu1,terminated\nu2,disabled\nu3,active\n"),
        ("vendor_accounts.csv", "account_id,vendor_id,status\na1,v1,disabled\n"),
    ]);
    let rest = "with neither `terminated_at` nor `valid_from`; no alert can rest on it";
    assert_eq!(
        problems(&loaded),
        [
            format!("users.csv:2: is terminated {rest}"),
            format!("users.csv:3: is disabled {rest}"),
            format!("vendor_accounts.csv:2: is disabled {rest}"),
        ]
    );
    assert_eq!(loaded.roster.active_humans(time("2026-01-15")), 1);
}

#[test]
fn zones_and_holidays() {
    let roster = roster(&[SITES, ("users.csv", "user_id\nu1\n")]);
    let names: Vec<&str> = roster.zones().iter().map(Zone::name).collect();
    assert_eq!(names, ["America/Chicago", "America/Los_Angeles", "America/New_York"]);
    for (site, zone) in [(Some("ny"), "America/New_York"), (Some("moon"), "America/Chicago"), (None, "America/Chicago")]
    {
        assert_eq!(roster.zone(site).name(), zone);
    }
    let holiday = |site, day: &str| roster.holiday(site, Day::parse(day).unwrap());
    assert_eq!(
        [holiday(Some("ny"), "2026-12-25"), holiday(Some("la"), "2026-12-25"), holiday(None, "2026-12-25")],
        [true, false, false]
    );
}

#[test]
fn merges_are_followed() {
    let loaded = first(&[
        ("users.csv", "user_id,patient_id\nu1,p1\n"),
        (
            "patients.csv",
            "patient_id,surname,merged_into\np1,Old,p2\np2,Mid,p3\np3,New,\nc1,,c2\nc2,,c1\nc0,,c1\ns,,s\nq,Kept,gone\n",
        ),
    ]);
    assert_eq!(problems(&loaded).len(), 1, "{:?}", problems(&loaded));
    assert!(problems(&loaded)[0].contains("in a circle"));
    let roster = &loaded.roster;
    for (from, to) in [
        ("p1", "p3"),
        ("p2", "p3"),
        ("p3", "p3"),
        ("c1", "c1"),
        ("c2", "c2"),
        ("c0", "c0"),
        ("s", "s"),
        ("x", "x"),
        ("q", "gone"),
    ] {
        assert_eq!(roster.canonical(from), to);
    }
    let patient = roster.patient("p1", time("2026-01-01")).unwrap();
    assert_eq!((patient.id, patient.surname), ("p3", Some("New")));
    assert_eq!(roster.patient("q", time("2026-01-01")).unwrap().surname, Some("Kept"));
}

#[test]
fn accounts_vendors_shifts_and_approvals() {
    let roster = roster(&[
        (
            "users.csv",
            "user_id,kind,status,valid_from,terminated_at\nu1,human,active,,\nu2,human,leave,,\nu3,service,active,,\nu4,human,terminated,,2026-01-10\nu5,human,active,2026-02-01,\n",
        ),
        (
            "vendors.csv",
            "vendor_id,name,status,baa_signed_at,baa_expires_at,timezone,sla\nv1,Acme,active,2025-01-01,2026-01-31,Europe/Berlin,gold\n",
        ),
        (
            "vendor_accounts.csv",
            "account_id,vendor_id,person,status,terminated_at,access_window\na1,v1,Kim,disabled,2026-01-10,Mon-Fri 08:00-18:00\na0,v9,,active,,\n",
        ),
        (
            "shifts.csv",
            "user_id,start,end\nu1,2026-01-03T07:00:00Z,2026-01-03T19:00:00Z\nu1,2026-01-01T07:00:00Z,2026-01-01T19:00:00Z\n",
        ),
        (
            "approvals.csv",
            "approval_ref,vendor_id,start,end,target_host\nc1,v1,2026-01-01,2026-01-02,DB1\nc1,v1,2026-01-05,2026-01-05,\nc2,,,,\n",
        ),
    ]);
    for (at, expected) in [("2026-01-10", 3), ("2026-01-11", 2), ("2026-02-01", 3)] {
        assert_eq!(roster.active_humans(time(at)), expected, "{at}");
    }
    assert_eq!(roster.user_ids().collect::<Vec<_>>(), ["u1", "u2", "u3", "u4", "u5"]);
    assert_eq!(roster.vendor_account_ids().collect::<Vec<_>>(), ["a0", "a1"]);
    assert_eq!(roster.vendor_ids().collect::<Vec<_>>(), ["v1"]);
    let account = roster.vendor_account("a1", time("2026-01-11")).unwrap();
    assert_eq!((account.vendor_id, account.person, account.status), ("v1", Some("Kim"), Status::Disabled));
    assert_eq!(roster.vendor_account("a1", time("2026-01-10")).unwrap().status, Status::Active);
    let vendor = roster.vendor("v1", time("2026-01-01")).unwrap();
    assert_eq!(vendor.zone.map(Zone::name), Some("Europe/Berlin"));
    assert_eq!(vendor.extra("sla"), Some("gold"));
    assert_eq!(vendor.baa_expires, Some(time("2026-02-01")));
    assert!(roster.vendor("v9", time("2026-01-01")).is_none());
    assert!(roster.has_shifts());
    let starts: Vec<Time> = roster.shifts("u1").iter().map(|(start, _)| *start).collect();
    assert_eq!(starts, [time("2026-01-01T07:00:00Z"), time("2026-01-03T07:00:00Z")]);
    let check = |approval: &str, vendor: Option<&str>, host: Option<&str>, at: &str, expected: Approval| {
        assert_eq!(roster.approval(approval, vendor, host, time(at)), expected, "{approval} {vendor:?} {host:?} {at}");
    };
    check("c1", Some("v1"), Some("db1"), "2026-01-02T23:00:00Z", Approval::Valid);
    check("c1", Some("v1"), Some("db2"), "2026-01-02T23:00:00Z", Approval::OtherHost);
    check("c1", Some("v1"), None, "2026-01-02", Approval::Valid);
    check("c1", Some("v1"), Some("db1"), "2026-01-03", Approval::OutOfTime);
    check("c1", Some("v1"), Some("db2"), "2026-01-05", Approval::Valid);
    check("c1", Some("v2"), Some("db1"), "2026-01-02", Approval::Unknown);
    check("c1", None, Some("db1"), "2026-01-02", Approval::Unknown);
    check("c2", None, Some("db1"), "2020-01-02", Approval::Valid);
    check("c3", Some("v1"), None, "2026-01-02", Approval::Unknown);
}
