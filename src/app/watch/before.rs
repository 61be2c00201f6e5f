//! What was wrong when the process before this one ended: its alerts are taken up again, and what can only be noticed with time is
//! remembered, so that a restart neither closes what still holds nor leaves open what does not.

use super::super::monitor::Plan;
use super::super::operator::{self, Kind, Operator};
use super::wrong::{PATIENCE, REJECTS};
use crate::app::Stop;
use crate::event::time::MINUTE;
use crate::event::{Origin, State, Time};
use crate::pipeline::Road;
use crate::settings::Settings;
use crate::store::{Filter, Store};

/// The operator goes on with the alerts that stand open in the store.
///
/// # Errors
/// Where the store cannot be read.
pub(in crate::app) fn take_up(operator: &mut Operator, store: &Store, plan: &Plan, now: Time) -> Result<(), Stop> {
    let filter = Filter { detection: Some("operator-*".to_owned()), state: Some(State::Open), ..Filter::default() };
    operator.take_up(store.list(&filter).map_err(Stop::failed)?, now, &|kind| notice(kind, plan));
    Ok(())
}

/// How long after a start a trouble that still holds may take to be noticed.
fn notice(kind: &Kind, plan: &Plan) -> i64 {
    // Most is looked at within seconds; what a broker or a folder says takes a few more.
    const AT_ONCE: i64 = 2 * MINUTE;
    // Rosters of a large hospital are loaded for minutes, and in a drop folder the hashes of all files come first.
    const LOADING: i64 = 15 * MINUTE;
    // What a channel could not send is tried again after a quarter of an hour at most.
    const RETRY: i64 = 15 * MINUTE;
    match kind {
        kind if kind == &operator::STALLED => plan.stalled_after + AT_ONCE,
        kind if kind == &operator::CHANNEL => RETRY + PATIENCE + AT_ONCE,
        kind if kind == &operator::ROSTER_REFUSED || kind == &operator::FOLDER => LOADING,
        _ => AT_ONCE,
    }
}

/// Feeds of which nothing could be used: that is over with the first record that can, and not with a restart. One that is not read any
/// more is forgotten.
pub(in crate::app) fn rejected(operator: &Operator, road: &mut Road<'_>, settings: &Settings) {
    for feed in operator.about(&operator::REJECTED) {
        let is_topic = |origin: &Origin| matches!(origin, Origin::Topic { topic, .. } if **topic == *feed);
        if settings.files.is_some() || road.keys.keys().any(is_topic) {
            road.rejected.insert(feed, REJECTS + 1);
        }
    }
}
