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

/// The time of the daily sign of life that is due: the last at which the clock showed `at`, where none was sent since.
pub fn heartbeat_due(last: Option<Time>, now: Time, at: ClockTime, zone: &Zone) -> Option<Time> {
    let today = zone.local(now).date;
    let scheduled = [today, today.plus(-1)].map(|date| zone.at(date, at.hour, at.minute));
    let newest = scheduled.into_iter().find(|time| *time <= now);
    newest.filter(|newest| last.is_none_or(|last| last < *newest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::time::DAY;
    use crate::store::fixture::raised;

    const DAMPING: Damping = Damping { group_wait: 30 * SECOND, per_hour: 2, list_at_most: 3 };

    fn row(seq: i64, user: &str, queued: i64) -> Row {
        Row {
            seq,
            alert: raised(user, 1).alert,
            queued: Time(queued * SECOND),
            next_try: Time(queued * SECOND),
            attempts: 0,
            held: false,
            delivery: None,
        }
    }

    fn bound(row: Row, delivery: &str, attempts: u32, next_try: i64) -> Row {
        Row { delivery: Some(delivery.into()), attempts, next_try: Time(next_try * SECOND), ..row }
    }

    fn check(rows: &[Row], deliveries: &[i64], now: i64, expected: Plan) {
        let deliveries: Vec<Time> = deliveries.iter().map(|at| Time(at * SECOND)).collect();
        assert_eq!(next(rows, &deliveries, Time(now * SECOND), &DAMPING, false), expected, "at {now}");
    }

    fn at(seconds: i64) -> Plan {
        Plan::Wait(Time(seconds * SECOND))
    }

    #[test]
    fn rows_wait_for_others_and_go_together() {
        check(&[], &[], 0, Plan::Nothing);
        let rows = [row(1, "u1", 100), row(2, "u2", 120)];
        check(&rows, &[], 129, at(130));
        check(&rows, &[], 130, Plan::Form(vec![0, 1]));
        assert_eq!(
            next(&rows, &[], Time(100 * SECOND), &DAMPING, true),
            Plan::Form(vec![0, 1]),
            "closing waits for nobody"
        );
    }

    #[test]
    fn the_hourly_cap_defers_and_loses_nothing() {
        let rows = [row(1, "u1", 5_000)];
        check(&rows, &[1_000, 2_000], 5_030, Plan::Form(vec![0]));
        check(&rows, &[2_000, 4_000], 5_030, at(5_600));
        check(&rows, &[2_000, 4_000], 5_600, Plan::Form(vec![0]));
        let mut critical = row(1, "u1", 5_000);
        critical.alert.severity = Severity::Critical;
        check(std::slice::from_ref(&critical), &[2_000, 4_000], 5_030, Plan::Form(vec![0]));
        check(&[critical], &[2_000, 2_500, 4_000, 4_500], 5_030, at(5_600));
    }

    #[test]
    fn a_repeat_carries_the_same_rows_and_news_wait_for_it() {
        let rows = [bound(row(1, "u1", 0), "n-1", 1, 90), row(2, "u2", 40), bound(row(3, "u3", 0), "n-1", 1, 90)];
        check(&rows, &[], 80, at(90));
        check(&rows, &[], 90, Plan::Repeat(vec![0, 2]));
        let stubborn = [bound(row(1, "u1", 0), "n-1", STUBBORN, 500), row(2, "u2", 40)];
        check(&stubborn, &[], 60, at(70));
        check(&stubborn, &[], 80, Plan::Form(vec![1]));
        let mut held = stubborn.clone();
        held[0].held = true;
        check(&held, &[], 80, at(500));
        let crashed = [bound(row(1, "u1", 0), "n-1", 0, 0), row(2, "u2", 40)];
        check(&crashed, &[], 50, Plan::Repeat(vec![0]));
    }

    #[test]
    fn the_worst_is_read_first_and_the_rest_is_counted() {
        let mut rows: Vec<Row> =
            ["u1", "u2", "u3", "u4", "u5"].iter().zip(1..).map(|(u, seq)| row(seq, u, 0)).collect();
        for (row, score) in rows.iter_mut().zip([10.0, 50.0, 30.0, 40.0, 20.0]) {
            row.alert.score = score;
        }
        rows[0].alert.severity = Severity::Critical;
        let mut newer = rows[1].clone();
        newer.alert.revision = 2;
        rows.push(newer);
        let rows: Vec<&Row> = rows.iter().collect();
        let composed = compose(&rows, 3);
        assert_eq!(composed, Composed { listed: vec![0, 5, 3], counted: vec![2, 4], more: 2 });
        assert_eq!(compose(&rows, 20).more, 0);
    }

    #[test]
    fn a_storm_is_a_few_notifications() {
        // 5,000 users in one minute: two notifications in the hour, and nothing is left behind.
        let mut waiting: Vec<Row> = (0..5_000).map(|n| row(n, &format!("u{n}"), n / 84)).collect();
        let (mut sent, mut told) = (Vec::new(), 0);
        for now in 0..7_200 {
            let arrived: Vec<Row> = waiting.iter().filter(|row| row.queued.0 <= now * SECOND).cloned().collect();
            if let Plan::Form(places) = next(&arrived, &sent, Time(now * SECOND), &DAMPING, false) {
                sent.push(Time(now * SECOND));
                told += places.len();
                let numbers: BTreeSet<i64> = places.iter().map(|&place| arrived[place].seq).collect();
                waiting.retain(|row| !numbers.contains(&row.seq));
            }
        }
        assert_eq!((sent.len(), told), (2, 5_000));
    }

    #[test]
    fn names_follow_from_channel_and_rows() {
        let (one, two) = (row(1, "u1", 0), row(2, "u2", 0));
        assert_eq!(delivery("mail", &[&one]), delivery("mail", &[&Row { seq: 9, queued: Time(7), ..one.clone() }]));
        let mut later = one.clone();
        later.alert.revision = 2;
        let names = [
            delivery("mail", &[&one]),
            delivery("hook", &[&one]),
            delivery("mail", &[&two]),
            delivery("mail", &[&later]),
            delivery("mail", &[&one, &two]),
        ];
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    }

    proptest::proptest! {
        #[test]
        fn delays_double_within_their_jitter(name in "[a-z]{1,8}", attempts in 1_u32..100, asked in 0_i64..7_200) {
            let plain = delay(&name, attempts, None);
            let nominal = (5_i64 << (attempts - 1).min(8)).min(900) * SECOND;
            proptest::prop_assert!(plain >= nominal * 3 / 4 - SECOND && plain <= nominal * 5 / 4, "{plain} {nominal}");
            proptest::prop_assert_eq!(plain, delay(&name, attempts, None));
            let waited = delay(&name, attempts, Some(asked * SECOND));
            proptest::prop_assert_eq!(waited, plain.max((asked * SECOND).min(HOUR)));
        }
    }

    #[test]
    fn a_sign_of_life_a_day() {
        let zone = Zone::get("America/Chicago").unwrap();
        let eight = ClockTime { hour: 8, minute: 0 };
        let time = |text: &str| Time::parse(text).unwrap();
        let due = |last: Option<&str>, now: &str| heartbeat_due(last.map(time), time(now), eight, &zone).is_some();
        assert!(due(None, "2026-11-22T05:00:00Z"), "at the first start, to see that the way is open");
        assert!(!due(Some("2026-11-21T14:00:00Z"), "2026-11-22T13:59:59Z"));
        assert!(due(Some("2026-11-21T14:00:00Z"), "2026-11-22T14:00:00Z"));
        assert!(!due(Some("2026-11-22T14:00:00Z"), "2026-11-22T23:00:00Z"));
        assert!(due(Some("2026-11-01T14:00:00Z"), "2026-11-22T13:00:00Z"), "after a long stop at once");
        // Over a year with both changes of the clock: once a day.
        let (mut last, mut count) = (None, 0);
        for step in 0..(365 * 48) {
            let now = time("2026-01-01T14:00:00Z").plus(step * DAY / 48);
            if heartbeat_due(last, now, eight, &zone).is_some() {
                (last, count) = (Some(now), count + 1);
            }
        }
        assert_eq!(count, 365);
    }
}
