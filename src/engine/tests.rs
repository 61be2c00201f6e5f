//! The time contract on a small ward: the settled alerts depend on the records and the rosters, and on nothing else.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::fixture::{Record, decoded, first_day, roster, ward, zone};
use super::rule::RuleSet;
use super::settings::Settings;
use super::{Engine, Input};
use crate::event::effects::Decoded;
use crate::event::flags::{BACKFILL, flags_text};
use crate::event::print::Print;
use crate::event::time::HOUR;
use crate::event::{Alert, Effects, Enriched, EventBatch, Origin, State, Time};

fn now() -> Time {
    Time(0)
}

/// Runs partitions side by side, `cut` records at a time; saves and loads the engine after every `restart` steps.
fn run(partitions: &[Vec<Record>], cut: usize, restart: Option<usize>) -> Vec<Effects> {
    run_by(&Arc::default(), partitions, cut, restart)
}

/// The same with rules in force.
pub(super) fn run_by(
    rules: &Arc<RuleSet>,
    partitions: &[Vec<Record>],
    cut: usize,
    restart: Option<usize>,
) -> Vec<Effects> {
    let mut engine = Engine::new(Settings::default(), roster());
    let origins: Vec<Origin> = (0..partitions.len()).map(|p| Origin::topic("ehr", p as i32)).collect();
    let mut all: Vec<Effects> = origins.iter().map(|origin| engine.step(now(), Input::Open(origin.clone()))).collect();
    all.push(engine.step(now(), Input::Rules(rules.clone())));
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
    let engine =
        Engine::load(Settings::default(), engine.roster().clone(), engine.rules().clone(), &engine.save()).unwrap();
    for (index, origin) in origins.iter().enumerate() {
        let spans = all.iter().flat_map(|e| &e.applied).filter(|a| a.span.origin == *origin);
        next[index] = spans.map(|a| a.span.to).max().unwrap_or(0) as usize;
    }
    engine
}

/// The settled revisions by id, as lines.
pub(super) fn settled(all: &[Effects]) -> Vec<String> {
    let alerts = all.iter().flat_map(|effects| &effects.raised).filter(|raised| raised.alert.settled);
    let mut lines: Vec<String> = alerts.map(|raised| serde_json::to_string(&raised.alert).unwrap()).collect();
    lines.sort();
    lines
}

pub(super) fn check_same(expected: &[String], all: &[Effects], what: &str) {
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

/// What the settled revisions say of one account, by detection.
fn sentences(all: &[Effects], subject: &str) -> Vec<(String, String)> {
    let alerts = all.iter().flat_map(|effects| &effects.raised).map(|raised| &raised.alert);
    let of = alerts.filter(|alert| alert.settled && alert.subject.id == subject && alert.state == State::Open);
    of.map(|alert| (alert.detection_id.clone(), alert.reason.clone())).collect()
}

#[test]
fn sentences_name_the_date_on_the_clock() {
    let all = run(&[ward(1)], 1_000, None);
    for (id, subject, part) in [
        ("mass-query.distinct-patients", "u02", " on Tuesday 2026-03-24; usual day "),
        // Two hours after the midnight that ends Wednesday; the local day is still Wednesday.
        ("after-hours.habit", "u05", " between 02:00 and 02:59 on Thursday 2026-04-02, in the night after Wednesday; "),
        ("dormant.never-used", "fresh", " on Thursday 2026-03-26 for the first time, after 50 days without use since "),
        (
            "account.terminated",
            "gone",
            "Account gone has been terminated since 2026-03-10 07:00 and was used from 2026-03-14 10:00 on: 3 events, 1 \
             patient (clock of America/Chicago).",
        ),
    ] {
        let said = sentences(&all, subject);
        assert!(said.iter().any(|(by, reason)| by == id && reason.contains(part)), "{part}: {said:#?}");
    }
}

/// The roster is older than the record: that an account was not used before is known only as far as the record goes.
#[test]
fn nothing_before_the_record_is_absence() {
    let mut records = ward(1);
    let since = |day: i32| zone().midnight(first_day().plus(day));
    records.retain(|record| match record.actor.as_str() {
        "u09" => record.time >= since(49),
        "u11" => record.time >= since(42),
        _ => true,
    });
    let all = run(&[records], 1_000, None);
    let said = sentences(&all, "u09");
    assert!(
        matches!(&said[..], [(id, reason)] if id == "dormant.never-used"
            && reason.contains(" for the first time in the ") && reason.ends_with("it was made on 2025-01-01, before the record begins.")),
        "{said:#?}"
    );
    assert_eq!(sentences(&all, "u11"), [], "six weeks are less than the policy for an account that was in use before");
}

/// Who left has one alert, and not a second one because nobody had used the account since.
#[test]
fn one_cause_one_alert() {
    let mut records = ward(1);
    for (day, id) in [(0, "x1"), (1, "x2"), (59, "x3")] {
        let time = zone().midnight(first_day().plus(day)).plus(10 * HOUR);
        let first = records.iter().find(|record| record.actor == "gone").expect("there is one");
        records.push(Record { id: id.to_owned(), time, ..first.clone() });
    }
    records.retain(|record| record.actor != "gone" || record.id.starts_with('x'));
    records.sort_by_key(|record| record.time);
    let said = sentences(&run(&[records], 1_000, None), "gone");
    assert!(matches!(&said[..], [(id, _)] if id == "account.terminated"), "{said:#?}");
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

/// What left the engine, several steps at a time as segments of a history hold them: one batch an origin, by rising offset.
fn segments(all: &[Effects], steps: usize) -> Vec<Vec<Enriched>> {
    let segment = |effects: &[Effects]| {
        let mut by_origin: BTreeMap<Origin, Vec<&Enriched>> = BTreeMap::new();
        for applied in effects.iter().flat_map(|effects| &effects.applied) {
            by_origin.entry(applied.span.origin.clone()).or_default().push(&applied.enriched);
        }
        let join = |(origin, parts): (Origin, Vec<&Enriched>)| {
            let recorded: Vec<_> = parts.iter().map(|part| part.batch.record()).collect();
            let facts: Vec<_> = parts.iter().map(|part| &part.facts).collect();
            let recorded = arrow::compute::concat_batches(&recorded[0].schema(), recorded).unwrap();
            let facts = arrow::compute::concat_batches(&facts[0].schema(), facts).unwrap();
            Enriched { batch: EventBatch::new(origin, recorded), facts }
        };
        by_origin.into_iter().map(join).collect()
    };
    all.chunks(steps).map(segment).collect()
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
    for seed in 3..6 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let records = ward(seed);
        let expected = settled(&run(std::slice::from_ref(&records), 1_000, None));
        let partitions = spread(&records, 3, &mut rng);
        let origins: Vec<Origin> = (0..3).map(|p| Origin::topic("ehr", p)).collect();
        let mut engine = Engine::new(Settings::default(), roster());
        let mut all: Vec<Effects> =
            origins.iter().map(|origin| engine.step(now(), Input::Open(origin.clone()))).collect();
        let mut next = [0_usize; 3];
        let lost = rng.random_range(5..60);
        let mut steps = 0;
        while next.iter().zip(&partitions).any(|(next, records)| *next < records.len()) {
            let partition = rng.random_range(0..3);
            if !engine.hungry().contains(&origins[partition]) {
                continue;
            }
            let records = &partitions[partition][next[partition]..];
            let records = &records[..records.len().min(rng.random_range(1..800))];
            let input = match records {
                [] => Input::End(origins[partition].clone()),
                _ => Input::Decoded(Box::new(decoded(&origins[partition], next[partition] as i64, records))),
            };
            next[partition] += records.len();
            all.push(engine.step(now(), input));
            steps += 1;
            if steps != lost {
                continue;
            }
            // The state is lost: what was queued is read again, what has left is on record.
            let mark = engine.mark();
            let mut rebuilt = Engine::new(Settings::default(), roster());
            for segment in segments(&all, rng.random_range(1..20)) {
                rebuilt.step(Time::MIN, Input::Recorded(segment, mark.map(|mark| mark.began)));
            }
            mark.into_iter().for_each(|mark| _ = rebuilt.step(Time::MIN, Input::Reached(mark)));
            assert_eq!(rebuilt.mark(), mark);
            rebuilt.rest();
            for (index, origin) in origins.iter().enumerate() {
                let spans = all.iter().flat_map(|e| &e.applied).filter(|a| a.span.origin == *origin);
                next[index] = spans.map(|a| a.span.to).max().unwrap_or(0) as usize;
                rebuilt.step(now(), Input::Open(origin.clone()));
            }
            engine = rebuilt;
        }
        assert!(steps >= lost, "{steps} steps");
        all.push(engine.step(now(), Input::Close));
        check_same(&expected, &all, &format!("seed {seed}, lost after {lost} steps"));
    }
}

/// A history that knows every record that has left.
fn answer(engine: &mut Engine, all: &mut Vec<Effects>) -> usize {
    let mut asked = 0;
    while all.last().is_some_and(|effects| effects.asks) {
        let wanted: HashSet<_> = engine.asked().iter().map(|one| (one.print.hour, one.print.id)).collect();
        asked += wanted.len();
        let on_record = all.iter().flat_map(|effects| &effects.applied).flat_map(|a| a.enriched.batch.rows());
        let known: Vec<Print> =
            on_record.map(|event| Print::of(&event)).filter(|p| wanted.contains(&(p.hour, p.id))).collect();
        all.push(engine.step(now(), Input::Known(known)));
    }
    asked
}

#[test]
fn records_that_come_again_however_late_are_known_to_the_history() {
    let records = ward(2);
    let old: Vec<Record> = records.iter().filter(|r| r.time < zone().midnight(first_day().plus(9))).cloned().collect();
    // A month later: all of it again in both partitions, one record changed, and one that is new.
    let mut again = old.clone();
    again[3].patient = "other".to_owned();
    again.push(Record { id: "late".to_owned(), ..old[4].clone() });
    for cut in [300, 100_000] {
        let origins = [Origin::topic("ehr", 0), Origin::topic("ehr", 1)];
        let mut engine = Engine::new(Settings::default(), roster());
        engine.ask_history();
        let mut all: Vec<Effects> = origins.iter().map(|o| engine.step(now(), Input::Open(o.clone()))).collect();
        let mut asked = 0;
        let feed = |partition: usize, from: usize, records: &[Record], engine: &mut Engine, all: &mut Vec<Effects>| {
            all.push(engine.step(now(), Input::Decoded(Box::new(decoded(&origins[partition], from as i64, records)))));
            answer(engine, all)
        };
        let tail = &records[records.len() - 200..];
        asked += feed(0, 0, &records, &mut engine, &mut all);
        asked += feed(1, 0, &tail[..1], &mut engine, &mut all);
        asked += feed(1, 1, &tail[1..], &mut engine, &mut all);
        assert_eq!(asked, 0, "nothing is old yet");
        for (index, part) in again.chunks(cut).enumerate() {
            asked += feed(0, records.len() + index * cut, part, &mut engine, &mut all);
            asked += feed(1, tail.len() + index * cut, part, &mut engine, &mut all);
        }
        assert!(asked >= again.len(), "{asked} asked for");
        all.push(engine.step(now(), Input::Close));
        let rows = all.iter().flat_map(|e| &e.applied).flat_map(|a| a.enriched.batch.rows());
        let late: Vec<(String, String)> = rows
            .filter(|event| event.flags() & BACKFILL != 0)
            .map(|event| (event.event_id().to_owned(), flags_text(event.flags()).unwrap()))
            .collect();
        let expected =
            [(old[3].id.clone(), "backfill;id_conflict".to_owned()), ("late".to_owned(), "backfill".to_owned())];
        assert_eq!(late, expected, "cut {cut}");
        let spans = || all.iter().flat_map(|e| &e.applied).map(|a| &a.span);
        assert_eq!(spans().map(|span| span.events).sum::<u64>() as usize, records.len() + 2);
        assert_eq!(spans().map(|span| span.duplicates).sum::<u64>() as usize, tail.len() + 2 * again.len() - 2);
    }
}
