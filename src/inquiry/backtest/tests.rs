//! The derived filter never drops a match, and rows read back are to rules what they were, for generated rules and events.

use std::collections::BTreeSet;

use arrow::array::{ArrayRef, AsArray, RecordBatch, new_null_array};
use arrow::compute::nullif;
use datafusion::prelude::SessionContext;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::filter::filter;
use crate::engine::enrich::enrich;
use crate::engine::rule::fields::{self, Shape};
use crate::engine::rule::narrow::Narrow;
use crate::engine::rule::tests::conditions;
use crate::engine::rule::{Condition, Row};
use crate::event::facts::{Agreement, Approval, Encounter, Status};
use crate::event::schema::EVENTS;
use crate::event::stored::{StoredFacts, events};
use crate::event::{EventBatch, Facts, FactsBuilder, Kind, Zone};
use crate::roster::Roster;

/// Facts of every kind, and absent ones.
fn known<'a>(rng: &mut ChaCha8Rng, facts: Facts<'a>) -> Facts<'a> {
    let mut facts = conditions::known(rng, facts);
    let some = |rng: &mut ChaCha8Rng| rng.random_bool(0.7);
    facts.status = some(rng).then(|| *Status::ALL.choose(rng).unwrap());
    facts.vendor_status = some(rng).then(|| *Status::ALL.choose(rng).unwrap());
    facts.baa = some(rng).then(|| *Agreement::ALL.choose(rng).unwrap());
    facts.approval = some(rng).then(|| *Approval::ALL.choose(rng).unwrap());
    facts.in_window = some(rng).then(|| rng.random());
    facts.role = some(rng).then(|| *["nurse", "Nurse", "ÄRZTIN", "clerk", "\u{212a}lerk"].choose(rng).unwrap());
    facts.employment = some(rng).then(|| *["agency", "Agency", "student"].choose(rng).unwrap());
    facts.entitlements = ["root", "Root", "dba"].sample(rng, 1).copied().collect();
    facts.off_day = rng.random();
    facts.outside_dates = rng.random();
    for patient in &mut facts.patients {
        patient.encounter = some(rng).then(|| *Encounter::ALL.choose(rng).unwrap());
        patient.relations = ["order", "billing", "result"].sample(rng, 2).copied().collect();
        if patient.days_deceased.is_some() && !patient.marks.contains(&"deceased") {
            patient.marks.push("deceased");
        }
    }
    facts
}

/// A rule of plain tests of every field, which a filter can nearly always be made of.
fn plain_rule(rng: &mut ChaCha8Rng) -> String {
    let mut text = "title: t\nlogsource:\n  product: phiwatch\ndetection:\n".to_owned();
    for part in ["a", "b", "c"] {
        text.push_str(&format!("  {part}:\n"));
        for field in fields::ALL.sample(rng, 2) {
            let words = (field.words)();
            let word = |rng: &mut ChaCha8Rng| match words.choose(rng) {
                Some(word) if rng.random() => word.to_uppercase(),
                Some(word) => (*word).to_owned(),
                None => {
                    (*["n1", "N1", "nurse", "NURSE", "clerk", "agency", "k", "dba"].choose(rng).unwrap()).to_owned()
                }
            };
            let number = rng.random_range(-1..30).to_string();
            let (modifier, value) = match (rng.random_range(0..9), field.shape) {
                (0, _) => ("|exists", rng.random::<bool>().to_string()),
                (1, _) => ("", "null".to_owned()),
                (_, Shape::Truth) => ("", rng.random::<bool>().to_string()),
                (_, Shape::Number) => (*["", "|gt", "|gte", "|lt", "|lte"].choose(rng).unwrap(), number),
                (2, _) => ("", format!("[{}, null]", word(rng))),
                (3, _) => ("|contains", word(rng)),
                (kind, _) if kind < 6 => ("", format!("[{}, {}]", word(rng), word(rng))),
                _ => ("", word(rng)),
            };
            text.push_str(&format!("    '{}{modifier}': {value}\n", field.name));
        }
    }
    let forms =
        ["a", "a or b", "a and b", "a and not b", "1 of them", "2 of them", "not a", "not a and b", "a and (b or c)"];
    text + &format!("  condition: {}\n", forms.choose(rng).unwrap())
}

/// The table of events with these facts, in some of which what was stored later is empty.
fn table(rng: &mut ChaCha8Rng, batch: &EventBatch, facts: &[Facts<'_>], is_old: bool) -> RecordBatch {
    let mut builder = FactsBuilder::default();
    facts.iter().for_each(|facts| builder.push(facts, "r"));
    let later = ["fact_weekday", "fact_privilege", "fact_encounter", "fact_days_deceased", "fact_off_day", "fact_hour"];
    let stored = builder.finish();
    let blank: arrow::array::BooleanArray = (0..batch.len()).map(|_| Some(rng.random())).collect();
    let column = |name: &String| -> ArrayRef {
        let found = batch.record().column_by_name(name).or(stored.column_by_name(name)).unwrap();
        match is_old && later.contains(&name.as_str()) {
            true => nullif(found, &blank).unwrap_or_else(|_| new_null_array(found.data_type(), batch.len())),
            false => found.clone(),
        }
    };
    let columns = EVENTS.fields().iter().map(|field| column(field.name())).collect();
    RecordBatch::try_new(EVENTS.clone(), columns).unwrap()
}

async fn survivors(rows: &RecordBatch, narrow: &Narrow) -> BTreeSet<String> {
    let session = SessionContext::new();
    session.register_batch("events", rows.clone()).unwrap();
    let frame = session.table("events").await.unwrap().filter(filter(narrow, None, None)).unwrap();
    let frame = frame.select_columns(&["event_id"]).unwrap();
    let found = frame.collect().await.unwrap();
    let ids =
        |rows: &RecordBatch| rows.column(0).as_string::<i32>().iter().flatten().map(str::to_owned).collect::<Vec<_>>();
    found.iter().flat_map(ids).collect()
}

#[tokio::test]
async fn a_filter_drops_no_match_and_stored_rows_are_what_they_were() {
    let roster = Roster::empty(Zone::utc());
    let (mut dropped, mut held, mut narrowed) = (0, 0, 0);
    for seed in 0..900 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let text = if seed % 3 == 0 { conditions::rule(&mut rng) } else { plain_rule(&mut rng) };
        let Some(rule) = conditions::compiled(&text) else { continue };
        let kind = [None, None, Some(Kind::Access), Some(Kind::VendorSession)].choose(&mut rng).copied().flatten();
        let condition = Condition::new(&rule, kind);
        let batch = conditions::events(&mut rng);
        let facts: Vec<Facts<'_>> = batch.rows().map(|event| known(&mut rng, enrich(&roster, &event))).collect();
        let is_old = seed % 5 == 0;
        let rows = table(&mut rng, &batch, &facts, is_old);
        let (read, stored) = (events(&rows), StoredFacts::of(&rows));
        let narrow = condition.narrow();
        let found = survivors(&rows, &narrow).await;
        narrowed += usize::from(narrow != Narrow::Anything);
        dropped += batch.len() - found.len();
        for (at, event) in read.rows().enumerate() {
            let again = stored.row(at, event.time(), &[]);
            let holds = condition.holds(&Row::new(event, &again));
            if !is_old {
                let first = condition.holds(&Row::new(batch.row(at), &facts[at]));
                assert_eq!(holds, first, "seed {seed}:\n{text}\n{again:#?}");
            }
            assert!(
                !holds || found.contains(event.event_id()),
                "seed {seed}: {} is dropped by {narrow:?}\n{text}",
                event.event_id()
            );
            held += usize::from(holds);
        }
    }
    println!("{narrowed} rules narrow, {dropped} rows dropped, {held} held");
    assert!(narrowed > 300 && dropped > 3_000 && held > 1_500, "{narrowed} {dropped} {held}");
}

#[test]
fn a_column_that_was_not_asked_for_is_absent() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let batch = conditions::events(&mut rng);
    let roster = Roster::empty(Zone::utc());
    let facts: Vec<Facts<'_>> = batch.rows().map(|event| known(&mut rng, enrich(&roster, &event))).collect();
    let all = table(&mut rng, &batch, &facts, false);
    let places: Vec<usize> = crate::event::stored::NEEDED.iter().map(|name| EVENTS.index_of(name).unwrap()).collect();
    let few = all.project(&places).unwrap();
    let (read, stored) = (events(&few), StoredFacts::of(&few));
    for (event, first) in read.rows().zip(batch.rows()) {
        assert_eq!(
            (event.event_id(), event.time(), event.actor_id()),
            (first.event_id(), first.time(), first.actor_id())
        );
        assert_eq!((event.query(), event.patients().len(), event.purpose().len()), (None, 0, 0));
    }
    assert!((0..read.len()).all(|row| stored.row(row, read.row(row).time(), &[]).patients.is_empty()));
}
