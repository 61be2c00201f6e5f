//! `run`: Kafka and files in, alerts and history out, until told to stop.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::desk::Desk;
use super::drain::Drain;
use super::feeds::Feeds;
use super::monitor::board::Shared;
use super::monitor::{self, Sight};
use super::named;
use super::operator::Operator;
use super::places::Places;
use super::rosters::put_in_force;
use super::scan::known_files;
use super::verdicts::Verdicts;
use super::watch::{self, Parts, Rosters, Watch};
use super::{Begun, acts, now, own_seal, own_store, past, runtime, set_out};
use crate::app::Stop;
use crate::engine::Input;
use crate::engine::rule::RuleSet;
use crate::event::alert::MadeBy;
use crate::event::{Raised, Time};
use crate::history::{Change, Noted};
use crate::ingest::inbox::{self, Inbox};
use crate::ingest::kafka::{self, Kafka, Plan, Source, Survey};
use crate::ingest::rosters::FolderWatch;
use crate::notify::{Notifier, Vital, routes};
use crate::pipeline::live::{Orders, read};
use crate::pipeline::{Keep, Outlet, Road, RoadError, Tally};
use crate::settings::Settings;
use crate::store::Store;

/// How long closing may take.
const GRACE: Duration = Duration::from_secs(10);

/// Alerts into the outbox of the channels.
struct Outbox {
    notifier: Notifier,
    patience: Patience,
}

impl Outlet for Outbox {
    fn raise(&mut self, raised: &[Raised], now: Time) -> Result<(), RoadError> {
        loop {
            match self.notifier.raise(raised, now) {
                Err(error) if error.retry() && self.patience.wait("outbox", &error.to_string()) => {}
                Err(error) => return Err(error.into()),
                Ok(_) => return Ok(()),
            }
        }
    }
}

/// Reads Kafka and the drop folder until SIGTERM or Ctrl-C, or up to the ends found at the start. `path` is the settings file.
///
/// # Errors
/// Where the settings lack something, or an edge fails for good.
pub fn run(path: &Path, until_end: bool, accept_rosters: bool) -> Result<Tally, Stop> {
    let mut settings = Settings::load(path).map_err(Stop::Problems)?;
    settings.allow_shrink = accept_rosters;
    let history = needed(&settings)?;
    let runtime = runtime()?;
    let signals = Signals::watch(&runtime);
    let folder = settings.rosters.clone().map(FolderWatch::standing);
    let (mut keep, Begun { engine, seen, before, loaded, rules }) = set_out(&settings, history, &runtime)?;
    let dirs = (history.dir.clone(), settings.state_dir(&history.dir));
    let store = own_store(&keep, &dirs.1)?;
    let drain = drain(&settings, (&keep, &store, &dirs.1), &rules.set, &runtime)?;
    let verdicts = Verdicts::new(&store, &keep)?;
    let past = runtime.block_on(past::outcomes(&history.dir, &settings.key_source(&history.dir), now()));
    let board = Shared::new(now(), past.map_err(Stop::failed)?);
    let _inside = runtime.enter();
    let desk = Desk::default();
    let _listening = acts::listen(&dirs.1, store.clone(), desk.clone(), now).map_err(Stop::failed)?;
    let notifier = notifier(&settings, &rules.set, store.clone(), board.clone())?;
    let channels: Arc<dyn Fn() -> _ + Send + Sync> = Arc::new(notifier.health());
    let sight = Sight { board: board.clone(), store: store.clone(), channels: channels.clone(), clock: now };
    show(&settings, sight)?;
    let changes = keep.history.changes().map_err(Stop::failed)?;
    let survey = settings.kafka.as_ref().map(|plan| survey(plan, &board, &signals.stop, until_end)).transpose()?;
    let places = survey.map(|survey| Places::new(&survey, &seen, &changes)).unwrap_or_default();
    note_begun(&mut keep, &places)?;
    let known = inbox::Before { known: known_files(&changes), positions: seen };
    let (mut ends, stale) = (places.ends.clone(), stale(&changes));
    let patience = Patience { stop: signals.stop.clone(), board: board.clone() };
    let mut outbox = Outbox { notifier, patience: patience.clone() };
    let mut road = Road::new(engine, Some(keep), &mut outbox, runtime.handle().clone());
    road.patience = Box::new(move |error| patience.wait("history", &error.to_string()));
    let (mut source, depths) = feeds(&settings, &places, known, until_end)?;
    ends.extend(source.inbox.iter().flat_map(Inbox::first).map(|file| (file.clone(), i64::MAX)));
    let rosters = Rosters::new(folder, &settings, &loaded, now());
    put_in_force(&settings, &mut road, before.as_ref(), loaded, rules)?;
    open_lanes(&mut road, &places, source.inbox.is_some())?;
    let operator = operator(&settings, &mut road, &store)?;
    let parts = Parts {
        settings: settings.clone(),
        path: path.to_owned(),
        dirs,
        store: store.clone(),
        board,
        depths,
        files: source.inbox.as_ref().map(Inbox::status),
        channels,
        reload: signals.reload.clone(),
        rosters,
        places,
        desk,
        stale,
    };
    let mut watch = Watch::new(parts, operator, verdicts, drain, now());
    let mut orders = Orders {
        stop: &signals.stop,
        hints: &|topic| settings.hints(topic),
        age: Duration::from_secs(history.segment_age),
        until: until_end.then_some(ends),
        beside: &mut watch,
        clock: &now,
    };
    let done = read(&mut road, &mut source, &mut orders);
    let done = done.and_then(|ended| watch.close(&mut road, now()).map(|()| ended));
    let done = leave(&mut road, source, done);
    let tally = road.tally.clone();
    drop(road);
    if !runtime.block_on(outbox.notifier.stop(GRACE)) {
        warn!("a channel did not end in time; what it has not sent stays in the outbox");
    }
    watch.drain(now());
    done.map(|_| tally).map_err(Stop::failed)
}

/// What was told is set against what the store has of it; the rules in force say where alerts go.
fn drain(
    settings: &Settings,
    (keep, store, state): (&Keep, &Arc<Store>, &Path),
    rules: &RuleSet,
    runtime: &tokio::runtime::Runtime,
) -> Result<Drain, Stop> {
    let mut alerts = runtime.block_on(keep.history.alerts(Time::MIN)).map_err(Stop::failed)?;
    alerts.iter_mut().for_each(|one| one.routing = rules.routing(&one.alert.detection_id));
    let (routes, seal) = (routes(&settings.channels), own_seal(keep, state)?);
    Drain::open(&keep.history, (store.clone(), state, seal), &alerts, &routes, now())
}

/// Begins to read what the settings name.
fn feeds(
    settings: &Settings,
    places: &Places,
    before: inbox::Before,
    until_end: bool,
) -> Result<(Feeds, kafka::Depths), Stop> {
    let kafka = settings.kafka.as_ref().map(|plan| Kafka::start(plan, places.begin.clone()));
    let kafka = kafka.transpose().map_err(Stop::failed)?;
    let depths = kafka.as_ref().map(Kafka::depths).unwrap_or_default();
    let inbox = settings.files.as_ref().map(|plan| {
        let known = settings.clone();
        let hints: inbox::FileHints = Arc::new(move |feed, name| known.file_hints(feed, name));
        Inbox::start(plan, hints, before, depths.clone(), until_end).map_err(Stop::failed)
    });
    Ok((Feeds::new(kafka, inbox.transpose()?), depths))
}

/// Nothing more is read: Kafka is left as far as that can be waited for, what was read becomes durable, and at the `end` of the input
/// everything settles. Files that are on record then are moved away before their folder is left.
fn leave(road: &mut Road<'_>, mut source: Feeds, read: Result<bool, RoadError>) -> Result<(), RoadError> {
    let inbox = source.inbox.take();
    if !Box::new(source).close(GRACE) {
        warn!("the Kafka client did not close in time and is left behind");
    }
    let done = read.and_then(|ended| if ended { road.close(now()) } else { road.commit(now()) });
    let noted = road.note_files(now());
    if let (Ok(noted), Some(inbox)) = (&noted, inbox) {
        inbox.recorded(noted);
        if !inbox.close(GRACE) {
            warn!("the drop folder could not be left in time");
        }
    }
    done.and_then(|()| noted.map(|_| ()))
}

/// The sections without which there is nothing to run.
fn needed(settings: &Settings) -> Result<&crate::history::Settings, Stop> {
    let lacks = |name: &str| Stop::Usage(format!("the settings have no {name} section"));
    if settings.kafka.is_none() && settings.files.is_none() {
        return Err(lacks("[kafka] and no [files]"));
    }
    settings.history.as_ref().ok_or_else(|| lacks("[history]"))
}

/// The operator, who goes on with what stands open.
fn operator(settings: &Settings, road: &mut Road<'_>, store: &Store) -> Result<Operator, Stop> {
    let mut operator = Operator::new(settings.default_zone.clone(), made_by(settings, road));
    watch::take_up(&mut operator, store, &settings.monitor, now())?;
    watch::rejected(&operator, road, settings);
    Ok(operator)
}

/// Starts the channels; what they name and no rule is called is said.
fn notifier(settings: &Settings, rules: &RuleSet, store: Arc<Store>, board: Shared) -> Result<Notifier, Stop> {
    named::complain(settings, rules);
    let started = Notifier::start(&settings.channels, store, &settings.default_zone, Arc::new(now), vital(board));
    started.map_err(|wrongs| {
        let lines: Vec<String> = wrongs.into_iter().map(|(name, what)| format!("channel {name}: {what}")).collect();
        Stop::Failed(lines.join("\n"))
    })
}

/// What stands in the alerts to the operator.
fn made_by(settings: &Settings, road: &Road<'_>) -> MadeBy {
    MadeBy {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        settings: settings.engine.hash(),
        rules: String::new(),
        rosters: road.engine.roster().hash().to_owned(),
    }
}

/// What the daily sign of life says about the program.
fn vital(board: Shared) -> Vital {
    Arc::new(move || {
        let board = board.lock();
        let mut lines = vec![board.watermark.map_or_else(
            || "Nothing has been read since the start.".to_owned(),
            |watermark| format!("Everything was read up to {watermark}."),
        )];
        lines.extend(board.open.iter().map(|trouble| trouble.what.clone()));
        lines
    })
}

/// Begins to show /metrics and /healthz. An address that was asked for has to be free; the shipped one need not be.
fn show(settings: &Settings, sight: Sight) -> Result<(), Stop> {
    let Some(address) = settings.monitor.listen else { return Ok(()) };
    match monitor::serve(address, sight) {
        Ok(address) => {
            info!(%address, "/metrics and /healthz are here");
            Ok(())
        }
        Err(error) if settings.monitor.asked => Err(Stop::Failed(format!("[monitor] listen = \"{address}\": {error}"))),
        Err(error) => {
            warn!(%address, %error, "there are no /metrics and no /healthz; [monitor] listen chooses another address");
            Ok(())
        }
    }
}

/// Asks for the topics until the broker answers; one that waits says so once a minute, and on the board. Up to its end nobody can read a
/// topic that does not exist, that may not be read, or that nothing is known of: then all of them have to be described.
fn survey(plan: &Plan, board: &Shared, stop: &AtomicBool, until_end: bool) -> Result<Survey, Stop> {
    let mut told: Option<Instant> = None;
    loop {
        let failure = match kafka::survey(plan) {
            Ok(survey) => match survey.topics.values().find_map(|seen| seen.as_ref().err()) {
                Some(failure) if until_end => failure.clone(),
                _ => return Ok(survey),
            },
            Err(failure) => failure,
        };
        // Of these waiting is of no use to somebody who waits for the end.
        let is_final = matches!(failure, kafka::Failure::Missing(_) | kafka::Failure::Refused(_));
        board.lock().open = vec![watch::unread(&failure, now())];
        let Some(wait) = failure.retry().filter(|_| !(is_final && until_end)) else {
            return Err(Stop::failed(failure));
        };
        if told.is_none_or(|told| told.elapsed() >= Duration::from_secs(60)) {
            told = Some(Instant::now());
            warn!(%failure, "the topics cannot be read yet; they are asked for again and again");
        }
        std::thread::sleep(wait.min(Duration::from_secs(5)));
        if stop.load(Ordering::Relaxed) {
            return Err(Stop::Failed(format!("stopped before the topics could be read: {failure}")));
        }
    }
}

/// Where reading begins is on record before anything is read.
fn note_begun(keep: &mut Keep, places: &Places) -> Result<(), Stop> {
    for begun in places.begun() {
        if let Change::Begun { origin, from, .. } = &begun {
            info!(%origin, from, "it is new and is read from here");
        }
        keep.history.note(now(), &begun, None).map_err(Stop::failed)?;
    }
    Ok(())
}

/// Time waits for the first records of partitions, and for the drop folder until that says where its files begin.
fn open_lanes(road: &mut Road<'_>, places: &Places, has_files: bool) -> Result<(), Stop> {
    if has_files {
        road.turn(now(), Input::Hold(Some(Time::MIN))).map_err(Stop::failed)?;
    }
    for (origin, key) in &places.partitions {
        road.keys.insert(origin.clone(), key.clone());
        road.turn(now(), Input::Open(origin.clone())).map_err(Stop::failed)?;
    }
    Ok(())
}

/// Since when the control log says that the rosters are old.
fn stale(changes: &[Noted]) -> Option<Time> {
    let last = changes.iter().rev().find_map(|noted| match noted.change {
        Change::Stale { since, until } => Some((since, until)),
        _ => None,
    })?;
    last.1.is_none().then_some(last.0)
}

/// What signals ask for.
struct Signals {
    stop: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
}

impl Signals {
    fn watch(runtime: &tokio::runtime::Runtime) -> Signals {
        use tokio::signal::unix::{SignalKind, signal};
        let signals = Signals { stop: Arc::default(), reload: Arc::default() };
        let (stop, reload) = (signals.stop.clone(), signals.reload.clone());
        // Registered before anything else happens: a signal that comes early must not end the process.
        let _inside = runtime.enter();
        let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
        let [Ok(mut term), Ok(mut interrupt), Ok(mut hangup)] = kinds else {
            warn!("signals cannot be watched: the process ends at once when it is told to");
            return signals;
        };
        runtime.spawn(async move {
            loop {
                tokio::select! {
                    _ = term.recv() => stop.store(true, Ordering::Release),
                    _ = interrupt.recv() => stop.store(true, Ordering::Release),
                    _ = hangup.recv() => reload.store(true, Ordering::Release),
                }
            }
        });
        signals
    }
}

/// How long to wait before the disk is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Waits while the disk refuses: nothing is read meanwhile, so that nothing is lost.
#[derive(Clone)]
struct Patience {
    stop: Arc<AtomicBool>,
    board: Shared,
}

impl Patience {
    /// Waits a while; whether to try again. One line when it begins; `Watch` says when it is over.
    fn wait(&self, what: &str, why: &str) -> bool {
        let begins = self.board.lock().waits.replace(format!("the {what} cannot be written: {why}")).is_none();
        if begins {
            error!(why, "the {what} cannot be written; nothing is read until it can, and nothing is lost");
        }
        let until = std::time::Instant::now() + RETRY;
        while std::time::Instant::now() < until {
            if self.stop.load(Ordering::Acquire) {
                return false;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        true
    }
}
