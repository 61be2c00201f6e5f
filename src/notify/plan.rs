//! When to send what to people: grouping, the hourly cap, repeats and their delays. Pure: rows and the present in, a plan out.
//!
//! A notification is formed once: its rows are bound to it before the first attempt, so that every repeat is the same notification
//! under the same name and a receiver can tell a repeat from news. While one waits for its repeat no other is formed: what failed is
//! the channel, and alerts that come meanwhile go together afterwards.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use crate::event::time::{HOUR, MINUTE, SECOND, Zone};
use crate::event::{Severity, Time};
use crate::store::Row;

use super::settings::ClockTime;

/// Wait before the first repeat, in microseconds; each further one waits twice as long.
const FIRST_DELAY: i64 = 5 * SECOND;
/// The longest wait before a repeat.
const LONGEST_DELAY: i64 = 15 * MINUTE;
/// The longest wait that the other side may ask for.
const LONGEST_ASKED: i64 = HOUR;
/// Wait before something that a person has to mend is tried again.
pub const HELD_DELAY: i64 = 15 * MINUTE;
/// From so many failures on, a notification no longer keeps others from being formed: it may be the only one that is refused.
const STUBBORN: u32 = 8;

/// How a channel protects people from storms.
#[derive(Debug, Clone, Copy)]
pub struct Damping {
    /// How long a row waits for others, microseconds.
    pub group_wait: i64,
    /// Notifications in an hour; critical alerts may use as many again.
    pub per_hour: usize,
    /// Alerts that one notification lists; the others are counted.
    pub list_at_most: usize,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// Nothing waits.
    Nothing,
    /// Nothing can be done before this instant.
    Wait(Time),
    /// Send these rows, by their place, again as the notification they are bound to.
    Repeat(Vec<usize>),
    /// Form one notification of these rows, by their place.
    Form(Vec<usize>),
}

/// The next thing to do for `rows`, all that wait at one channel, by rising number; `deliveries` are the times of the notifications
/// that arrived in the last hour, and `closing` waits for nobody.
pub fn next(rows: &[Row], deliveries: &[Time], now: Time, damping: &Damping, closing: bool) -> Plan {
    let mut bound: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    let mut fresh = Vec::new();
    for (place, row) in rows.iter().enumerate() {
        match &row.delivery {
            Some(delivery) => bound.entry(delivery).or_default().push(place),
            None => fresh.push(place),
        }
    }
    let head = |places: &Vec<usize>| &rows[places[0]];
    if let Some(ready) = bound.values().filter(|places| head(places).next_try <= now).min_by_key(|places| places[0]) {
        return Plan::Repeat(ready.clone());
    }
    let repeat = bound.values().map(|places| head(places).next_try).min();
    let blocked = bound.values().any(|places| head(places).held || head(places).attempts < STUBBORN);
    let wait = |until: Time| Plan::Wait(repeat.map_or(until, |repeat| repeat.min(until)));
    if fresh.is_empty() || blocked {
        return repeat.map_or(Plan::Nothing, Plan::Wait);
    }
    let oldest = fresh.iter().map(|&place| rows[place].queued).min().unwrap_or(now);
    let formed = oldest.plus(damping.group_wait);
    if !closing && now < formed {
        return wait(formed);
    }
    let recent: Vec<Time> = deliveries.iter().copied().filter(|at| at.plus(HOUR) > now).collect();
    let critical = fresh.iter().any(|&place| rows[place].alert.severity == Severity::Critical);
    let cap = if critical { damping.per_hour * 2 } else { damping.per_hour };
    if recent.len() >= cap {
        return wait(recent[recent.len() - cap].plus(HOUR));
    }
    Plan::Form(fresh)
}

/// The name of a notification: the same rows on the same channel always have the same.
pub fn delivery(channel: &str, rows: &[&Row]) -> String {
    let mut hash = Sha256::new();
    hash.update(channel.as_bytes());
    for row in rows {
        hash.update([0]);
        hash.update(row.alert.alert_id.as_bytes());
        hash.update(row.alert.revision.to_le_bytes());
    }
    let digits: String = hash.finalize().iter().take(10).map(|byte| format!("{byte:02x}")).collect();
    format!("n-{digits}")
}

/// Which rows a notification lists, by their place in reading order, and which it only counts.
///
/// Of one alert only the newest revision is read: the row of an older one goes with it. The worst comes first.
pub fn compose(rows: &[&Row], list_at_most: usize) -> Composed {
    let mut newest: BTreeMap<&str, usize> = BTreeMap::new();
    for (place, row) in rows.iter().enumerate() {
        let known = newest.entry(&row.alert.alert_id).or_insert(place);
        if rows[*known].alert.revision < row.alert.revision {
            *known = place;
        }
    }
    let mut order: Vec<usize> = newest.values().copied().collect();
    order.sort_by(|&a, &b| {
        let (a, b) = (&rows[a].alert, &rows[b].alert);
        b.severity.cmp(&a.severity).then(b.score.total_cmp(&a.score)).then_with(|| a.alert_id.cmp(&b.alert_id))
    });
    let more = order.len().saturating_sub(list_at_most);
    let id = |place: usize| rows[place].alert.alert_id.as_str();
    let counted_ids: BTreeSet<&str> = order.iter().skip(list_at_most).map(|&place| id(place)).collect();
    let counted = (0..rows.len()).filter(|&place| counted_ids.contains(id(place))).collect();
    order.truncate(list_at_most);
    Composed { listed: order, counted, more }
}

/// What [`compose`] returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Composed {
    /// Places of the rows that are read out, the worst first.
    pub listed: Vec<usize>,
    /// Places of all rows that are only counted.
    pub counted: Vec<usize>,
    /// Alerts that are only counted.
    pub more: usize,
}

/// Microseconds until the repeat after the `attempts`-th failure (from 1): doubling, with a jitter that follows from `name`, and never
/// less than what the other side asked for.
pub fn delay(name: &str, attempts: u32, asked: Option<i64>) -> i64 {
    let doubled = FIRST_DELAY.saturating_mul(1_i64 << attempts.saturating_sub(1).min(20)).min(LONGEST_DELAY);
    let hash = xxhash_rust::xxh3::xxh3_64_with_seed(name.as_bytes(), u64::from(attempts));
    // Between three quarters and five quarters.
    let jittered = doubled / 4 * 3 + (hash % (doubled as u64 / 2)) as i64;
    jittered.max(asked.unwrap_or(0).clamp(0, LONGEST_ASKED))
}

/// Whether the daily sign of life is due: none was sent since the last time the clock showed `at`.
pub fn heartbeat_due(last: Option<Time>, now: Time, at: ClockTime, zone: &Zone) -> bool {
    let today = zone.local(now).date;
    let scheduled = [today, today.plus(-1)].map(|date| zone.at(date, at.hour, at.minute));
    let newest = scheduled.into_iter().find(|time| *time <= now);
    newest.is_some_and(|newest| last.is_none_or(|last| last < newest))
}
