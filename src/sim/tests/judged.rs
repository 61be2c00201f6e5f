//! The engine before the oracle: what was stored, counted and alerted, line by line and day by day.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Date32Type, Int32Type};
use serde_json::Value;

use super::super::oracle::{DayKey, Facts, Judgement, Listed, Outcome, Papers, Sums, judge};
use super::super::rig::{self, Run, Weather};
use super::super::{Plan, generate};
use super::awkward;
use crate::engine::settings::Settings;
use crate::event::schema::FACTS;
use crate::event::time::{HOUR, MINUTE};
use crate::event::{Alert, Day, Raised, State, Time, Zone};

/// A hospital on paper, and the lines of its feed in order.
pub struct World {
    pub rosters: Vec<(String, Vec<u8>)>,
    pub lines: Vec<Vec<u8>>,
    pub zone: Zone,
}

/// Runs the engine over one partition and holds everything against the oracle. Returns the settled alerts by detection.
fn check(world: &World, what: &str) -> BTreeMap<String, usize> {
    let roster = rig::roster(&world.rosters, &world.zone);
    let partition = world.lines.iter().cloned().map(Some).collect();
    let run = rig::run(&roster, &Settings::default(), &[partition], Weather { batch: 700, ..Weather::default() });
    let papers = Papers::new(&world.rosters, world.zone.clone());
    let judged = judge(&papers, &world.lines);
    rows(&judged, &run, what);
    // What came as backfill goes beyond the settled revision, and outside the promise.
    let timely = |raised: &&Raised| raised.alert.settled && !raised.alert.facts.contains_key("backfill");
    let own: Vec<&Raised> = run.effects.iter().flat_map(|effects| &effects.raised).filter(timely).collect();
    for raised in &own {
        alert(&judged, raised, what);
    }
    hard_causes(&judged, &own, what);
    own.iter().fold(BTreeMap::new(), |mut counts, raised| {
        *counts.entry(raised.alert.detection_id.clone()).or_default() += 1;
        counts
    })
}

/// Every line has the outcome, and every stored row the flags and facts, that the oracle gives it.
fn rows(judged: &Judgement, run: &Run, what: &str) {
    let mut stored: BTreeMap<i64, (String, Facts)> = BTreeMap::new();
    for applied in run.applied() {
        let columns = columns(&applied.enriched.facts);
        for (row, event) in applied.enriched.batch.rows().enumerate() {
            let flags = crate::event::flags::flags_text(event.flags()).unwrap_or_default();
            let facts = columns.iter().filter_map(|(name, cells)| Some((*name, cells[row].clone()?))).collect();
            stored.insert(event.offset(), (flags, Facts(facts)));
        }
    }
    let mut sums = [0_u64; 4];
    for (offset, outcome) in judged.outcomes.iter().enumerate() {
        let found = stored.get(&(offset as i64));
        match outcome {
            Outcome::Reject => sums[2] += 1,
            Outcome::Duplicate => sums[1] += 1,
            Outcome::Event(event) => {
                sums[0] += 1;
                let (flags, facts) = found.unwrap_or_else(|| panic!("{what}: line {offset} was not stored"));
                for (name, expected) in
                    [("id_conflict", event.conflict), ("future", event.future), ("backfill", event.backfill)]
                {
                    let has = flags.split(';').any(|flag| flag == name);
                    assert_eq!(has, expected, "{what}: line {offset}: {name} of {:?}", event.record);
                }
                let names: BTreeSet<_> = facts.0.keys().chain(event.facts.0.keys()).collect();
                for name in names {
                    assert_eq!(
                        facts.get(name),
                        event.facts.get(name),
                        "{what}: line {offset}: {name} of {:?}",
                        event.record
                    );
                }
                continue;
            }
        }
        assert!(found.is_none(), "{what}: line {offset} is {outcome:?} and was stored");
    }
    assert_eq!(run.sums(), sums, "{what}: events, duplicates, rejects, gap");
}

/// Columns as text: `None` where nothing is known.
fn columns(facts: &RecordBatch) -> BTreeMap<&'static str, Vec<Option<String>>> {
    let mut columns = BTreeMap::new();
    for (field, column) in FACTS.fields().iter().zip(facts.columns()) {
        let name = field.name().strip_prefix("fact_").unwrap();
        let cell = |row: usize| {
            if column.is_null(row) {
                return None;
            }
            Some(match column.data_type() {
                DataType::Utf8 => column.as_string::<i32>().value(row).to_owned(),
                DataType::Boolean => column.as_boolean().value(row).to_string(),
                DataType::Int32 => column.as_primitive::<Int32Type>().value(row).to_string(),
                DataType::Date32 => Day(column.as_primitive::<Date32Type>().value(row)).to_string(),
                _ => {
                    let list = column.as_list::<i32>().value(row);
                    let list = list.as_string::<i32>();
                    list.iter().map(|text| text.unwrap_or("-")).collect::<Vec<_>>().join("|")
                }
            })
        };
        if name != "roster" {
            let name: &'static str = Box::leak(name.to_owned().into_boxed_str());
            columns.insert(name, (0..facts.num_rows()).map(cell).collect());
        }
    }
    columns
}

/// What an alert says of counts, events and patients is what the oracle counts on that account's day.
fn alert(judged: &Judgement, raised: &Raised, what: &str) {
    let alert = &raised.alert;
    let kind = match alert.subject.kind.as_str() {
        "vendor_account" => "vendor_account",
        "user" => "user",
        _ => return,
    };
    let key = DayKey { account: (kind, alert.subject.id.clone()), day: raised.day };
    let what = format!("{what}: {} {} {}", alert.detection_id, alert.subject.id, raised.day);
    let sums = judged.days.get(&key).unwrap_or_else(|| panic!("{what}: nothing happened that day"));
    assert_eq!(alert.alert_id, Alert::id(alert.family(), &alert.subject, raised.day), "{what}: id");
    let claimed = sums.claim.as_ref().and_then(|claim| claim.window).filter(|_| alert.family() == "account");
    let window = claimed.or(sums.window).unwrap();
    assert_eq!((&*alert.window.start, &*alert.window.end), (&*window.0.to_string(), &*window.1.to_string()), "{what}");
    match alert.family() {
        "mass-query" => mass_query(alert, sums, &what),
        "account" => account(alert, sums, &what),
        "dormant" => dormant(judged, &key, alert, sums, &what),
        "after-hours" => hours(judged, &key, alert, sums, &what),
        family => panic!("{family} is not known to the oracle"),
    }
}

fn number(alert: &Alert, fact: &str) -> u64 {
    alert.facts.get(fact).and_then(Value::as_u64).unwrap_or_else(|| panic!("{fact} of {:?}", alert.facts))
}

/// The evidence is exactly these events, of which the first fifty are listed.
fn evidence(alert: &Alert, events: &Listed, what: &str) {
    let several = events.iter().map(|event| &event.1).collect::<BTreeSet<_>>().len() > 1;
    let shown = |(_, source, id, _): &(Time, String, String, usize)| {
        if several { format!("{source}/{id}") } else { id.clone() }
    };
    let first: Vec<String> = events.iter().take(50).map(shown).collect();
    assert_eq!(alert.evidence.count, events.len() as u64, "{what}: evidence");
    assert_eq!(alert.evidence.event_ids, first, "{what}: evidence");
    let last = events.iter().map(|event| event.0).max().unwrap();
    assert_eq!(alert.raised_at, last.to_string(), "{what}: raised at");
}

fn mass_query(alert: &Alert, sums: &Sums, what: &str) {
    let counts = [sums.requests.len() as u64, sums.patients.len() as u64, sums.exported()];
    let names = ["events", "patients", "exported"];
    for (name, count) in names.iter().zip(counts) {
        assert_eq!(number(alert, name), count, "{what}: {name}");
    }
    let members = ["mass-query.events", "mass-query.distinct-patients", "mass-query.exports"];
    let member = members.iter().position(|id| *id == alert.detection_id).unwrap();
    assert_eq!(number(alert, "observed"), counts[member], "{what}: observed");
    assert_eq!(alert.patients.count, counts[1], "{what}: patients");
    evidence(alert, if member == 2 { &sums.exporting } else { &sums.touching }, what);
    assert!(!sums.machine, "{what}: the account of a machine");
}

fn account(alert: &Alert, sums: &Sums, what: &str) {
    let cause = super::super::oracle::CAUSES.into_iter().find(|cause| sums.causes.contains_key(cause)).unwrap();
    assert_eq!(alert.detection_id, format!("account.{cause}"), "{what}");
    assert_eq!(number(alert, "uses"), sums.requests_of(&sums.causes[cause]), "{what}: uses");
    assert_eq!(alert.patients.count, sums.wronged.len() as u64, "{what}: patients");
    evidence(alert, &sums.causes[cause], what);
}

fn dormant(judged: &Judgement, key: &DayKey, alert: &Alert, sums: &Sums, what: &str) {
    // Uses that should not have been possible are told as such.
    let hard = sums.causes.iter().filter(|(cause, _)| **cause != "unknown").flat_map(|(_, listed)| listed);
    let told: BTreeSet<&str> = hard.map(|(_, _, id, _)| id.as_str()).collect();
    let uses: Listed = sums.uses.iter().filter(|(_, _, id, _)| !told.contains(id.as_str())).cloned().collect();
    assert_eq!(number(alert, "events"), sums.requests_of(&uses), "{what}: events");
    if told.is_empty() {
        assert_eq!(alert.patients.count, sums.used_on.len() as u64, "{what}: patients");
    }
    evidence(alert, &uses, what);
    // What is learnt from a day is first used three days later.
    let before = judged.days.iter().filter(|(other, sums)| other.account == key.account && !sums.uses.is_empty());
    let last = before.map(|(other, _)| other.day).filter(|day| day.plus(3) <= key.day).max();
    if alert.detection_id == "dormant.reactivated" {
        let last = last.unwrap_or_else(|| panic!("{what}: it was never used before"));
        assert_eq!(alert.facts["since"], last.to_string().as_str(), "{what}: since");
        assert_eq!(number(alert, "days_without_use"), (key.day.0 - last.0 - 1) as u64, "{what}: days");
    } else {
        assert_eq!(last, None, "{what}: it was used before");
    }
}

fn hours(judged: &Judgement, key: &DayKey, alert: &Alert, sums: &Sums, what: &str) {
    let hours: BTreeSet<u8> =
        alert.facts["hours_active"].as_array().unwrap().iter().map(|h| h.as_u64().unwrap() as u8).collect();
    assert_eq!(hours, sums.hours, "{what}: hours");
    assert!(sums.hours.contains(&(number(alert, "hour") as u8)), "{what}: the hour was used");
    let ids: BTreeSet<&str> = sums.uses.iter().map(|(_, _, id, _)| id.as_str()).collect();
    let listed = alert.evidence.event_ids.iter().map(|id| id.rsplit('/').next().unwrap());
    assert!(listed.clone().all(|id| ids.contains(id)), "{what}: evidence");
    assert!(alert.evidence.count <= sums.uses.len() as u64 && listed.clone().count() > 0, "{what}: evidence");
    assert!(alert.patients.count <= sums.used_on.len() as u64, "{what}: patients");
    let known = alert.facts["shift_known"] == true;
    if alert.state == State::Explained {
        let colleagues = alert.reason.contains("accounts of the unit were active");
        assert!(colleagues || (!known && alert.facts["block"] == true), "{what}: nothing explains {}", alert.reason);
    }
    if alert.facts["block"] == true {
        assert!(listed.clone().any(|id| in_block(judged, key, id)), "{what}: no block of four hours");
    }
}

/// Whether a use lies in work of at least four hours without a gap of 90 minutes, by quarters of an hour; it may have begun on the day before.
fn in_block(judged: &Judgement, key: &DayKey, id: &str) -> bool {
    let day = |day: Day| judged.days.get(&DayKey { account: key.account.clone(), day });
    let uses = [key.day.plus(-1), key.day].into_iter().filter_map(day).flat_map(|sums| &sums.uses);
    let mut uses: Vec<(Time, bool)> = uses.map(|(time, _, other, _)| (*time, other == id)).collect();
    uses.sort_unstable();
    // Up to a quarter is lost at either end, and the end of a day interrupts nobody.
    let (gap, least) = (180 * MINUTE + 15 * MINUTE, 4 * HOUR - 30 * MINUTE);
    let mut runs = uses.chunk_by(|before, after| after.0.0 - before.0.0 <= gap);
    runs.any(|run| run.iter().any(|(_, is)| *is) && run[run.len() - 1].0.0 - run[0].0.0 >= least)
}

/// Hard detections are always told: each account's day with such a use has its alert, and nobody else has one.
fn hard_causes(judged: &Judgement, settled: &[&Raised], what: &str) {
    let hard = |sums: &Sums| sums.causes.keys().any(|cause| *cause != "unknown");
    let expected: BTreeSet<(String, Day)> =
        judged.days.iter().filter(|(_, sums)| hard(sums)).map(|(key, _)| (key.account.1.clone(), key.day)).collect();
    let told = settled
        .iter()
        .filter(|raised| raised.alert.family() == "account" && raised.alert.detection_id != "account.unknown");
    let found: BTreeSet<(String, Day)> = told.map(|raised| (raised.alert.subject.id.clone(), raised.day)).collect();
    assert_eq!(found, expected, "{what}: hard detections");
}

#[test]
fn awkward_towns_are_judged_alike() {
    let (mut all, mut outcomes) = (BTreeMap::new(), [0; 6]);
    let seeds = super::seeds(0, 12);
    for seed in seeds.clone() {
        let world = awkward::town(seed);
        for (id, count) in check(&world, &format!("town {seed}")) {
            *all.entry(id).or_insert(0) += count;
        }
        let judged = judge(&Papers::new(&world.rosters, world.zone.clone()), &world.lines);
        for outcome in &judged.outcomes {
            match outcome {
                Outcome::Reject => outcomes[0] += 1,
                Outcome::Duplicate => outcomes[1] += 1,
                Outcome::Event(event) => {
                    outcomes[2] += 1;
                    outcomes[3] += usize::from(event.conflict);
                    outcomes[4] += usize::from(event.future);
                    outcomes[5] += usize::from(event.backfill);
                }
            }
        }
    }
    println!("rejects, duplicates, events, conflicts, future, backfill {outcomes:?}; alerts {all:?}");
    if seeds.count() < 12 {
        return;
    }
    assert!(outcomes.iter().all(|count| *count > 30), "every outcome occurs: {outcomes:?}");
    for id in ["mass-query.events", "mass-query.distinct-patients", "mass-query.exports"] {
        assert!(all.contains_key(id), "{id}: {all:?}");
    }
    for id in
        ["account.terminated", "account.disabled", "account.vendor-ended", "account.outside-dates", "account.unknown"]
    {
        assert!(all.contains_key(id), "{id}: {all:?}");
    }
}

fn hospital(plan: &Plan) -> World {
    let hospital = generate(plan);
    let lines = hospital.events().map(|event| event.line).collect();
    World { rosters: hospital.rosters(), lines, zone: Zone::get("America/Chicago").unwrap() }
}

#[test]
fn a_hospital_is_judged_alike() {
    let found = check(&hospital(&Plan { misuses: 4.0, ..Plan::new(11, 40, 54) }), "hospital");
    println!("{found:?}");
    for id in
        ["mass-query.exports", "after-hours.habit", "dormant.reactivated", "dormant.never-used", "account.terminated"]
    {
        assert!(found.contains_key(id), "{id}: {found:?}");
    }
}

/// Patients who look at their charts from home, some for a child or a parent, take copies of what is theirs and write messages; and a
/// scanner that reads what was done before.
fn portal(world: &mut World, visits: usize) {
    let mut dice = super::super::dice::Dice::new(7, "portal", &[]);
    let patients: Vec<String> = world
        .lines
        .iter()
        .filter_map(|line| {
            let line: Value = serde_json::from_slice(line).ok()?;
            Some(line["patients"][0].as_str()?.to_owned())
        })
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let mut lines = Vec::new();
    for (number, line) in std::mem::take(&mut world.lines).into_iter().enumerate() {
        let value: Value = serde_json::from_slice(&line).unwrap();
        lines.push(line);
        if number % 40 != 0 || lines.len() > visits * 40 {
            continue;
        }
        let who = dice.below(patients.len());
        let scanner = number % 400 == 0;
        let family = if scanner { 1 } else { 1 + dice.below(4) };
        for relative in 0..family {
            for (step, activity) in ["read", "read", "export", "print", "create"].iter().enumerate() {
                let activity = if scanner { "read" } else { activity };
                let own = &patients[(who + relative * 17) % patients.len()];
                let (id, kind) =
                    if scanner { ("scanner-1".to_owned(), "device") } else { (format!("portal-{who}"), "patient") };
                let record = serde_json::json!({
                    "event_id": format!("portal-{number}-{relative}-{step}"), "time": value["time"], "source": "portal",
                    "actor": {"id": id, "kind": kind}, "activity": activity, "patients": [own], "outcome": "success",
                });
                lines.push(serde_json::to_vec(&record).unwrap());
            }
        }
    }
    world.lines = lines;
}

#[test]
fn the_portal_and_a_scanner_raise_nothing_and_change_nothing() {
    let plan = Plan { misuses: 4.0, ..Plan::new(13, 40, 40) };
    let (alone, mut world) = (hospital(&plan), hospital(&plan));
    portal(&mut world, 1_000);
    assert!(world.lines.len() > alone.lines.len() + 5_000, "{}", world.lines.len());
    let (before, found) = (check(&alone, "without a portal"), check(&world, "with a portal"));
    assert_eq!(found, before);
}

#[test]
fn two_zones_and_a_night_of_23_hours_are_judged_alike() {
    let start = Day::parse("2026-03-05").unwrap();
    let found = check(&hospital(&Plan { start, misuses: 8.0, ..Plan::new(12, 200, 6) }), "two hospitals");
    println!("{found:?}");
    assert!(found.len() >= 4, "{found:?}");
}
