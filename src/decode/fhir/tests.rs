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

/// An AuditEvent with the given elements besides id and time.
fn event(elements: &str) -> String {
    format!(r#"{{"resourceType":"AuditEvent","id":"a1","recorded":"2026-03-01T10:00:00Z",{elements}}}"#)
}

fn check(elements: &str, expected: &[(&str, &str)]) {
    let record = event(elements);
    let decoded = decode(&record);
    assert_eq!((decoded.batch.len(), decoded.rejects.len()), (1, 0), "{record}");
    for (name, value) in expected {
        assert_eq!(field(&decoded.batch.row(0), name), *value, "{name} of {record}");
    }
}

fn check_reasons(record: &str, events: usize, expected: &[&str]) {
    let decoded = decode(record);
    let reasons: Vec<_> = decoded.rejects.iter().map(|reject| reject.reason.as_str()).collect();
    assert_eq!((decoded.batch.len(), reasons.as_slice()), (events, expected), "{record}");
}

#[test]
fn activities_come_from_known_codes() {
    const DCM: &str = "http://dicom.nema.org/resources/ontology/DCM";
    let dicom = |kind: &str, detail: &str, rest: &str| {
        format!(
            r#""type":{{"system":"{DCM}","code":"{kind}"}},"subtype":[{{"system":"{DCM}","code":"{detail}"}}]{rest}"#
        )
    };
    check(&dicom("110114", "110122", r#","outcome":"0""#), &[("activity", "login"), ("outcome", "success")]);
    check(&dicom("110114", "110122", r#","outcome":"8""#), &[("activity", "login_failed"), ("outcome", "failure")]);
    check(&dicom("110114", "110123", ""), &[("activity", "logout"), ("outcome", "unknown")]);
    check(&dicom("110113", "110127", ""), &[("activity", "break_glass"), ("break_glass", "true")]);
    check(&dicom("110113", "110136", ""), &[("activity", "permission_change")]);
    check(&dicom("110113", "110139", ""), &[("activity", "session_start")]);
    check(&dicom("110100", "110121", r#","action":"E""#), &[("activity", "other")]);
    check(&dicom("110110", "110110", r#","action":"U""#), &[("activity", "update")]);
    check(&dicom("110110", "110110", r#","action":"E""#), &[("activity", "other")]);
    // R6 writes a concept where R4 writes a coding.
    check(&format!(r#""type":{{"coding":[{{"system":"{DCM}","code":"110107"}}]}}"#), &[("activity", "import")]);
    // No action is no read, and neither is an action in a system of its own.
    check(
        r#""type":{"system":"http://terminology.hl7.org/CodeSystem/audit-event-type","code":"rest"}"#,
        &[("activity", "other")],
    );
    check(r#""action":"R""#, &[("activity", "read")]);
    check(
        r#""type":{"system":"http://medcomehmi.dk/types","code":"ehmiMessaging"},"action":"R","entity":[{"what":{"reference":"Patient/p"}}]"#,
        &[("activity", "other"), ("patients", "p")],
    );
}

/// DICOM PS3.16, CID 403: 110133 is "Audit Recording Stopped", 110134 "Audit Recording Started".
#[test]
fn a_code_of_the_audit_trail_says_what_was_touched() {
    let coded = |code: &str, rest: &str| {
        format!(
            r#""type":{{"system":"http://dicom.nema.org/resources/ontology/DCM","code":"110113"}},"subtype":[{{"system":"http://dicom.nema.org/resources/ontology/DCM","code":"{code}"}}]{rest}"#
        )
    };
    check(&coded("110133", ""), &[("activity", "admin"), ("resource", "Audit recording stopped/-")]);
    check(&coded("110134", ""), &[("activity", "admin"), ("resource", "Audit recording started/-")]);
    // An entity names the system whose recording it is.
    let of = |what: &str| format!(r#","entity":[{{"what":{what}}}]"#);
    check(&coded("110133", &of(r#"{"reference":"Device/pacs"}"#)), &[("resource", "Audit recording stopped/pacs")]);
    check(
        &coded("110133", &of(r#"{"identifier":{"value":"pacs.example"}}"#)),
        &[("resource", "Audit recording stopped/pacs.example")],
    );
    // The configuration of a network, and somebody who reads the trail.
    check(&coded("110128", ""), &[("activity", "admin"), ("resource", "-")]);
    let reader = r#""type":{"system":"http://dicom.nema.org/resources/ontology/DCM","code":"110101"},"action":"R""#;
    check(reader, &[("activity", "admin"), ("resource", "-")]);
    check(
        &format!(r#"{reader},"entity":[{{"what":{{"type":"AuditEvent","identifier":{{"value":"a9"}}}}}}]"#),
        &[("resource", "AuditEvent/a9")],
    );
    check(
        r#""type":{"system":"urn:other","code":"110113"},"subtype":[{"system":"urn:other","code":"110133"}]"#,
        &[("activity", "other"), ("resource", "-")],
    );
}

#[test]
fn emergencies_are_told_by_known_purposes() {
    let purpose = |system: &str, code: &str| {
        format!(r#""agent":[{{"purposeOfUse":[{{"coding":[{{"system":"{system}","code":"{code}"}}]}}]}}]"#)
    };
    check(
        &purpose("http://terminology.hl7.org/CodeSystem/v3-ActReason", "BTG"),
        &[("break_glass", "true"), ("purpose", "BTG")],
    );
    check(&purpose("urn:oid:2.16.756.5.30.1.127.3.10.5", "EMER"), &[("break_glass", "true")]);
    check(&purpose("urn:oid:2.16.756.5.30.1.127.3.10.5", "NORM"), &[("break_glass", "false")]);
    check(&purpose("http://terminology.hl7.org/CodeSystem/v3-ActReason", "HSYSADMIN"), &[("break_glass", "false")]);
    check(&purpose("urn:other", "EMER"), &[("break_glass", "false")]);
    check(r#""agent":[]"#, &[("break_glass", "-"), ("purpose", "-")]);
}

#[test]
fn people_machines_and_delegates() {
    const ROLE: &str = "urn:oid:2.16.756.5.30.1.127.3.10.6";
    let swiss = |code: &str, id: &str, requestor: bool| {
        format!(
            r#"{{"role":[{{"coding":[{{"system":"{ROLE}","code":"{code}"}}]}}],"who":{{"identifier":{{"value":"{id}"}}}},"requestor":{requestor}}}"#
        )
    };
    let agents = format!(r#""agent":[{},{}]"#, swiss("HCP", "doctor", false), swiss("ASS", "helper", true));
    check(&agents, &[("actor_id", "helper"), ("on_behalf_of", "doctor")]);
    // A second id of a machine is the number of a process.
    let machine =
        r#"{"type":{"coding":[{"system":"DCM","code":"110153"}]},"altId":"6580","requestor":true,"name":"x"}"#;
    check(&format!(r#""agent":[{machine}]"#), &[("actor_id", "-"), ("actor_name", "x"), ("actor_kind", "unknown")]);
    check(r#""agent":[{"altId":"u7","requestor":true}]"#, &[("actor_id", "u7")]);
    check(r#""agent":[{"who":{"display":"A B"},"requestor":true}]"#, &[("actor_id", "-"), ("actor_name", "A B")]);
    check(
        r#""agent":[{"who":{"reference":"Patient/p1"},"requestor":true}]"#,
        &[("actor_id", "p1"), ("actor_kind", "patient")],
    );
    check(
        r#""agent":{"who":{"reference":"https://a/fhir/Practitioner/9/_history/2"},"requestor":true}"#,
        &[("actor_id", "9")],
    );
    let endpoint = r#""agent":[{"requestor":true,"network":{"address":"http://s/fhir","type":"5"}}]"#;
    check(endpoint, &[("client_ip", "-"), ("client_host", "-")]);
    check(r#""agent":[{"network":{"address":"fe80::1%11","type":"2"}}]"#, &[("client_ip", "fe80::1%11")]);
    check(
        r#""agent":[{"networkUri":"https://server/fhir"},{"networkString":"10.0.0.7"}]"#,
        &[("client_ip", "10.0.0.7")],
    );
}

#[test]
fn agents_inside_the_event() {
    let inside = |resource: &str, agent: &str| format!(r#""contained":[{resource}],"agent":[{agent}]"#);
    let doctor =
        r#"{"resourceType":"Practitioner","id":"d","identifier":[{"system":"urn:x"},{"value":"dr7^^^&1.2&ISO"}]}"#;
    let agent = r##"{"who":{"reference":"#d"},"requestor":true}"##;
    check(&inside(doctor, agent), &[("actor_id", "dr7"), ("actor_kind", "human")]);
    // The identifier beside the reference is the source's own word; a second log-in id comes after both.
    check(
        &inside(doctor, r##"{"who":{"reference":"#d","identifier":{"value":"own"}},"altId":"x","requestor":true}"##),
        &[("actor_id", "own")],
    );
    check(&inside(doctor, r##"{"who":{"reference":"#d"},"altId":"x","requestor":true}"##), &[("actor_id", "dr7")]);
    // A local id is no account.
    check(&inside(r#"{"resourceType":"Practitioner","id":"d"}"#, agent), &[("actor_id", "-"), ("actor_kind", "human")]);
    check(&inside(doctor, r##"{"who":{"reference":"#other"},"requestor":true}"##), &[("actor_id", "-")]);
    // A machine inside the event stays a machine: the person beside it acted.
    let device = r#"{"resourceType":"Device","id":"d","identifier":[{"value":"gateway"}]}"#;
    check(&inside(device, agent), &[("actor_id", "gateway"), ("actor_kind", "device")]);
    let person = r#"{"who":{"identifier":{"value":"u1"}},"role":[{"text":"Nurse"}]}"#;
    check(&inside(device, &format!("{agent},{person}")), &[("actor_id", "u1")]);
    let typed = |kind: &str| {
        format!(r#""agent":[{{"who":{{"type":"{kind}","identifier":{{"value":"i"}}}},"requestor":true}}]"#)
    };
    check(&typed("Practitioner"), &[("actor_id", "i"), ("actor_kind", "human")]);
    check(&typed("Device"), &[("actor_id", "i"), ("actor_kind", "device")]);
}

#[test]
fn patients_without_a_role() {
    let entity = |what: &str| format!(r#""entity":[{{"what":{what}}}]"#);
    let typed = |kind: &str| entity(&format!(r#"{{"type":"{kind}","identifier":{{"value":"77^^^&1.2&ISO"}}}}"#));
    check(&typed("Patient"), &[("patients", "77"), ("resource", "-")]);
    check(&typed("http://hl7.org/fhir/StructureDefinition/Patient"), &[("patients", "77")]);
    check(&typed("DocumentReference"), &[("patients", "-"), ("resource", "DocumentReference/77^^^&1.2&ISO")]);
    // The link is more exact than the type beside it.
    check(
        &entity(r#"{"type":"Patient","reference":"Group/g","identifier":{"value":"1"}}"#),
        &[("patients", "-"), ("resource", "Group/g")],
    );
    let inside = r##""contained":[{"resourceType":"Patient","id":"c","identifier":[{"value":"5"}]}],"entity":[{"what":{"reference":"#c"}}]"##;
    check(inside, &[("patients", "5"), ("resource", "-")]);
}

#[test]
fn patients_and_requests() {
    let entity = |what: &str| format!(r#""entity":[{{"what":{what}}}]"#);
    check(&entity(r#"{"reference":"Patient/p/_history/3","identifier":{"value":"other"}}"#), &[("patients", "p")]);
    check(
        r##""contained":[{"resourceType":"Patient","id":"c","identifier":[{"value":"77^^^&1.2&ISO"}]}],"patient":{"reference":"#c"}"##,
        &[("patients", "77")],
    );
    let roles = r#""entity":[{"what":{"identifier":{"value":"1^^^&1.2&ISO"}},"role":{"code":"1"}},{"what":{"identifier":{"value":"2"}},"role":{"code":"1"}},{"what":{"identifier":{"value":"1"}},"role":{"code":"1"}}]"#;
    check(roles, &[("patients", "1;2")]);
    // GET /Observation?patient=Patient/p9&_count=5
    let query =
        r#""entity":[{"role":{"code":"24"},"query":"R0VUIC9PYnNlcnZhdGlvbj9wYXRpZW50PVBhdGllbnQvcDkmX2NvdW50PTU="}]"#;
    check(query, &[("patients", "p9")]);
    // /Patient?identifier=urn%3Aoid%3A1%7C55 beside a stated patient
    let both = r#""patient":{"reference":"Patient/p"},"entity":[{"role":{"code":"24"},"query":"L1BhdGllbnQ/aWRlbnRpZmllcj11cm4lM0FvaWQlM0ExJTdDNTU="}]"#;
    check(both, &[("patients", "p")]);
    check(&both.replace(r#""patient":{"reference":"Patient/p"},"#, ""), &[("patients", "55")]);
    check(
        r#""entity":[{"role":{"code":"24"},"query":"%%%","description":"GET /Observation?patient=p2"}]"#,
        &[("patients", "p2")],
    );
    check(r#""entity":[{"role":{"code":"24"},"query":"/w=="}]"#, &[("patients", "-")]);
    check(
        r#""entity":[{"what":{"identifier":{"value":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}},"role":{"code":"26"}}]"#,
        &[("correlation_id", "0af7651916cd43dd8448eb211c80319c"), ("resource", "-")],
    );
}

#[test]
fn times_and_ids() {
    let time = |record: &str| field(&decode(record).batch.row(0), "time");
    assert_eq!(time(&event(r#""period":{"start":"2026-02-28T10:00:00+01:00"}"#)), "2026-02-28T09:00:00Z");
    assert_eq!(time(&event(r#""occurredDateTime":"2026-02-27T10:00:00Z""#)), "2026-02-27T10:00:00Z");
    assert_eq!(time(&event(r#""occurredPeriod":{"start":"2026-02-26T10:00:00Z"}"#)), "2026-02-26T10:00:00Z");
    let partial = event(r#""occurredDateTime":"2026-02""#);
    assert_eq!(time(&partial), "2026-03-01T10:00:00Z");
    assert_eq!(decode(&partial).batch.row(0).flags(), PARTIAL);
    check_reasons(r#"{"resourceType":"AuditEvent","id":"x"}"#, 0, &["missing_field"]);
    check_reasons(r#"{"resourceType":"AuditEvent","id":"x","recorded":"1999-01-01T00:00:00Z"}"#, 0, &["bad_time"]);
    let nameless = r#"{"resourceType":"AuditEvent", "recorded":"2026-03-01T10:00:00Z"}"#;
    let hints = |source: &str| Hints { source: Some(source.into()), ..Hints::new("t") };
    let id = |hints, record: &str| {
        let decoded = decode_with(hints, record);
        let row = decoded.batch.row(0);
        assert_eq!(row.flags(), MADE_ID);
        row.event_id().to_owned()
    };
    assert_eq!(id(hints("a"), nameless), id(hints("a"), &nameless.replace(", ", ",")), "white space is not content");
    assert_ne!(id(hints("a"), nameless), id(hints("b"), nameless));
    assert_eq!(decode(nameless).batch.row(0).source(), "t");
    assert_eq!(decode_with(hints("a"), nameless).batch.row(0).source(), "a");
    assert_eq!(decode(nameless).batch.row(0).raw(), Some(nameless.replace(", ", ",").as_str()));
}

#[test]
fn bundles_and_other_resources() {
    let good = event(r#""action":"R""#);
    let entry = |resource: &str| format!(r#"{{"fullUrl":"u","resource":{resource}}}"#);
    let bundle =
        |entries: &[String]| format!(r#"{{"entry":[{}],"resourceType":"Bundle","type":"history"}}"#, entries.join(","));
    let patient = r#"{"resourceType":"Patient","id":"p"}"#;
    check_reasons(&bundle(&[entry(&good), entry(&good)]), 2, &[]);
    check_reasons(
        &bundle(&[entry(&good), entry(patient), "{}".into(), "7".into(), entry(&good)]),
        2,
        &["not_an_event", "missing_field", "wrong_type"],
    );
    check_reasons(&bundle(&[entry(&bundle(&[entry(&good)]))]), 1, &[]);
    check_reasons(&bundle(&[]), 0, &["not_an_event"]);
    check_reasons(r#"{"resourceType":"Bundle"}"#, 0, &["not_an_event"]);
    // An entry beyond the bounds, and one that is no JSON.
    let deep = format!(r#"{{"resource":{{"resourceType":"AuditEvent","x":{}1{}}}}}"#, "[".repeat(80), "]".repeat(80));
    let broken = r#"{"resource":{"resourceType":"AuditEvent","id": bad}}"#.to_owned();
    check_reasons(&bundle(&[entry(&good), deep, entry(&good)]), 2, &["too_deep"]);
    check_reasons(&bundle(&[entry(&good), broken, entry(&good)]), 2, &["syntax"]);
    check_reasons(patient, 0, &["not_an_event"]);
    check_reasons(r#"{"resourceType":7}"#, 0, &["unknown_format"]);
    check_reasons(r#"{"resourceType":"Bundle","entry":{}}"#, 0, &["wrong_type"]);
    check_reasons(r#"{"id":"b","resourceType":"Bundle","entry":7}"#, 0, &["wrong_type"]);
    check_reasons(&event(r#""entry":7"#), 1, &[]);
    check_reasons(
        &good.replacen(r#""resourceType":"AuditEvent","#, "", 1).replacen('}', r#","resourceType":"AuditEvent"}"#, 1),
        1,
        &[],
    );
    check_reasons(&good.replacen('{', r#"{"resourceType":"AuditEvent","#, 1), 0, &["missing_field"]);
    check_reasons(r#"{"event_id":"e","raw":{"resourceType":"AuditEvent"}}"#, 0, &["missing_field"]);
    check_reasons(&format!(" {{ \"resourceType\" :\t{}", &good[16..]), 1, &[]);
    check_reasons(&good[..good.len() - 1], 0, &["truncated"]);
    check_reasons(&format!("{good}\n{good}"), 2, &[]);
    let hints = Hints { format: Format::Fhir, ..Hints::new("t") };
    let decoded = decode_with(hints, r#"{"event_id":"e"}"#);
    assert_eq!(decoded.rejects[0].reason.as_str(), "missing_field");
    let record = bundle(&[entry(&good), entry(patient)]);
    let decoded = decode(&record);
    assert_eq!(decoded.rejects[0].byte, record.find(r#"{"resourceType":"Patient""#).unwrap() as u64);
    assert_eq!(decoded.rejects[0].raw, patient.as_bytes());
}

proptest::proptest! {
    /// Values of the wrong type anywhere never stop an event whose time stands.
    #[test]
    fn wrong_types_are_borne(element in "type|subtype|agent|entity|source|outcome|action|period|contained|patient|code|category|authorization|extension",
                             value in "1|true|null|\"x\"|\\[\\]|\\{\\}|\\[1,null\\]|\\{\"coding\":7\\}|\\[\\{\"what\":3,\"who\":\\[\\],\"type\":1,\"network\":2\\}\\]|\\[\\[\\[\\]\\]\\]") {
        check_reasons(&event(&format!(r#""{element}":{value}"#)), 1, &[]);
    }
}
