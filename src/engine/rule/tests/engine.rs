//! Rules in the engine: what they find depends on the records, the rosters and the rules, and on nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::super::{RuleSet, load};
use crate::engine::fixture::{Record, decoded, first_day, roster, rule_files, ward, zone};
use crate::engine::settings::Settings;
use crate::engine::tests::{check_same, run_by, settled};
use crate::engine::{Engine, Input};
use crate::event::flags::UNDECLARED;
use crate::event::time::{HOUR, MINUTE};
use crate::event::{Activity, Disposition, Effects, Origin, Severity, SubjectKind, Time};

fn rules() -> Arc<RuleSet> {
    let loaded = load(&rule_files());
    assert_eq!(loaded.problems, []);
    assert_eq!(loaded.set.rules().len(), 7);
    Arc::new(loaded.set)
}

fn run(partitions: &[Vec<Record>], cut: usize, restart: Option<usize>) -> Vec<Effects> {
    run_by(&rules(), partitions, cut, restart)
}

#[test]
fn each_class_speaks_as_it_should() {
    let all = run(&[ward(1)], 1_000, None);
    let raised: Vec<_> = all.iter().flat_map(|effects| &effects.raised).filter(|raised| raised.alert.settled).collect();
    let of = |id: &str| raised.iter().filter(|raised| raised.alert.detection_id == id).collect::<Vec<_>>();
    let stranger = of("hard-stranger");
    assert_eq!(stranger.len(), 1);
    let alert = &stranger[0].alert;
    assert_eq!((alert.severity, alert.disposition, alert.p_value), (Severity::High, Disposition::Notified, None));
    assert_eq!(alert.reason, "stranger read 1 chart in 3 events (read).");
    assert_eq!((alert.evidence.count, alert.facts["hits"].as_u64()), (3, Some(1)));
    assert_eq!(alert.made_by.rules, rules().hash());
    assert!(of("budgeted-clerk").iter().all(|raised| raised.alert.p_value.is_some()));
    let charts = of("informational-chart");
    assert!(charts.len() > 100 && charts.iter().all(|raised| raised.alert.subject.kind == SubjectKind::Patient));
    assert!(charts.iter().all(|raised| !raised.interrupts));
    let shadow = of("shadow-night");
    assert_eq!(shadow.len(), 1, "{shadow:#?}");
    assert!(shadow.iter().all(|raised| raised.alert.disposition == Disposition::Shadow && !raised.interrupts));
    let many = of("crossing-many");
    assert!(
        many.iter().any(|raised| raised.alert.subject.id == "u02" && raised.alert.patients.count > 40),
        "{many:#?}"
    );
    assert!(!of("settled-average").is_empty());
    let crossing = all.iter().flat_map(|effects| &effects.raised).filter(|raised| !raised.alert.settled);
    let early: Vec<&str> = crossing.map(|raised| raised.alert.detection_id.as_str()).collect();
    assert!(
        early.contains(&"crossing-many") && early.contains(&"hard-stranger") && !early.contains(&"settled-average")
    );
}

#[test]
fn batches_partitions_restarts_and_repeats_change_nothing() {
    for seed in 1..3 {
        let records = ward(seed);
        let all = run(std::slice::from_ref(&records), 1_000, None);
        let expected = settled(&all);
        // Whatever was told inside a day has a last word.
        let ids = |is_settled: bool| -> BTreeSet<&str> {
            let raised = all.iter().flat_map(|effects| &effects.raised).map(|raised| &raised.alert);
            raised.filter(|alert| alert.settled == is_settled).map(|alert| alert.alert_id.as_str()).collect()
        };
        assert_eq!(ids(false).difference(&ids(true)).count(), 0);
        let kinds: BTreeMap<&str, usize> = expected.iter().fold(BTreeMap::new(), |mut kinds, line| {
            for id in [
                "hard-stranger",
                "budgeted-clerk",
                "informational-chart",
                "shadow-night",
                "crossing-many",
                "crossing-by-chart",
                "settled-average",
            ] {
                *kinds.entry(id).or_default() += usize::from(line.contains(&format!("\"detection_id\":\"{id}\"")));
            }
            kinds
        });
        assert!(kinds.values().all(|count| *count > 0), "{kinds:?}");
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        check_same(&expected, &run(std::slice::from_ref(&records), 37, None), "small batches");
        check_same(&expected, &run(std::slice::from_ref(&records), 501, Some(3)), "restarts");
        let mut spread = vec![Vec::new(); 3];
        records.iter().for_each(|record| spread[rng.random_range(0..3)].push(record.clone()));
        check_same(&expected, &run(&spread, 211, Some(5)), "three partitions and restarts");
        let mut late: Vec<(Time, Record)> =
            records.iter().map(|r| (r.time.plus(rng.random_range(0..20 * HOUR)), r.clone())).collect();
        let again: Vec<(Time, Record)> =
            late.iter().step_by(9).map(|(arrival, record)| (arrival.plus(HOUR), record.clone())).collect();
        late.extend(again);
        late.shuffle(&mut rng);
        late.sort_by_key(|(arrival, _)| *arrival);
        let late: Vec<Record> = late.into_iter().map(|(_, record)| record).collect();
        check_same(&expected, &run(&[late], 400, Some(7)), "late and repeated records");
    }
}

/// Records one after the other through an engine with these rules and settings.
fn raised(settings: &Settings, records: &[Record]) -> Vec<crate::event::Raised> {
    let mut engine = Engine::new(settings.clone(), roster());
    let origin = Origin::file("x");
    let mut all = vec![engine.step(Time(0), Input::Rules(rules())), engine.step(Time(0), Input::Open(origin.clone()))];
    for (index, record) in records.iter().enumerate() {
        all.push(
            engine
                .step(Time(0), Input::Decoded(Box::new(decoded(&origin, index as i64, std::slice::from_ref(record))))),
        );
    }
    all.push(engine.step(Time(0), Input::Close));
    all.into_iter().flat_map(|effects| effects.raised).collect()
}

fn record(id: u32, actor: &str, day: i32, minute: i64, patient: &str) -> Record {
    let time = zone().midnight(first_day().plus(day)).plus(10 * HOUR + minute * MINUTE);
    Record {
        id: format!("r{id}"),
        time,
        actor: actor.to_owned(),
        activity: Activity::Read,
        patient: patient.to_owned(),
    }
}

#[test]
fn repeats_are_counted_once_in_their_time_and_a_worse_hit_is_told_at_once() {
    let at = [(0, "a"), (5, "a"), (29, "a"), (31, "p3"), (32, "a"), (62, "a")];
    let records: Vec<Record> = at
        .iter()
        .enumerate()
        .map(|(id, (minute, patient))| record(id as u32, "stranger", 0, *minute, patient))
        .collect();
    let raised = raised(&Settings::default(), &records);
    let told: Vec<(u32, u64, Severity)> = raised
        .iter()
        .filter(|raised| raised.alert.detection_id == "hard-stranger")
        .map(|raised| (raised.alert.revision, raised.alert.evidence.count, raised.alert.severity))
        .collect();
    // Counted at 0, 31 and 62 minutes; the second severity doubles them: 1, then 4, then 6.
    assert_eq!(told, [(1, 1, Severity::Medium), (3, 4, Severity::High), (4, 6, Severity::High)], "{told:?}");
}

#[test]
fn what_counts_in_no_day_is_matched_under_a_family_of_its_own() {
    let declared = Settings { sources: BTreeMap::from([("other".to_owned(), 36 * HOUR)]), ..Settings::default() };
    let raised = raised(&declared, &[record(0, "stranger", 0, 0, "a"), record(1, "u01", 0, 1, "p1")]);
    let ids: Vec<(&str, bool)> =
        raised.iter().map(|one| (one.alert.detection_id.as_str(), one.alert.settled)).collect();
    assert_eq!(ids, [("undeclared.hard-stranger", true)], "flags {UNDECLARED}");
    assert_eq!(raised[0].alert.facts["undeclared"], true);
}

/// Revision, whether it is settled, and how many events of the alerts of one rule.
fn told<'r>(raised: impl Iterator<Item = &'r crate::event::Raised>) -> Vec<(u32, bool, u64)> {
    let of_rule = raised.map(|raised| &raised.alert).filter(|alert| alert.detection_id == "hard-stranger");
    of_rule.map(|alert| (alert.revision, alert.settled, alert.evidence.count)).collect()
}

#[test]
fn rules_that_are_gone_settle_what_they_have_found_and_count_on_when_they_come_back() {
    for (comes_back, expected) in [
        (false, vec![(1, false, 1), (2, true, 2)]),
        (true, vec![(1, false, 1), (2, true, 2), (3, false, 3), (4, true, 3)]),
    ] {
        let mut engine = Engine::new(Settings::default(), roster());
        let origin = Origin::file("x");
        let mut steps = vec![Input::Rules(rules()), Input::Open(origin.clone())];
        let records = [record(0, "stranger", 0, 0, "a"), record(1, "stranger", 0, 1, "a")];
        steps.extend([Input::Decoded(Box::new(decoded(&origin, 0, &records))), Input::Idle(origin.clone())]);
        steps.push(Input::Rules(Arc::default()));
        if comes_back {
            steps.push(Input::Rules(rules()));
            let more = [record(2, "stranger", 0, 45, "a")];
            steps.extend([Input::Decoded(Box::new(decoded(&origin, 2, &more))), Input::Idle(origin)]);
        }
        steps.push(Input::Close);
        let all: Vec<Effects> = steps.into_iter().map(|step| engine.step(Time(0), step)).collect();
        assert_eq!(told(all.iter().flat_map(|effects| &effects.raised)), expected, "comes back: {comes_back}");
    }
}

/// What comes when its day has settled is added to what was said of it, at once where it crosses, else when the next day settles.
#[test]
fn late_hits_are_added_to_what_was_said() {
    let mut records = vec![record(0, "stranger", 0, 0, "a"), record(1, "stranger", 0, 31, "a")];
    let others = |from: i32, to: i32| {
        (from..to)
            .flat_map(|day| (0..40_i64).map(move |n| record(100 * (day + 1) as u32 + n as u32, "u01", day, n, "p1")))
    };
    records.extend(others(1, 6));
    records.push(record(2, "stranger", 0, 62, "a"));
    records.extend(others(6, 9));
    let raised = raised(&Settings::default(), &records);
    let late: Vec<bool> = raised
        .iter()
        .filter(|one| one.alert.detection_id == "hard-stranger")
        .map(|one| one.alert.facts.contains_key("backfill"))
        .collect();
    assert_eq!(told(raised.iter()), [(1, false, 1), (2, false, 2), (3, true, 2), (4, true, 3)]);
    assert_eq!(late, [false, false, false, true]);
}
