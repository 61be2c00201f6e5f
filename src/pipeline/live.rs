//! The loop of `run`: arrivals of a source go down the road, and what the engine asks of the source goes back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::{News, Road, RoadError};
use crate::decode::{Decoder, Hints, Limits, RawRecord};
use crate::engine::Input;
use crate::event::effects::Decoded;
use crate::event::{Effects, EventBuilder, Origin, Time};
use crate::ingest::kafka::{Arrival, RawBatch, Source};

/// A partition is idle when its position has stood at the end of its log for this long (DESIGN, section 5).
const IDLE_AFTER: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);
/// How often time is let pass while every partition is idle.
const ADVANCE: Duration = Duration::from_secs(600);

/// What the loop is told from outside.
pub struct Orders<'a> {
    /// Set when the process should end.
    pub stop: &'a AtomicBool,
    /// What is known of each topic's records.
    pub hints: &'a dyn Fn(&str) -> Hints,
    /// The position key of a partition that appears while reading.
    pub key: &'a dyn Fn(&Origin) -> String,
    /// A segment closes when its oldest row has waited for this long.
    pub age: Duration,
    /// The end of each partition as it was found at the start: reading ends when all of them are reached.
    pub until: Option<BTreeMap<Origin, i64>>,
    /// Called now and then, for rosters and verdicts; what it gives is taken up.
    pub chores: &'a mut dyn FnMut() -> Vec<News>,
    /// What time it is.
    pub clock: &'a dyn Fn() -> Time,
}

/// Reads until told to stop, or until the ends are reached; returns whether the ends were reached.
///
/// # Errors
/// Where an edge fails for good; everything durable stays so.
pub fn read(road: &mut Road<'_>, source: &mut dyn Source, orders: &mut Orders<'_>) -> Result<bool, RoadError> {
    let mut decoders: BTreeMap<Origin, Decoder> = BTreeMap::new();
    let mut idle: BTreeSet<Origin> = BTreeSet::new();
    let mut chores = Instant::now();
    let mut quiet: Option<(Instant, Time)> = None;
    while !orders.stop.load(Ordering::Relaxed) {
        let now = (orders.clock)();
        if let Some(arrival) = source.next(POLL) {
            let input = match arrival {
                Arrival::Batch(raw) => {
                    idle.remove(raw.origin());
                    let decoded = decode(&mut decoders, &raw, orders.hints);
                    reached(&mut orders.until, raw.origin(), raw.to());
                    Some(Input::Decoded(Box::new(decoded)))
                }
                other => calm(other, road, orders, &mut idle)?,
            };
            if let Some(input) = input {
                let effects = turn(road, source, now, input)?;
                for notice in &effects.notices {
                    warn!(kind = notice.kind, about = notice.about, records = notice.count, "records to look at");
                }
                if !effects.settled.is_empty() {
                    info!(days = effects.settled.len(), watermark = ?road.engine.watermark().map(|t| t.to_string()), "days settled");
                }
            }
        }
        road.commit_when_due(now, orders.age)?;
        if chores.elapsed() >= Duration::from_secs(2) {
            chores = Instant::now();
            for news in (orders.chores)() {
                let effects = road.hear(now, news)?;
                obey(source, &effects);
            }
            pass_time(road, source, &idle, &mut quiet, now)?;
            let positions = road.keep.as_ref().map(|keep| keep.history.positions()).unwrap_or_default();
            let durable = road.keys.iter().filter_map(|(origin, key)| Some((origin.clone(), *positions.get(key)?)));
            source.commit_hint(&durable.collect());
        }
        if orders.until.as_ref().is_some_and(BTreeMap::is_empty) {
            return Ok(true);
        }
    }
    Ok(false)
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
    idle: &BTreeSet<Origin>,
    quiet: &mut Option<(Instant, Time)>,
    now: Time,
) -> Result<(), RoadError> {
    let Some(watermark) = road.engine.watermark().filter(|_| road.keys.keys().all(|origin| idle.contains(origin)))
    else {
        *quiet = None;
        return Ok(());
    };
    let (since, from) = *quiet.get_or_insert((Instant::now(), watermark));
    let to = from.plus(since.elapsed().as_micros() as i64);
    if to.0 - watermark.0 >= ADVANCE.as_micros() as i64 {
        turn(road, source, now, Input::Advance(to))?;
    }
    Ok(())
}

fn reached(until: &mut Option<BTreeMap<Origin, i64>>, origin: &Origin, to: i64) {
    if let Some(until) = until
        && until.get(origin).is_some_and(|end| to >= *end)
    {
        until.remove(origin);
    }
}

/// Everything that is no batch of records.
fn calm(
    arrival: Arrival,
    road: &mut Road<'_>,
    orders: &mut Orders<'_>,
    idle: &mut BTreeSet<Origin>,
) -> Result<Option<Input>, RoadError> {
    match arrival {
        Arrival::Batch(_) => Ok(None),
        Arrival::End { origin, offset, stood } => {
            reached(&mut orders.until, &origin, offset);
            let newly = stood >= IDLE_AFTER && idle.insert(origin.clone());
            Ok(newly.then_some(Input::Idle(origin)))
        }
        Arrival::Gap { origin, from, to } => {
            idle.remove(&origin);
            error!(%origin, from, to, "records were deleted before they could be read; the gap is on record");
            let gap = (to - from).max(0) as u64;
            let batch = EventBuilder::default().finish(&origin);
            Ok(Some(Input::Decoded(Box::new(Decoded { batch, rejects: Vec::new(), from, to, gap }))))
        }
        Arrival::TopicMadeAgain { origin, position, end, .. } => {
            error!(%origin, position, end, "the topic was made again or its log ends before our position; reading of it has stopped");
            orders.until.iter_mut().for_each(|until| _ = until.remove(&origin));
            idle.insert(origin.clone());
            Ok(Some(Input::Idle(origin)))
        }
        Arrival::NewPartition(origin) => {
            info!(%origin, "a new partition is read from its beginning");
            road.keys.insert(origin.clone(), (orders.key)(&origin));
            Ok(Some(Input::Open(origin)))
        }
        Arrival::Trouble { what } => {
            warn!(what, "the broker does not answer; it is tried again");
            Ok(None)
        }
        Arrival::Recovered { after } => {
            info!(seconds = after.as_secs(), "the broker answers again");
            Ok(None)
        }
        Arrival::Fatal { what } => Err(RoadError::Source(what)),
    }
}

fn decode(decoders: &mut BTreeMap<Origin, Decoder>, raw: &RawBatch, hints: &dyn Fn(&str) -> Hints) -> Decoded {
    let origin = raw.origin();
    let decoder = decoders.entry(origin.clone()).or_insert_with(|| {
        let topic = match origin {
            Origin::Topic { topic, .. } => topic.to_string(),
            Origin::File { name } => name.to_string(),
        };
        Decoder::new(origin.clone(), hints(&topic), Limits::default())
    });
    for record in raw.records() {
        decoder.push(&RawRecord { offset: record.offset, byte: 0, at: record.at, value: record.value });
    }
    decoder.finish(raw.from(), raw.to())
}
