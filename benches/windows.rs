//! Sliding correlation windows on one core, against rsigma on the same events: distinct patients of a user, whom one account outdoes.

use phiwatch::engine::rule::window::{Correlation, Limits, Match, Windows};
use phiwatch::event::{Day, Time};
use rand::{RngExt, SeedableRng};
use rsigma_eval::{CorrelationConfig, CorrelationEngine, Event, JsonEvent};
use rsigma_parser::{SigmaCollection, parse_sigma_yaml};
use serde_json::{Value, json};

use crate::measure::{at_most, timed};

/// Users besides the busy one.
const USERS: u32 = 5_000;
/// Patients whose charts are opened.
const PATIENTS: u32 = 500_000;
/// Microseconds between two events.
const APART: i64 = 3_000;
/// Share of the busy account.
const BUSY: f64 = 0.16;
/// Ours is so quick that the clock of the process needs several rounds.
const ROUNDS: usize = 5;
/// Noon of some day, in microseconds.
const START: i64 = 20_523 * 86_400_000_000 + 43_200_000_000;
/// The speed asked for on skewed users.
const TIMES: f64 = 30.0;

/// The same events by two lengths of the window, with the busy account and without it.
pub fn sliding(events: usize) {
    compare_answers(&opened(20_000.min(events), BUSY));
    let mut ours = Vec::new();
    for (shape, share) in [("one account with 16 %", BUSY), ("equal users", 0.0)] {
        let opened = opened(events, share);
        for span in ["10m", "1h"] {
            let spent = cost_of_ours(&opened, &rule(span, 60_000), 1);
            let theirs = cost_of_rsigma(&opened, &rule(span, 60_000));
            let aim = if share > 0.0 {
                format!("  aim {TIMES}: {}", verdict(theirs / spent >= TIMES))
            } else {
                String::new()
            };
            println!(
                "{shape}, {span}: ours {spent:.2} us, rsigma {theirs:.2} us an event: {:.1} times{aim}",
                theirs / spent
            );
            ours.push(spent);
        }
        if share > 0.0 {
            let mixed = disordered(&opened);
            let spent = cost_of_ours(&mixed, &rule("1h", 60_000), 1_000);
            println!("{shape}, 1h, out of order by up to 30 s, asked every 1,000 events: ours {spent:.2} us an event");
        }
    }
    at_most("1 h against 10 min, one account with 16 %", ours[1] / ours[0], "times", 1.5);
    at_most("one account with 16 % against equal users, 1 h", ours[1] / ours[3], "times", 1.5);
}

fn verdict(is_met: bool) -> &'static str {
    if is_met { "met" } else { "MISSED" }
}

/// Charts opened, by time.
fn opened(events: usize, share: f64) -> Vec<(i64, Value)> {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(7);
    let one = |at: usize| {
        let user = if random.random_bool(share) { 0 } else { random.random_range(1..=USERS) };
        let patient = random.random_range(0..PATIENTS);
        let event = json!({"activity": "read", "actor.id": format!("u{user}"), "patient": format!("p{patient}")});
        (START + at as i64 * APART, event)
    };
    (0..events).map(one).collect()
}

/// The same events, each up to half a minute late.
fn disordered(opened: &[(i64, Value)]) -> Vec<(i64, Value)> {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(8);
    let mut keyed: Vec<(i64, usize)> =
        opened.iter().enumerate().map(|(at, (time, _))| (time + random.random_range(0..30_000_000), at)).collect();
    keyed.sort_unstable();
    keyed.into_iter().map(|(_, at)| opened[at].clone()).collect()
}

/// Distinct patients of a user.
fn rule(span: &str, bound: u32) -> SigmaCollection {
    let text = format!(
        "title: many\nid: many\ncorrelation:\n  type: value_count\n  rules: [opened]\n  group-by: [actor.id]\n  timespan: {span}\n  \
         condition: {{gte: {bound}, field: patient}}\n---\ntitle: opened\nid: opened\nlogsource: {{product: phiwatch}}\n\
         detection: {{read: {{activity: read}}, condition: read}}\n"
    );
    parse_sigma_yaml(&text).expect("the rule is right")
}

fn windows(rules: &SigmaCollection) -> Windows<u64> {
    let names_of = |reference: &str| vec![reference.to_owned()];
    let correlation = Correlation::compile(&rules.correlations[0], &names_of, &Limits::default(), 0);
    Windows::new(vec![correlation.expect("the rule is right")], Limits::default()).expect("it names no correlation")
}

/// CPU microseconds of an event; it is asked after every so many events what has crossed.
fn cost_of_ours(opened: &[(i64, Value)], rules: &SigmaCollection, ask_every: usize) -> f64 {
    let events: Vec<JsonEvent<'_>> = opened.iter().map(|(_, event)| JsonEvent::borrow(event)).collect();
    let (hits, spent) = timed(|| {
        let mut hits = 0;
        for _ in 0..ROUNDS {
            let mut windows = windows(rules);
            let feeds = windows.feeds(&["opened".to_owned()]);
            for (at, ((time, _), event)) in opened.iter().zip(&events).enumerate() {
                let found = Match { time: Time(*time), day: Day(20_523), about: 0, evidence: at as u64 };
                windows.offer(feeds[0], &mut |_| found, &|name| event.get_field(name));
                if at % ask_every == 0 {
                    windows.cross(&mut |_| panic!("the bound is out of reach"));
                }
            }
            hits += windows.hits();
        }
        hits
    });
    assert_eq!(hits, ROUNDS * opened.len(), "every hit is kept");
    spent.cpu * 1e6 / (ROUNDS * opened.len()) as f64
}

/// CPU microseconds of an event without those of its base rule, which ours are not given to evaluate.
fn cost_of_rsigma(opened: &[(i64, Value)], rules: &SigmaCollection) -> f64 {
    let mut engine = CorrelationEngine::new(CorrelationConfig::default());
    engine.add_collection(rules).expect("the rule is right");
    let events: Vec<JsonEvent<'_>> = opened.iter().map(|(_, event)| JsonEvent::borrow(event)).collect();
    let (matches, base) = timed(|| events.iter().map(|event| engine.evaluate(event).len()).sum::<usize>());
    let ((), whole) = timed(|| {
        for ((time, _), event) in opened.iter().zip(&events) {
            std::hint::black_box(engine.process_event_at(event, time / 1_000_000));
        }
    });
    assert_eq!(matches, opened.len(), "every event is a hit");
    (whole.cpu - base.cpu) * 1e6 / opened.len() as f64
}

/// Before anything is timed: the largest count of every user is the same on both sides.
fn compare_answers(opened: &[(i64, Value)]) {
    let rules = rule("10s", 2);
    let mut engine = CorrelationEngine::new(CorrelationConfig::default());
    engine.add_collection(&rules).expect("the rule is right");
    let (mut ours, mut theirs) = (std::collections::BTreeMap::new(), std::collections::BTreeMap::new());
    let mut windows = windows(&rules);
    let feeds = windows.feeds(&["opened".to_owned()]);
    for (at, (time, event)) in opened.iter().enumerate() {
        // rsigma knows whole seconds only.
        let (event, second) = (JsonEvent::borrow(event), time / 1_000_000);
        let found = Match { time: Time(second * 1_000_000), day: Day(20_523), about: 0, evidence: at as u64 };
        windows.offer(feeds[0], &mut |_| found, &|name| event.get_field(name));
        for result in engine.process_event_at(&event, second) {
            let Some(found) = result.as_correlation() else { continue };
            let largest = theirs.entry(found.group_key[0].1.clone()).or_insert(0.0_f64);
            *largest = largest.max(found.aggregated_value);
        }
    }
    windows.settle(Day(20_523), &mut |answer| {
        let user = answer.group()[0].as_deref().unwrap_or_default().to_owned();
        ours.insert(user, answer.value);
    });
    assert!(ours.len() > 100 || opened.len() < 20_000, "users crossed");
    assert_eq!(ours, theirs, "the same counts on both sides");
}
