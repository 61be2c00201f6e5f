//! A small town in which everything that can be awkward is: two zones and the night of 23 hours, people with two homes, accounts that
//! come and go in mid-week, merged and circular record numbers, shared requests, repeats, conflicts, and times that lie.

use serde_json::{Value, json};

use super::super::dice::Dice;
use super::judged::World;
use crate::event::time::{DAY, HOUR, MINUTE, SECOND};
use crate::event::{Time, Zone};

const USERS: &str = "user_id,name,role,department,site,status,kind,account_created_at,hired_at,terminated_at,employment,patient_id,address_key,person_id,valid_from,valid_to
u1,Ann Berg,nurse,ICU,east,active,human,2025-01-01,,,employee,p1,adr1,person1,,
u2,Ben Holt,nurse,ICU,east,active,human,,,,agency,,adr2,person2,,2026-03-07T17:30:00Z
u2,Ben Holt,clerk,ER,west,active,human,,,,employee,,adr2,person2,2026-03-07T17:30:00Z,
u3,Cem Roe,clerk,ER,west,active,human,2024-05-05,,,,m1,,,,2026-03-07T15:00:00Z
u3,Cem Roe,clerk,ER,west,terminated,human,2024-05-05,,2026-03-07T15:00:00Z,,m1,,,2026-03-07T15:00:00Z,
u4,Dan Poe,clerk,,east,active,human,,,,,,,,,2026-03-06
u4,Dan Poe,clerk,,east,disabled,human,,,,,,,,2026-03-07,2026-03-08
u4,Dan Poe,clerk,,east,active,human,,,,,,,,2026-03-09,
u5,Eva Lind,coder,Coding,west,active,human,2026-03-07,2026-03-08,,,p4,adr4,,,
u6,Fay Berg,nurse,icu,east,active,human,,,,,,,,,2026-03-06T12:00:00Z
u6,Fay Berg,nurse,icu,east,leave,human,,,,,,,,2026-03-06T12:00:00Z,2026-03-08T10:00:00Z
u6,Fay Berg,nurse,ICU,east,active,human,,,,,,,,2026-03-08T10:00:00Z,
u7,Gil Moe,biller,Billing,east,active,human,,,,,,,,,2026-03-05T20:00:00Z
u7,Gil Moe,biller,Billing,east,active,human,,,,,,,,2026-03-08T20:00:00Z,
u8,Hal Zoe,nurse,,,active,human,,,,,,,,,
u9,Ann Berg,nurse,ER,west,active,human,,,,,,,person1,,
u10,Ida Lone,nurse,ER,lone,active,human,,,,,,,,,
u11,Jim Soon,nurse,ER,west,terminated,human,,,2026-03-08,,,,,2026-03-01,
u12,Kim Late,nurse,ER,west,active,human,,,2026-03-06T10:00:00Z,,,,,,
svc,Engine,service,Technology,east,active,service,,,,,,,,,
both,Lou Both,analyst,Technology,east,active,human,,,,,,,,,
";
const SITES: &str = "site,timezone,holidays
east,America/New_York,2026-03-06;2026-03-09
west,America/Los_Angeles,
";
const VENDORS: &str = "vendor_id,name,status,baa_signed_at,baa_expires_at,timezone
v1,One,active,2025-01-01,2026-03-07,Europe/Berlin
v2,Two,ended,,,
v3,Three,active,2026-03-08,,
v4,Four,suspended,2025-01-01,,Asia/Kolkata
";
const ACCOUNTS: &str = "account_id,vendor_id,person,status,account_created_at,terminated_at,access_window
a1,v1,kim,active,2025-06-01,,Mon-Fri 08:00-18:00;Sat 09:00-12:00
a2,v2,,active,,,
a3,v3,lee,active,2026-03-06,2026-03-08T12:00:00Z,22:00-06:00
a4,v4,,active,,,Fri-Mon 20:00-04:00
a5,v1,,disabled,,2026-03-07,
both,v1,sam,active,,,
";
const PATIENTS: &str = "patient_id,surname,address_key,vip,restricted,deceased_at,contacts,merged_into
p1,Berg,adr1,true,false,,,
p2,Holt,adr2,false,true,2026-03-07T12:00:00Z,u1;p4,
p3,Roe,,false,false,2026-03-06,u4,
p4,Lind,adr4,,,,p5,
p5,BERG,adr1,,,,,
p6,Moe,,,,,,
m1,Roe,,,,,,p3
m2,Roe,,,,,,m1
c1,Ring,,,,,,c2
c2,Ring,,,,,,c1
";
const APPROVALS: &str = "approval_ref,vendor_id,start,end,target_host,approved_by
chg1,v1,2026-03-05T08:00:00Z,2026-03-07T08:00:00Z,db1,u1
chg2,,2026-03-06,2026-03-06,,u1
chg3,v3,,,DB2,u1
";
const ENTITLEMENTS: &str = "user_id,entitlement,privileged,granted_at,granted_by,expires_at
u1,chart,false,,,
u1,admin,true,2026-03-06,u2,2026-03-07
u2,chart,false,2026-03-07T00:00:00Z,,
a1,root,true,,,2026-03-08
";

const PEOPLE: [&str; 23] = [
    "u1", "u2", "u3", "u4", "u5", "u6", "u7", "u8", "u9", "u10", "u11", "u12", "svc", "both", "a1", "a2", "a3", "a4",
    "a5", "ghost", "phantom", "", "-",
];
const CHARTS: [&str; 12] = ["p1", "p2", "p3", "p4", "p5", "p6", "m1", "m2", "c1", "c2", "x1", "r1"];
const KINDS: [&str; 9] =
    ["encounter", "appointment", "order", "result", "care_team", "referral", "message", "billing", "research"];
/// 2026-03-05T06:00:00Z; the clocks go forward on the 8th.
const BEGIN: i64 = 1_772_690_400 * SECOND;
const LENGTH: i64 = 6 * DAY;

/// The town of a seed.
pub fn town(seed: u64) -> World {
    let mut dice = Dice::new(seed, "awkward", &[]);
    let rosters = [
        ("users.csv", USERS.to_owned()),
        ("sites.csv", SITES.to_owned()),
        ("vendors.csv", VENDORS.to_owned()),
        ("vendor_accounts.csv", ACCOUNTS.to_owned()),
        ("patients.csv", PATIENTS.to_owned()),
        ("approvals.csv", APPROVALS.to_owned()),
        ("entitlements.csv", ENTITLEMENTS.to_owned()),
        ("relations.csv", relations(&mut dice)),
        ("shifts.csv", shifts(&mut dice)),
    ];
    let rosters = rosters.into_iter().map(|(name, text)| (name.to_owned(), text.into_bytes())).collect();
    let mut records: Vec<(i64, Value)> = (0..350).map(|number| record(number, &mut dice)).collect();
    burst(&mut records, &mut dice);
    let lines = sent(records, &mut dice);
    World { rosters, lines, zone: Zone::get("America/Chicago").unwrap() }
}

fn relations(dice: &mut Dice) -> String {
    let mut text = "patient_id,kind,user_id,department,start,end\n".to_owned();
    for _ in 0..70 {
        let (kind, chart) = (*dice.pick(&KINDS), *dice.pick(&CHARTS));
        let (user, department) = match dice.below(3) {
            0 => (*dice.pick(&PEOPLE[..20]), ""),
            1 => ("", *dice.pick(&["ICU", "icu", "ER", "Billing", "Surgery"])),
            _ => (*dice.pick(&PEOPLE[..20]), *dice.pick(&["ICU", "er"])),
        };
        let start = BEGIN + dice.between(-45 * DAY, LENGTH + 10 * DAY);
        let end = start + dice.between(0, 9 * DAY);
        let end = if dice.chance(0.25) { String::new() } else { when(end, dice) };
        text += &format!("{chart},{kind},{user},{department},{},{end}\n", Time(start / SECOND * SECOND));
    }
    text
}

/// A date where that keeps it after its start, else an instant.
fn when(time: i64, dice: &mut Dice) -> String {
    let instant = Time(time / SECOND * SECOND).to_string();
    if dice.chance(0.3) { instant[..10].to_owned() } else { instant }
}

fn shifts(dice: &mut Dice) -> String {
    let mut text = "user_id,start,end\n".to_owned();
    for user in ["u1", "u2", "u6", "u9"] {
        for _ in 0..dice.below(5) {
            let start = BEGIN + dice.between(-16 * DAY, LENGTH);
            text += &format!("{user},{},{}\n", Time(start), Time(start + dice.between(4 * HOUR, 13 * HOUR)));
        }
    }
    text
}

/// A moment: often just before or after four o'clock in one of the zones, or when the clocks change.
fn moment(dice: &mut Dice) -> i64 {
    if dice.chance(0.5) {
        return BEGIN + dice.between(0, LENGTH);
    }
    let hour = *dice.pick(&[8, 9, 10, 11, 12]);
    let midnight = (BEGIN + dice.between(0, LENGTH)) / DAY * DAY;
    (midnight + hour * HOUR + dice.between(-3 * SECOND, 3 * SECOND)).max(BEGIN)
}

fn record(number: usize, dice: &mut Dice) -> (i64, Value) {
    const ACTIVITIES: [&str; 20] = [
        "read",
        "search",
        "create",
        "update",
        "delete",
        "print",
        "export",
        "import",
        "login",
        "login_failed",
        "logout",
        "break_glass",
        "permission_change",
        "admin",
        "other",
        "session_start",
        "session_end",
        "command",
        "file_transfer",
        "credential_checkout",
    ];
    let time = moment(dice);
    let actor = *dice.pick(&PEOPLE);
    let session = actor.starts_with('a') || (actor == "both" && dice.chance(0.5));
    let activity = if session && dice.chance(0.7) { 15 + dice.below(5) } else { dice.below(15) };
    let patients: Vec<&str> = (0..dice.below(4)).map(|_| *dice.pick(&CHARTS)).collect();
    let mut line = json!({
        "event_id": format!("e{number:04}"),
        "time": Time(time).to_string(),
        "source": if activity >= 15 { "vpn" } else { *dice.pick(&["ehr", "pacs"]) },
        "actor": {"id": if actor == "-" { Value::Null } else { actor.into() }},
        "activity": ACTIVITIES[activity],
        "patients": patients,
    });
    some(&mut line, "/site", 0.8, json!(*dice.pick(&["east", "west", "lone"])), dice);
    some(&mut line, "/recorded", 0.7, json!(Time(time + dice.between(-9 * MINUTE, 2 * HOUR)).to_string()), dice);
    some(&mut line, "/recorded", 0.03, json!(Time(time - dice.between(11 * MINUTE, DAY)).to_string()), dice);
    some(&mut line, "/outcome", 0.6, json!(*dice.pick(&["success", "failure", "denied", "unknown"])), dice);
    some(&mut line, "/result_count", 0.3, json!(dice.between(-2, 40)), dice);
    some(&mut line, "/correlation_id", 0.4, json!(format!("c{}", dice.below(12))), dice);
    some(&mut line, "/approval_ref", 0.4, json!(*dice.pick(&["chg1", "chg2", "chg3", "none"])), dice);
    if activity >= 15 {
        some(&mut line, "/vendor_id", 0.3, json!(*dice.pick(&["v1", "v2", "v3", "v9"])), dice);
        some(&mut line, "/target", 0.5, json!({"host": *dice.pick(&["db1", "DB1", "db2"]), "account": "root"}), dice);
        some(&mut line, "/detail", 0.5, json!({"files": dice.between(0, 30), "bytes": 4_096}), dice);
    } else {
        some(&mut line, "/resource", 0.6, json!({"type": "Patient", "id": format!("{}", dice.below(3))}), dice);
    }
    if dice.chance(0.2) {
        line["actor"]["kind"] = json!(*dice.pick(&["human", "service", "device", "patient", "unknown"]));
    }
    if dice.chance(0.2) {
        line["actor"]["role"] = json!(*dice.pick(&["coder", "nurse"]));
        line["actor"]["department"] = json!(*dice.pick(&["ER", "icu", "Billing"]));
    }
    (time, line)
}

fn some(line: &mut Value, field: &str, p: f64, value: Value, dice: &mut Dice) {
    if dice.chance(p) {
        line[&field[1..]] = value;
    }
}

/// Somebody opens, or takes away, hundreds of records within hours; some requests are reported by several records.
fn burst(records: &mut Vec<(i64, Value)>, dice: &mut Dice) {
    for turn in 0..4 {
        let (actor, begin) = (*dice.pick(&["u1", "u2", "u8", "ghost", "a1"]), moment(dice));
        for number in 0..400 {
            let time = begin + dice.between(0, 3 * HOUR);
            let activity =
                [["read", "update"], ["export", "print"], ["read", "search"], ["read", "read"]][turn][number % 2];
            let patients: &[String] = &[format!("q{}", dice.below(300)), format!("q{}", dice.below(300))];
            let shared = dice.chance(0.3).then(|| format!("b{}", dice.below(60)));
            records.push((time, json!({
                "event_id": format!("b{turn}-{number:03}"), "time": Time(time).to_string(), "source": "ehr",
                "site": if number % 5 == 0 { "west" } else { "east" }, "actor": {"id": actor}, "activity": activity,
                "patients": if turn == 2 { &patients[..0] } else { patients }, "outcome": "success",
                "correlation_id": shared, "result_count": if turn == 1 { json!(dice.below(4)) } else { Value::Null },
            })));
        }
    }
}

/// The lines in the order in which they arrive, with repeats, conflicts, late ones, broken ones, and one from a clock that is wrong.
fn sent(mut records: Vec<(i64, Value)>, dice: &mut Dice) -> Vec<Vec<u8>> {
    let mut arriving: Vec<(i64, Vec<u8>)> = Vec::new();
    records.sort_by_key(|(time, _)| *time);
    for (time, mut line) in records {
        let late = match dice.below(20) {
            0 => dice.between(HOUR, 30 * HOUR),
            1 if dice.chance(0.2) => dice.between(2 * DAY, 3 * DAY),
            _ => dice.between(0, MINUTE),
        };
        let text = serde_json::to_vec(&line).unwrap();
        arriving.push((time + late, text.clone()));
        if dice.chance(0.05) {
            arriving.push((time + late + dice.between(0, 20 * HOUR), text.clone()));
        }
        if dice.chance(0.02) {
            arriving.push((time + late, text[..dice.below(text.len() - 1)].to_vec()));
        }
        if dice.chance(0.02) {
            line["activity"] = json!("delete");
            arriving.push((time + late + dice.between(0, HOUR), serde_json::to_vec(&line).unwrap()));
        }
    }
    let wrong = json!({"event_id": "clock", "time": "2031-01-01T00:00:00Z", "source": "ehr", "actor": {"id": "u1"}, "activity": "read"});
    arriving.push((BEGIN + 2 * DAY, serde_json::to_vec(&wrong).unwrap()));
    arriving.sort_by_key(|(arrival, _)| *arrival);
    arriving.into_iter().map(|(_, line)| line).collect()
}
