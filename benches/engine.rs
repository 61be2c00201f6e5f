//! The engine on one core: events/s with 5,000 users and their rosters, with the share of enrichment.

use phiwatch::engine::settings::Settings;
use phiwatch::engine::{Engine, Input, enrich};
use phiwatch::event::{Origin, Time};

use crate::hospital::{decoded, hospital, lines, roster};
use crate::measure::{rate, timed};

/// Users of the hospital.
const USERS: usize = 5_000;

/// Steps over decoded stretches: gate, identity, enrichment, detectors, triage and the columns of facts.
pub fn of_hospital(events: usize) {
    let hospital = hospital(USERS, 120);
    let roster = roster(&hospital);
    let origin = Origin::topic("ehr", 0);
    let stretches = decoded(&lines(&hospital, events), &origin);
    let rows: usize = stretches.iter().map(|stretch| stretch.batch.len()).sum();
    println!("{USERS} users, {roster:?}, {rows} events");

    let (unexplained, enriching) = timed(|| {
        let rows = stretches.iter().flat_map(|stretch| stretch.batch.rows());
        rows.map(|event| enrich::enrich(&roster, &event).unexplained()).sum::<usize>()
    });
    rate("of which enrichment", rows, enriching, None);

    let mut engine = Engine::new(Settings::default(), roster);
    engine.step(Time(0), Input::Open(origin.clone()));
    let ((raised, settled, applied), spent) = timed(|| {
        let (mut raised, mut settled, mut applied) = (0, 0, 0);
        for stretch in stretches {
            let effects = engine.step(Time(0), Input::Decoded(Box::new(stretch)));
            raised += effects.raised.len();
            settled += effects.settled.len();
            applied += effects.applied.iter().map(|one| one.span.events + one.span.duplicates).sum::<u64>();
        }
        (raised, settled, applied)
    });
    println!("{settled} days settled, {raised} revisions of alerts, {unexplained} accesses unexplained");
    assert_eq!(applied, rows as u64, "every event leaves");
    rate("engine", rows, spent, Some(500_000.0));
}
