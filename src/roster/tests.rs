//! Cases for acceptance and as-of look-up, as data.

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
fn bad_rows_are_refused_with_their_line() {
    let check = |name: &str, text: &str, expected: &[&str]| {
        let mut given = vec![("users.csv", "user_id\nu1\n"), SITES];
        given.retain(|(other, _)| *other != name);
        given.push((name, text));
        let loaded = first(&given);
        let told: Vec<String> = problems(&loaded).iter().map(|p| p.replace("; the row is refused", "!")).collect();
        assert_eq!(told, expected, "{text}");
        assert!(!format!("{loaded:?}").contains("Secret"), "nothing may quote a value");
    };
    let overlap = "overlaps an earlier row of the same key!";
    check(
        "users.csv",
        "user_id,name,status,kind,employment\n,Secret,,,\nu1,,Secret,,\nu2,,,robot,\nu3,,,,boss\nu4,,Active,HUMAN,Agency\n",
        &[
            "users.csv:2: `user_id` is empty!",
            "users.csv:3: `status` is not active, leave, disabled or terminated!",
            "users.csv:4: `kind` is neither human nor service!",
            "users.csv:5: `employment` is not employee, contractor, student or agency!",
        ],
    );
    check(
        "users.csv",
        "user_id,valid_from,valid_to\nu1,2026-01-01,2026-01-31\nu1,2026-02-01,\nu1,2026-01-31,2026-02-01\nu1,,2025-12-31\n",
        &[&format!("users.csv:4: {overlap}")],
    );
    check(
        "users.csv",
        "user_id,valid_from,valid_to,hired_at\nu1,2026-02-01,2026-01-01,\nu2,,,01/02/2026\n",
        &[
            "users.csv:2: `valid_to` lies before `valid_from`!",
            "users.csv:3: `hired_at` is neither a date nor RFC 3339 with an offset!",
        ],
    );
    check(
        "users.csv",
        "user_id,site\nu1,moon\nu2,moon\nu3,ny\n",
        &["users.csv:2: names a `site` that sites.csv lacks; it gets the default time zone"],
    );
    check(
        "vendors.csv",
        "vendor_id,status,timezone\nv1,gone,\nv2,,Mars/Olympus\nv3,Suspended,Europe/Berlin\n",
        &["vendors.csv:2: `status` is not active, suspended or ended!", "vendors.csv:3: `timezone` is no IANA name!"],
    );
    check(
        "vendor_accounts.csv",
        "account_id,vendor_id,access_window\na1,,\na2,v1,always\na1,v1,Mon 08:00-09:00\n",
        &[
            "vendor_accounts.csv:2: `vendor_id` is empty!",
            "vendor_accounts.csv:3: `access_window` is not like `Mon-Fri 08:00-18:00`!",
        ],
    );
    check(
        "patients.csv",
        "patient_id,vip,deceased_at\np1,maybe,\np2,TRUE,2026-99-01\np3,true,\np3,false,\n",
        &[
            "patients.csv:2: `vip` is neither true nor false!",
            "patients.csv:3: `deceased_at` is neither a date nor RFC 3339 with an offset!",
            &format!("patients.csv:5: {overlap}"),
        ],
    );
    check(
        "relations.csv",
        "patient_id,kind,user_id,department,start,end\np1,stay,u1,,,\np1,order,,,2026-01-01,\np1,order,u1,,,\np1,encounter,u1,,2026-01-02,2026-01-01T00:00:00Z\np1,care_team,u1,,,\n",
        &[
            "relations.csv:2: `kind` is not one of the nine kinds!",
            "relations.csv:3: has neither `user_id` nor `department`!",
            "relations.csv:4: has no date: only encounter, care_team and research may go without!",
            "relations.csv:5: `end` lies before `start`!",
        ],
    );
    check(
        "shifts.csv",
        "user_id,start,end\nu1,2026-01-01,\nu1,,2026-01-01\n",
        &["shifts.csv:2: `end` is empty!", "shifts.csv:3: `start` is empty!"],
    );
    check(
        "entitlements.csv",
        "user_id,entitlement,privileged\nu1,a,\nu1,b,true\nu1,a,true\nu1,,\n",
        &[&format!("entitlements.csv:4: {overlap}"), "entitlements.csv:5: `entitlement` is empty!"],
    );
    check(
        "sites.csv",
        "site,timezone,holidays\nx,Nowhere,\nny,America/New_York,Xmas\nny,,\nny,,\n",
        &[
            "sites.csv:2: `timezone` is no IANA name!",
            "sites.csv:3: `holidays` are dates (YYYY-MM-DD) with `;` between!",
            "sites.csv:5: names a `site` for the second time!",
        ],
    );
}

#[test]
fn refused_rows_are_counted() {
    let mut text = "user_id,status\n".to_owned();
    (0..80).for_each(|_| text.push_str("u1,odd\n"));
    text.push_str("u2,active\n");
    let loaded = first(&[("users.csv", &text)]);
    assert_eq!(loaded.counts, [FileCount { file: "users.csv".into(), rows: 81, refused: 80, kept_previous: false }]);
    assert_eq!(loaded.problems.len(), 51);
    assert_eq!(problems(&loaded)[0], "users.csv: 30 more rows like those above; the row is refused");
}

#[test]
fn a_bad_file_is_refused_whole_and_the_last_one_stays() {
    let good = first(&[
        ("users.csv", "user_id,role\nu1,a\nu2,b\nu3,c\nu4,d\n"),
        ("patients.csv", "patient_id,vip\np1,true\np2,false\n"),
    ]);
    let patients = ("patients.csv", "patient_id,vip\np1,true\np2,false\n");
    let check = |given: Given<'_>, expected: &str| {
        let loaded = next(&good, "2026-02-01T00:00:00Z", given);
        assert_eq!(problems(&loaded), [expected], "{given:?}");
        assert_eq!(shown(&loaded.roster, "u4", "2026-02-02"), "active d");
        assert_eq!(loaded.accepted, good.accepted, "{given:?}");
        assert_eq!(loaded.roster.hash(), good.roster.hash());
    };
    let stays = "the last good one stays";
    check(
        &[("users.csv", "user_id,role\nu1,z\nu2,b\nu3"), patients],
        &format!("users.csv:4: ends inside a row: the file is half-written; {stays}"),
    );
    check(&[("users.csv", "id,role\nu1,z\n"), patients], &format!("users.csv:1: lacks the column `user_id`; {stays}"));
    check(
        &[("users.csv", "user_id,role\nu1,z\n"), patients],
        &format!("users.csv: shrank from 4 to 1 usable rows; refused unless shrinking is allowed; {stays}"),
    );
    check(
        &[("users.csv", ""), patients],
        &format!("users.csv: is empty; a header line is the least it needs; {stays}"),
    );
    check(&[patients], &format!("users.csv: is gone; {stays}"));
    check(&[("users.csv", "user_id,role\nu1,a\nu2,b\nu3,c\nu4,d\n")], &format!("patients.csv: is gone; {stays}"));

    let intake = Intake { previous: Some(&good.accepted), at: time("2026-02-01"), allow_shrink: true };
    let shrunk = load(&files(&[("users.csv", "user_id,role\nu1,a\n")]), chicago(), &intake);
    assert_eq!(problems(&shrunk), [] as [&str; 0]);
    assert_eq!(shown(&shrunk.roster, "u4", "2026-02-02"), "active d outside");
    assert!(shrunk.roster.patient("p1", time("2026-02-02")).is_none());

    let none =
        first(&[("user.csv", "user_id\nu1\n"), ("sites.jsonl", ""), ("sites.csv", "site\n"), ("readme.txt", "")]);
    assert_eq!(
        problems(&none),
        [
            "sites.jsonl: lies beside a CSV file of the same name and was not read",
            "user.csv: is none of the roster files and was not read",
            "users.csv: is missing; it is the one file that every folder needs",
        ]
    );
    assert!(none.roster.is_empty() && Roster::empty(chicago()).is_empty());
}

#[test]
fn dumps_without_dates_become_dated() {
    let day1 = first(&[(
        "users.csv",
        "user_id,role,status,account_created_at,badge\nu1,clerk,active,,7\nu2,nurse,active,,\nu3,porter,active,,\n",
    )]);
    assert_eq!(shown(&day1.roster, "u1", "2001-01-01"), "active clerk", "the first load is open on both sides");
    assert_eq!(day1.roster.user("u1", time("2001-01-01")).and_then(|user| user.extra("badge")), Some("7"));

    let same = next(
        &day1,
        "2026-01-11T08:00:00Z",
        &[(
            "users.csv",
            "badge,user_id,role,status,account_created_at\n,u3,porter,active,\n,u2,nurse,active,\n7,u1,clerk,active,\n",
        )],
    );
    assert_eq!(same.accepted, day1.accepted, "the same content in another order changes nothing");

    // u1 is terminated without a date, u2 has vanished, u3's row cannot be read, u4 and u5 are new.
    let day2 = next(
        &same,
        "2026-01-12T08:00:00Z",
        &[(
            "users.csv",
            "user_id,role,status,account_created_at,badge\nu1,clerk,terminated,,7\nu3,porter,gone,,\nu4,coder,active,2026-01-11,\nu5,guard,active,,\n",
        )],
    );
    assert_eq!(
        problems(&day2),
        [
            "users.csv:2: is terminated with neither `terminated_at` nor `valid_from`; no alert can rest on it",
            "users.csv:3: `status` is not active, leave, disabled or terminated; the row is refused",
        ]
    );
    let check = |loaded: &Loaded, id: &str, at: &str, expected: &str| {
        assert_eq!(shown(&loaded.roster, id, at), expected, "{id} at {at}");
    };
    check(&day2, "u1", "2026-01-12T07:59:59Z", "active clerk");
    check(&day2, "u1", "2026-01-12T08:00:00Z", "terminated@2026-01-12T08:00:00Z clerk");
    check(&day2, "u2", "2026-01-12T07:59:59Z", "active nurse");
    check(&day2, "u2", "2026-01-12T08:00:00Z", "active nurse outside");
    check(&day2, "u3", "2026-01-13", "active porter");
    check(&day2, "u4", "2026-01-11T06:00:00Z", "active coder");
    check(&day2, "u4", "2026-01-11T05:59:59Z", "active coder outside");
    check(&day2, "u5", "2026-01-12T08:00:00Z", "active guard");
    let early = day2.roster.user("u5", time("2026-01-12T07:00:00Z")).unwrap();
    assert!(early.outside_rows && early.seen_later, "nobody knows whether u5 was there before it was seen");

    // u1 moves while terminated, u2 comes back.
    let day3 = next(
        &day2,
        "2026-01-13T08:00:00Z",
        &[(
            "users.csv",
            "user_id,role,status,account_created_at,badge\nu1,none,terminated,,7\nu2,nurse,active,,\nu3,porter,active,,\nu4,coder,active,2026-01-11,\nu5,guard,active,,\n",
        )],
    );
    check(&day3, "u1", "2026-01-14", "terminated@2026-01-12T08:00:00Z none");
    check(&day3, "u2", "2026-01-13T07:00:00Z", "active nurse outside");
    check(&day3, "u2", "2026-01-13T08:00:00Z", "active nurse");
    check(&day3, "u2", "2026-01-01", "active nurse");
    assert_eq!(accepted(&day3, "users.csv").len(), 8);
    round_trip(&day3);
}

#[test]
fn listed_dumps_go_by_their_own_dates() {
    let header = "patient_id,kind,user_id,start,end\n";
    let users = ("users.csv", "user_id\nu1\nu2\n");
    let one = format!(
        "{header}p1,appointment,u1,2026-01-05,\np2,care_team,u1,,\np3,encounter,u1,2026-01-08,\np4,appointment,u1,2026-02-20,\n"
    );
    let day1 = first(&[users, ("relations.csv", &one)]);
    let two = format!("{header}p1,appointment,u1,2026-01-05,\np5,care_team,u2,,\np6,order,u2,2026-01-10,\n");
    let day2 = next(&day1, "2026-01-11T08:00:00Z", &[users, ("relations.csv", &two)]);
    let at = "2026-01-11T08:00:00Z";
    assert_eq!(
        accepted(&day2, "relations.csv"),
        [
            "p1,appointment,u1,,2026-01-05,,,,",
            &format!("p2,care_team,u1,,,,,{at},"),
            &format!("p3,encounter,u1,,2026-01-08,,,{at},"),
            // p4 was called off before it took place.
            &format!("p5,care_team,u2,,,,{at},,{at}"),
            "p6,order,u2,,2026-01-10,,,,",
        ]
    );
    // 45 days later nothing can ask for what has ended.
    let day3 = next(&day2, "2026-03-05T08:00:00Z", &[users, ("relations.csv", &two)]);
    assert_eq!(accepted(&day3, "relations.csv").len(), 3);
    round_trip(&day3);
}

fn round_trip(loaded: &Loaded) {
    let bytes = loaded.accepted.to_bytes();
    let back = Accepted::from_bytes(&bytes).unwrap();
    assert_eq!(back, loaded.accepted);
    let intake = Intake { previous: None, at: time("2026-09-01"), allow_shrink: false };
    let again = load(back.files(), chicago(), &intake);
    assert_eq!(again.accepted, loaded.accepted, "what was accepted is accepted as it is");
    assert_eq!(Roster::from_accepted(&back, chicago()).hash(), loaded.roster.hash());
    assert_eq!(Accepted::from_bytes(&bytes[..bytes.len() - 1]), None);
}

#[test]
fn the_hash_is_of_the_content() {
    let of = |text: &str| first(&[("users.csv", text)]).roster.hash().to_owned();
    let base = of("user_id,role\nu1,a\nu2,b\n");
    assert_eq!(base.len(), 32);
    assert_eq!(of("\u{FEFF}Role,User_ID\r\nb,u2\r\na,u1\r\n"), base);
    assert_ne!(of("user_id,role\nu1,a\nu2,c\n"), base);
    assert_ne!(of("user_id,role\nu1,a\n"), base);
    let json = first(&[("users.jsonl", "{\"user_id\":\"u2\",\"role\":\"b\"}\n{\"role\":\"a\",\"user_id\":\"u1\"}\n")]);
    assert_eq!(json.roster.hash(), base);
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
