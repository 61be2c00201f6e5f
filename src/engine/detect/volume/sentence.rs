//! What is said of an account's day: the sentence and the numbers behind it.

use serde_json::json;

use super::limits::{Habit, Limits, Shape};
use super::tally::Tally;
use super::{METRICS, SPEC, View};
use crate::engine::detect::{Constants, Finding, date_of, facts, finding, home_zone, once_in, shown};
use crate::engine::subjects::{Presence, SubjectIx};

const UNITS: [&str; METRICS] = ["record accesses", "patients", "records"];
const VERBS: [&str; METRICS] = ["made", "opened", "exported or printed"];

/// The sentence and the numbers behind it.
#[expect(clippy::too_many_arguments, reason = "a sentence has many numbers")]
pub(super) fn describe(
    tally: &Tally,
    shape: &Shape,
    limits: &Limits,
    habit: &Habit,
    view: &View,
    subject: SubjectIx,
    presence: Presence,
    constants: &Constants<'_>,
) -> Finding {
    let metric = view.metric;
    let events = if metric == 2 { tally.exports() } else { &tally.events };
    let mut finding = finding(&SPEC.detections[metric], constants, subject, presence, events);
    let observed = tally.count(metric);
    let own = habit.0[metric].own_mean().map(|mean| mean + 1.0);
    let peers = shape.peers[metric].mean + 1.0;
    let group = &constants.subjects.named_group(shape.group).name;
    let usual = match own {
        Some(own) if !shape.known[metric] => format!("usual day {}", shown(own)),
        Some(own) => format!("usual day {}, peers ({group}) {}", shown(own), shown(peers)),
        None if shape.known[metric] => format!("no habit of its own yet, peers ({group}) {}", shown(peers)),
        None => "no habit of its own yet, nor is that of any peers known".to_owned(),
    };
    let busy = match view.allowed {
        Some(_) if !shape.known[metric] => ".".to_owned(),
        Some(allowed) => format!(" even if the whole group turns out to be {} times as busy as usual.", shown(allowed)),
        None if view.surge > 1.2 => format!(". The whole group was {} times as busy as usual.", shown(view.surge)),
        None if view.surge < 0.8 => format!(". The whole group was only {} times as busy as usual.", shown(view.surge)),
        None => ".".to_owned(),
    };
    finding.reason = format!(
        "Account {} {} {observed} {} on {}; {usual}; a day like this is expected {} working days{busy}",
        finding.subject.id,
        VERBS[metric],
        UNITS[metric],
        date_of(constants, home_zone(constants, subject, presence), events),
        once_in(view.p_day),
    );
    // At settling the surge of the day is known, and what decides is no longer the largest that was allowed for.
    let threshold = match view.allowed {
        Some(_) => limits.cross(metric, shape, habit),
        None => shape.crossing(&view.expected, metric),
    };
    finding.p = Some(view.p_day);
    finding.patients = tally.patients.len() as u64;
    finding.facts = facts([
        ("quantity", json!(SPEC.detections[metric].id)),
        ("observed", json!(observed)),
        ("usual", json!(own.map(round))),
        ("peers", json!(shape.known[metric].then(|| round(peers)))),
        ("peer_group", json!(group)),
        ("expected_today", json!(round(view.expected.mu + 1.0))),
        ("threshold", json!(threshold)),
        ("group_surge", json!(round(view.surge))),
        ("events", json!(tally.count(0))),
        ("patients", json!(tally.count(1))),
        ("exported", json!(tally.count(2))),
    ]);
    finding
}

fn round(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}
