//! Inputs: records of the simulated hospital, decoded or as bytes, and its rosters.

use std::sync::Arc;

use phiwatch::decode::{Decoder, Hints, Limits, RawRecord};
use phiwatch::event::effects::Decoded;
use phiwatch::event::{Origin, Time, Zone};
use phiwatch::roster::{Intake, Roster, load};
use phiwatch::sim::{Hospital, Plan, generate};

/// Records of a stretch, as `scan` and `run` cut them.
pub const STRETCH: usize = 8_192;

/// A hospital of `users` accounts and days enough for any figure.
pub fn hospital(users: usize, days: u32) -> Hospital {
    generate(&Plan::new(7, users, days))
}

/// Its first `records` lines.
pub fn lines(hospital: &Hospital, records: usize) -> Vec<Vec<u8>> {
    hospital.events().take(records).map(|event| event.line).collect()
}

/// Its rosters, all nine files, relations included.
pub fn roster(hospital: &Hospital) -> Arc<Roster> {
    let zone = Zone::get("America/Chicago").expect("a zone of the database");
    let loaded = load(&hospital.rosters(), zone, &Intake { previous: None, at: Time(0), allow_shrink: false });
    assert_eq!(loaded.problems, [], "the hospital's rosters are whole");
    Arc::new(loaded.roster)
}

/// Lines as the stretches of one origin.
pub fn decoded(lines: &[Vec<u8>], origin: &Origin) -> Vec<Decoded> {
    let mut decoder = Decoder::new(origin.clone(), Hints::new("ehr"), Limits::default());
    let mut stretches = Vec::new();
    for (number, chunk) in lines.chunks(STRETCH).enumerate() {
        let from = (number * STRETCH) as i64;
        push(&mut decoder, chunk, from);
        stretches.push(decoder.finish(from, from + chunk.len() as i64));
    }
    stretches
}

/// Gives lines to a decoder, the first at offset `from`.
pub fn push(decoder: &mut Decoder, lines: &[Vec<u8>], from: i64) {
    for (line, offset) in lines.iter().zip(from..) {
        decoder.push(&RawRecord { offset, byte: 0, at: None, value: Some(line) });
    }
}
