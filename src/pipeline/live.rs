//! The loop of `run`: arrivals of a source go down the road, and what the engine asks of the source goes back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tracing::{debug, error, info};

use super::ahead::Ahead;
use super::anew::Anew;
use super::files::Passed;
use super::{News, Road, RoadError};
use crate::decode::Hints;
use crate::engine::Input;
use crate::engine::gate::Stand;
use crate::event::effects::Decoded;
use crate::event::{Effects, EventBuilder, Origin, Time};
use crate::ingest::kafka::{Arrival, PositionKey, Source};

/// A partition is idle when its position has stood at the end of its log for this long (DESIGN, section 5).
const IDLE_AFTER: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);
/// How often time is let pass while every partition is idle.
const ADVANCE: Duration = Duration::from_secs(600);

/// What whoever runs the loop does beside the reading.
pub trait Beside {
    /// What became known before anything is read.
    fn first(&mut self) -> Vec<News> {
        Vec::new()
    }

    /// An arrival that is about to go down the road.
    fn heard(&mut self, _arrival: &Arrival, _now: Time) {}

    /// A step is done: what it asked of the source, and what an operator should know.
    fn turned(&mut self, _effects: &Effects, _now: Time) {}

    /// Called every two seconds, for rosters, verdicts and all else that has to be done now and then; what it gives is taken up.
    ///
    /// # Errors
    /// Where an edge fails for good.
    fn chores(&mut self, _road: &mut Road<'_>, _now: Time) -> Result<Vec<News>, RoadError> {
        Ok(Vec::new())
    }
}

/// What the loop is told from outside.
pub struct Orders<'a> {
    /// Set when the process should end.
    pub stop: &'a AtomicBool,
    /// What is known of each topic's records.
    pub hints: &'a dyn Fn(&str) -> Hints,
    /// A segment closes when its oldest row has waited for this long.
    pub age: Duration,
    /// The end of each partition as it was found at the start: reading ends when all of them are reached.
    pub until: Option<BTreeMap<Origin, i64>>,
    /// What is done beside the reading.
    pub beside: &'a mut dyn Beside,
    /// What time it is.
    pub clock: &'a dyn Fn() -> Time,
}

/// Reads until told to stop, or until the ends are reached; returns whether the ends were reached.
///
/// # Errors
/// Where an edge fails for good; everything durable stays so.
pub fn read(road: &mut Road<'_>, source: &mut dyn Source, orders: &mut Orders<'_>) -> Result<bool, RoadError> {
    std::thread::scope(|scope| go(road, &mut Ahead::new(scope, source, orders.hints), orders))
}

fn go(road: &mut Road<'_>, ahead: &mut Ahead<'_>, orders: &mut Orders<'_>) -> Result<bool, RoadError> {
    let mut ends = Ends::new(orders.until.take());
    let mut chores = Instant::now();
    let mut quiet: Option<(Instant, Time)> = None;
    for origin in road.keys.keys().filter(|origin| ends.is_over(origin)).cloned().collect::<Vec<_>>() {
        turn(road, ahead.source, (orders.clock)(), Input::End(origin))?;
    }
    // What people decided meanwhile holds for what is read now, however soon that ends.
    for news in orders.beside.first() {
        hear(road, ahead.source, orders, &mut ends, (orders.clock)(), news)?;
    }
    while !orders.stop.load(Ordering::Relaxed) {
        let now = (orders.clock)();
        if let Some((arrival, decoded)) = ahead.next(POLL) {
            orders.beside.heard(&arrival, now);
            let origin = arrival.origin().filter(|origin| !ends.is_over(origin)).cloned();
            let input = match decoded {
                Some(decoded) => batch(decoded, road, ahead.source, orders, &mut ends)?,
                None => calm(arrival, road, ahead.source, orders, &mut ends)?,
            };
            if let Some(input) = input {
                let effects = turn(road, ahead.source, now, input)?;
                tell(road, &effects);
                orders.beside.turned(&effects, now);
            }
            // Time does not wait for a partition that is read up to the end: nothing more of it is taken.
            if let Some(origin) = origin.filter(|origin| ends.is_over(origin)) {
                let effects = turn(road, ahead.source, now, Input::End(origin))?;
                tell(road, &effects);
                orders.beside.turned(&effects, now);
            }
        }
        road.commit_when_due(now, orders.age)?;
        if chores.elapsed() >= Duration::from_secs(2) {
            chores = Instant::now();
            for news in orders.beside.chores(road, now)? {
                hear(road, ahead.source, orders, &mut ends, now, news)?;
            }
            let noted = road.note_files(now)?;
            ahead.source.recorded(&noted);
            ends.anew.turn(road, ahead.source);
            pass_time(road, ahead.source, &ends.idle, &mut quiet, now)?;
            let positions = road.keep.as_ref().map(|keep| keep.history.positions()).unwrap_or_default();
            let durable = road.keys.iter().filter_map(|(origin, key)| Some((origin.clone(), *positions.get(key)?)));
            ahead.source.commit_hint(&durable.collect());
        }
        if ends.is_done() {
            let Some(what) = ends.failure() else { return Ok(true) };
            road.commit(now)?;
            return Err(RoadError::Source(what));
        }
    }
    Ok(false)
}

/// Takes up what became known, with all that follows from it.
fn hear(
    road: &mut Road<'_>,
    source: &mut dyn Source,
    orders: &mut Orders<'_>,
    ends: &mut Ends,
    now: Time,
    news: News,
) -> Result<(), RoadError> {
    ends.hear(&news);
    let effects = road.hear(now, news)?;
    obey(source, &effects);
    tell(road, &effects);
    orders.beside.turned(&effects, now);
    Ok(())
}

/// What a step means for the log. Records to look at may come with every step: `Beside` tells the operator of them, once.
fn tell(road: &Road<'_>, effects: &Effects) {
    for notice in &effects.notices {
        debug!(kind = notice.kind, about = notice.about, records = notice.count, "records to look at");
    }
    if !effects.settled.is_empty() {
        let watermark = road.engine.watermark().map(|time| time.to_string());
        info!(days = effects.settled.len(), watermark, "days settled");
    }
}

/// Where reading ends, and what is known of partitions that stand at the end of their logs.
struct Ends {
    /// The ends that are not reached yet, where reading is to end at all.
    until: Option<BTreeMap<Origin, i64>>,
    /// Partitions at whose ends time no longer waits for them, and when their ends were last asked for.
    idle: BTreeMap<Origin, Instant>,
    /// Partitions that are no longer the ones that were read before.
    stopped: BTreeSet<Origin>,
    /// Those of them that are read again by command.
    anew: Anew,
    /// Why files were not read to their ends.
    failed: Vec<String>,
    /// Ends that were asked for before this moment, which may lie ahead, say nothing of now.
    doubted: Instant,
}

impl Ends {
    fn new(until: Option<BTreeMap<Origin, i64>>) -> Ends {
        let (idle, stopped, failed) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
        Ends { until, idle, stopped, anew: Anew::default(), failed, doubted: Instant::now() }
    }

    /// What is read up to an end reads no more of a partition than it was to read: the next start takes the decision up.
    fn hear(&mut self, news: &News) {
        if let (News::Resumed(resumed), None) = (news, &self.until) {
            self.anew.add(resumed.clone());
        }
    }

    /// Those that time waits for again because this one has spoken. Whoever has been silent for a minute was perhaps not alone in that:
    /// after an outage of the producer the others may have lag that is not known yet, and time must not run away from them. Their ends
    /// are believed again when they were asked for anew; where all of `partitions` were silent, a minute later, for not everybody wakes
    /// at once. The same holds of those whose ends nobody has confirmed for a minute, as where the broker was away. A stopped one has no
    /// end that could be asked for: it stays as it is.
    fn awake<'o>(&mut self, origin: &Origin, mut partitions: impl Iterator<Item = &'o Origin>) -> BTreeSet<Origin> {
        let now = Instant::now();
        let all = partitions.all(|partition| self.idle.contains_key(partition));
        let was_silent = self.idle.remove(origin).is_some();
        let is_old = |asked: &Instant| now.saturating_duration_since(*asked) >= IDLE_AFTER;
        let doubtful = |(one, asked): (&Origin, &Instant)| {
            (!self.stopped.contains(one) && (was_silent || is_old(asked))).then(|| one.clone())
        };
        let others: BTreeSet<Origin> = self.idle.iter().filter_map(doubtful).collect();
        if was_silent || !others.is_empty() {
            self.doubted = now + if all { IDLE_AFTER } else { Duration::ZERO };
        }
        self.idle.retain(|one, _| !others.contains(one));
        others
    }

    /// It stands at its end, as a broker said that was asked then; whether time waits for it no longer from now on.
    fn stands(&mut self, origin: &Origin, asked: Instant) -> bool {
        self.idle.insert(origin.clone(), asked).is_none()
    }

    fn reached(&mut self, origin: &Origin, to: i64) {
        if let Some(until) = &mut self.until
            && until.get(origin).is_some_and(|end| to >= *end)
        {
            until.remove(origin);
        }
    }

    /// Whether the partition is read up to the end that was found at the start: what came later is for the next run.
    fn is_over(&self, origin: &Origin) -> bool {
        self.until.as_ref().is_some_and(|until| !until.contains_key(origin))
    }

    fn is_done(&self) -> bool {
        self.until.as_ref().is_some_and(BTreeMap::is_empty)
    }

    /// Nothing more comes of it.
    fn over(&mut self, origin: &Origin) {
        self.until.iter_mut().for_each(|until| _ = until.remove(origin));
    }

    /// What was not read although the ends were to be reached.
    fn failure(&self) -> Option<String> {
        let stopped: Vec<String> = self.stopped.iter().map(ToString::to_string).collect();
        let what = "not read to the end: the topic was made again, or its log ends before our position";
        let stopped = (!stopped.is_empty()).then(|| format!("{}: {what}", stopped.join(", ")));
        let all: Vec<String> = stopped.into_iter().chain(self.failed.iter().cloned()).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

/// A batch of records goes down the road, unless it lies beyond the end.
fn batch(
    decoded: Box<Decoded>,
    road: &mut Road<'_>,
    source: &mut dyn Source,
    orders: &Orders<'_>,
    ends: &mut Ends,
) -> Result<Option<Input>, RoadError> {
    let origin = &decoded.batch.origin;
    if ends.is_over(origin) {
        return Ok(None);
    }
    for origin in ends.awake(origin, partitions(road)) {
        turn(road, source, (orders.clock)(), Input::Open(origin))?;
    }
    ends.reached(origin, decoded.to);
    Ok(Some(Input::Decoded(decoded)))
}

/// The partitions that are read: a file is never at the end of a log.
fn partitions<'r>(road: &'r Road<'_>) -> impl Iterator<Item = &'r Origin> {
    road.keys.keys().filter(|origin| !origin.is_file())
}

/// One turn of the wheel, and what the engine asks of the source.
fn turn(road: &mut Road<'_>, source: &mut dyn Source, now: Time, input: Input) -> Result<Effects, RoadError> {
    let effects = road.turn(now, input)?;
    obey(source, &effects);
    Ok(effects)
}

fn obey(source: &mut dyn Source, effects: &Effects) {
    source.pause(&effects.pause);
    source.resume(&effects.resume);
}

/// Time goes on by itself while every partition is idle, by what has passed since the newest record was read.
fn pass_time(
    road: &mut Road<'_>,
    source: &mut dyn Source,
    idle: &BTreeMap<Origin, Instant>,
    quiet: &mut Option<(Instant, Time)>,
    now: Time,
) -> Result<(), RoadError> {
    let is_over = |(origin, stand): &(&Origin, Stand)| stand.left || (stand.rests && origin.is_file());
    let over: BTreeSet<&Origin> = road.engine.stands().filter(is_over).map(|(origin, _)| origin).collect();
    let rests = |origin: &Origin| idle.contains_key(origin) || over.contains(origin);
    let Some(watermark) = road.engine.watermark().filter(|_| road.keys.keys().all(rests)) else {
        *quiet = None;
        return Ok(());
    };
    let (since, from) = *quiet.get_or_insert((Instant::now(), watermark));
    let to = from.plus(since.elapsed().as_micros() as i64);
    if to.0 - watermark.0 >= ADVANCE.as_micros() as i64 {
        turn(road, source, now, Input::Advance(to))?;
        debug!(effect = "advance", %to, "every partition is idle: time goes on by itself");
    }
    Ok(())
}

/// Everything that is no batch of records.
fn calm(
    arrival: Arrival,
    road: &mut Road<'_>,
    source: &mut dyn Source,
    orders: &Orders<'_>,
    ends: &mut Ends,
) -> Result<Option<Input>, RoadError> {
    match arrival {
        Arrival::Batch(_) => Ok(None),
        Arrival::Stretch(decoded) => batch(decoded, road, source, orders, ends),
        Arrival::FilesWait(from) => Ok(Some(Input::Hold(from))),
        Arrival::FileBegin { origin, key } => {
            road.keys.insert(origin.clone(), key);
            Ok(Some(Input::Open(origin)))
        }
        Arrival::FileEnd { origin, to, end, failure } => {
            if let Some(what) = failure {
                error!(what, "a file was not read to its end");
                // Where reading goes on it is tried again, or told to the operator.
                ends.failed.extend(ends.until.is_some().then_some(what));
            }
            ends.over(&origin);
            let has_begun = road.keys.contains_key(&origin);
            road.pass(Passed { origin: origin.clone(), to, end });
            Ok(has_begun.then_some(Input::End(origin)))
        }
        Arrival::End { origin, offset, stood, asked } => {
            ends.reached(&origin, offset);
            let newly = stood >= IDLE_AFTER && asked >= ends.doubted && ends.stands(&origin, asked);
            Ok(newly.then_some(Input::Idle(origin)))
        }
        Arrival::Gap { origin, from, to } => {
            for other in ends.awake(&origin, partitions(road)) {
                turn(road, source, (orders.clock)(), Input::Open(other))?;
            }
            ends.reached(&origin, to);
            error!(%origin, from, to, "records were deleted before they could be read; the gap is on record");
            let gap = (to - from).max(0) as u64;
            let batch = EventBuilder::default().finish(&origin);
            Ok(Some(Input::Decoded(Box::new(Decoded { batch, rejects: Vec::new(), from, to, gap }))))
        }
        Arrival::TopicMadeAgain { origin, position, end, expected, found } => {
            error!(%origin, position, end, "the topic was made again or its log ends before our position; reading of it has stopped");
            ends.over(&origin);
            ends.stands(&origin, Instant::now());
            ends.stopped.insert(origin.clone());
            road.note_stopped((orders.clock)(), &origin, (position, !expected.may_be(&found)))?;
            Ok(Some(Input::Idle(origin)))
        }
        Arrival::NewPartition { origin, log, from } => {
            info!(%origin, from, "a new partition is read");
            ends.idle.remove(&origin);
            ends.stopped.remove(&origin);
            let key = match ends.anew.key(&origin) {
                Some(key) => key,
                None => {
                    let key = PositionKey { origin: origin.clone(), log, anew: 0 }.to_string();
                    road.note_begun((orders.clock)(), &origin, &key, from)?;
                    key
                }
            };
            road.keys.insert(origin.clone(), key);
            let is_over = ends.is_over(&origin);
            Ok((!is_over).then_some(Input::Open(origin)))
        }
        // The reader says these in the log, once when it begins and once when it is over.
        Arrival::Trouble { .. } | Arrival::Recovered { .. } => Ok(None),
        Arrival::Fatal { what } => Err(RoadError::Source(what)),
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::engine::Engine;
    use crate::engine::settings::Settings;
    use crate::event::time::HOUR;
    use crate::event::{Raised, Zone};
    use crate::ingest::kafka::{LogId, RawBatch, RawRecord};
    use crate::pipeline::Outlet;
    use crate::pipeline::fixture::Listed;
    use crate::roster::Roster;

    /// Counts records that came too late.
    #[derive(Default)]
    struct Late(u64);

    impl Beside for Late {
        fn turned(&mut self, effects: &Effects, _: Time) {
            self.0 += effects.notices.iter().filter(|it| it.kind == "backfill").map(|it| it.count).sum::<u64>();
        }
    }

    struct Nowhere;

    impl Outlet for Nowhere {
        fn raise(&mut self, _: &[Raised], _: Time) -> Result<(), RoadError> {
            Ok(())
        }
    }

    fn begin() -> Time {
        Time::parse("2026-03-02T12:00:00Z").expect("a time")
    }

    fn origin(partition: i32) -> Origin {
        Origin::topic("ehr", partition)
    }

    /// Records of these hours after the beginning, one each.
    fn records(partition: i32, from: i64, hours: std::ops::Range<i64>) -> Arrival {
        let mut raw = RawBatch::new(origin(partition), from);
        for (offset, hour) in (from..).zip(hours) {
            let time = begin().plus(hour * HOUR);
            let line = format!(
                r#"{{"event_id":"{partition}/{offset}","time":"{time}","source":"ehr","actor":{{"id":"u"}},"activity":"read"}}"#
            );
            raw.push(RawRecord { offset, at: None, value: Some(line.as_bytes()) });
        }
        Arrival::Batch(raw)
    }

    /// It stands at its end for so long, as a broker said that was asked soon after the beginning.
    fn end(partition: i32, offset: i64, stood: u64) -> Arrival {
        let asked = Instant::now() + Duration::from_secs(5);
        Arrival::End { origin: origin(partition), offset, stood: Duration::from_secs(stood), asked }
    }

    /// Goes through the list; how far time has come, and how many records came too late.
    fn go_through(list: Vec<Arrival>) -> (Option<Time>, u64) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let engine = Engine::new(Settings::default(), Roster::empty(Zone::utc()).into());
        let mut nowhere = Nowhere;
        let mut road = Road::new(engine, None, &mut nowhere, runtime.handle().clone());
        for partition in 0..3 {
            road.keys.insert(origin(partition), partition.to_string());
            road.turn(begin(), Input::Open(origin(partition))).expect("nothing can fail");
        }
        let stop = AtomicBool::new(false);
        let (mut source, mut late) =
            (Listed { list: list.into_iter().map(Some).collect(), ended: Some(&stop) }, Late::default());
        let mut orders = Orders {
            stop: &stop,
            hints: &|name| Hints::new(name),
            age: Duration::from_secs(60),
            until: None,
            beside: &mut late,
            clock: &begin,
        };
        read(&mut road, &mut source, &mut orders).expect("nothing can fail");
        (road.engine.watermark(), late.0)
    }

    /// Who was given a verdict while nobody read: it is heard before the first record is, however soon reading ends.
    #[test]
    fn what_people_decided_is_heard_before_anything_is_read() {
        struct Decided(Vec<&'static str>);
        impl Beside for Decided {
            fn first(&mut self) -> Vec<News> {
                self.0.push("first");
                vec![News::Verdict { id: "1".to_owned(), ruled: None }]
            }
            fn heard(&mut self, _: &Arrival, _: Time) {
                self.0.push("heard");
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let engine = Engine::new(Settings::default(), Roster::empty(Zone::utc()).into());
        let mut nowhere = Nowhere;
        let mut road = Road::new(engine, None, &mut nowhere, runtime.handle().clone());
        road.keys.insert(origin(0), "0".to_owned());
        road.turn(begin(), Input::Open(origin(0))).expect("nothing can fail");
        let stop = AtomicBool::new(false);
        let (mut source, mut beside) =
            (Listed { list: vec![Some(records(0, 0, 0..1))].into(), ended: Some(&stop) }, Decided(Vec::new()));
        let age = Duration::from_secs(60);
        let mut orders = Orders {
            stop: &stop,
            hints: &|name| Hints::new(name),
            age,
            until: None,
            beside: &mut beside,
            clock: &begin,
        };
        read(&mut road, &mut source, &mut orders).expect("nothing can fail");
        assert_eq!(beside.0[..2], ["first", "heard"]);
    }

    #[test]
    fn after_a_silence_of_all_time_waits_for_those_who_wake_later() {
        let quiet = || vec![records(0, 0, 0..1), records(1, 0, 0..1), records(2, 0, 0..1)];
        let silent = || (0..3).map(|partition| end(partition, 1, 61));
        let hours = |hours: i64| Some(begin().plus(hours * HOUR));
        // The first has all of ten days before the others have any.
        let mut list = quiet();
        list.extend(silent());
        list.extend([records(0, 1, 1..240), end(1, 1, 90), end(2, 1, 90)]);
        assert_eq!(go_through(list.clone()), (hours(0), 0), "their ends are not believed for a minute");
        list.extend([records(1, 1, 1..240), records(2, 1, 1..200)]);
        assert_eq!(go_through(list), (hours(199), 0));
        // Where one was busy all the time the others are idle as soon as the broker says so again.
        let mut list = quiet();
        list.extend([
            end(1, 1, 61),
            end(2, 1, 61),
            records(0, 1, 1..30),
            records(1, 1, 1..2),
            end(1, 2, 61),
            end(2, 1, 90),
        ]);
        assert_eq!(go_through(list), (hours(29), 0));
    }

    #[test]
    fn a_stopped_partition_holds_nobody_back_whoever_wakes() {
        let again = LogId { cluster: None, topic: Some("other".to_owned()) };
        let (expected, found) = (LogId::default(), again);
        let stopped = Arrival::TopicMadeAgain { origin: origin(2), position: 1, end: 0, expected, found };
        let list = vec![
            records(0, 0, 0..1),
            records(1, 0, 0..1),
            records(2, 0, 0..1),
            stopped,
            end(0, 1, 61),
            end(1, 1, 61),
            records(0, 1, 1..30),
            records(1, 1, 1..20),
        ];
        assert_eq!(go_through(list), (Some(begin().plus(19 * HOUR)), 0));
    }

    #[test]
    fn who_is_stopped_is_waited_for_by_nobody() {
        let all = |numbers: &[i32]| numbers.iter().map(|number| origin(*number)).collect::<BTreeSet<_>>();
        let mut ends = Ends::new(None);
        let now = Instant::now();
        (ends.idle, ends.stopped) = (all(&[0, 1, 2]).into_iter().map(|origin| (origin, now)).collect(), all(&[1]));
        assert_eq!(ends.awake(&origin(3), [].iter()), all(&[]), "it was not idle");
        assert_eq!(ends.awake(&origin(0), [].iter()), all(&[2]));
        assert_eq!(ends.idle.into_keys().collect::<BTreeSet<_>>(), all(&[1]));
    }

    /// The broker was away, and nobody knows what has come to those that were idle before: whoever speaks first says nothing of them.
    #[test]
    fn an_end_that_nobody_has_confirmed_for_a_minute_is_doubted() {
        let Some(before) = Instant::now().checked_sub(IDLE_AFTER) else { return };
        let mut ends = Ends::new(None);
        ends.stopped.insert(origin(2));
        for (partition, asked) in [(0, before), (1, Instant::now()), (2, before)] {
            assert!(ends.stands(&origin(partition), asked));
        }
        let began = ends.doubted;
        assert_eq!(ends.awake(&origin(3), [].iter()), [origin(0)].into());
        assert!(ends.doubted > began, "an answer from before is not believed again");
        assert_eq!(ends.awake(&origin(3), [].iter()), [].into(), "it is doubted once");
        // Each answer confirms it.
        assert!(ends.stands(&origin(0), before) && !ends.stands(&origin(0), Instant::now()));
        assert_eq!(ends.awake(&origin(3), [].iter()), [].into());
    }
}
