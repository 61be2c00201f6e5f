//! The shipped rules over a simulated hospital: whatever holds is let through by the sieve.

use std::collections::BTreeSet;

use crate::decode::{Decoder, Hints, Limits, RawRecord};
use crate::engine::enrich::{columns, enrich};
use crate::engine::rule::sieve::Room;
use crate::engine::rule::{Row, load};
use crate::event::{Origin, Time, Zone};
use crate::ingest::rules::shipped;
use crate::roster::{Intake, load as load_rosters};
use crate::sim::{Plan, generate};

#[test]
fn the_sieve_leaves_out_no_shipped_rule_that_holds() {
    let hospital = generate(&Plan { misuses: 10.0, ..Plan::new(5, 60, 40) });
    let zone = Zone::get("America/Chicago").unwrap();
    let intake = Intake { previous: None, at: Time(0), allow_shrink: false };
    let roster = load_rosters(&hospital.rosters(), zone, &intake).roster;
    let rules = load(&shipped()).set;
    let mut decoder = Decoder::new(Origin::topic("ehr", 0), Hints::new("ehr"), Limits::default());
    for (offset, event) in (0..).zip(hospital.events()) {
        decoder.push(&RawRecord { offset, byte: 0, at: None, value: Some(&event.line) });
    }
    let batch = decoder.finish(0, 1).batch;
    let (mut room, mut held, mut asked) = (Room::default(), BTreeSet::new(), 0);
    for event in batch.rows() {
        let mut facts = enrich(&roster, &event);
        columns(&roster, &event, rules.columns(), &mut facts);
        let row = Row::new(event, &facts);
        let candidates: Vec<*const _> = rules.candidates(&row, &mut room).map(std::ptr::from_ref).collect();
        asked += candidates.len();
        for plain in rules.plain() {
            let holds = plain.condition.holds(&row);
            assert!(!holds || candidates.contains(&std::ptr::from_ref(plain)), "{plain:?} at {}", event.event_id());
            if holds {
                held.insert(std::ptr::from_ref(plain));
            }
        }
    }
    assert!(held.len() > 20, "{} rules hold somewhere", held.len());
    assert!(asked < 10 * batch.len(), "{asked} asked of {} rows", batch.len());
}
