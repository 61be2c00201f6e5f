//! Our walk over a condition against rsigma's, for generated rules and events: over rows as they are, and over the same as JSON.

use std::collections::{BTreeMap, BTreeSet};

use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rsigma_eval::compiler::{CompiledRule, compile_rule};
use rsigma_eval::{Event as Asked, JsonEvent, evaluate_rule};

use super::super::lists::{self, Lists};
use super::super::sieve::{Room, Sieve};
use super::super::strict;
use super::super::{Condition, Row};
use crate::engine::enrich::enrich;
use crate::event::facts::{MARKS, Privilege};
use crate::event::{Activity, ActorKind, Draft, EventBatch, EventBuilder, Facts, Origin, Outcome, Time, Zone};
use crate::roster::Roster;

const TEXTS: [&str; 12] =
    ["n1", "N1", "nurse", "Night Nurse", "10.0.0.7", "2001:db8::1", "", "*", "a\\b", "ÄRZTIN", "dGVzdA==", "K"];

/// Some events with some of everything.
pub(crate) fn events(rng: &mut ChaCha8Rng) -> EventBatch {
    let mut builder = EventBuilder::default();
    for number in 0..24 {
        let activity = *Activity::ALL.choose(rng).unwrap();
        let mut draft = Draft::new(
            format!("e{number}"),
            Time(1_767_000_000_000_000 + rng.random_range(0..9_000_000_000_000)),
            "ehr",
            activity,
        );
        let mut text = |draft: &mut Option<std::borrow::Cow<'_, str>>| {
            if rng.random_bool(0.6) {
                *draft = Some((*TEXTS.choose(rng).unwrap()).to_owned().into());
            }
        };
        text(&mut draft.actor_id);
        text(&mut draft.actor_role);
        text(&mut draft.client_host);
        text(&mut draft.client_ip);
        text(&mut draft.query);
        text(&mut draft.detail_command);
        text(&mut draft.session_id);
        draft.actor_kind = rng.random_bool(0.5).then(|| *ActorKind::ALL.choose(rng).unwrap());
        draft.outcome = *Outcome::ALL.choose(rng).unwrap();
        draft.result_count = rng.random_bool(0.5).then(|| rng.random_range(-2..40));
        draft.auth_mfa = rng.random_bool(0.5).then(|| rng.random());
        let some = |rng: &mut ChaCha8Rng| {
            let count = rng.random_range(0..4);
            (0..count)
                .map(|_| (*TEXTS.choose(rng).unwrap()).to_owned().into())
                .collect::<Vec<std::borrow::Cow<'_, str>>>()
        };
        draft.patients = some(rng);
        draft.purpose = some(rng);
        builder.push(&draft, number, 0);
    }
    builder.finish(&Origin::file("x"))
}

/// Facts beyond what a roster that knows nobody gives.
pub(crate) fn known<'a>(rng: &mut ChaCha8Rng, mut facts: Facts<'a>) -> Facts<'a> {
    facts.privilege = *Privilege::ALL.choose(rng).unwrap();
    facts.on_shift = rng.random_bool(0.5).then(|| rng.random());
    for patient in &mut facts.patients {
        patient.marks = MARKS.sample(rng, 2).copied().collect();
        patient.days_deceased = rng.random_bool(0.3).then(|| rng.random_range(0..50));
        patient.explained_by = rng.random_bool(0.5).then_some("encounter");
    }
    facts
}

const FIELDS: [&str; 18] = [
    "activity",
    "actor.id",
    "actor.role",
    "actor.kind",
    "client.host",
    "client.ip",
    "query",
    "detail.command",
    "outcome",
    "result_count",
    "auth.mfa",
    "patients",
    "purpose",
    "patients.count",
    "fact.marks",
    "fact.days_deceased",
    "fact.hour",
    "time",
];
const MODIFIERS: [&str; 41] = [
    "",
    "",
    "",
    "|contains",
    "|startswith",
    "|endswith",
    "|contains|all",
    "|startswith|all",
    "|cased",
    "|contains|cased",
    "|re",
    "|re|i",
    "|re|m|s",
    "|re|ignorecase",
    "|re|multiline|dotall",
    "|cidr",
    "|exists",
    "|gt",
    "|gte",
    "|lt",
    "|lte",
    "|neq",
    "|neq|contains",
    "|fieldref",
    "|fieldref|startswith",
    "|fieldref|contains",
    "|windash|contains",
    "|base64",
    "|base64offset|contains",
    "|wide|base64",
    "|utf16be|base64",
    "|utf16|base64",
    "|utf16le|base64offset|contains",
    "|expand",
    "|contains|expand",
    "|minute",
    "|hour",
    "|day",
    "|week",
    "|month",
    "|year",
];

/// The value of an item, in YAML.
fn value(rng: &mut ChaCha8Rng, modifiers: &str) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let one = |rng: &mut ChaCha8Rng| match modifiers {
        m if m.contains("exists") => rng.random::<bool>().to_string(),
        "|gt" | "|gte" | "|lt" | "|lte" | "|minute" | "|hour" | "|day" | "|week" | "|month" => {
            rng.random_range(0..20).to_string()
        }
        "|year" => rng.random_range(2025..2028).to_string(),
        "|cidr" => (*["10.0.0.0/8", "2001:db8::/32", "192.168.0.0/16"].choose(rng).unwrap()).to_owned(),
        m if m.starts_with("|re") => quoted(["^n", "nurse$", "N1|n1", ".", "[0-9]+"].choose(rng).unwrap()),
        m if m.contains("fieldref") => (*FIELDS.choose(rng).unwrap()).to_owned(),
        m if m.contains("windash") => quoted("-n"),
        m if m.contains("expand") => quoted(["%texts%", "n%texts%", "nurse"].choose(rng).unwrap()),
        _ => match rng.random_range(0..10) {
            0 => "null".to_owned(),
            1 => rng.random_range(0..12).to_string(),
            2 => rng.random::<bool>().to_string(),
            3 => quoted(["n*", "*urs*", "?1", "N?", "\\*", "*"].choose(rng).unwrap()),
            4 => quoted(MARKS.choose(rng).unwrap()),
            5 => quoted(Activity::ALL.choose(rng).unwrap().as_str()),
            _ => quoted(TEXTS.choose(rng).unwrap()),
        },
    };
    let count = if modifiers.contains("all") { rng.random_range(2..4) } else { rng.random_range(1..5) };
    match count {
        1 => one(rng),
        _ if modifiers.contains("exists") => one(rng),
        count => format!("[{}]", (0..count).map(|_| one(rng)).collect::<Vec<_>>().join(", ")),
    }
}

/// A generated rule, as YAML.
pub(crate) fn rule(rng: &mut ChaCha8Rng) -> String {
    let mut text = "title: t\nlogsource:\n  product: phiwatch\ndetection:\n".to_owned();
    let parts = rng.random_range(1..4);
    for part in 0..parts {
        text.push_str(&format!("  s{part}:\n"));
        match rng.random_range(0..8) {
            0 => text.push_str("    - nurse\n    - 'n*'\n"),
            kind => {
                for item in 0..rng.random_range(1..3) {
                    let (field, modifiers) = (FIELDS.choose(rng).unwrap(), MODIFIERS.choose(rng).unwrap());
                    let dash = if kind == 1 || item == 0 && kind == 2 { "- " } else { "  " };
                    let dash = if kind > 2 { "" } else { dash };
                    text.push_str(&format!("    {dash}'{field}{modifiers}': {}\n", value(rng, modifiers)));
                }
            }
        }
    }
    let conditions = [
        "s0",
        "not s0",
        "1 of s*",
        "all of s*",
        "all of them",
        "s0 or s0",
        "not 1 of them",
        "2 of s*",
        "s0 and not s0",
    ];
    let condition =
        if parts > 1 && rng.random_bool(0.5) { "s0 and not s1 or s1" } else { conditions.choose(rng).unwrap() };
    text + &format!("  condition: {condition}\n")
}

pub(crate) fn compiled(text: &str) -> Option<CompiledRule> {
    let mut rule = rsigma_parser::parse_sigma_yaml(text).ok()?.rules.pop()?;
    let texts = TEXTS.iter().filter(|text| !text.is_empty()).map(|text| (*text).to_owned());
    let lists = Lists::from([("texts".to_owned(), texts.collect())]);
    let (mut used, mut absent) = (BTreeSet::new(), BTreeSet::new());
    // Placeholders are gone before a rule is compiled.
    rule.detection.named.values_mut().for_each(|part| lists::expand(part, &lists, &mut used, &mut absent));
    compile_rule(&rule).ok()
}

#[test]
fn every_modifier_is_tried() {
    let is_tried = |name: &&str| MODIFIERS.iter().any(|modifiers| modifiers.split('|').any(|part| part == *name));
    let left: Vec<&str> = strict::MODIFIERS.into_iter().filter(|name| !is_tried(name)).collect();
    assert_eq!(left, [""; 0]);
}

/// Ten thousand pairs of rule and event, in which every modifier holds somewhere and fails somewhere.
#[test]
fn conditions_hold_where_rsigma_says_so() {
    let roster = Roster::empty(Zone::utc());
    let (mut pairs, mut left_out, mut held) = (0, 0, BTreeMap::<&str, (u32, u32)>::new());
    for seed in 0..600 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let text = rule(&mut rng);
        let Some(rule) = compiled(&text) else { continue };
        let condition = Condition::new(&rule, None);
        let sieve = Sieve::new(std::iter::once(&condition));
        let batch = events(&mut rng);
        for event in batch.rows() {
            let facts = known(&mut rng, enrich(&roster, &event));
            let row = Row::new(event, &facts);
            let (ours, theirs) = (condition.holds(&row), evaluate_rule(&rule, &row).is_some());
            assert_eq!(ours, theirs, "seed {seed}:\n{text}\n{}", row.to_json());
            let json = row.to_json();
            let parsed = evaluate_rule(&rule, &JsonEvent::borrow(&json)).is_some();
            // Without a field rsigma looks into all of the JSON, facts included: we look into what was recorded.
            if !text.contains("- nurse") {
                assert_eq!(ours, parsed, "seed {seed}, as JSON:\n{text}\n{json}");
            }
            assert!(!ours || condition.may_hold(event.activity()), "seed {seed}: {text}");
            let sieved = sieve.candidates(&row, &mut Room::default()).next().is_some();
            assert!(!ours || sieved, "seed {seed}, left out:\n{text}\n{}", row.to_json());
            left_out += u32::from(!sieved);
            pairs += 1;
            for modifiers in MODIFIERS.iter().filter(|modifiers| text.contains(&format!("{modifiers}':"))) {
                let counts = held.entry(modifiers).or_default();
                if ours { counts.0 += 1 } else { counts.1 += 1 }
            }
        }
    }
    println!("{pairs} pairs, {held:?}");
    assert!(pairs >= 10_000, "{pairs} pairs");
    assert!(left_out > 1_000, "the sieve leaves out {left_out}");
    for modifiers in MODIFIERS {
        let (yes, no) = held.get(modifiers).copied().unwrap_or_default();
        assert!(yes > 0 && no > 0, "{modifiers} held {yes} times and failed {no} times");
    }
}

/// 300 rules in one sieve leave out what each alone leaves out, and nothing that holds.
#[test]
fn a_sieve_of_many_says_what_each_alone_says() {
    let roster = Roster::empty(Zone::utc());
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let rules = std::iter::repeat_with(|| compiled(&rule(&mut rng))).flatten().take(300);
    let conditions: Vec<Condition> = rules.map(|rule| Condition::new(&rule, None)).collect();
    let all = Sieve::new(conditions.iter());
    let alone: Vec<Sieve> = conditions.iter().map(|condition| Sieve::new(std::iter::once(condition))).collect();
    let (mut room, mut other, mut let_through) = (Room::default(), Room::default(), 0);
    for _ in 0..10 {
        let batch = events(&mut rng);
        for event in batch.rows() {
            let facts = known(&mut rng, enrich(&roster, &event));
            let row = Row::new(event, &facts);
            let mut passes = |number: &usize| alone[*number].candidates(&row, &mut other).next().is_some();
            let expected: Vec<usize> = (0..alone.len()).filter(|number| passes(number)).collect();
            let found: Vec<usize> = all.candidates(&row, &mut room).collect();
            assert_eq!(found, expected, "{}", row.to_json());
            let held = (0..conditions.len()).filter(|number| conditions[*number].holds(&row));
            assert!(held.into_iter().all(|number| found.contains(&number)), "{}", row.to_json());
            let_through += found.len();
        }
    }
    assert!((1_000..60_000).contains(&let_through), "{let_through} of 72,000");
}

#[test]
fn a_condition_with_a_kind_sees_no_other() {
    let rule = compiled("title: t\ndetection:\n  s:\n    event_id|contains: e\n  condition: s\n").unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let batch = events(&mut rng);
    let roster = Roster::empty(Zone::utc());
    for event in batch.rows() {
        let facts = enrich(&roster, &event);
        for kind in crate::event::Kind::ALL {
            let condition = Condition::new(&rule, Some(*kind));
            assert_eq!(condition.holds(&Row::new(event, &facts)), event.kind() == *kind);
        }
    }
}
