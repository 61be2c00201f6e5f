//! `run`: Kafka in, alerts and history out, until told to stop.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tracing::warn;

use super::rosters::{Folder, put_in_force};
use super::verdicts::Verdicts;
use super::{Begun, begin, now, open_keep, own_store, runtime};
use crate::cli::Stop;
use crate::engine::Input;
use crate::event::{Origin, Raised, Time};
use crate::ingest::kafka::{self, Begin, Kafka, Plan, Source, Survey};
use crate::notify::Notifier;
use crate::pipeline::live::{Orders, read};
use crate::pipeline::{Outlet, Road, RoadError, Tally};
use crate::settings::Settings;

/// How long closing may take.
const GRACE: Duration = Duration::from_secs(10);

/// Alerts into the outbox of the channels.
struct Outbox(Notifier);

impl Outlet for Outbox {
    fn raise(&mut self, raised: &[Raised], now: Time) -> Result<(), RoadError> {
        self.0.raise(raised, now)?;
        Ok(())
    }
}

/// Reads Kafka until SIGTERM or Ctrl-C, or up to the ends found at the start.
///
/// # Errors
/// Where the settings lack something, or an edge fails for good.
pub fn run(settings: &Settings, until_end: bool) -> Result<Tally, Stop> {
    let plan = settings.kafka.as_ref().ok_or_else(|| Stop::Usage("the settings have no [kafka] section".to_owned()))?;
    let history =
        settings.history.as_ref().ok_or_else(|| Stop::Usage("the settings have no [history] section".to_owned()))?;
    let runtime = runtime()?;
    let stop = Arc::new(AtomicBool::new(false));
    watch_signals(&runtime, stop.clone());
    let keep = open_keep(settings, history, &runtime)?;
    let Begun { engine, seen, before, loaded } = begin(settings, &keep)?;
    let store = own_store(&keep, &settings.state_dir(&history.dir))?;
    let verdicts = Verdicts::new(&store, &keep)?;
    let folder = Folder::new(settings, loaded.accepted.clone());
    let _inside = runtime.enter();
    let vital = Arc::new(Vec::new);
    let clock = Arc::new(now);
    let notifier = Notifier::start(&settings.channels, store.clone(), &settings.default_zone, clock, vital);
    let notifier = notifier.map_err(|wrongs| {
        let lines: Vec<String> = wrongs.into_iter().map(|(name, what)| format!("channel {name}: {what}")).collect();
        Stop::Failed(lines.join("\n"))
    })?;
    let survey = survey(plan, &stop)?;
    let places = Places::new(&survey, &seen);
    let mut outbox = Outbox(notifier);
    let mut road = Road::new(engine, Some(keep), &mut outbox, runtime.handle().clone());
    let mut source = Kafka::start(plan, places.begin.clone()).map_err(Stop::failed)?;
    put_in_force(settings, &mut road, before.as_ref(), loaded).map_err(Stop::failed)?;
    open_lanes(&mut road, &places)?;
    let until = until_end.then(|| places.ends.clone());
    let done = drive(settings, &mut road, &mut source, &places, until, &stop, folder, verdicts);
    let closed = Box::new(source).close(GRACE);
    if !closed {
        warn!("the Kafka client did not close in time and is left behind");
    }
    let done = done.and_then(|ended| if ended { road.close(now()) } else { road.commit(now()) });
    let tally = road.tally.clone();
    drop(road);
    if !runtime.block_on(outbox.0.stop(GRACE)) {
        warn!("a channel did not end in time; what it has not sent stays in the outbox");
    }
    done.map_err(Stop::failed)?;
    Ok(tally)
}

#[expect(clippy::too_many_arguments, reason = "the one place where all parts of run meet")]
fn drive(
    settings: &Settings,
    road: &mut Road<'_>,
    source: &mut Kafka,
    places: &Places,
    until: Option<BTreeMap<Origin, i64>>,
    stop: &AtomicBool,
    mut folder: Folder<'_>,
    mut verdicts: Verdicts<'_>,
) -> Result<bool, RoadError> {
    let mut chores = || folder.poll().into_iter().chain(verdicts.poll()).collect();
    let age = settings.history.as_ref().map_or(60, |history| history.segment_age);
    let mut orders = Orders {
        stop,
        hints: &|topic| settings.hints(topic),
        key: &|origin| places.key(origin),
        age: Duration::from_secs(age),
        until,
        chores: &mut chores,
        clock: &now,
    };
    let done = read(road, source, &mut orders)?;
    verdicts.taken()?;
    Ok(done)
}

/// Asks for the topics until the broker answers.
fn survey(plan: &Plan, stop: &AtomicBool) -> Result<Survey, Stop> {
    loop {
        match kafka::survey(plan) {
            Ok(survey) => return Ok(survey),
            Err(failure) => {
                let Some(wait) = failure.retry() else { return Err(Stop::failed(failure)) };
                warn!(%failure, "the broker does not answer; it is asked again");
                std::thread::sleep(wait.min(Duration::from_secs(5)));
            }
        }
        if stop.load(Ordering::Relaxed) {
            return Err(Stop::Failed("stopped before the broker answered".to_owned()));
        }
    }
}

/// Where reading begins, and under which keys positions are kept.
struct Places {
    cluster: String,
    ids: BTreeMap<String, String>,
    begin: Begin,
    ends: BTreeMap<Origin, i64>,
    partitions: Vec<Origin>,
}

impl Places {
    fn new(survey: &Survey, seen: &BTreeMap<String, i64>) -> Places {
        let mut places = Places {
            cluster: survey.cluster_id.clone().unwrap_or_default(),
            ids: BTreeMap::new(),
            begin: Begin::default(),
            ends: BTreeMap::new(),
            partitions: Vec::new(),
        };
        for (topic, described) in &survey.topics {
            let Ok(described) = described else { continue };
            let id = described.id.clone().unwrap_or_default();
            places.ids.insert(topic.to_string(), id);
            for (partition, log) in &described.partitions {
                let origin = Origin::topic(topic.clone(), *partition);
                if log.high > log.low {
                    places.ends.insert(origin.clone(), log.high);
                }
                places.partitions.push(origin);
            }
        }
        // Of a topic that was made again there are several keys: the one of today's topic is the last word.
        let today: BTreeSet<String> = places.partitions.iter().map(|origin| places.key(origin)).collect();
        let (now, before): (Vec<_>, Vec<_>) = seen.iter().partition(|(key, _)| today.contains(*key));
        for (key, next) in before.into_iter().chain(now) {
            if let Some((cluster, topic, id, partition)) = parse(key) {
                places.begin.positions.insert(Origin::topic(topic, partition), *next);
                if !id.is_empty() {
                    places.begin.topic_ids.insert(topic.to_owned(), id.to_owned());
                }
                if !cluster.is_empty() {
                    places.begin.cluster_id = Some(cluster.to_owned());
                }
            }
        }
        let reached = |origin: &Origin, end: i64| places.begin.positions.get(origin).is_some_and(|next| *next >= end);
        places.ends.retain(|origin, end| !reached(origin, *end));
        places
    }

    /// The key under which the position of a partition is kept: it names the cluster and the topic's id, not only its name.
    fn key(&self, origin: &Origin) -> String {
        match origin {
            Origin::Topic { topic, partition } => {
                let id = self.ids.get(topic.as_ref()).map(String::as_str).unwrap_or_default();
                format!("kafka:{}:{topic}:{id}:{partition}", self.cluster)
            }
            Origin::File { name } => name.to_string(),
        }
    }
}

fn parse(key: &str) -> Option<(&str, &str, &str, i32)> {
    let mut parts = key.strip_prefix("kafka:")?.split(':');
    let (cluster, topic, id) = (parts.next()?, parts.next()?, parts.next()?);
    let partition = parts.next()?.parse().ok()?;
    parts.next().is_none().then_some((cluster, topic, id, partition))
}

fn open_lanes(road: &mut Road<'_>, places: &Places) -> Result<(), Stop> {
    for origin in &places.partitions {
        road.keys.insert(origin.clone(), places.key(origin));
        road.turn(now(), Input::Open(origin.clone())).map_err(Stop::failed)?;
    }
    Ok(())
}

fn watch_signals(runtime: &tokio::runtime::Runtime, stop: Arc<AtomicBool>) {
    runtime.spawn(async move {
        use tokio::signal::unix::{SignalKind, signal};
        let (Ok(mut term), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        else {
            return;
        };
        tokio::select! { _ = term.recv() => {}, _ = interrupt.recv() => {} }
        stop.store(true, Ordering::Relaxed);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn position_keys_turn_round() {
        assert_eq!(parse("kafka:c1:ehr.access:id:3"), Some(("c1", "ehr.access", "id", 3)));
        assert_eq!(parse("kafka::ehr::0"), Some(("", "ehr", "", 0)));
        assert_eq!(parse("file:abc"), None);
        assert_eq!(parse("kafka:c1:ehr:id:x"), None);
    }
}
