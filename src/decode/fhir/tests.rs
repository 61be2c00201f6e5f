//! FHIR against the published samples, and against traps that they do not show.
//!
//! The expectations lie in `testdata/fhir`, one line per file and field with the element that the value comes from; they were written
//! from the specification before the decoder.

use std::fs;
use std::path::{Path, PathBuf};

use crate::decode::{Decoder, Format, Hints, Limits, RawRecord};
use crate::event::effects::Decoded;
use crate::event::flags::{MADE_ID, PARTIAL};
use crate::event::{Event, Origin};

fn decode_with(hints: Hints, record: &str) -> Decoded {
    let mut decoder = Decoder::new(Origin::topic("t", 0), hints, Limits::default());
    decoder.push(&RawRecord { offset: 1, byte: 0, at: None, value: Some(record.as_bytes()) });
    decoder.finish(1, 2)
}

fn decode(record: &str) -> Decoded {
    decode_with(Hints::new("t"), record)
}

/// A field of an event in the spelling of the expectations.
fn field(event: &Event<'_>, name: &str) -> String {
    let none = || "-".to_owned();
    let text = |value: Option<&str>| value.map_or_else(none, str::to_owned);
    let joined = |values: Vec<&str>| if values.is_empty() { none() } else { values.join(";") };
    match name {
        "time" => event.time().to_string(),
        "activity" => event.activity().as_str().to_owned(),
        "actor_id" => text(event.actor_id()),
        "actor_name" => text(event.actor_name()),
        "actor_kind" => text(event.actor_kind().map(|kind| kind.as_str())),
        "on_behalf_of" => text(event.actor_on_behalf_of()),
        "patients" => joined(event.patients().collect()),
        "client_ip" => text(event.client_ip()),
        "client_host" => text(event.client_host()),
        "outcome" => event.outcome().as_str().to_owned(),
        "purpose" => joined(event.purpose().collect()),
        "break_glass" => event.break_glass().map_or_else(none, |value| value.to_string()),
        "correlation_id" => text(event.correlation_id()),
        "resource" => match (event.resource_type(), event.resource_id()) {
            (None, None) => none(),
            (kind, id) => format!("{}/{}", text(kind), text(id)),
        },
        _ => panic!("no field {name}"),
    }
}

fn check_set(set: &str, files: usize) {
    let samples =
        PathBuf::from(std::env::var("PHIWATCH_SAMPLES").expect("PHIWATCH_SAMPLES names the folder of samples"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/fhir").join(format!("{set}.tsv"));
    let expectations = fs::read_to_string(path).unwrap();
    let mut wrong = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for line in expectations.lines().filter(|line| !line.starts_with('#')) {
        let [file, name, value, from] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("four columns: {line}")
        };
        seen.insert(file);
        let record = fs::read_to_string(samples.join("fhir").join(set).join(file)).unwrap();
        let decoded = decode(&record);
        assert_eq!((decoded.batch.len(), decoded.rejects.len()), (1, 0), "{file}");
        let got = field(&decoded.batch.row(0), name);
        if got != value {
            wrong.push(format!("{file} {name}: {got}, expected {value} from {from}"));
        }
    }
    assert_eq!(seen.len(), files);
    assert!(wrong.is_empty(), "{} of {set}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
#[ignore = "needs PHIWATCH_SAMPLES"]
fn published_examples_of_r4() {
    check_set("hl7-spec-r4", 9);
}

#[test]
#[ignore = "needs PHIWATCH_SAMPLES"]
fn published_examples_of_r4b() {
    check_set("hl7-spec-r4b", 9);
}

#[test]
#[ignore = "needs PHIWATCH_SAMPLES"]
fn published_examples_of_r5() {
    check_set("hl7-spec-r5", 13);
}

#[test]
#[ignore = "needs PHIWATCH_SAMPLES"]
fn published_examples_of_basic_audit_log_patterns() {
    check_set("ihe-balp-1.1.4", 46);
}

#[test]
#[ignore = "needs PHIWATCH_SAMPLES"]
fn published_examples_of_mobile_health_documents() {
    check_set("ihe-mhd-4.2.3", 13);
}
