//! What an answer cannot see: how far every feed was read, gaps in what was read, and sources that fell silent.
//!
//! An empty answer over a gap would be a lie (DESIGN, section 6), so every answer carries what is found here: in the spans that were
//! read and the days on which a source spoke. What `run` noted of blindness is in `ledger`.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use datafusion::common::ScalarValue;
use serde::Serialize;

use super::answer::Gap;
use super::ledger::{touches, watermark};
use super::when::Window;
use crate::event::time::{DAY, HOUR};
use crate::event::{Day, Time};
use crate::history::{HistoryError, Noted, Reader};

/// A source counts as one that speaks daily where it did on so many
const DAILY: usize = 12;
/// of so many days before.
const BEFORE: i32 = 14;
/// and one that is usually quiet on a day of the week is not silent on it: so many of that day are looked at.
const WEEKS: i32 = 4;
/// Where no time is asked for, silence is looked for in so many days before the newest event.
pub(super) const LOOK_BACK: i64 = 60 * DAY;
/// Where completeness is so far behind the newest event, the feeds that hold it back are named.
const NOTABLE: i64 = HOUR;

/// A feed that was not read as far as others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Behind {
    /// Topic and partition.
    pub origin: String,
    /// Time of its newest event on record.
    pub newest: String,
}

/// Days on which a source that speaks daily said nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Silence {
    /// The source.
    pub source: String,
    /// First silent UTC date.
    pub from: String,
    /// Last silent UTC date.
    pub to: String,
}

/// How far the feeds were read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Reach {
    /// Event time of the oldest event on record.
    pub oldest: Option<Time>,
    /// Event time of the newest event on record, those from the future left out.
    pub newest: Option<Time>,
    /// Up to here every feed was read.
    pub complete_to: Option<Time>,
    /// Those that hold it back.
    pub behind: Vec<Behind>,
}

/// Reads how far each feed stands. Files have ended and hold nothing back. Partitions go on: how far all of them were read is what the
/// engine's time says, which waits for none that is quiet or stopped; without any, the one that is furthest behind says it.
pub(super) async fn reach(reader: &Reader, changes: &[Noted]) -> Result<Reach, HistoryError> {
    let sql = "SELECT topic, partition, max(last_time) AS last, min(first_time) AS first FROM spans \
               GROUP BY topic, partition ORDER BY topic, partition";
    let (mut oldest, mut newest, mut partitions) = (None, None, Vec::new());
    for rows in reader.query(sql, &[]).await? {
        let last = times(&rows, 2);
        oldest = times(&rows, 3).into_iter().flatten().chain(oldest).min();
        for (row, last) in last.into_iter().enumerate() {
            newest = newest.max(last);
            let topic = rows.column(0).as_string::<i32>();
            if let (Some(last), true) = (last, topic.is_valid(row)) {
                let partition = rows.column(1).as_primitive::<Int32Type>().value(row);
                partitions.push((format!("{}/{partition}", topic.value(row)), last));
            }
        }
    }
    let furthest = partitions.iter().map(|(_, last)| *last).min();
    let complete_to = furthest.and_then(|furthest| watermark(reader, changes).or(Some(furthest))).or(newest);
    let is_behind = newest.zip(complete_to).is_some_and(|(newest, to)| to < newest.plus(-NOTABLE));
    let behind = partitions.into_iter().filter(|(_, last)| is_behind && complete_to.is_some_and(|to| *last <= to));
    let behind = behind.map(|(origin, newest)| Behind { origin, newest: newest.to_string() }).collect();
    Ok(Reach { oldest, newest, complete_to, behind })
}

/// Gaps that may hold something of `window`: they lie between the times of the origin's events before and behind them.
pub(super) async fn gaps(reader: &Reader, window: Window) -> Result<Vec<Gap>, HistoryError> {
    let sql = "SELECT position, \"from\", \"to\", gap, first_time, last_time, topic, partition, file FROM spans \
               WHERE position IN (SELECT position FROM spans WHERE gap > 0) ORDER BY position, \"from\"";
    let mut origins: BTreeMap<String, Vec<Stretch>> = BTreeMap::new();
    for rows in reader.query(sql, &[]).await? {
        let (first, last) = (times(&rows, 4), times(&rows, 5));
        let integer = |column: usize, row: usize| rows.column(column).as_primitive::<Int64Type>().value(row);
        for row in 0..rows.num_rows() {
            let position = rows.column(0).as_string::<i32>().value(row).to_string();
            let offsets = (integer(1, row), integer(2, row));
            let (gap, times, name) = (integer(3, row), (first[row], last[row]), origin(&rows, row));
            origins.entry(position).or_default().push(Stretch { offsets, gap, times, name });
        }
    }
    Ok(origins.values().flat_map(|stretches| gaps_of(stretches, window)).collect())
}

/// Silent days of daily sources in `window`, up to the end of what is complete.
pub(super) async fn silences(
    reader: &Reader,
    window: Window,
    complete_to: Option<Time>,
) -> Result<Vec<Silence>, HistoryError> {
    let Some(end) = window.until.into_iter().chain(complete_to).min() else { return Ok(Vec::new()) };
    let since = window.since.unwrap_or(end.plus(-LOOK_BACK));
    let from = since.plus(-i64::from(BEFORE.max(7 * WEEKS)) * DAY);
    let sql = "SELECT DISTINCT source, date_trunc('day', time) AS day FROM events \
               WHERE time >= $1 AND time < $2 AND coalesce(flags, '') NOT LIKE '%future%'";
    let mut spoken: BTreeMap<String, BTreeSet<i32>> = BTreeMap::new();
    for rows in reader.query(sql, &[instant(from), instant(end)]).await? {
        for (row, day) in times(&rows, 1).into_iter().enumerate() {
            let days = spoken.entry(rows.column(0).as_string::<i32>().value(row).to_string()).or_default();
            days.extend(day.map(|day| day_of(day).0));
        }
    }
    let (first, after) = (day_of(since).0, day_of(end).0);
    let silent = |(source, days): (&String, &BTreeSet<i32>)| {
        stretches(days, first, after)
            .into_iter()
            .map(|(from, to)| Silence { source: source.clone(), from: Day(from).to_string(), to: Day(to).to_string() })
            .collect::<Vec<_>>()
    };
    Ok(spoken.iter().flat_map(silent).collect())
}

/// First and last day of each stretch in `first..after` without any of `days`, where the days before were nearly all spoken.
fn stretches(days: &BTreeSet<i32>, first: i32, after: i32) -> Vec<(i32, i32)> {
    let mut found = Vec::new();
    let mut day = first;
    while day < after {
        if days.contains(&day) {
            day += 1;
            continue;
        }
        let next = days.range(day..).next().map_or(after, |next| (*next).min(after));
        let begin = days.range(..day).next_back().map_or(day, |last| (*last + 1).min(day));
        if days.range(begin - BEFORE..begin).count() >= DAILY {
            let mut missed = (day..next).filter(|day| speaks(days, *day, begin));
            let first = missed.next();
            found.extend(first.map(|first| (first, missed.next_back().unwrap_or(first))));
        }
        day = next;
    }
    found
}

/// Whether the source spoke on most days of that weekday in the weeks before `begin`, as far as it is known.
fn speaks(days: &BTreeSet<i32>, day: i32, begin: i32) -> bool {
    let newest = day - 7 * ((day - begin) / 7 + 1);
    let known = days.first().copied().unwrap_or(begin);
    let weeks: Vec<i32> = (0..WEEKS).map(|back| newest - 7 * back).filter(|day| *day >= known).collect();
    2 * weeks.iter().filter(|day| days.contains(day)).count() > weeks.len()
}

fn day_of(time: Time) -> Day {
    Day(time.0.div_euclid(DAY) as i32)
}

/// An instant as a value of a query.
pub(super) fn instant(time: Time) -> ScalarValue {
    ScalarValue::TimestampMicrosecond(Some(time.0), Some("UTC".into()))
}

/// The values of a column of instants.
pub(super) fn times(rows: &RecordBatch, column: usize) -> Vec<Option<Time>> {
    rows.column(column).as_primitive::<TimestampMicrosecondType>().iter().map(|time| time.map(Time)).collect()
}

/// A row of `spans`.
struct Stretch {
    offsets: (i64, i64),
    gap: i64,
    times: (Option<Time>, Option<Time>),
    name: String,
}

/// The gaps among the stretches of one origin, which stand by offset.
fn gaps_of(stretches: &[Stretch], window: Window) -> Vec<Gap> {
    let mut gaps = Vec::new();
    for (index, stretch) in stretches.iter().enumerate().filter(|(_, stretch)| stretch.gap > 0) {
        // A gap with events in its own row lies somewhere among them.
        let after = match stretch.times.0 {
            Some(first) => Some(first),
            None => stretches[..index].iter().filter_map(|s| s.times.1).max(),
        };
        let before = match stretch.times.1 {
            Some(last) => Some(last),
            None => stretches[index + 1..].iter().filter_map(|s| s.times.0).min(),
        };
        if touches(window, after, before) {
            let text = |time: Option<Time>| time.map(|time| time.to_string());
            let ((from, to), records) = (stretch.offsets, stretch.gap);
            let (origin, after, before) = (stretch.name.clone(), text(after), text(before));
            gaps.push(Gap { origin, from, to: Some(to), records: Some(records), after, before });
        }
    }
    gaps
}

fn origin(rows: &RecordBatch, row: usize) -> String {
    let (topic, file) = (rows.column(6).as_string::<i32>(), rows.column(8).as_string::<i32>());
    let partition = rows.column(7).as_primitive::<Int32Type>();
    match topic.is_valid(row) {
        true => format!("{}/{}", topic.value(row), partition.value(row)),
        false => file.value(row).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_the_pause_of_a_daily_source() {
        let check = |days: &[(i32, i32)], asked: (i32, i32), expected: &[(i32, i32)]| {
            let days = days.iter().flat_map(|(from, after)| *from..*after).collect();
            assert_eq!(stretches(&days, asked.0, asked.1), expected, "{days:?} {asked:?}");
        };
        check(&[(0, 30)], (0, 30), &[]);
        check(&[(0, 20)], (0, 23), &[(20, 22)]);
        check(&[(0, 20), (22, 30)], (0, 30), &[(20, 21)]);
        // The question begins inside the pause, which began before.
        check(&[(0, 20)], (22, 24), &[(22, 23)]);
        // Too young to be called daily; one that rests at weekends is not daily either.
        check(&[(0, 8)], (0, 12), &[]);
        check(&[(0, 5), (7, 12), (14, 19)], (0, 26), &[]);
        // Six days a week, once open on the seventh; then a whole week away, of which the seventh day is none.
        let six = |weeks: std::ops::Range<i32>| weeks.map(|week| (7 * week, 7 * week + 6));
        let six_days: Vec<(i32, i32)> = six(0..5).chain([(13, 14)]).chain(six(5..8)).collect();
        check(&six_days, (0, 56), &[]);
        let away: Vec<(i32, i32)> = six(0..5).chain(six(6..8)).collect();
        check(&away, (0, 56), &[(35, 40)]);
        // Two missing days before do not hide the third.
        check(&[(0, 10), (11, 20)], (0, 22), &[(20, 21)]);
    }
}
