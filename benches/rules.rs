//! Sigma rules on native records, parse included, on one core: ours against rsigma on its own JSON path, in the same run.
//!
//! The rules ask for recorded fields only, which both sides read from the same lines; the hits of each rule are compared before anything
//! is timed. 25 rules are of the shapes that the shipped set has: words of an activity, another field, a number, a text within a
//! text, and exceptions. 3,000 are what a site has that takes in whole lists of others: a word or a beginning in one field each.

use std::collections::BTreeMap;

use phiwatch::decode::{Decoder, Hints, Limits};
use phiwatch::engine::enrich::enrich;
use phiwatch::engine::rule::sieve::Room;
use phiwatch::engine::rule::{Row, RuleSet, load};
use phiwatch::event::{Origin, Zone};
use phiwatch::roster::Roster;
use rsigma_eval::{Engine, JsonEvent};
use rsigma_parser::parse_sigma_yaml;

use crate::hospital::{STRETCH, hospital, lines, push};
use crate::measure::{rate, timed};

/// The engine is asked for so many events a second with 25 rules, and to be so many times as quick as rsigma.
const AIM: f64 = 500_000.0;
const TIMES: f64 = 2.0;
/// Rules of the large set.
const MANY: usize = 3_000;

/// Both sets.
pub fn against_rsigma(records: usize) {
    let lines = lines(&hospital(2_000, 90), records);
    let bytes: usize = lines.iter().map(Vec::len).sum();
    println!("{} distinct records of {:.0} bytes on average", lines.len(), bytes as f64 / lines.len() as f64);
    compare("25 rules", &usual(), &lines, Some(AIM), TIMES);
    // rsigma takes long for them.
    compare("3,000 rules", &many(), &lines[..lines.len() / 10], None, 1.0);
}

fn compare(what: &str, texts: &[String], lines: &[Vec<u8>], aim: Option<f64>, times: f64) {
    let (set, engine) = (ours(texts), theirs(texts));
    let sample = &lines[..lines.len().min(20_000)];
    let mut expected: BTreeMap<String, usize> = BTreeMap::new();
    let mut found = expected.clone();
    rsigma(&engine, sample, &mut |rule| *expected.entry(rule.to_owned()).or_default() += 1);
    phiwatch(&set, sample, &mut |rule| *found.entry(rule.to_owned()).or_default() += 1);
    assert_eq!(found, expected, "both sides find the same");
    assert!(expected.values().sum::<usize>() > sample.len() / 1_000, "the rules hold now and then: {expected:?}");
    let (mut own, mut other) = (0, 0);
    let ((), ours) = timed(|| phiwatch(&set, lines, &mut |_| own += 1));
    let ((), theirs) = timed(|| rsigma(&engine, lines, &mut |_| other += 1));
    assert_eq!(own, other, "as many hits");
    rate(&format!("{what}, phiwatch"), lines.len(), ours, aim);
    rate(&format!("{what}, rsigma"), lines.len(), theirs, None);
    let ratio = theirs.cpu / ours.cpu;
    let verdict = if ratio >= times { "met" } else { "MISSED" };
    println!("{what}: {own} hits, {ratio:.1} times as quick as rsigma  aim {times}: {verdict}");
}

/// Lines are decoded in stretches and each row is asked by the rules that it may meet. Facts are those of nobody: none is asked for.
fn phiwatch(set: &RuleSet, lines: &[Vec<u8>], hit: &mut dyn FnMut(&str)) {
    let mut decoder = Decoder::new(Origin::topic("ehr", 0), Hints::new("ehr"), Limits::default());
    push(&mut decoder, &lines[..1], 0);
    let (roster, first) = (Roster::empty(Zone::utc()), decoder.finish(0, 1).batch);
    let mut facts = enrich(&roster, &first.row(0));
    facts.patients = Vec::new();
    let mut room = Room::default();
    for chunk in lines.chunks(STRETCH) {
        push(&mut decoder, chunk, 0);
        let decoded = decoder.finish(0, chunk.len() as i64);
        assert_eq!(decoded.rejects, [], "every line is an event");
        for event in decoded.batch.rows() {
            let row = Row::new(event, &facts);
            for plain in set.candidates(&row, &mut room).filter(|plain| plain.condition.holds(&row)) {
                hit(&plain.speaks.as_ref().expect("none feeds a correlation").id);
            }
        }
    }
}

fn rsigma(engine: &Engine, lines: &[Vec<u8>], hit: &mut dyn FnMut(&str)) {
    for line in lines {
        let value: serde_json::Value = serde_json::from_slice(line).expect("every line is JSON");
        for result in engine.evaluate(&JsonEvent::borrow(&value)) {
            hit(result.header.rule_id.as_deref().unwrap_or_default());
        }
    }
}

fn ours(texts: &[String]) -> RuleSet {
    let file = ("rules.yml".to_owned(), texts.join("---\n").into_bytes());
    let loaded = load(&[file]);
    assert_eq!(loaded.problems, [], "the rules are right");
    assert_eq!(loaded.set.rules().len(), texts.len());
    loaded.set
}

fn theirs(texts: &[String]) -> Engine {
    let mut engine = Engine::new();
    let collection = parse_sigma_yaml(&texts.join("---\n")).expect("the rules are right");
    assert_eq!(collection.rules.len(), texts.len());
    engine.add_collection(&collection).expect("the rules are right");
    engine
}

fn rule(number: usize, detection: &str) -> String {
    format!(
        "title: Rule {number}\nid: rule-{number}\nstatus: stable\nlogsource: {{product: phiwatch}}\ndetection:\n{detection}\nlevel: low\n\
         phiwatch: {{sentence: \"{{actor.id}} did it.\", subject: user, class: informational}}\n"
    )
}

/// Rules of the shapes that are shipped, over what is recorded.
fn usual() -> Vec<String> {
    const DETECTIONS: [&str; 25] = [
        "  a: {activity: [export, print], result_count|gte: 500}\n  f: {actor.kind: [service, device]}\n  condition: a and not f",
        "  a: {activity: search, result_count|gte: 500}\n  f: {approval_ref|exists: true}\n  condition: a and not f",
        "  a: {activity: search, query|re: '(?i)name=[a-z]?[*%]+(&|$)'}\n  condition: a",
        "  a: {activity: search, query|contains: ['birthdate=', 'ssn=']}\n  condition: a",
        "  a: {break_glass: true}\n  f: {purpose: [ETREAT, BTG]}\n  condition: a and not f",
        "  a: {break_glass: true, client.remote: true}\n  condition: a",
        "  a: {activity: login, outcome: failure, client.remote: true}\n  condition: a",
        "  a: {activity: login, client.remote: true}\n  m: {auth.mfa: true}\n  condition: a and not m",
        "  a: {activity: login, auth.method: password, actor.role|contains: admin}\n  condition: a",
        "  a: {activity: [create, update, delete], resource.type: [AuditEvent, Consent]}\n  condition: a",
        "  a: {activity: delete, resource.type|startswith: Doc}\n  condition: a",
        "  a: {activity: read, resource.type: [DiagnosticReport, Observation], purpose: HRESCH}\n  condition: a",
        "  a: {activity: read, purpose: HMARKT}\n  condition: a",
        "  a: {outcome: [failure, denied], activity: [read, update]}\n  condition: a",
        "  a: {activity: read, patients.count|gte: 20}\n  f: {actor.kind: service}\n  condition: a and not f",
        "  a: {actor.kind: service, client.remote: true}\n  condition: a",
        "  a: {actor.on_behalf_of|exists: true, activity: [export, print]}\n  condition: a",
        "  a: {actor.role|contains: [billing, coder], resource.type: [DocumentReference, Composition]}\n  condition: a",
        "  a: {actor.role: student, activity: [print, export, update]}\n  condition: a",
        "  a: {target.host|startswith: 'db', detail.command|contains: ['DROP ', 'TRUNCATE ', 'DELETE FROM audit']}\n  condition: a",
        "  a: {detail.command|re: '(?i)(mysqldump|pg_dump|expdp)\\b'}\n  condition: a",
        "  a: {detail.files|gte: 100}\n  b: {detail.bytes|gte: 1000000000}\n  condition: a or b",
        "  a: {target.host|exists: true}\n  f: {approval_ref|exists: true}\n  condition: a and not f",
        "  a: {client.app|contains: [curl, python, postman], activity: [read, search]}\n  condition: a",
        "  a: {client.ip|cidr: '203.0.113.0/24'}\n  condition: a",
    ];
    DETECTIONS.iter().enumerate().map(|(number, detection)| rule(number, detection)).collect()
}

/// Many rules, each about one word or beginning.
fn many() -> Vec<String> {
    let detection = |number: usize| match number % 5 {
        0 => format!("  a: {{actor.id: u{number:05}, activity: [export, print]}}\n  condition: a"),
        1 => format!("  a: {{client.host: 'ws-{number:04}', activity: read}}\n  condition: a"),
        2 => format!("  a: {{patients: p{number:07}}}\n  f: {{actor.kind: service}}\n  condition: a and not f"),
        3 => format!("  a: {{query|contains: 'surname{number}'}}\n  condition: a"),
        _ => format!(
            "  a: {{target.host|startswith: 'host-{number}-', detail.command|contains: 'dump{number}'}}\n  condition: a"
        ),
    };
    let mut texts: Vec<String> = (0..MANY - 1).map(|number| rule(number, &detection(number))).collect();
    texts.push(rule(MANY, "  a: {activity: print}\n  condition: a"));
    texts
}
