//! Faults on the input: nothing is lost, and where the promise of DESIGN section 5 holds the settled alerts are the same to the byte.

use std::sync::Arc;

use super::super::faults::{self, Arriving};
use super::super::rig::{self, Partition, Weather};
use super::super::{Plan, generate};
use crate::engine::settings::Settings;
use crate::event::time::HOUR;
use crate::event::{Origin, Zone};
use crate::roster::Roster;

struct Stage {
    roster: Arc<Roster>,
    records: Vec<Arriving>,
    expected: Vec<String>,
}

impl Stage {
    fn new(plan: &Plan) -> Stage {
        let hospital = generate(plan);
        let roster = rig::roster(&hospital.rosters(), &Zone::get("America/Chicago").unwrap());
        let records = faults::arriving(hospital.events());
        let mut stage = Stage { roster, records, expected: Vec::new() };
        stage.expected = stage.run(&faults::one(&stage.records), Weather::default(), 0);
        assert!(stage.expected.len() >= 12, "there is something to lose: {}", stage.expected.len());
        stage
    }

    /// The settled alerts as text; every offset has left once, in one outcome.
    fn run(&self, partitions: &[Partition], weather: Weather, rejects: usize) -> Vec<String> {
        let run = rig::run(&self.roster, &Settings::default(), partitions, weather);
        let total: usize = partitions.iter().map(Vec::len).sum();
        let sums = run.sums();
        assert_eq!(sums.iter().sum::<u64>(), total as u64, "every record has one outcome: {sums:?}");
        assert_eq!(sums[2], rejects as u64, "rejects");
        for (number, partition) in partitions.iter().enumerate() {
            let mut next = 0;
            for span in run.applied().map(|a| &a.span).filter(|s| s.origin == Origin::topic("ehr", number as i32)) {
                assert_eq!(span.from, next, "spans chain");
                next = span.to;
            }
            assert_eq!(next, partition.len() as i64);
        }
        run.settled().values().map(|raised| serde_json::to_string(&raised.alert).unwrap()).collect()
    }

    fn check(&self, partitions: &[Partition], weather: Weather, rejects: usize, what: &str) {
        let found = self.run(partitions, weather, rejects);
        let missing: Vec<_> = self.expected.iter().filter(|alert| !found.contains(alert)).collect();
        let added: Vec<_> = found.iter().filter(|alert| !self.expected.contains(alert)).collect();
        assert!(missing.is_empty() && added.is_empty(), "{what}: missing {missing:#?}, added {added:#?}");
    }
}

fn weather(seed: u64) -> Weather {
    Weather { seed, batch: 1 + 700 * (seed as usize % 4 + 1), unfair: seed % 2 == 1, restarts: 0.02 }
}

#[test]
fn what_the_promise_covers_changes_nothing() {
    let stage = Stage::new(&Plan { misuses: 3.0, ..Plan::new(21, 12, 50) });
    for seed in super::seeds(1, 2) {
        let calm = Weather { seed, ..Weather::default() };
        stage.check(&faults::spread(&stage.records, 3, seed), weather(seed), 0, "partitions and restarts");
        stage.check(&faults::stopped(&stage.records, 3, seed), weather(seed + 1), 0, "partitions that stand still");
        let doubled = faults::doubled(&stage.records, 0.2, seed);
        stage.check(&faults::spread(&doubled, 2, seed), weather(seed), 0, "repeats");
        let shuffled = faults::shuffled(&stage.records, 22 * HOUR, seed);
        stage.check(&faults::spread(&shuffled, 2, seed), calm, 0, "late by less than settle");
        let mut littered = faults::spread(&stage.records, 3, seed);
        let added = faults::littered(&mut littered, 0.002, seed);
        assert!(added > 20);
        stage.check(&littered, weather(seed + 2), added, "rubbish between the records");
    }
}

#[test]
fn damage_is_counted() {
    let hospital = generate(&Plan::new(22, 12, 6));
    let roster = rig::roster(&hospital.rosters(), &Zone::get("America/Chicago").unwrap());
    let records = faults::arriving(hospital.events());
    for seed in super::seeds(1, 4) {
        let mut partitions = faults::spread(&records, 2, seed);
        faults::damaged(&mut partitions, 0.3, seed);
        faults::littered(&mut partitions, 0.01, seed);
        let run = rig::run(&roster, &Settings::default(), &partitions, weather(seed));
        let sums = run.sums();
        assert_eq!(sums.iter().sum::<u64>(), partitions.iter().map(Vec::len).sum::<usize>() as u64, "{sums:?}");
        assert!(sums[2] > 100, "{sums:?}");
    }
}
