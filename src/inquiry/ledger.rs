//! What the control log says of blindness: how far time has come, partitions that were not read or not waited for, old rosters, and
//! detectors that were still learning.

use std::collections::{BTreeMap, HashMap};

use arrow::array::AsArray;
use serde::Serialize;

use super::answer::Gap;
use super::blind::times;
use super::when::Window;
use crate::event::{Day, Origin, Time, Zone};
use crate::history::{Change, HistoryError, Noted, Reader};

/// Days on which a detector knew too little to judge everybody: that it was silent there means nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Learning {
    /// The family of its alerts, or the id of a rule.
    pub detector: String,
    /// It met a bug and was switched off; else it was still learning.
    pub off: bool,
    /// First such local day.
    pub from: String,
    /// Last such local day.
    pub to: String,
    /// Days on which it judged nobody.
    pub nobody: u64,
    /// Days on which it judged some and others not.
    pub some: u64,
}

/// A partition that was not read, or not waited for: what happened there may be missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unread {
    /// Topic and partition.
    pub origin: String,
    /// `stopped`: it is not read until a person decides. `left`: it is read, and time does not wait for it.
    pub stands: &'static str,
    /// Newest event time that was read of it before; `None` where there was none.
    pub from: Option<String>,
    /// Event time at which it was over; `None` while it lasts.
    pub to: Option<String>,
}

/// A time for which the rosters were old: whoever was new then is not known, and newer ties explain nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stale {
    /// When they should have been renewed.
    pub from: String,
    /// When they were; `None` while they are old.
    pub to: Option<String>,
}

/// What the control log says of a window.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ledger {
    pub unread: Vec<Unread>,
    pub stale: Vec<Stale>,
    pub learning: Vec<Learning>,
    /// What the old logs of resumed partitions still held, which nobody knows.
    pub gaps: Vec<Gap>,
}

/// How far time has come at the moment that `reader` sees: at the newest commit, and by the decisions that follow from nothing else than
/// what it sees.
pub(super) fn watermark(reader: &Reader, changes: &[Noted]) -> Option<Time> {
    let seen = |noted: &&Noted| {
        let next = |key| reader.positions().get(key);
        noted.place.positions.iter().all(|(key, at)| next(key).is_some_and(|next| next >= at))
    };
    let passed = changes.iter().filter(seen).filter_map(|noted| match noted.change {
        Change::Advance { to, .. } => Some(to),
        _ => None,
    });
    passed.chain(reader.watermark()).max().filter(|watermark| *watermark > Time::MIN)
}

/// Reads what is said of `window`.
pub(super) async fn ledger(
    reader: &Reader,
    changes: &[Noted],
    window: Window,
    zone: &Zone,
) -> Result<Ledger, HistoryError> {
    let mut ledger =
        Ledger { learning: learning(changes, window, zone), stale: stale(changes, window), ..Ledger::default() };
    ledger.unread = left(changes, window);
    let is_about_logs = |noted: &Noted| matches!(noted.change, Change::Stopped { .. } | Change::Resumed(_));
    if changes.iter().any(is_about_logs) {
        let ends = ends(reader).await?;
        ledger.unread.extend(stopped(changes, &ends, window));
        ledger.gaps = old_logs(changes, &ends, window);
    }
    ledger.unread.sort_by(|a, b| (&a.origin, &a.from).cmp(&(&b.origin, &b.from)));
    Ok(ledger)
}

/// Oldest and newest event time under each position key.
type Ends = HashMap<String, (Option<Time>, Option<Time>)>;

async fn ends(reader: &Reader) -> Result<Ends, HistoryError> {
    let sql = "SELECT position, min(first_time) AS first, max(last_time) AS last FROM spans GROUP BY position";
    let mut ends = Ends::new();
    for rows in reader.query(sql, &[]).await? {
        let (first, last) = (times(&rows, 1), times(&rows, 2));
        for row in 0..rows.num_rows() {
            ends.insert(rows.column(0).as_string::<i32>().value(row).to_owned(), (first[row], last[row]));
        }
    }
    Ok(ends)
}

/// Whether something between two times, both perhaps unknown, may touch the window.
pub(super) fn touches(window: Window, from: Option<Time>, to: Option<Time>) -> bool {
    let too_early = window.since.zip(to).is_some_and(|(since, to)| to < since);
    let too_late = window.until.zip(from).is_some_and(|(until, from)| until <= from);
    !too_early && !too_late
}

fn text(time: Option<Time>) -> Option<String> {
    time.map(|time| time.to_string())
}

/// Partitions that are stopped now.
fn stopped(changes: &[Noted], ends: &Ends, window: Window) -> Vec<Unread> {
    let mut last: BTreeMap<&Origin, Option<&String>> = BTreeMap::new();
    for noted in changes {
        match &noted.change {
            Change::Stopped { origin, key, .. } => last.insert(origin, Some(key)),
            Change::Resumed(resumed) => last.insert(&resumed.origin, None),
            _ => None,
        };
    }
    let stands = last.into_iter().filter_map(|(origin, key)| Some((origin, ends.get(key?).and_then(|ends| ends.1))));
    let stands = stands.filter(|(_, from)| touches(window, *from, None));
    stands
        .map(|(origin, from)| Unread { origin: origin.to_string(), stands: "stopped", from: text(from), to: None })
        .collect()
}

/// From when to when time did not wait for partitions.
fn left(changes: &[Noted], window: Window) -> Vec<Unread> {
    let mut open: BTreeMap<&Origin, Option<Time>> = BTreeMap::new();
    let mut found = Vec::new();
    let mut say = |origin: &Origin, from: Option<Time>, to: Option<Time>| {
        if touches(window, from, to) {
            found.push(Unread { origin: origin.to_string(), stands: "left", from: text(from), to: text(to) });
        }
    };
    for noted in changes {
        let Change::Left { origin, left, .. } = &noted.change else { continue };
        let watermark = noted.place.mark.map(|mark| mark.watermark);
        if *left {
            open.entry(origin).or_insert(watermark);
        } else if let Some(from) = open.remove(origin) {
            say(origin, from, watermark);
        }
    }
    open.into_iter().for_each(|(origin, from)| say(origin, from, None));
    found
}

/// What the logs still held that were left for others.
fn old_logs(changes: &[Noted], ends: &Ends, window: Window) -> Vec<Gap> {
    let mut gaps = Vec::new();
    for noted in changes {
        let Change::Resumed(resumed) = &noted.change else { continue };
        if resumed.goes_on() {
            continue;
        }
        let after = ends.get(&resumed.before).and_then(|ends| ends.1);
        // A log may begin with what was read before: the gap then lies behind the newest of it, and nobody knows where it ends.
        let before =
            ends.get(&resumed.key).and_then(|ends| ends.0).filter(|before| after.is_none_or(|after| *before > after));
        if touches(window, after, before) {
            let (origin, from) = (resumed.origin.to_string(), resumed.position);
            gaps.push(Gap { origin, from, to: None, records: None, after: text(after), before: text(before) });
        }
    }
    gaps
}

/// The last word on each time for which the rosters were old.
fn stale(changes: &[Noted], window: Window) -> Vec<Stale> {
    let mut found: BTreeMap<Time, Option<Time>> = BTreeMap::new();
    for noted in changes {
        if let Change::Stale { since, until } = noted.change {
            found.insert(since, until);
        }
    }
    let found = found.into_iter().filter(|(since, until)| touches(window, Some(*since), *until));
    found.map(|(since, until)| Stale { from: since.to_string(), to: text(until) }).collect()
}

/// What detectors could not judge on the local days in `window`, by what is said last of each day.
fn learning(changes: &[Noted], window: Window, zone: &Zone) -> Vec<Learning> {
    let mut days: BTreeMap<(&str, Day), (bool, bool)> = BTreeMap::new();
    for noted in changes {
        if let Change::Unjudged { detector, day, judged, off, .. } = &noted.change {
            days.insert((detector, *day), (*judged == 0, *off));
        }
    }
    let asked = |day: Day| {
        window.until.is_none_or(|until| zone.day_start(day) < until)
            && window.since.is_none_or(|since| since < zone.day_start(day.plus(1)))
    };
    let mut found: Vec<Learning> = Vec::new();
    for ((detector, day), (nobody, off)) in days.into_iter().filter(|((_, day), _)| asked(*day)) {
        if found.last().is_none_or(|last| (last.detector.as_str(), last.off) != (detector, off)) {
            let (from, to) = (day.to_string(), day.to_string());
            found.push(Learning { detector: detector.to_owned(), off, from, to, nobody: 0, some: 0 });
        }
        let last = found.last_mut().expect("one was just put there");
        last.to = day.to_string();
        *(if nobody { &mut last.nobody } else { &mut last.some }) += 1;
    }
    found
}
