//! The time contract on a small ward: the settled alerts depend on the records and the rosters, and on nothing else.

use std::sync::Arc;

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::settings::Settings;
use super::{Engine, Input};
use crate::event::effects::Decoded;
use crate::event::time::{HOUR, MINUTE};
use crate::event::{Activity, Alert, Day, Draft, Effects, EventBuilder, Origin, State, Time, Zone};
use crate::roster::{Intake, Roster, load};

const USERS: usize = 24;
const DAYS: i32 = 75;

/// One record of the ward.
#[derive(Debug, Clone, PartialEq)]
struct Record {
    id: String,
    time: Time,
    actor: String,
    activity: Activity,
    patient: String,
}

fn first_day() -> Day {
    Day::parse("2026-02-02").unwrap()
}

fn zone() -> Zone {
    Zone::get("America/Chicago").unwrap()
}

fn roster() -> Arc<Roster> {
    let mut users = String::from("user_id,role,department,site,status,account_created_at,terminated_at\n");
    for user in 0..USERS {
        let role = if user % 2 == 0 { "nurse" } else { "clerk" };
        users.push_str(&format!("u{user:02},{role},ward,main,active,2025-01-01,\n"));
    }
    users.push_str("gone,nurse,ward,main,terminated,2025-01-01,2026-03-10T12:00:00Z\n");
    users.push_str("fresh,clerk,ward,main,active,2026-02-03,\n");
    let sites = "site,timezone,holidays\nmain,America/Chicago,2026-02-16\n".to_owned();
    let files = [("users.csv".to_owned(), users.into_bytes()), ("sites.csv".to_owned(), sites.into_bytes())];
    let loaded = load(&files, zone(), &Intake { previous: None, at: Time(0), allow_shrink: false });
    assert_eq!(loaded.problems, []);
    Arc::new(loaded.roster)
}

/// Working days of a ward with planted misuse: 240 patients in a day, a night, a gap, a leaver, a forgotten account, a stranger.
fn ward(seed: u64) -> Vec<Record> {
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

fn decoded(origin: &Origin, from: i64, records: &[Record]) -> Decoded {
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

fn now() -> Time {
    Time(0)
}

/// Runs partitions side by side, `cut` records at a time; saves and loads the engine after every `restart` steps.
fn run(partitions: &[Vec<Record>], cut: usize, restart: Option<usize>) -> Vec<Effects> {
    let mut engine = Engine::new(Settings::default(), roster());
    let origins: Vec<Origin> = (0..partitions.len()).map(|p| Origin::topic("ehr", p as i32)).collect();
    let mut all: Vec<Effects> = origins.iter().map(|origin| engine.step(now(), Input::Open(origin.clone()))).collect();
    let mut next = vec![0_usize; partitions.len()];
    let mut steps = 0;
    loop {
        let hungry = engine.hungry();
        let mut fed = false;
        for (index, origin) in origins.iter().enumerate().filter(|(_, origin)| hungry.contains(origin)) {
            let records = &partitions[index][next[index]..];
            let records = &records[..records.len().min(cut)];
            let input = if records.is_empty() {
                Input::End(origin.clone())
            } else {
                Input::Decoded(Box::new(decoded(origin, next[index] as i64, records)))
            };
            next[index] += records.len();
            all.push(engine.step(now(), input));
            fed = true;
            steps += 1;
            if restart.is_some_and(|every| steps % every == 0) {
                engine = reload(engine, &origins, &all, &mut next);
            }
        }
        if !fed {
            break;
        }
    }
    all.push(engine.step(now(), Input::Close));
    all
}

/// What a crash leaves: the saved memory, and the offsets that have left the engine.
fn reload(engine: Engine, origins: &[Origin], all: &[Effects], next: &mut [usize]) -> Engine {
    let engine = Engine::load(Settings::default(), engine.roster().clone(), &engine.save()).unwrap();
    for (index, origin) in origins.iter().enumerate() {
        let spans = all.iter().flat_map(|e| &e.applied).filter(|a| a.span.origin == *origin);
        next[index] = spans.map(|a| a.span.to).max().unwrap_or(0) as usize;
    }
    engine
}

/// The settled revisions by id, as lines.
fn settled(all: &[Effects]) -> Vec<String> {
    let alerts = all.iter().flat_map(|effects| &effects.raised).filter(|raised| raised.alert.settled);
    let mut lines: Vec<String> = alerts.map(|raised| serde_json::to_string(&raised.alert).unwrap()).collect();
    lines.sort();
    lines
}

fn check_same(expected: &[String], all: &[Effects], what: &str) {
    let found = settled(all);
    let missing: Vec<_> = expected.iter().filter(|line| !found.contains(line)).collect();
    let added: Vec<_> = found.iter().filter(|line| !expected.contains(line)).collect();
    assert!(missing.is_empty() && added.is_empty(), "{what}: missing {missing:#?}, added {added:#?}");
}

/// `records` spread over `count` partitions.
fn spread(records: &[Record], count: usize, rng: &mut ChaCha8Rng) -> Vec<Vec<Record>> {
    let mut partitions = vec![Vec::new(); count];
    records.iter().for_each(|record| partitions[rng.random_range(0..count)].push(record.clone()));
    partitions
}

#[test]
fn planted_misuse_is_found_and_little_else() {
    let all = run(&[ward(1)], 1_000, None);
    let alerts: Vec<&Alert> = all.iter().flat_map(|e| &e.raised).map(|r| &r.alert).filter(|a| a.settled).collect();
    let open = |id: &str, subject: &str| {
        let found = alerts.iter().filter(|a| a.detection_id == id && a.subject.id == subject && a.state == State::Open);
        found.count()
    };
    for (id, subject) in [
        ("mass-query.distinct-patients", "u02"),
        ("after-hours.habit", "u05"),
        ("dormant.reactivated", "u07"),
        ("account.terminated", "gone"),
        ("dormant.never-used", "fresh"),
        ("account.unknown", "stranger"),
    ] {
        assert_eq!(open(id, subject), 1, "{id} {subject}: {alerts:#?}");
    }
    let told = alerts.iter().filter(|a| a.state == State::Open && a.disposition == crate::event::Disposition::Notified);
    assert!(told.filter(|a| a.subject.kind == crate::event::SubjectKind::User).count() <= 9, "{alerts:#?}");
}

#[test]
fn batches_partitions_restarts_and_repeats_change_nothing() {
    for seed in 1..4 {
        let records = ward(seed);
        let expected = settled(&run(std::slice::from_ref(&records), 1_000, None));
        assert!(expected.len() >= 6);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        check_same(&expected, &run(std::slice::from_ref(&records), 37, None), "small batches");
        check_same(&expected, &run(std::slice::from_ref(&records), 501, Some(3)), "restarts");
        check_same(&expected, &run(&spread(&records, 3, &mut rng), 211, Some(5)), "three partitions and restarts");
        let by_user: Vec<Vec<Record>> = (0..4_usize)
            .map(|p| {
                records.iter().filter(|r| r.actor.bytes().map(usize::from).sum::<usize>() % 4 == p).cloned().collect()
            })
            .collect();
        check_same(&expected, &run(&by_user, 100_000, None), "one partition after the other");
        let mut repeated = records.clone();
        for index in (0..records.len()).step_by(7) {
            repeated.push(records[index].clone());
        }
        repeated.sort_by_key(|record| record.time);
        check_same(&expected, &run(&[repeated], 300, None), "repeats");
    }
}

#[test]
fn shuffling_within_settle_changes_nothing() {
    for seed in 1..3 {
        let records = ward(seed);
        let expected = settled(&run(std::slice::from_ref(&records), 1_000, None));
        let mut rng = ChaCha8Rng::seed_from_u64(seed + 100);
        // Each record arrives up to 20 hours after its time: no two change places that lie further apart than `settle`.
        let mut late: Vec<(Time, Record)> =
            records.iter().map(|r| (r.time.plus(rng.random_range(0..20 * HOUR)), r.clone())).collect();
        late.shuffle(&mut rng);
        late.sort_by_key(|(arrival, _)| *arrival);
        let late: Vec<Record> = late.into_iter().map(|(_, record)| record).collect();
        check_same(&expected, &run(&[late], 400, None), "late records");
    }
}

#[test]
fn every_offset_leaves_once() {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let partitions = spread(&ward(2), 3, &mut rng);
    for restart in [None, Some(4)] {
        let all = run(&partitions, 150, restart);
        for (index, partition) in partitions.iter().enumerate() {
            let mut next = 0;
            for applied in all.iter().flat_map(|e| &e.applied) {
                if applied.span.origin == Origin::topic("ehr", index as i32) {
                    assert_eq!(applied.span.from, next);
                    next = applied.span.to;
                    assert_eq!(applied.enriched.batch.len(), applied.span.events as usize);
                    assert_eq!(applied.enriched.table().num_rows(), applied.span.events as usize);
                }
            }
            assert_eq!(next, partition.len() as i64);
        }
    }
}

#[test]
fn a_partition_without_a_single_event_holds_nobody_back() {
    let origins = [Origin::topic("t", 0), Origin::topic("t", 1)];
    let mut engine = Engine::new(Settings::default(), roster());
    let mut spans = Vec::new();
    let records = ward(1);
    let rowless = |from, to| Decoded { from, to, ..decoded(&origins[0], 0, &[]) };
    for input in [
        Input::Open(origins[0].clone()),
        Input::Open(origins[1].clone()),
        Input::Decoded(Box::new(rowless(0, 5))),
        Input::Decoded(Box::new(decoded(&origins[1], 0, &records[..10]))),
        Input::Decoded(Box::new(rowless(5, 7))),
        Input::Idle(origins[0].clone()),
        Input::End(origins[1].clone()),
    ] {
        let effects = engine.step(now(), input);
        spans.extend(effects.applied.iter().map(|a| (a.span.origin.clone(), a.span.from, a.span.to)));
    }
    assert_eq!(spans[..2], [(origins[0].clone(), 0, 5), (origins[0].clone(), 5, 7)]);
    assert_eq!(spans.iter().filter(|(origin, ..)| *origin == origins[1]).map(|(.., to)| *to).max(), Some(10));
    assert_eq!(engine.queued(), 0);
}

#[test]
fn an_engine_built_from_what_is_on_record_goes_on_as_if_nothing_had_happened() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let records = ward(3);
    let partitions = spread(&records, 3, &mut rng);
    let expected = settled(&run(std::slice::from_ref(&records), 1_000, None));
    let origins: Vec<Origin> = (0..3).map(|p| Origin::topic("ehr", p)).collect();
    for share in [0.1, 0.5, 0.9] {
        // The three partitions were read to different places when the state was lost.
        let read: Vec<usize> =
            partitions.iter().enumerate().map(|(p, all)| (all.len() as f64 * share) as usize + 40 * p).collect();
        let mut engine = Engine::new(Settings::default(), roster());
        let mut all: Vec<Effects> =
            origins.iter().map(|origin| engine.step(now(), Input::Open(origin.clone()))).collect();
        for recorded in [true, false] {
            for (p, origin) in origins.iter().enumerate() {
                let (from, to) = if recorded { (0, read[p]) } else { (read[p], partitions[p].len()) };
                let stretch = Box::new(decoded(origin, from as i64, &partitions[p][from..to]));
                let input = if recorded { Input::Recorded(stretch) } else { Input::Decoded(stretch) };
                all.push(engine.step(now(), input));
            }
        }
        all.push(engine.step(now(), Input::Close));
        check_same(&expected, &all, "built from the record");
    }
}
