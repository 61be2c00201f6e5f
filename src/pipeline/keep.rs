//! What is kept between two runs: the history, and beside it the snapshot of the engine.
//!
//! The snapshot is a cache. It says up to which segment and which change of the control log it has seen the input; where it is missing,
//! damaged, of another version, of another history or ahead of this one, the engine is built anew, from the newest of the snapshots that
//! the history keeps sealed, one for each month of event time. What lies behind the snapshot, or everything where there is none, is taken
//! up from the record, in the order of commits and with the changes in their places; nothing of it is told again. One segment is in
//! memory at a time.

mod snapshot;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use tracing::{debug, info, warn};

use self::snapshot::{FORM, SNAPSHOT, Seen, Snapshot, checked, clear, write};
use super::RoadError;
use crate::engine::off::Part;
use crate::engine::rule::{self, RuleSet};
use crate::engine::settings::Settings;
use crate::engine::{Engine, Input};
use crate::event::time::DAY;
use crate::event::{Day, Time, Zone};
use crate::history::{Change, History, HistoryError, Noted};
use crate::keys::KeyError;
use crate::roster::{Accepted, Roster};

/// Why the state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// A file cannot be read or written.
    #[error("{path}: {error}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The snapshot cannot be sealed.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// The history and the state folder of one installation.
pub struct Keep {
    /// The history.
    pub history: History,
    state: PathBuf,
    /// The newest change of the control log that the engine has taken up.
    pub(super) heard: u64,
    /// A snapshot on its way to the disk.
    saving: Option<JoinHandle<Result<Time, KeepError>>>,
    /// The newest period of event time for which a snapshot is sealed.
    sealed: Option<i64>,
    /// Which period a time belongs to.
    pub(super) period: fn(Time) -> i64,
}

/// Months of event time (UTC), counted.
fn month(time: Time) -> i64 {
    let (year, month, _) = Day(time.0.div_euclid(DAY) as i32).civil();
    year * 12 + month
}

/// Told of a rebuild: rows that were taken up, and rows in all.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

impl Keep {
    /// Joins a history with its state folder, which is made where it is missing (mode 0700).
    ///
    /// # Errors
    /// Where the folder cannot be made.
    pub fn new(history: History, state: PathBuf) -> Result<Keep, KeepError> {
        use std::os::unix::fs::DirBuilderExt;
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&state);
        made.map_err(|error| KeepError::File { path: state.clone(), error })?;
        clear(&state);
        Ok(Keep { history, state, heard: 0, saving: None, sealed: None, period: month })
    }

    /// The state folder.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// The engine as everything on record has left it. `settings` and `zone` are used before the control log names any.
    ///
    /// # Errors
    /// Where the history cannot be read, or a roster version that it names is missing.
    pub fn engine(
        &mut self,
        settings: &Settings,
        zone: &Zone,
        now: Time,
        progress: Progress<'_>,
    ) -> Result<Engine, RoadError> {
        let noted = self.history.changes()?;
        let seals = self.seals(&noted)?;
        self.sealed = seals.last().map(|(_, watermark)| (self.period)(*watermark));
        let changes: Vec<Noted> = noted.into_iter().filter(|noted| noted.change.is_barrier()).collect();
        let newest = changes.last().map_or(0, |noted| noted.number);
        let remembered = |snapshot: Result<Snapshot, Option<String>>| match snapshot {
            Ok((seen, bytes)) => {
                let (settings, roster, rules) = self.in_force(&changes, seen.heard, settings, zone)?;
                let engine = Engine::load(settings, roster, rules, &bytes);
                Ok(engine
                    .map(|engine| (seen, engine))
                    .ok_or_else(|| Some("its memory is of another version".to_owned())))
            }
            Err(why) => Ok::<_, RoadError>(Err(why)),
        };
        let mut found = remembered(self.snapshot(newest))?;
        let has_own = found.is_ok();
        if let Err(why) = &found {
            if let Some(why) = why.as_ref().filter(|_| newest > 0) {
                warn!(why, "the snapshot of the engine is thrown away; the engine is built anew from the history");
            }
            for (name, watermark) in seals.iter().rev() {
                // Where its month was destroyed, an older one or the record itself is left.
                let sealed = self.history.sealed(name).ok().flatten().ok_or(None);
                found = remembered(sealed.and_then(|checked| self.fitting(&checked, newest)))?;
                if found.is_ok() {
                    info!("it begins with what was sealed when time had come to {watermark}");
                    break;
                }
            }
        }
        let is_sealed = found.is_ok() && !has_own;
        let (seen, mut engine) = match found {
            Ok(found) => found,
            Err(_) => (self.nothing_seen()?, Engine::new(settings.clone(), Arc::new(Roster::empty(zone.clone())))),
        };
        let behind = self.catch_up(&mut engine, &seen, &changes, zone, progress)?;
        engine.rest();
        self.heard = newest;
        match (behind || is_sealed).then(|| self.save(&engine, now)) {
            // It is a cache, and the next one may find room.
            Some(Err(RoadError::Keep(error))) => {
                warn!(%error, "the snapshot of the engine cannot be written; without it the next start takes longer");
            }
            saved => saved.unwrap_or(Ok(()))?,
        }
        Ok(engine)
    }

    /// Takes up what is on record behind what was seen; whether there was anything.
    fn catch_up(
        &self,
        engine: &mut Engine,
        seen: &Seen,
        changes: &[Noted],
        zone: &Zone,
        progress: Progress<'_>,
    ) -> Result<bool, RoadError> {
        let files = self.history.on_record()?;
        let mut files = files.iter().filter(|file| file.number() > seen.segment).peekable();
        let all: u64 = files.clone().map(|file| file.rows() as u64).sum();
        let mark = self.history.mark();
        let began = mark.map(|mark| mark.began);
        let mut done = 0;
        let mut behind = false;
        let mut changes = changes.iter().filter(|noted| noted.number > seen.heard).peekable();
        loop {
            let barrier = changes.peek().map_or(u64::MAX, |noted| noted.place.segment);
            while let Some(file) = files.next_if(|file| file.number() <= barrier) {
                engine.step(Time::MIN, Input::Recorded(self.history.replay(file)?, began));
                done += file.rows() as u64;
                progress(done, all);
                behind = true;
            }
            let Some(noted) = changes.next() else { break };
            if let Some(mark) = noted.place.mark {
                engine.step(Time::MIN, Input::Reached(mark));
            }
            if let Some(input) = self.input(&noted.change, zone)? {
                engine.step(Time::MIN, input);
            }
            behind = true;
        }
        if let Some(mark) = mark.filter(|mark| engine.mark() != Some(*mark)) {
            engine.step(Time::MIN, Input::Reached(mark));
        }
        Ok(behind)
    }

    /// The input that a change of the control log is.
    fn input(&self, change: &Change, zone: &Zone) -> Result<Option<Input>, HistoryError> {
        let damaged = |what: &str| HistoryError::Damaged { file: "control".into(), what: what.into() };
        Ok(match change {
            Change::Roster { hash, zone: name } => Some(Input::Roster(self.roster(hash, name, zone)?)),
            Change::Rules { hash } => Some(Input::Rules(self.rules(hash)?)),
            Change::Settings { json } => {
                let read = serde_json::from_str(json).map_err(|_| damaged("settings that cannot be read"))?;
                Some(Input::Settings(Box::new(read)))
            }
            Change::Verdict { ruled: Some(json), .. } => {
                let read = serde_json::from_str(json).map_err(|_| damaged("a verdict that cannot be read"))?;
                Some(Input::Ruled(Box::new(read)))
            }
            Change::Off { part, version } => {
                Some(Input::SwitchOff(Part { name: part.clone(), version: version.clone() }))
            }
            Change::Left { origin, left, .. } => Some(Input::Leave(origin.clone(), *left)),
            _ => None,
        })
    }

    /// Settings, rosters and rules that are in force after the change with this number.
    fn in_force(
        &self,
        changes: &[Noted],
        number: u64,
        settings: &Settings,
        zone: &Zone,
    ) -> Result<(Settings, Arc<Roster>, Arc<RuleSet>), HistoryError> {
        let mut before = changes.iter().rev().filter(|noted| noted.number <= number).map(|noted| &noted.change);
        let roster = before.clone().find(|change| matches!(change, Change::Roster { .. }));
        let rules = before.clone().find(|change| matches!(change, Change::Rules { .. }));
        let chosen = before.find(|change| matches!(change, Change::Settings { .. }));
        let input = |change: Option<&Change>| change.map(|change| self.input(change, zone)).transpose();
        let settings = match input(chosen)?.flatten() {
            Some(Input::Settings(chosen)) => *chosen,
            _ => settings.clone(),
        };
        let roster = match input(roster)?.flatten() {
            Some(Input::Roster(roster)) => roster,
            _ => Arc::new(Roster::empty(zone.clone())),
        };
        let rules = match input(rules)?.flatten() {
            Some(Input::Rules(rules)) => rules,
            _ => Arc::default(),
        };
        Ok((settings, roster, rules))
    }

    fn rules(&self, hash: &str) -> Result<Arc<RuleSet>, HistoryError> {
        if hash.is_empty() {
            return Ok(Arc::default());
        }
        let what = "files that cannot be read".to_owned();
        let damaged = |_| HistoryError::Damaged { file: format!("blobs/rules/{hash}"), what };
        let files: Vec<(String, Vec<u8>)> = postcard::from_bytes(&self.history.rules(hash)?).map_err(damaged)?;
        // A newer program may refuse what an older one took: then it goes on with the others.
        Ok(Arc::new(rule::load(&files).set))
    }

    fn roster(&self, hash: &str, name: &str, zone: &Zone) -> Result<Arc<Roster>, HistoryError> {
        let damaged = |what: &str| HistoryError::Damaged { file: format!("blobs/roster/{hash}"), what: what.into() };
        let accepted = Accepted::from_bytes(&self.history.roster(hash)?).filter(|accepted| accepted.hash() == hash);
        let accepted = accepted.ok_or_else(|| damaged("its content is not what its name says"))?;
        let zone = Zone::get(name).unwrap_or_else(|| zone.clone());
        Ok(Arc::new(Roster::from_accepted(&accepted, zone)))
    }

    /// The sealed snapshots that were written, the oldest first, and how far time had come.
    fn seals(&self, changes: &[Noted]) -> Result<Vec<(String, Time)>, HistoryError> {
        let written = self.history.seals()?;
        let sealed = changes.iter().filter_map(|noted| match &noted.change {
            Change::Sealed { name, watermark } if written.contains(name) => Some((name.clone(), *watermark)),
            _ => None,
        });
        Ok(sealed.collect())
    }

    /// Notes that the snapshot that is about to be written is sealed, where the history has none of this period; under which name.
    fn seal(&mut self, now: Time) -> Result<Option<String>, HistoryError> {
        let (Some(mark), segment) = (self.history.mark(), self.history.newest_segment()) else { return Ok(None) };
        let (period, watermark) = ((self.period)(mark.watermark), mark.watermark);
        if segment == 0 || self.sealed.is_some_and(|sealed| period <= sealed) {
            return Ok(None);
        }
        let name = format!("{segment:012}");
        match self.history.note(now, &Change::Sealed { name: name.clone(), watermark }, None) {
            Ok(_) => {
                self.sealed = Some(period);
                Ok(Some(name))
            }
            // The next snapshot will do as well.
            Err(error) if error.retry() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn nothing_seen(&self) -> Result<Seen, HistoryError> {
        Ok(Seen { form: FORM, history: self.history.id()?, segment: 0, heard: 0, positions: BTreeMap::new() })
    }

    /// Renews the snapshot, and waits until it is written. Everything that the engine has let go is durable by now.
    ///
    /// # Errors
    /// Where it cannot be sealed or written.
    pub fn save(&mut self, engine: &Engine, now: Time) -> Result<(), RoadError> {
        self.start_saving(engine.save(), now)?;
        self.saved(true).map_or(Ok(()), |saved| saved.map(|_| ()))
    }

    /// Begins to renew the snapshot, on a thread of its own. `memory` is that of the engine when it had let go what the newest commit
    /// has made durable, and nothing else. Another snapshot that is still on its way is waited for.
    ///
    /// # Errors
    /// Where the history does not say which one it is.
    pub fn start_saving(&mut self, memory: Vec<u8>, now: Time) -> Result<(), RoadError> {
        let seen = Seen {
            form: FORM,
            history: self.history.id()?,
            segment: self.history.newest_segment(),
            heard: self.heard,
            positions: self.history.positions(),
        };
        #[cfg(test)]
        crate::history::fuse::pass()?;
        if let Some(saving) = self.saving.take() {
            // It is overtaken: what became of it does not matter any more.
            drop(saving.join());
        }
        let (sealed, keep) = (self.seal(now)?, self.history.snapshot_keeper());
        let (keyring, path) = (self.history.keyring().cloned(), self.state.join(SNAPSHOT));
        self.saving = Some(std::thread::spawn(move || {
            let records: i64 = seen.positions.values().sum();
            let checked = checked(&seen, &memory);
            drop(memory);
            if let Some(Err(error)) = sealed.map(|name| keep(&name, now, &|| checked.clone())) {
                warn!(%error, "the snapshot of this month is not sealed; that of another month will do");
            }
            write(checked, keyring.as_deref(), &path, now)?;
            debug!(effect = "snapshot", records, "the snapshot is written");
            Ok(now)
        }));
        Ok(())
    }

    /// What became of a snapshot: when it was begun, or why it was not written; `None` where there is nothing new. Where asked to, it is
    /// waited for.
    pub fn saved(&mut self, wait: bool) -> Option<Result<Time, RoadError>> {
        let saving = self.saving.take_if(|saving| wait || saving.is_finished())?;
        Some(saving.join().expect("writing a snapshot has no fault").map_err(RoadError::from))
    }
}

impl Drop for Keep {
    /// Nothing writes into the folder once this is gone.
    fn drop(&mut self) {
        drop(self.saved(true));
    }
}
