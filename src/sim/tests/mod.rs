//! What the synthetic hospital promises, checked on its own output with plain readers.

mod awkward;
mod faults;
mod fuzz;
mod judged;
mod shapes;
mod tables;

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::*;
use crate::event::Time;
use crate::event::time::{DAY, HOUR, SECOND};

/// What a plain reader takes from a line.
#[derive(Deserialize)]
struct Record {
    event_id: String,
    time: String,
    source: String,
    actor: Named,
    activity: String,
    #[serde(default)]
    patients: Vec<String>,
}

#[derive(Deserialize)]
struct Named {
    id: String,
}

fn read(event: &SimEvent) -> Record {
    let record: Record = serde_json::from_slice(&event.line).unwrap();
    assert_eq!(Time::parse(&record.time), Some(event.time));
    record
}

/// The rows of a roster file, each as column and value.
fn rows(hospital: &Hospital, file: &str) -> Vec<BTreeMap<String, String>> {
    let rosters = hospital.rosters();
    let (_, bytes) = rosters.iter().find(|(found, _)| found == file).unwrap();
    csv::Reader::from_reader(bytes.as_slice()).deserialize().map(|row| row.unwrap()).collect()
}

/// An instant of a roster cell; a date is its local midnight or, as an end, the end of that day, in UTC: near enough for these checks.
fn instant(cell: &str, open: Time, end: bool) -> Time {
    match Day::parse(cell) {
        Some(day) => Time((i64::from(day.0) + i64::from(end)) * DAY),
        None => Time::parse(cell).unwrap_or(open),
    }
}

fn planted(hospital: &Hospital) -> BTreeSet<String> {
    hospital.labels().into_iter().flat_map(|label| label.event_ids).collect()
}

fn hash(plan: &Plan) -> (u64, u64, u64) {
    let hospital = generate(plan);
    let mut events = xxhash_rust::xxh3::Xxh3::new();
    hospital.events().for_each(|event| events.update(&event.line));
    let rosters: Vec<u8> =
        hospital.rosters().into_iter().flat_map(|(name, bytes)| [name.into_bytes(), bytes].concat()).collect();
    let labels = serde_json::to_vec(&hospital.labels()).unwrap();
    (events.digest(), xxhash_rust::xxh3::xxh3_64(&rosters), xxhash_rust::xxh3::xxh3_64(&labels))
}

#[test]
fn the_same_plan_makes_the_same_bytes() {
    let plan = Plan::new(7, 60, 26);
    assert_eq!(hash(&plan), hash(&plan));
    assert_ne!(hash(&plan).0, hash(&Plan::new(8, 60, 26)).0);
}

#[test]
fn misuse_changes_nothing_else() {
    let with = generate(&Plan::new(3, 60, 50));
    let without = generate(&Plan { misuse: false, ..Plan::new(3, 60, 50) });
    assert!(without.labels().is_empty());
    assert_eq!(with.rosters(), without.rosters());
    let planted = planted(&with);
    let clean: BTreeSet<Vec<u8>> =
        with.events().filter(|event| !planted.contains(&read(event).event_id)).map(|event| event.line).collect();
    let expected: BTreeSet<Vec<u8>> = without.events().map(|event| event.line).collect();
    assert!(clean == expected, "{} and {} clean lines", clean.len(), expected.len());
}

#[test]
fn small_and_short_plans_work() {
    for (users, days) in [(1, 1), (3, 2), (12, 30), (25, 3), (200, 1)] {
        let hospital = generate(&Plan::new(5, users, days));
        assert!(!hospital.rosters().is_empty());
        let (begin, end) = hospital.span();
        assert!(hospital.events().all(|event| begin <= event.time && event.time < end), "{users} users, {days} days");
    }
}

#[test]
fn order_identifiers_and_labels() {
    let hospital = generate(&Plan::new(2, 220, 56));
    let mut seen: BTreeMap<String, (Vec<u8>, u32)> = BTreeMap::new();
    let (mut before, mut late, mut total) = (Time::MIN, 0, 0_u32);
    for event in hospital.events() {
        assert!(before <= event.arrival, "the file is in order of arrival");
        assert!((SECOND..12 * HOUR).contains(&(event.arrival.0 - event.time.0)), "lateness is bounded");
        (before, total) = (event.arrival, total + 1);
        late += u32::from(event.arrival.0 - event.time.0 > DAY / 1440);
        let record = read(&event);
        let entry = seen.entry(format!("{}/{}", record.source, record.event_id)).or_insert((event.line.clone(), 0));
        assert!(entry.0 == event.line, "a duplicate agrees to the byte");
        entry.1 += 1;
    }
    let share = |count: f64| count / f64::from(total);
    let twice = f64::from(total) - seen.len() as f64;
    assert!((0.002..0.004).contains(&share(twice)), "{twice} duplicates of {total}");
    assert!((0.008..0.016).contains(&share(f64::from(late))), "{late} late of {total}");
    let ids: BTreeSet<&str> = seen.keys().filter_map(|key| Some(key.split_once('/')?.1)).collect();
    assert_eq!(ids.len(), seen.len(), "identifiers are unique across sources too");

    let labels = hospital.labels();
    let mut scenarios: BTreeMap<&str, u32> = BTreeMap::new();
    for label in &labels {
        *scenarios.entry(&label.scenario).or_default() += 1;
        assert!(!label.event_ids.is_empty() && label.start < label.end);
        let warm = Time(i64::from(hospital.plan.start.plus(21).0) * DAY);
        assert!(Time::parse(&label.start).unwrap() >= warm, "{} begins after the warm-up", label.scenario);
        for id in &label.event_ids {
            assert!(ids.contains(id.as_str()), "{}: {id} is in the file", label.scenario);
        }
    }
    assert_eq!(scenarios.len(), 8, "{scenarios:?}");
    assert!(scenarios.values().all(|count| *count >= 2), "{scenarios:?}");
    let subjects: BTreeSet<&str> = labels.iter().map(|label| label.subject.id.as_str()).collect();
    assert_eq!(subjects.len(), labels.len(), "nobody commits two");
}

#[test]
fn a_dense_plan_has_many_misuses_of_every_kind() {
    let hospital = generate(&Plan { misuses: 6.0, ..Plan::new(5, 80, 56) });
    let mut scenarios: BTreeMap<String, u32> = BTreeMap::new();
    let (mut ids, mut planted) = (BTreeSet::new(), 0);
    for label in hospital.labels() {
        *scenarios.entry(label.scenario).or_default() += 1;
        planted += label.event_ids.len();
        ids.extend(label.event_ids);
    }
    assert_eq!(scenarios.len(), 8, "{scenarios:?}");
    assert!(scenarios.values().all(|count| *count >= 8), "{scenarios:?}");
    assert_eq!(ids.len(), planted, "two misuses of one account are written by two hands");
}

#[test]
fn everybody_who_acts_may_act() {
    let hospital = generate(&Plan::new(4, 220, 56));
    let planted = planted(&hospital);
    let mut active: BTreeMap<String, Vec<(Time, Time)>> = BTreeMap::new();
    for row in rows(&hospital, "users.csv").iter().filter(|row| row["status"] == "active") {
        let span = (instant(&row["valid_from"], Time::MIN, false), instant(&row["valid_to"], Time::MAX, true));
        active.entry(row["user_id"].clone()).or_default().push(span);
    }
    for row in rows(&hospital, "vendor_accounts.csv").iter().filter(|row| row["status"] == "active") {
        active.insert(
            row["account_id"].clone(),
            vec![(instant(&row["account_created_at"], Time::MIN, false), Time::MAX)],
        );
    }
    let patients: BTreeSet<String> =
        rows(&hospital, "patients.csv").iter().map(|row| row["patient_id"].clone()).collect();
    for file in ["relations.csv", "shifts.csv", "entitlements.csv"] {
        for row in rows(&hospital, file) {
            let user = &row["user_id"];
            assert!(user.is_empty() || active.contains_key(user), "{file}: {user} is in the roster");
            let known = row.get("patient_id").is_none_or(|patient| patients.contains(patient));
            assert!(known, "{file}: every patient is in the roster");
        }
    }
    for event in hospital.events() {
        let record = read(&event);
        assert!(record.patients.iter().all(|patient| patients.contains(patient)), "every patient is in the roster");
        if !planted.contains(&record.event_id) {
            let spans = active.get(&record.actor.id).unwrap_or_else(|| panic!("{} is in no roster", record.actor.id));
            let inside = spans.iter().any(|(from, to)| *from <= event.time && event.time < *to);
            assert!(inside, "{} is active at {}", record.actor.id, record.time);
        }
    }
}

#[test]
fn most_opens_are_explained() {
    let hospital = generate(&Plan { misuse: false, ..Plan::new(6, 220, 28) });
    let home: BTreeMap<String, Vec<(Time, Time, String)>> =
        rows(&hospital, "users.csv").into_iter().fold(BTreeMap::new(), |mut map, row| {
            let span = (instant(&row["valid_from"], Time::MIN, false), instant(&row["valid_to"], Time::MAX, true));
            map.entry(row["user_id"].clone()).or_default().push((span.0, span.1, row["department"].clone()));
            map
        });
    let mut ties: BTreeMap<(String, String), Vec<(Time, Time)>> = BTreeMap::new();
    for row in rows(&hospital, "relations.csv") {
        assert!(row["user_id"].is_empty() != row["department"].is_empty(), "one of the two is filled");
        let with = format!("{}{}", row["user_id"], row["department"]);
        let span = (instant(&row["start"], Time::MIN, false), instant(&row["end"], Time::MAX, true));
        ties.entry((row["patient_id"].clone(), with)).or_default().push(span);
    }
    let (mut opens, mut explained) = (BTreeMap::new(), BTreeSet::new());
    for event in hospital.events() {
        let record = read(&event);
        let Some(homes) = home.get(&record.actor.id).filter(|_| !record.actor.id.starts_with("svc")) else {
            continue;
        };
        let department = homes.iter().find(|home| home.0 <= event.time && event.time < home.1).map(|home| &home.2);
        for patient in record.patients {
            let tied = |with: &String| {
                ties.get(&(patient.clone(), with.clone())).is_some_and(|spans| {
                    spans.iter().any(|s| s.0.plus(-7 * DAY) <= event.time && event.time < s.1.plus(30 * DAY))
                })
            };
            let key = (record.actor.id.clone(), patient.clone(), event.time.0.div_euclid(DAY));
            if tied(&record.actor.id) || department.is_some_and(tied) {
                explained.insert(key.clone());
            }
            *opens.entry(key).or_insert(0) += 1;
        }
    }
    let share = explained.len() as f64 / opens.len() as f64;
    println!("{} of {} user-patient-days are explained: {share:.3}", explained.len(), opens.len());
    assert!((0.85..=0.94).contains(&share), "{share:.3}");
}

/// Distinct patients and rows of each active user-day.
type UserDays = BTreeMap<(String, Day), (BTreeSet<String>, u32)>;

fn user_days(hospital: &Hospital) -> (UserDays, u32, [u32; 24]) {
    let humans: BTreeSet<&str> = hospital.staff.people.iter().map(|person| person.id.as_str()).collect();
    let zone = &hospital.staff.sites[0].zone;
    let (mut days, mut total, mut hours) = (UserDays::new(), 0, [0; 24]);
    for event in hospital.events() {
        total += 1;
        let record = read(&event);
        if humans.contains(record.actor.id.as_str()) {
            let local = zone.local(event.time);
            hours[usize::from(local.hour)] += 1;
            let entry = days.entry((record.actor.id, local.day)).or_default();
            entry.0.extend(record.patients);
            entry.1 += u32::from(!record.activity.is_empty());
        }
    }
    (days, total, hours)
}

#[test]
fn counts_are_dispersed_like_real_ones() {
    let hospital = generate(&Plan { misuse: false, ..Plan::new(1, 300, 60) });
    let (days, total, hours) = user_days(&hospital);
    let rows = days.values().map(|day| f64::from(day.1)).sum::<f64>() / days.len() as f64;
    let mut counts: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for ((user, _), (patients, _)) in days.iter().filter(|(_, (patients, _))| !patients.is_empty()) {
        counts.entry(user).or_default().push(patients.len() as f64);
    }
    let role: BTreeMap<&str, &str> = hospital.staff.people.iter().map(|p| (p.id.as_str(), p.role.name())).collect();
    let mut by_role: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (user, values) in counts.iter().filter(|(_, values)| values.len() >= 10) {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (values.len() - 1) as f64;
        by_role.entry(role[user]).or_default().push(variance / mean);
    }
    let mut all: Vec<f64> = by_role.values().flatten().copied().collect();
    for (role, values) in &mut by_role {
        values.sort_by(f64::total_cmp);
        println!("{role}: {} users, median fano {:.2}", values.len(), values[values.len() / 2]);
    }
    all.sort_by(f64::total_cmp);
    let median = all[all.len() / 2];
    let night = f64::from(hours[22..].iter().chain(&hours[..6]).sum::<u32>()) / f64::from(hours.iter().sum::<u32>());
    println!("{total} events, {} user-days of {rows:.1} rows, {:.3} of them between 22 and 6", days.len(), night);
    println!("fano of distinct patients: median {median:.2}, 95 % {:.2}", all[all.len() * 95 / 100]);
    assert!((2.0..9.0).contains(&median), "median {median}");
    assert!((60.0..120.0).contains(&rows), "{rows} rows a user-day");
    assert!((0.05..0.25).contains(&night), "{night} at night");
}

#[test]
fn files_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan::new(9, 40, 24);
    let mut heard = 0;
    let summary = write(&plan, folder.path(), |events| heard = events).unwrap();
    assert_eq!(heard, summary.events);
    let bytes = std::fs::read(folder.path().join("events.jsonl.zst")).unwrap();
    let text = String::from_utf8(zstd::decode_all(bytes.as_slice()).unwrap()).unwrap();
    assert_eq!(text.lines().count() as u64, summary.events);
    let labels = std::fs::read_to_string(folder.path().join("labels.jsonl")).unwrap();
    let labels: Vec<Label> = labels.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(labels, generate(&plan).labels());
    assert_eq!(std::fs::read_dir(folder.path().join("rosters")).unwrap().count(), 9);
}
