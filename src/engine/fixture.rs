//! A small ward for tests: its rosters, and working days with planted misuse.

use std::sync::Arc;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::event::effects::Decoded;
use crate::event::time::{HOUR, MINUTE};
use crate::event::{Activity, Day, Draft, EventBuilder, Origin, Time, Zone};
use crate::roster::{Intake, Roster, load};

const USERS: usize = 24;
const DAYS: i32 = 75;

/// One record of the ward.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Record {
    pub id: String,
    pub time: Time,
    pub actor: String,
    pub activity: Activity,
    pub patient: String,
}

pub(crate) fn first_day() -> Day {
    Day::parse("2026-02-02").unwrap()
}

pub(crate) fn zone() -> Zone {
    Zone::get("America/Chicago").unwrap()
}

pub(crate) fn roster() -> Arc<Roster> {
    let loaded = load(
        &roster_files("2026-03-10T12:00:00Z"),
        zone(),
        &Intake { previous: None, at: Time(0), allow_shrink: false },
    );
    assert_eq!(loaded.problems, []);
    Arc::new(loaded.roster)
}

/// The rosters, with one who is terminated then.
pub(crate) fn roster_files(terminated: &str) -> Vec<(String, Vec<u8>)> {
    let mut users = String::from("user_id,role,department,site,status,account_created_at,terminated_at\n");
    for user in 0..USERS {
        let role = if user % 2 == 0 { "nurse" } else { "clerk" };
        users.push_str(&format!("u{user:02},{role},ward,main,active,2025-01-01,\n"));
    }
    users.push_str(&format!("gone,nurse,ward,main,terminated,2025-01-01,{terminated}\n"));
    users.push_str("fresh,clerk,ward,main,active,2026-02-03,\n");
    let sites = "site,timezone,holidays\nmain,America/Chicago,2026-02-16\n".to_owned();
    vec![("users.csv".to_owned(), users.into_bytes()), ("sites.csv".to_owned(), sites.into_bytes())]
}

/// Working days of a ward with planted misuse: 240 patients in a day, a night, a gap, a leaver, a forgotten account, a stranger.
pub(crate) fn ward(seed: u64) -> Vec<Record> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut records = Vec::new();
    let zone = zone();
    let open = |actor: &str, day: i32, hour: i64, minute: i64, patient: String, records: &mut Vec<Record>| {
        let time = zone.midnight(first_day().plus(day)).plus(hour * HOUR + minute * MINUTE);
        let id = format!("e{:06}", records.len());
        records.push(Record { id, time, actor: actor.to_owned(), activity: Activity::Read, patient });
    };
    for day in 0..DAYS {
        for user in 0..USERS {
            let actor = format!("u{user:02}");
            let away = user == 7 && (5..60).contains(&day);
            if first_day().plus(day).weekday() >= 5 || away || rng.random_bool(0.1) {
                continue;
            }
            let busy = if rng.random_bool(0.2) { 2 } else { 1 };
            for _ in 0..rng.random_range(8..20) * busy {
                let (hour, minute) = (rng.random_range(8..17), rng.random_range(0..60));
                open(&actor, day, hour, minute, format!("p{}", rng.random_range(0..400)), &mut records);
            }
        }
    }
    for patient in 0..240 {
        open("u02", 50, 9 + patient / 60, patient % 60, format!("q{patient}"), &mut records);
    }
    for minute in 0..9 {
        // A quarter past two in the night after a working day.
        open("u05", 58, 24 + 2, minute, format!("p{minute}"), &mut records);
    }
    for minute in 0..3 {
        open("gone", 40, 10, minute, "p1".to_owned(), &mut records);
        open("fresh", 52, 10, minute, "p2".to_owned(), &mut records);
        open("stranger", 52, 11, minute, "p3".to_owned(), &mut records);
    }
    records.sort_by_key(|record| record.time);
    records
}

pub(crate) fn decoded(origin: &Origin, from: i64, records: &[Record]) -> Decoded {
    let mut builder = EventBuilder::default();
    for (index, record) in records.iter().enumerate() {
        let mut draft = Draft::new(record.id.as_str(), record.time, "ehr", record.activity);
        draft.actor_id = Some(record.actor.as_str().into());
        draft.site = Some("main".into());
        draft.patients = vec![record.patient.as_str().into()];
        builder.push(&draft, from + index as i64, 0);
    }
    let to = from + records.len() as i64;
    Decoded { batch: builder.finish(origin), rejects: Vec::new(), from, to, gap: 0 }
}

/// A rule of each class and kind over the records of the ward.
const RULES: &str = "title: A stranger reads
id: hard-stranger
status: stable
logsource: { product: phiwatch }
detection:
  s: { fact.account: unknown }
  condition: s
level: medium
phiwatch:
  sentence: '{actor.id} read {patients|chart|charts} in {count|event|events} ({activity}).'
  subject: user
  class: hard
  suppress: 30m
  severity:
    - when: { patients: p3 }
      level: high
---
title: A clerk reads one of ten charts
id: budgeted-clerk
status: stable
logsource: { product: phiwatch }
detection:
  s: { fact.role: clerk, patients: [p1, p2, p3, p4, p5, p6, p7, p8, p9, p10] }
  condition: s
level: low
phiwatch: { sentence: '{actor.id} read {count}.', subject: user, class: budgeted }
---
title: A chart is read by a nurse
id: informational-chart
status: stable
logsource: { product: phiwatch }
detection:
  s: { fact.role: nurse, patients|startswith: p1 }
  condition: s
level: informational
phiwatch: { sentence: '{hits} reads by {actor.id}.', subject: patient, class: informational, suppress: 1h }
---
title: On trial
id: shadow-night
status: experimental
logsource: { product: phiwatch }
detection:
  s: { fact.hour|lt: 6 }
  condition: s
level: high
phiwatch: { sentence: '{actor.id} was awake at {fact.hour}.', subject: user, class: hard }
---
title: Many charts in an hour
id: crossing-many
status: stable
correlation:
  type: value_count
  rules: [any-read]
  group-by: [actor.id]
  timespan: 1h
  condition: { field: patients, gte: 12 }
level: high
phiwatch: { sentence: '{actor.id} opened {value} charts.', subject: user, class: hard }
---
title: A chart that several open
id: crossing-by-chart
status: stable
correlation:
  type: event_count
  rules: [any-read]
  group-by: [patients]
  timespan: 8h
  condition: { gte: 4 }
level: high
phiwatch: { sentence: '{actor.id} opened {group} as well ({value}).', subject: user, class: hard }
---
title: Few patients on average
id: settled-average
status: stable
correlation:
  type: value_avg
  rules: [any-read]
  group-by: [actor.id]
  timespan: 30m
  condition: { field: fact.hour, gte: 16 }
level: low
phiwatch: { sentence: '{actor.id} at {value}.', subject: source, class: informational }
---
title: Any read
id: any-read
status: stable
logsource: { product: phiwatch }
detection:
  s: { activity: read }
  condition: s
level: informational
";

/// The rules as a folder of files.
pub(crate) fn rule_files() -> Vec<(String, Vec<u8>)> {
    vec![("r.yml".to_owned(), RULES.as_bytes().to_vec())]
}
