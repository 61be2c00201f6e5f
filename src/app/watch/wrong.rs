//! What is wrong at this moment. Pure: the board, what was seen before, the channels and the present in; troubles out.

use std::collections::BTreeMap;

use super::super::monitor::Plan;
use super::super::monitor::board::{Board, Doing, Trouble};
use super::super::operator::{self, Seen};
use super::name;
use crate::engine::off::Part;
use crate::event::time::MINUTE;
use crate::event::{Origin, Time};
use crate::ingest::kafka::Failure;
use crate::notify::Health;

/// A broker or a channel that fails for so long is told; before that it is a line in the log.
pub(super) const PATIENCE: i64 = 5 * MINUTE;
/// After a longer time without a look nothing is known of what lay between.
const BLIND: i64 = MINUTE;
/// Less free space than a twentieth and than this is told, in bytes.
const SPACE: u64 = 20 << 30;

/// With more records in a row that cannot be used a feed is of no use.
pub(super) const REJECTS: u64 = 500;

/// A part of the engine met a bug.
pub(super) fn fallen(part: &Part) -> Seen {
    let what = format!(
        "{} met a bug of phiwatch and is switched off: it finds nothing any more. Everything else goes on.",
        part.name
    );
    Seen { kind: &operator::FALLEN, about: part.name.clone(), what, count: 0 }
}

/// What was seen before, and when by the clock.
#[derive(Debug, Clone)]
pub(super) struct Signs {
    /// Each source: the count of its events, and when that last grew.
    sources: BTreeMap<String, (u64, Time)>,
    /// The watermark when time last kept pace, and when that was.
    watermark: (Option<Time>, Time),
    /// When the board was looked at last.
    looked: Time,
    /// What the broker's trouble is, and since when.
    trouble: Option<(String, Time)>,
    /// Which topic does not exist, in words, while the broker answers.
    missing: Option<String>,
}

impl Signs {
    /// Sources that should be heard of, and nothing seen yet.
    pub(super) fn new(sources: impl Iterator<Item = String>, now: Time) -> Signs {
        let sources = sources.map(|source| (source, (0, now))).collect();
        Signs { sources, watermark: (None, now), looked: now, trouble: None, missing: None }
    }

    /// Nothing came from a source for so long already when this process began, as far as it is one that should be heard of.
    pub(super) fn silent_since(&mut self, source: &str, since: Time) {
        self.sources.entry(source.to_owned()).and_modify(|(_, at)| *at = since);
    }

    /// Looks at the board.
    pub(super) fn look(&mut self, board: &Board, now: Time) {
        for (source, (count, _)) in &board.since.sources {
            let known = self.sources.entry(source.clone()).or_insert((0, now));
            if known.0 != *count {
                *known = (*count, now);
            }
        }
        let behind = board.lanes.values().any(|lane| lane.lag() > 0 || lane.queued > 0);
        // Times in which nothing could be read or looked at, and clocks that are set, say nothing of pace.
        let blind = self.trouble.is_some() || !(0..=BLIND).contains(&(now.0 - self.looked.0));
        if blind || !behind || self.keeps_pace(board, now) {
            self.begin_anew(board, now);
        }
        self.looked = now;
    }

    /// Time is measured from now on: somebody was left, and the others have to have their chance.
    pub(super) fn begin_anew(&mut self, board: &Board, now: Time) {
        self.watermark = (board.watermark, now);
    }

    /// Whether time goes on as it should since it last did. Where some partition waits for another it has to catch up, at twice the pace
    /// of the clock; else records come as they are made, some sooner than others.
    fn keeps_pace(&self, board: &Board, now: Time) -> bool {
        let (Some(before), Some(watermark)) = (self.watermark.0, board.watermark) else {
            return self.watermark.0 != board.watermark;
        };
        let (came, passed) = (watermark.0 - before.0, now.0 - self.watermark.1.0);
        let waits = board.lanes.values().any(|lane| lane.doing == Doing::Paused);
        came > 0 && if waits { came >= passed.saturating_mul(2) } else { came.saturating_mul(2) >= passed }
    }

    /// Whether time has not kept pace for `limit` while there is more to read, by no fault of the broker.
    pub(super) fn stalled(&self, limit: i64, now: Time) -> bool {
        self.trouble.is_none() && now.0 - self.watermark.1.0 >= limit
    }

    /// The broker does not answer; or it does, and a topic is `missing`, which says nothing of the others.
    pub(super) fn trouble(&mut self, what: &str, missing: bool, now: Time) {
        if missing {
            if self.trouble.is_some() {
                self.recovered(now);
            }
            self.missing = Some(what.to_owned());
            return;
        }
        let since = self.trouble.as_ref().map_or(now, |(_, since)| *since);
        self.trouble = Some((what.to_owned(), since));
    }

    /// It answers again, and every topic is there.
    pub(super) fn recovered(&mut self, now: Time) {
        (self.trouble, self.missing) = (None, None);
        self.watermark.1 = now;
    }
}

/// What is wrong.
pub(super) fn wrong(
    board: &Board,
    signs: &Signs,
    channels: &BTreeMap<String, Health>,
    plan: &Plan,
    now: Time,
) -> Vec<Seen> {
    let mut wrong = Vec::new();
    let mut say = |kind, about: &str, what: String| wrong.push(Seen { kind, about: about.to_owned(), what, count: 0 });
    let lasts = |since: Time, limit: i64| now.0 - since.0 >= limit;
    if let Some((what, since)) = &signs.trouble {
        if lasts(*since, PATIENCE) {
            say(&operator::BROKER, "kafka", format!("The broker has not answered since {since}: {what}"));
        }
    } else if signs.stalled(plan.stalled_after, now) {
        say(&operator::STALLED, "watermark", stalled(board, signs));
    }
    if let Some(what) = &signs.missing {
        say(&operator::TOPIC, "kafka", missing(what));
    }
    if let Some(files) = &board.files {
        if let Some(what) = &files.trouble {
            say(&operator::FOLDER, "look", format!("{what}."));
        }
        if let Some(what) = &files.unmoved {
            say(&operator::FOLDER, "move", format!("{what}. It is on record and is not read again."));
        }
    }
    for (topic, count) in board.rejected.iter().filter(|(_, count)| **count > REJECTS) {
        let what = format!("The last {count} records of {topic} could not be used; they are kept as rejects.");
        say(&operator::REJECTED, topic, what);
    }
    for (origin, _) in board.lanes.iter().filter(|(_, lane)| lane.doing == Doing::Stopped) {
        let what = format!(
            "{origin} is stopped: its log is not the one that was read before. It is read again only when a person decides."
        );
        say(&operator::STOPPED, &name(origin), what);
    }
    for (origin, _) in board.lanes.iter().filter(|(_, lane)| lane.doing == Doing::Left) {
        let what = format!(
            "Time does not wait for {origin}: its records are read, and those of settled days count as backfill. It ends when they \
             have caught up."
        );
        say(&operator::LEFT, &name(origin), what);
    }
    for (source, (_, since)) in signs.sources.iter().filter(|(_, (_, since))| lasts(*since, plan.silent_after)) {
        say(&operator::SILENT, source, format!("Nothing has come from the source {source} since {since}."));
    }
    for (folder, free, all) in &board.disks {
        if *free < all / 20 && *free < SPACE {
            let what = format!("The disk of the {folder} has {} MiB left of {} MiB.", free >> 20, all >> 20);
            say(&operator::DISK, folder, what);
        }
    }
    if let Some(what) = &board.commits.unsaved {
        say(&operator::DISK, "snapshot", format!("The snapshot of the engine cannot be written: {what}"));
    }
    for (channel, health) in channels.iter().filter(|(_, health)| !health.ok) {
        if health.held || lasts(health.since, PATIENCE) {
            let what = format!("Alerts have not reached the channel {channel} since {}: {}", health.since, health.what);
            say(&operator::CHANNEL, channel, what);
        }
    }
    wrong
}

/// A topic that does not exist, in a sentence.
fn missing(what: &str) -> String {
    format!("The broker answers, and a topic is missing: {what}. Nothing is read of it until it is made.")
}

/// What keeps a start from reading anything.
pub(in crate::app) fn unread(failure: &Failure, now: Time) -> Trouble {
    let (kind, what) = match failure {
        Failure::Missing(_) => (&operator::TOPIC, missing(&failure.to_string())),
        _ => (&operator::BROKER, format!("The topics cannot be read yet: {failure}")),
    };
    Trouble { kind: kind.slug, about: "kafka".into(), what, severity: kind.severity, since: now }
}

/// The partitions that are furthest back of those that time waits for.
pub(super) fn furthest(board: &Board) -> Vec<&Origin> {
    let holds = |doing: Doing| matches!(doing, Doing::Reading | Doing::Paused);
    let held = || board.lanes.iter().filter(|(_, lane)| holds(lane.doing));
    let furthest = held().map(|(_, lane)| lane.newest).min();
    held().filter(|(_, lane)| Some(lane.newest) == furthest).map(|(origin, _)| origin).collect()
}

/// What time waits for, in words.
fn stalled(board: &Board, signs: &Signs) -> String {
    let named: Vec<String> = furthest(board).into_iter().take(5).map(name).collect();
    let at = |time: Option<Time>| time.map_or("its beginning".to_owned(), |time| time.to_string());
    let (before, since) = signs.watermark;
    let stands = if before == board.watermark {
        format!("Time stands at {} since {since}", at(before))
    } else {
        format!("Time has come only from {} to {} since {since}", at(before), at(board.watermark))
    };
    format!("{stands} while there is more to read; it waits for {}.", named.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::monitor::board::LaneStand;
    use crate::event::time::{HOUR, SECOND};

    fn lane(next: i64, end: i64, newest: i64, doing: Doing) -> LaneStand {
        LaneStand { next, end, newest: Some(Time(newest)), queued: 0, doing }
    }

    /// What is told `after` of the same board being looked at every minute.
    fn check(board: &Board, after: i64, expected: &[(&str, &str)]) {
        let mut signs = Signs::new(["ehr".to_owned()].into_iter(), Time(0));
        for minute in 0..=after / MINUTE {
            signs.look(board, Time(minute * MINUTE));
        }
        let found = wrong(board, &signs, &BTreeMap::new(), &Plan::default(), Time(after));
        let found: Vec<(&str, &str)> = found.iter().map(|seen| (seen.kind.slug, seen.about.as_str())).collect();
        assert_eq!(found, expected, "after {} min", after / MINUTE);
    }

    #[test]
    fn time_that_stands_while_there_is_more_to_read() {
        let board = |lanes: Vec<LaneStand>| Board {
            watermark: Some(Time(5)),
            lanes: lanes.into_iter().enumerate().map(|(n, lane)| (Origin::topic("t", n as i32), lane)).collect(),
            ..Board::default()
        };
        let lag = board(vec![lane(3, 3, 5, Doing::Reading), lane(4, 9, 800, Doing::Paused)]);
        check(&lag, 9 * MINUTE, &[]);
        check(&lag, 10 * MINUTE, &[("stalled", "watermark")]);
        let mut signs = Signs::new(std::iter::empty(), Time(0));
        (0..=60).for_each(|minute| signs.look(&lag, Time(minute * MINUTE)));
        let found = wrong(&lag, &signs, &BTreeMap::new(), &Plan::default(), Time(HOUR));
        assert!(found[0].what.ends_with("it waits for t/0."), "{}", found[0].what);
        // Nothing more to read: it may stand for as long as it likes.
        check(&board(vec![lane(3, 3, 5, Doing::Idle), lane(9, 9, 800, Doing::Idle)]), HOUR, &[]);
        check(&board(vec![lane(3, 9, 5, Doing::Stopped)]), 9 * MINUTE, &[("stopped", "t/0")]);
        check(&board(vec![lane(3, 9, 5, Doing::Left)]), 9 * MINUTE, &[("left", "t/0")]);
    }

    #[test]
    fn time_that_goes_on_too_slowly_to_catch_up() {
        // Every minute time comes so far; whether that is told an hour later.
        let told = |other: Doing, pace: &dyn Fn(i64) -> i64| {
            let mut signs = Signs::new(std::iter::empty(), Time(0));
            let board = |minute: i64| Board {
                watermark: Some(Time(pace(minute))),
                lanes: [lane(3, 9, pace(minute), Doing::Reading), lane(4, 9, 90 * HOUR, other)]
                    .into_iter()
                    .enumerate()
                    .map(|(n, lane)| (Origin::topic("t", n as i32), lane))
                    .collect(),
                ..Board::default()
            };
            (0..=60).for_each(|minute| signs.look(&board(minute), Time(minute * MINUTE)));
            let found = wrong(&board(60), &signs, &BTreeMap::new(), &Plan::default(), Time(HOUR));
            found.into_iter().next().map(|seen| seen.what)
        };
        let slow = told(Doing::Paused, &|minute| minute * SECOND).expect("it never catches up");
        assert!(slow.contains("only from 1970-01-01T00:00:00Z to 1970-01-01T00:01:00Z since"), "{slow}");
        assert!(told(Doing::Paused, &|minute| minute * MINUTE).is_some(), "always as far behind");
        assert_eq!(told(Doing::Paused, &|minute| minute * HOUR), None, "it catches up");
        // Nobody waits: time goes with the clock, a little behind, in leaps or in steps.
        assert_eq!(told(Doing::Reading, &|minute| minute * MINUTE - 30 * SECOND), None);
        assert_eq!(told(Doing::Reading, &|minute| minute / 5 * 5 * MINUTE), None);
        assert!(told(Doing::Reading, &|minute| minute * SECOND).is_some());
    }

    #[test]
    fn times_in_which_nothing_could_be_read_are_no_stall() {
        let board = |watermark: i64| Board {
            watermark: Some(Time(watermark)),
            lanes: [lane(3, 9, watermark, Doing::Reading), lane(4, 9, 90 * HOUR, Doing::Paused)]
                .into_iter()
                .enumerate()
                .map(|(n, lane)| (Origin::topic("t", n as i32), lane))
                .collect(),
            ..Board::default()
        };
        let check = |between: &dyn Fn(&mut Signs), expected: bool| {
            let mut signs = Signs::new(std::iter::empty(), Time(0));
            signs.look(&board(0), Time(0));
            between(&mut signs);
            signs.look(&board(MINUTE), Time(2 * HOUR));
            assert_eq!(signs.stalled(10 * MINUTE, Time(2 * HOUR)), expected);
        };
        let looks = |signs: &mut Signs| (1..120).for_each(|minute| signs.look(&board(0), Time(minute * MINUTE)));
        check(&looks, true);
        // The machine slept, or the disk was full.
        check(&|_| {}, false);
        let away = |signs: &mut Signs| {
            signs.trouble("refused", false, Time(MINUTE));
            looks(signs);
            signs.recovered(Time(2 * HOUR));
        };
        check(&away, false);
        // Somebody was left a moment ago.
        let left = |signs: &mut Signs| {
            looks(signs);
            signs.begin_anew(&board(0), Time(119 * MINUTE));
        };
        check(&left, false);
    }

    #[test]
    fn a_source_is_silent_from_when_it_was_last_heard() {
        check(&Board::default(), 24 * HOUR - SECOND, &[]);
        check(&Board::default(), 24 * HOUR, &[("silent", "ehr")]);
        let mut signs = Signs::new(["ehr".to_owned()].into_iter(), Time(0));
        let mut board = Board::default();
        board.since.sources.insert("ehr".into(), (1, Time(0)));
        board.since.sources.insert("vpn".into(), (1, Time(0)));
        signs.look(&board, Time(HOUR));
        signs.look(&board, Time(2 * HOUR));
        let at = |hours: i64| {
            let mut signs = signs.clone();
            signs.look(&board, Time(hours * HOUR));
            wrong(&board, &signs, &BTreeMap::new(), &Plan::default(), Time(hours * HOUR)).len()
        };
        assert_eq!((at(24), at(25)), (0, 2));
        // A silence goes on over a restart, until something comes; a source that nobody expects is forgotten.
        let mut signs = Signs::new(["ehr".to_owned()].into_iter(), Time(0));
        ["ehr", "retired"].iter().for_each(|source| signs.silent_since(source, Time(-25 * HOUR)));
        let told = |signs: &Signs| {
            let found = wrong(&Board::default(), signs, &BTreeMap::new(), &Plan::default(), Time(HOUR));
            let silent = found.into_iter().filter(|seen| seen.kind == &operator::SILENT);
            silent.map(|seen| seen.about).collect::<Vec<_>>()
        };
        assert_eq!(told(&signs), ["ehr"]);
        signs.look(&board, Time(HOUR));
        assert!(told(&signs).is_empty());
    }

    #[test]
    fn a_broker_that_is_away_is_no_stall_and_is_told_after_a_while() {
        let mut signs = Signs::new(std::iter::empty(), Time(0));
        signs.trouble("refused", false, Time(0));
        signs.trouble("refused", false, Time(4 * MINUTE));
        let at = |signs: &Signs, minutes: i64| {
            let found = wrong(&Board::default(), signs, &BTreeMap::new(), &Plan::default(), Time(minutes * MINUTE));
            found.iter().map(|seen| seen.kind.slug).collect::<Vec<_>>()
        };
        assert_eq!((at(&signs, 4), at(&signs, 5), at(&signs, 60)), (vec![], vec!["broker"], vec!["broker"]));
        signs.recovered(Time(60 * MINUTE));
        signs.look(&Board::default(), Time(60 * MINUTE));
        assert_eq!(at(&signs, 60), Vec::<&str>::new());
    }

    #[test]
    fn a_topic_that_is_missing_is_told_at_once_and_is_no_absence_of_the_broker() {
        let mut signs = Signs::new(std::iter::empty(), Time(0));
        let told = |signs: &Signs, minutes: i64| {
            let found = wrong(&Board::default(), signs, &BTreeMap::new(), &Plan::default(), Time(minutes * MINUTE));
            found.into_iter().map(|seen| (seen.kind.slug, seen.what)).collect::<Vec<_>>()
        };
        signs.trouble("topic nosuch does not exist", true, Time(0));
        let at_the_start = unread(&Failure::Missing("nosuch".into()), Time(0));
        assert_eq!((at_the_start.kind, at_the_start.what), ("topic-missing", told(&signs, 0)[0].1.clone()));
        for minutes in [0, 4] {
            let [(slug, what)] = &told(&signs, minutes)[..] else { panic!("one trouble") };
            assert!(*slug == "topic-missing" && what.contains("topic nosuch does not exist"), "{what}");
        }
        // The others are read, so that a stall is one.
        assert!(signs.stalled(10 * MINUTE, Time(10 * MINUTE)));
        signs.recovered(Time(11 * MINUTE));
        assert!(told(&signs, 11).is_empty());
        // A broker that goes away says nothing of topics, and one that is back names the missing one again.
        signs.trouble("refused", false, Time(12 * MINUTE));
        assert!(told(&signs, 13).is_empty() && !signs.stalled(MINUTE, Time(20 * MINUTE)));
        signs.trouble("topic nosuch does not exist", true, Time(20 * MINUTE));
        assert_eq!(told(&signs, 21).first().map(|(slug, _)| *slug), Some("topic-missing"));
    }

    #[test]
    fn a_feed_of_which_nothing_can_be_used() {
        let board = |count| Board { rejected: [("ehr".to_owned(), count)].into(), ..Board::default() };
        check(&board(500), 0, &[]);
        check(&board(501), 0, &[("rejected", "ehr")]);
    }

    #[test]
    fn disks_and_channels() {
        let gib = 1_u64 << 30;
        for (free, all, told) in [(4, 100, 1), (6, 100, 0), (30, 1_000, 0), (19, 1_000, 1)] {
            let disks = vec![("history", free * gib, all * gib)];
            check(&Board { disks, ..Board::default() }, 0, &[("disk", "history")][..told]);
        }
        let health = |held, since| Health { ok: false, held, since, what: "refused".into() };
        let channels = BTreeMap::from([
            ("held".to_owned(), health(true, Time(HOUR))),
            ("new".to_owned(), health(false, Time(HOUR - MINUTE))),
            ("old".to_owned(), health(false, Time(0))),
        ]);
        let signs = Signs::new(std::iter::empty(), Time(HOUR));
        let found = wrong(&Board::default(), &signs, &channels, &Plan::default(), Time(HOUR));
        assert_eq!(found.iter().map(|seen| seen.about.as_str()).collect::<Vec<_>>(), ["held", "old"]);
    }
}
