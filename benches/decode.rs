//! Decoding on one core: MB/s and events/s of the native format and of FHIR AuditEvent.

use phiwatch::decode::{Decoder, Hints, Limits};
use phiwatch::event::Origin;

use crate::hospital::{STRETCH, hospital, lines, push};
use crate::measure::{rate, timed};

/// Lines are read this many times, so that making them does not weigh.
const ROUNDS: usize = 3;

/// Native access events of the simulated hospital.
pub fn native(records: usize) {
    let distinct = records.div_ceil(ROUNDS);
    measure("native", &lines(&hospital(2_000, 90), distinct), 500_000.0);
}

/// FHIR R4 AuditEvents of the same shape as those of a chart opened by a practitioner.
pub fn fhir(records: usize) {
    let made: Vec<Vec<u8>> = (0..records.div_ceil(ROUNDS)).map(|number| audit_event(number).into_bytes()).collect();
    measure("fhir", &made, 0.0);
}

fn measure(what: &str, lines: &[Vec<u8>], aim: f64) {
    let bytes: usize = lines.iter().map(Vec::len).sum();
    println!("{} distinct records of {:.0} bytes on average", lines.len(), bytes as f64 / lines.len() as f64);
    let mut decoder = Decoder::new(Origin::topic("ehr", 0), Hints::new("ehr"), Limits::default());
    let ((), spent) = timed(|| {
        for _ in 0..ROUNDS {
            for chunk in lines.chunks(STRETCH) {
                push(&mut decoder, chunk, 0);
                std::hint::black_box(decoder.finish(0, chunk.len() as i64));
            }
        }
    });
    let counts = decoder.counts();
    assert_eq!((counts.events, counts.rejects), ((lines.len() * ROUNDS) as u64, 0), "every record is an event");
    rate(&format!("decode {what}"), lines.len() * ROUNDS, spent, (aim > 0.0).then_some(aim));
    println!("decode {what}: {:.0} MB/s a core", (bytes * ROUNDS) as f64 / 1e6 / spent.cpu);
}

fn audit_event(number: usize) -> String {
    let (user, patient) = (number % 5_000, number * 7_919 % 500_000);
    let (hour, minute, second) = (number / 3_600 % 24, number / 60 % 60, number % 60);
    format!(
        r#"{{"resourceType":"AuditEvent","id":"a{number}","type":{{"system":"http://terminology.hl7.org/CodeSystem/audit-event-type","code":"rest","display":"RESTful Operation"}},"subtype":[{{"system":"http://hl7.org/fhir/restful-interaction","code":"read","display":"read"}}],"action":"R","recorded":"2026-03-02T{hour:02}:{minute:02}:{second:02}.{:03}Z","outcome":"0","purposeOfEvent":[{{"coding":[{{"system":"http://terminology.hl7.org/CodeSystem/v3-ActReason","code":"TREAT"}}]}}],"agent":[{{"type":{{"coding":[{{"system":"http://terminology.hl7.org/CodeSystem/extra-security-role-type","code":"humanuser"}}]}},"who":{{"reference":"Practitioner/u{user}","identifier":{{"value":"u{user}"}},"display":"Person {user}"}},"altId":"u{user}","name":"Person {user}","requestor":true,"network":{{"address":"10.1.{}.{}","type":"2"}}}}],"source":{{"site":"main","observer":{{"display":"ehr"}}}},"entity":[{{"what":{{"reference":"Patient/p{patient}"}},"type":{{"system":"http://terminology.hl7.org/CodeSystem/audit-entity-type","code":"1","display":"Person"}},"role":{{"system":"http://terminology.hl7.org/CodeSystem/object-role","code":"1","display":"Patient"}}}}]}}"#,
        number % 1_000,
        number % 200,
        number % 250
    )
}
