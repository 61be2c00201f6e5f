//! What `run` does beside the reading: rosters, verdicts, the board, and what the operator has to know.
//!
//! Everything here happens every two seconds on the thread of the loop, so each part is short or does a bounded piece at a time. What
//! is wrong is judged in `wrong`, from plain values; how it is told is `operator`'s.

mod before;
mod partitions;
mod reload;
mod rosters;
mod rules;
mod wrong;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tracing::error;

pub(super) use self::before::{rejected, take_up};
use self::partitions::Partitions;
use self::rosters::Keeper;
pub(super) use self::rosters::Rosters;
use self::rules::RulesInForce;
use self::wrong::Signs;
pub(super) use self::wrong::unread;
use super::desk::Desk;
use super::drain::Drain;
use super::monitor::board::{Doing, LaneStand, Shared};
use super::operator::{self, Operator, Seen};
use super::places::Places;
use super::upkeep::Upkeep;
use super::verdicts::Verdicts;
use crate::app::Stop;
use crate::engine::Engine;
use crate::engine::gate::Stand;
use crate::event::time::{DAY, MINUTE};
use crate::event::{Effects, Origin, Time};
use crate::ingest::inbox::{Status, status_of};
use crate::ingest::kafka::{Arrival, Depths};
use crate::notify::Health;
use crate::pipeline::live::Beside;
use crate::pipeline::{News, Road, RoadError};
use crate::settings::Settings;
use crate::store::Store;

/// What looks into the file system or the outbox is done this often.
const SLOW: i64 = MINUTE;
/// With more than so many records to read in some partition nothing is tidied up.
const BUSY: i64 = 100_000;

/// What [`Watch`] is made of.
pub(super) struct Parts {
    /// The settings, and the file that they came from.
    pub settings: Settings,
    /// The file.
    pub path: PathBuf,
    /// The folder of the history, and the state folder.
    pub dirs: (PathBuf, PathBuf),
    /// The store.
    pub store: Arc<Store>,
    /// The board.
    pub board: Shared,
    /// How far the partitions are, and the files that are being read.
    pub depths: Depths,
    /// How the drop folder stands, where there is one.
    pub files: Option<Arc<Mutex<Status>>>,
    /// How the channels do.
    pub channels: Arc<dyn Fn() -> BTreeMap<String, Health> + Send + Sync>,
    /// Set by SIGHUP.
    pub reload: Arc<AtomicBool>,
    /// The rosters in force.
    pub rosters: Rosters,
    /// Where reading began.
    pub places: Places,
    /// What is asked at the socket.
    pub desk: Desk,
    /// Since when the control log says that the rosters are old.
    pub stale: Option<Time>,
}

/// What SIGHUP has changed, in words: what is not known yet is still being loaded.
struct Reload {
    settings: String,
    rosters: Option<String>,
    rules: Option<String>,
}

/// Who does it.
pub(super) struct Watch<'a> {
    parts: Parts,
    partitions: Partitions,
    rules: RulesInForce,
    verdicts: Verdicts<'a>,
    drain: Drain,
    upkeep: Upkeep,
    operator: Operator,
    /// What is looked at to see whether something is wrong.
    signs: Signs,
    /// What happened since the last chores.
    happened: Vec<Seen>,
    /// What SIGHUP has changed so far.
    reloading: Option<Reload>,
    slow_at: Time,
}

impl<'a> Watch<'a> {
    /// Begins at `now`.
    pub(super) fn new(
        mut parts: Parts,
        operator: Operator,
        verdicts: Verdicts<'a>,
        drain: Drain,
        now: Time,
    ) -> Watch<'a> {
        let partitions = Partitions::new(std::mem::take(&mut parts.places), parts.desk.clone());
        let rules = RulesInForce::new(parts.settings.rules.clone());
        let declared = parts.settings.engine.sources.keys().cloned();
        let known = parts.board.lock().before.sources.keys().cloned().collect::<Vec<_>>();
        let mut signs = Signs::new(declared.chain(known), now);
        let plan = &parts.settings.monitor;
        // What was told of was silent for so long before.
        for silent in operator.open().iter().filter(|trouble| trouble.kind == operator::SILENT.slug) {
            signs.silent_since(&silent.about, silent.since.plus(-plan.silent_after));
        }
        parts.board.lock().open = operator.open();
        let upkeep = Upkeep::new(now);
        let (happened, reloading) = (Vec::new(), None);
        Watch { parts, rules, partitions, verdicts, drain, upkeep, operator, signs, happened, reloading, slow_at: now }
    }

    /// The loop has ended: what it was given is in the control log. What comes to light in the last minute is told as long as somebody
    /// is there who can be told.
    pub(super) fn close(&mut self, road: &mut Road<'_>, now: Time) -> Result<(), RoadError> {
        self.partitions.close();
        self.end_reload("the end came before");
        self.verdicts.taken()?;
        self.drain(now);
        self.tell(road, now)
    }

    /// Writes on the board how everything stands.
    fn show(&mut self, road: &Road<'_>, now: Time) {
        let depths = self.parts.depths.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let mut board = self.parts.board.lock();
        // Whoever waits does no chores: it is over.
        if let Some(why) = board.waits.take() {
            tracing::info!("it can be written again; reading goes on");
            let what = format!("Reading stood still for a while: {why}. Nothing was lost.");
            self.happened.push(Seen { kind: &operator::DISK, about: operator::FULL.into(), what, count: 0 });
        }
        board.beat = Some(now);
        board.lanes.clear();
        for (origin, stand) in road.engine.stands() {
            if let Some(depth) = depths.get(origin) {
                let doing = match stand {
                    _ if depth.stopped => Doing::Stopped,
                    Stand { left: true, .. } => Doing::Left,
                    Stand { waits: true, .. } => Doing::Paused,
                    Stand { rests: true, .. } => Doing::Idle,
                    _ => Doing::Reading,
                };
                let (newest, queued) = (stand.newest, stand.queued);
                let lane = LaneStand { next: depth.next, end: depth.end, newest, queued, doing };
                board.lanes.insert(origin.clone(), lane);
            }
        }
        board.files = self.parts.files.as_deref().map(status_of);
        board.watermark = road.engine.watermark();
        board.settled = road.engine.settled().map(|day| Time(i64::from(day.0 + 1) * DAY));
        board.open_days = road.engine.open_days();
        board.since = road.outcomes.clone();
        board.commits = road.commits.clone();
        board.staged = road.keep.as_ref().map(|keep| keep.history.staged()).map_or((0, 0), |s| (s.rows, s.bytes));
        board.roster = Some((road.engine.roster().hash().to_owned(), self.parts.rosters.since));
        board.rejected = road.rejected.clone();
        board.open = self.operator.open();
        let done = self.upkeep.done;
        board.upkeep = (done.joins, done.files, done.removed);
        self.signs.look(&board, now);
    }

    /// Tells the operator what has begun, what has ended and what happened.
    fn tell(&mut self, road: &mut Road<'_>, now: Time) -> Result<(), RoadError> {
        let channels = (self.parts.channels)();
        let board = self.parts.board.lock().clone();
        let mut wrong = wrong::wrong(&board, &self.signs, &channels, &self.parts.settings.monitor, now);
        wrong.extend(self.parts.rosters.wrong(&self.parts.settings.monitor, now));
        wrong.extend(self.rules.wrong());
        wrong.extend(road.engine.switched_off().iter().map(wrong::fallen));
        let store = self.parts.store.clone();
        // Where the store cannot be read the alert cannot be raised either, and the next chores try again.
        let known = |id: &str| store.show(id).ok().flatten().map_or(0, |(listed, _)| listed.alert.revision);
        let mut raised = self.operator.look(wrong, now, &known);
        for seen in std::mem::take(&mut self.happened) {
            raised.extend(self.operator.happened(seen, now, &known));
        }
        if raised.is_empty() { Ok(()) } else { road.tell(raised, now) }
    }

    /// What is asked of the disk.
    fn slow(&mut self, now: Time) {
        self.slow_at = now.plus(SLOW);
        let (history, state) = &self.parts.dirs;
        let free =
            |path: &PathBuf| rustix::fs::statvfs(path).ok().map(|s| (s.f_bavail * s.f_frsize, s.f_blocks * s.f_frsize));
        let disks = [("history", free(history)), ("state", free(state))];
        self.parts.board.lock().disks =
            disks.into_iter().filter_map(|(name, found)| found.map(|(free, all)| (name, free, all))).collect();
        self.parts.rosters.look();
        self.drain(now);
    }

    /// Brings receipts and the self-audit into the history. What fails is tried again a minute later.
    pub(super) fn drain(&mut self, now: Time) {
        match self.drain.round(now) {
            Ok(round) => {
                let drained = &mut self.parts.board.lock().drained;
                *drained = (drained.0 + round.lines, drained.1 + round.receipts);
                self.happened.extend(round.wrong);
            }
            Err(error) => error!(%error, "receipts or the self-audit cannot be drained; it is tried again"),
        }
    }

    /// Old rosters are a blind spot: the control log says from when to when.
    fn note_stale(&mut self, road: &mut Road<'_>, now: Time) -> Result<(), RoadError> {
        let stale = self.parts.rosters.stale(&self.parts.settings.monitor, now);
        if stale == self.parts.stale {
            return Ok(());
        }
        if let Some(since) = self.parts.stale.take() {
            road.note_stale(now, since, Some(now))?;
        }
        if let Some(since) = stale {
            road.note_stale(now, since, None)?;
        }
        self.parts.stale = stale;
        Ok(())
    }

    /// SIGHUP is done: what came of it; what nobody knows of rosters or rules yet is `unknown` because of that.
    fn end_reload(&mut self, unknown: &str) {
        if let Some(Reload { settings, rosters, rules }) = self.reloading.take() {
            let about = |words: Option<String>, what: &str| words.unwrap_or_else(|| format!("{what}: {unknown}"));
            let words = format!("{settings}; {}; {}", about(rosters, "the rosters"), about(rules, "the rules"));
            tracing::info!("SIGHUP: {words}");
            self.audit("reload", &words);
        }
    }

    /// Begins what SIGHUP asks for; what is being loaded comes first.
    fn take_reload(&mut self) {
        let is_loading = self.parts.rosters.is_loading() || self.rules.is_loading();
        if is_loading || !self.parts.reload.swap(false, Ordering::AcqRel) {
            return;
        }
        // What came of the one before would be told by nobody.
        self.end_reload("they are still being written");
        let (words, wrong) = reload::settings(&self.parts.path, &mut self.parts.settings);
        match wrong {
            Some(what) => {
                self.happened.push(Seen { kind: &operator::SETTINGS, about: "settings".into(), what, count: 0 });
            }
            None => self.operator.mended(&operator::SETTINGS),
        }
        self.parts.rosters.follow(self.parts.settings.rosters.clone());
        self.parts.rosters.ask();
        self.rules.ask(&self.parts.settings);
        self.reloading = Some(Reload { settings: words, rosters: None, rules: None });
    }

    /// SIGHUP is done when both answers are there.
    fn answered(&mut self, rosters: Option<String>, rules: Option<String>) {
        let Some(reload) = &mut self.reloading else { return };
        reload.rosters = rosters.or(reload.rosters.take());
        reload.rules = rules.or(reload.rules.take());
        if reload.rosters.is_some() && reload.rules.is_some() {
            self.end_reload("");
        }
    }

    /// New rosters, where they are loaded.
    fn poll_rosters(&mut self, road: &Road<'_>, now: Time) -> Option<News> {
        let keeper = || road.keep.as_ref().map(|keep| Box::new(keep.history.roster_keeper()) as Keeper);
        let before = road.engine.roster().hash();
        let looked = self.parts.rosters.poll(&self.parts.settings, before, keeper, now);
        if let Some(News::Roster { roster, .. }) = &looked.news {
            self.audit("rosters", &super::rosters::in_force(roster, false));
        }
        self.answered(looked.answer, None);
        looked.news
    }

    fn audit(&self, act: &str, words: &str) {
        if let Err(Stop::Failed(what) | Stop::Usage(what)) =
            super::audit(&self.parts.settings, &self.parts.dirs.0, act, words)
        {
            error!(what, act, "this is not in the self-audit");
        }
    }

    /// New rules, where they are loaded.
    fn poll_rules(&mut self, before: &Engine) -> Option<News> {
        let looked = self.rules.poll(&self.parts.settings, before);
        if let Some(News::Rules { rules, .. }) = &looked.news {
            self.audit("rules", &super::rules::in_force(rules, before.rules()));
        }
        self.answered(None, looked.answer);
        looked.news
    }
}

impl Beside for Watch<'_> {
    fn first(&mut self) -> Vec<News> {
        self.verdicts.poll()
    }

    fn heard(&mut self, arrival: &Arrival, now: Time) {
        self.partitions.heard(arrival);
        match arrival {
            Arrival::Gap { origin, from, to } => {
                let count = (to - from).max(0).unsigned_abs();
                let what = format!("Records of {origin} ({from} to {to}) were deleted before they could be read.");
                self.happened.push(Seen { kind: &operator::GAP, about: origin.to_string(), what, count });
            }
            Arrival::FileEnd { origin, failure: Some(what), .. } => {
                let (about, what) = (origin.to_string(), format!("A file was not read to its end: {what}."));
                self.happened.push(Seen { kind: &operator::FILE, about, what, count: 0 });
            }
            Arrival::Trouble { what, missing } => self.signs.trouble(what, *missing, now),
            Arrival::Recovered { .. } => self.signs.recovered(now),
            _ => {}
        }
    }

    fn turned(&mut self, effects: &Effects, _now: Time) {
        for notice in &effects.notices {
            let (kind, what) = match notice.kind {
                "id-conflict" => (
                    &operator::CONFLICT,
                    "Records repeat an identifier and say something else; they are kept and flagged.",
                ),
                "future" => (&operator::FUTURE, "Records lie in the future; they are kept and flagged."),
                "undeclared" => (
                    &operator::UNDECLARED,
                    "Records are of a source that no section [sources.NAME] of the settings names, while others are named: they are kept, and no detector judges them.",
                ),
                "undecoded" => (
                    &operator::UNDECODED,
                    "Records cannot be decoded because of a bug of phiwatch; they are kept as rejects.",
                ),
                "window-limit" => (&operator::WINDOW, "Hits were not counted because its windows hold no more."),
                _ => continue,
            };
            let (about, what) = (notice.about.clone(), what.to_owned());
            self.happened.push(Seen { kind, about, what, count: notice.count });
        }
    }

    fn chores(&mut self, road: &mut Road<'_>, now: Time) -> Result<Vec<News>, RoadError> {
        let mut news = Vec::new();
        self.take_reload();
        if is_due(self.slow_at, now) {
            self.slow(now);
        }
        news.extend(self.poll_rosters(road, now));
        news.extend(self.poll_rules(&road.engine));
        news.extend(self.verdicts.poll());
        news.extend(road.fallen()?);
        let busy = self.parts.board.lock().lanes.values().any(|lane| lane.lag() > BUSY);
        if let Some(keep) = &mut road.keep {
            self.upkeep.turn(&mut keep.history, busy, now);
        }
        self.show(road, now);
        let board = self.parts.board.lock().clone();
        let leave_after = self.parts.settings.monitor.leave_after;
        let decided = self.partitions.decide(road, &board, &self.signs, (leave_after, now));
        self.happened.extend(decided.iter().filter_map(partitions::told));
        if decided.iter().any(|news| matches!(news, News::Left { left: true, .. })) {
            self.signs.begin_anew(&board, now);
        }
        news.extend(decided);
        self.note_stale(road, now)?;
        self.tell(road, now)?;
        Ok(news)
    }
}

/// Whether the time `at` has come, which was set to be [`SLOW`] away. A clock that was set back does not put it off.
fn is_due(at: Time, now: Time) -> bool {
    now >= at || now < at.plus(-SLOW)
}

/// The partition's name as alerts and labels have it.
fn name(origin: &Origin) -> String {
    origin.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::time::HOUR;

    #[test]
    fn what_is_due_every_minute_is_done_by_whatever_clock() {
        let check = |since: i64, due: bool| {
            let last = Time(12 * HOUR);
            assert_eq!(is_due(last.plus(SLOW), last.plus(since)), due, "{since} later");
        };
        check(0, false);
        check(SLOW - 1, false);
        check(SLOW, true);
        check(HOUR, true);
        check(-1, true);
        check(-HOUR, true);
    }
}
