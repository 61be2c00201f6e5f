//! Cases for acceptance: refused rows and files, dumps without dates, what is stored.

use proptest::prelude::*;

use super::*;

/// The problems of a folder with this file in it, `!` for a refused row.
fn check_rows(name: &str, text: &str, expected: &[&str]) {
    let mut given = vec![("users.csv", "user_id\nu1\n"), SITES];
    given.retain(|(other, _)| *other != name);
    given.push((name, text));
    let loaded = first(&given);
    let told: Vec<String> = problems(&loaded).iter().map(|p| p.replace("; the row is refused", "!")).collect();
    assert_eq!(told, expected, "{text}");
    assert!(!format!("{loaded:?}").contains("Secret"), "nothing may quote a value");
}

const OVERLAP: &str = "overlaps an earlier row of the same key!";

#[test]
fn bad_rows_of_users() {
    check_rows(
        "users.csv",
        "user_id,name,status,kind,employment\n,Secret,,,\nu1,,Secret,,\nu2,,,robot,\nu3,,,,boss\nu4,,Active,HUMAN,Agency\n",
        &[
            "users.csv:2: `user_id` is empty!",
            "users.csv:3: `status` is not active, leave, disabled or terminated!",
            "users.csv:4: `kind` is neither human nor service!",
            "users.csv:5: `employment` is not employee, contractor, student or agency!",
        ],
    );
    check_rows(
        "users.csv",
        "user_id,valid_from,valid_to\nu1,2026-01-01,2026-01-31\nu1,2026-02-01,\nu1,2026-01-31,2026-02-01\nu1,,2025-12-31\n",
        &[&format!("users.csv:4: {OVERLAP}")],
    );
    check_rows(
        "users.csv",
        "user_id,valid_from,valid_to,hired_at\nu1,2026-02-01,2026-01-01,\nu2,,,01/02/2026\n",
        &[
            "users.csv:2: `valid_to` lies before `valid_from`!",
            "users.csv:3: `hired_at` is neither a date nor RFC 3339 with an offset!",
        ],
    );
    check_rows(
        "users.csv",
        "user_id,site\nu1,moon\nu2,moon\nu3,ny\n",
        &["users.csv:2: names a `site` that sites.csv lacks; it gets the default time zone"],
    );
}

#[test]
fn bad_rows_of_other_files() {
    check_rows(
        "vendors.csv",
        "vendor_id,status,timezone\nv1,gone,\nv2,,Mars/Olympus\nv3,Suspended,Europe/Berlin\n",
        &["vendors.csv:2: `status` is not active, suspended or ended!", "vendors.csv:3: `timezone` is no IANA name!"],
    );
    check_rows(
        "vendor_accounts.csv",
        "account_id,vendor_id,access_window\na1,,\na2,v1,always\na1,v1,Mon 08:00-09:00\n",
        &[
            "vendor_accounts.csv:2: `vendor_id` is empty!",
            "vendor_accounts.csv:3: `access_window` is not like `Mon-Fri 08:00-18:00`!",
        ],
    );
    check_rows(
        "patients.csv",
        "patient_id,vip,deceased_at\np1,maybe,\np2,TRUE,2026-99-01\np3,true,\np3,false,\n",
        &[
            "patients.csv:2: `vip` is neither true nor false!",
            "patients.csv:3: `deceased_at` is neither a date nor RFC 3339 with an offset!",
            &format!("patients.csv:5: {OVERLAP}"),
        ],
    );
    check_rows(
        "relations.csv",
        "patient_id,kind,user_id,department,start,end\np1,stay,u1,,,\np1,order,,,2026-01-01,\np1,order,u1,,,\np1,encounter,u1,,2026-01-02,2026-01-01T00:00:00Z\np1,care_team,u1,,,\n",
        &[
            "relations.csv:2: `kind` is not one of the nine kinds!",
            "relations.csv:3: has neither `user_id` nor `department`!",
            "relations.csv:4: has no date: only encounter, care_team and research may go without!",
            "relations.csv:5: `end` lies before `start`!",
        ],
    );
    check_rows(
        "shifts.csv",
        "user_id,start,end\nu1,2026-01-01,\nu1,,2026-01-01\n",
        &["shifts.csv:2: `end` is empty!", "shifts.csv:3: `start` is empty!"],
    );
    check_rows(
        "entitlements.csv",
        "user_id,entitlement,privileged\nu1,a,\nu1,b,true\nu1,a,true\nu1,,\n",
        &[&format!("entitlements.csv:4: {OVERLAP}"), "entitlements.csv:5: `entitlement` is empty!"],
    );
    check_rows(
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
        ["users.csv:3: `status` is not active, leave, disabled or terminated; the row is refused"]
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

/// An end is dated by the dump in which it is first seen; one that the first dump showed already has no date, however often it comes.
#[test]
fn ends_are_complained_of_until_a_comparison_dates_them() {
    const REST: &str = "with neither `terminated_at` nor `valid_from`; no alert can rest on it";
    let given = |users: &'static str, accounts: &'static str| [("users.csv", users), ("vendor_accounts.csv", accounts)];
    let check = |loaded: &Loaded, expected: &[&str]| {
        let expected: Vec<String> = expected.iter().map(|row| format!("{row} {REST}")).collect();
        assert_eq!(problems(loaded), expected);
    };
    let before = given(
        "user_id,role,status\nu1,a,active\nu2,b,disabled\nu3,c,disabled\n",
        "account_id,vendor_id,status\na1,v1,active\na2,v1,disabled\n",
    );
    let day1 = first(&before);
    let undated = ["users.csv:3: is disabled", "users.csv:4: is disabled", "vendor_accounts.csv:3: is disabled"];
    check(&day1, &undated);
    // Another order of rows: the line is that of the file, not that of what was accepted.
    let same = given(
        "user_id,role,status\nu3,c,disabled\nu2,b,disabled\nu1,a,active\n",
        "account_id,vendor_id,status\na2,v1,disabled\na1,v1,active\n",
    );
    let day2 = next(&day1, "2026-01-11T08:00:00Z", &same);
    check(&day2, &["users.csv:2: is disabled", "users.csv:3: is disabled", "vendor_accounts.csv:2: is disabled"]);
    // u1 and a1 end, and u3's row is another one: their rows have a beginning. u4 is new and comes ended.
    let ended = given(
        "user_id,role,status\nu1,a,terminated\nu2,b,disabled\nu3,z,disabled\nu4,d,terminated\n",
        "account_id,vendor_id,status\na1,v1,disabled\na2,v1,disabled\n",
    );
    let mut last = next(&day2, "2026-01-12T08:00:00Z", &ended);
    for at in ["2026-01-13T08:00:00Z", "2026-01-14T08:00:00Z"] {
        check(&last, &["users.csv:3: is disabled", "vendor_accounts.csv:3: is disabled"]);
        assert_eq!(shown(&last.roster, "u1", "2026-01-20"), "terminated@2026-01-12T08:00:00Z a");
        last = next(&last, at, &ended);
    }
    // A file that is refused whole is complained of as a whole.
    let shrunk = next(&last, "2026-01-15T08:00:00Z", &given("user_id,role,status\nu2,b,disabled\n", ended[1].1));
    assert_eq!(
        problems(&shrunk),
        [
            "users.csv: shrank from 4 to 1 usable rows; refused unless shrinking is allowed; the last good one stays"
                .to_owned(),
            format!("vendor_accounts.csv:3: is disabled {REST}"),
        ]
    );
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
    assert_eq!(back, *loaded.accepted);
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

proptest! {
    /// Whatever comes night after night, each night's dump is what holds from then to the next.
    #[test]
    fn every_dump_holds_in_its_time(dumps in prop::collection::vec(prop::collection::vec(prop::option::of(0..3_u8), 4), 1..6)) {
        let night = |index: usize| time("2026-01-10T08:00:00Z").plus(index as i64 * crate::event::time::DAY);
        let mut last: Option<Loaded> = None;
        for (index, dump) in dumps.iter().enumerate() {
            let mut text = "user_id,role\n".to_owned();
            for (user, role) in dump.iter().enumerate() {
                if let Some(role) = role {
                    text.push_str(&format!("u{user},r{role}\n"));
                }
            }
            let previous = last.as_ref().map(|last| &*last.accepted);
            let intake = Intake { previous, at: night(index), allow_shrink: true };
            last = Some(load(&files(&[("users.csv", &text)]), chicago(), &intake));
        }
        let Some(last) = last else { return Ok(()) };
        prop_assert_eq!(problems(&last), Vec::<String>::new());
        for (index, dump) in dumps.iter().enumerate() {
            for (user, role) in dump.iter().enumerate() {
                for at in [night(index), night(index + 1).plus(-1)] {
                    let found = last.roster.user(&format!("u{user}"), at).filter(|user| !user.outside_rows);
                    let expected = role.map(|role| format!("r{role}"));
                    prop_assert_eq!(found.and_then(|user| user.role), expected.as_deref());
                }
            }
        }
        round_trip(&last);
    }
}
