//! The thread that reads the files of the drop folder.
//!
//! It has nothing to lose: what was read is known by the history, and what is not there yet is read again by the next start.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::folder::{self, Files, Stamp};
use super::open::{Ended, Open, first, gone_away, latest, origin};
use super::{Before, FileHints, Plan, Status};
use crate::decode::Limits;
use crate::event::time::DAY;
use crate::event::{Origin, Time};
use crate::ingest::files::{FileError, FileReader};
use crate::ingest::kafka::{Arrival, Depth, Depths};
use crate::ingest::known::{CHUNK_BYTES, CHUNK_ROWS, End, Surveyed, fresh};

/// How often the folder is looked at.
const LOOK: Duration = Duration::from_secs(2);
/// How long to wait where there is nothing to do.
const REST: Duration = Duration::from_millis(50);
/// Whoever reads only what was there at the start waits for as long as this, and twice the time that is asked for, for files to stand still.
const GROWING: Duration = Duration::from_secs(60);
/// A file that could not be read is tried again after this.
const RETRY: Duration = Duration::from_secs(60);
/// A file is opened when the slowest of the others has come as near as this to its first record: no partition runs further ahead of the
/// others than the three open days (DESIGN, section 5).
const AHEAD: i64 = 4 * DAY;
/// So many files are open at a time.
const OPEN_MAX: usize = 64;

/// What the loop orders.
#[derive(Debug)]
pub(super) enum Command {
    Pause(Vec<Origin>),
    Resume(Vec<Origin>),
    Recorded(Vec<Origin>),
}

/// Nobody takes arrivals any more.
struct Gone;

pub(super) struct Reader {
    plan: Plan,
    hints: FileHints,
    before: Before,
    /// Of these every one has to end, and no other is read; `None` where all are read.
    owed: Option<BTreeSet<PathBuf>>,
    out: SyncSender<Arrival>,
    commands: Receiver<Command>,
    stop: Arc<AtomicBool>,
    depths: Depths,
    status: Arc<Mutex<Status>>,
    files: Files,
    looked: Option<Instant>,
    /// Files that may be read, by the time of their first record.
    pending: BTreeSet<(Time, PathBuf)>,
    /// Those of them that have the content of an open one: known when that has ended.
    twins: Vec<(Time, PathBuf)>,
    open: Vec<Open>,
    ended: BTreeMap<Origin, Ended>,
    /// Files on record that could not be moved away, as they were read, and why.
    unmoved: BTreeMap<PathBuf, (Stamp, String)>,
    /// When that was tried last.
    moved: Instant,
    began: Instant,
}

impl Reader {
    pub(super) fn new(
        plan: &Plan,
        hints: FileHints,
        before: Before,
        owed: Option<BTreeSet<PathBuf>>,
        (out, commands): (SyncSender<Arrival>, Receiver<Command>),
        (stop, depths, status): (Arc<AtomicBool>, Depths, Arc<Mutex<Status>>),
    ) -> Reader {
        Reader {
            plan: plan.clone(),
            hints,
            before,
            owed,
            out,
            commands,
            stop,
            depths,
            status,
            files: Files::default(),
            looked: None,
            pending: BTreeSet::new(),
            twins: Vec::new(),
            open: Vec::new(),
            ended: BTreeMap::new(),
            unmoved: BTreeMap::new(),
            moved: Instant::now(),
            began: Instant::now(),
        }
    }

    /// Reads until nobody takes it any more.
    pub(super) fn run(mut self) {
        while !self.is_stopped() && self.turn().is_ok() {}
        self.obey();
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn turn(&mut self) -> Result<(), Gone> {
        self.obey();
        if self.looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
            self.look()?;
        }
        self.begin()?;
        let next = (0..self.open.len()).filter(|ix| !self.open[*ix].paused).min_by_key(|ix| self.open[*ix].time);
        match next {
            Some(ix) => self.read(ix),
            None => {
                std::thread::sleep(REST);
                Ok(())
            }
        }
    }

    fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn depths(&self) -> MutexGuard<'_, BTreeMap<Origin, Depth>> {
        self.depths.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, arrival: Arrival) -> Result<(), Gone> {
        self.out.send(arrival).map_err(|_| Gone)
    }

    fn obey(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            let (origins, paused) = match command {
                Command::Recorded(origins) => {
                    origins.iter().for_each(|origin| self.recorded(origin));
                    continue;
                }
                Command::Pause(origins) => (origins, true),
                Command::Resume(origins) => (origins, false),
            };
            self.open.iter_mut().filter(|file| origins.contains(&file.origin)).for_each(|file| file.paused = paused);
        }
    }

    /// All of a file that was read is on record.
    fn recorded(&mut self, origin: &Origin) {
        let Some(ended) = self.ended.remove(origin) else { return };
        match ended.read {
            Some(stamp) => self.files.set_read(&ended.path, stamp),
            None => self.files.put_off(&ended.path, Instant::now() + RETRY),
        }
        // One that has changed meanwhile, since the last look too, is not done with.
        if let Some(stamp) = ended.read.filter(|read| ended.whole && folder::stamp(&ended.path) == Some(*read)) {
            self.put_away(ended.path, stamp);
        }
    }

    /// Moves a file away that is on record as it stands; one that cannot be moved is tried again later.
    fn put_away(&mut self, path: PathBuf, stamp: Stamp) {
        let Some(done) = self.plan.done.clone() else { return };
        match folder::put_away(&path, &done) {
            Ok(()) => info!(file = %path.display(), "it is on record and was moved away"),
            Err(error) => {
                let what = format!("{} cannot be moved to {}: {error}", path.display(), done.display());
                warn!("{what}");
                self.unmoved.insert(path, (stamp, what));
                self.show_unmoved();
            }
        }
    }

    /// Tries again what could not be moved, where it still stands as it was read.
    fn put_away_again(&mut self, now: Instant) {
        let Some(done) = self.plan.done.clone() else { return };
        if self.unmoved.is_empty() || now.saturating_duration_since(self.moved) < RETRY {
            return;
        }
        self.moved = now;
        self.unmoved
            .retain(|path, (stamp, _)| folder::stamp(path) == Some(*stamp) && folder::put_away(path, &done).is_err());
        self.show_unmoved();
    }

    fn show_unmoved(&self) {
        let others = self.unmoved.len().saturating_sub(1);
        let first = self.unmoved.values().next().map(|(_, what)| what.clone());
        let what = first.map(|first| if others > 0 { format!("{first}, and {others} more") } else { first });
        self.status().unmoved = what;
    }

    /// Those that somebody is at work on.
    fn busy(&self) -> BTreeSet<PathBuf> {
        let waiting = self.pending.iter().chain(&self.twins).map(|(_, path)| path);
        let ended = self.ended.values().map(|ended| &ended.path);
        waiting.chain(self.open.iter().map(|file| &file.path)).chain(ended).cloned().collect()
    }

    fn look(&mut self) -> Result<(), Gone> {
        let now = Instant::now();
        self.looked = Some(now);
        self.put_away_again(now);
        let mut is_well = false;
        let trouble = match folder::look(&self.plan) {
            Ok(mut found) => {
                if let Some(owed) = &self.owed {
                    found.files.retain(|path, _| owed.contains(path));
                }
                self.files.look(found.files, now);
                is_well = true;
                found.trouble
            }
            Err(error) => Some(error),
        };
        let trouble = trouble.map(|error| error.to_string());
        let busy = self.busy();
        for path in self.files.ready(self.plan.quiet, now) {
            if !busy.contains(&path) {
                let time = self.open(&path).ok().and_then(first);
                self.pending.insert((time.unwrap_or(Time::MIN), path));
            }
        }
        let waiting = self.files.unread().filter(|path| !self.ended.contains_key(&origin(path))).count();
        let mut status = self.status();
        if trouble.is_some() && trouble != status.trouble {
            warn!(why = trouble, "the drop folder cannot be looked at; it is tried again");
        }
        (status.waiting, status.trouble) = (waiting, trouble);
        drop(status);
        if is_well { self.miss() } else { Ok(()) }
    }

    /// Files that were there at the start and are gone end as well, and those that somebody goes on writing.
    fn miss(&mut self) -> Result<(), Gone> {
        let busy = self.busy();
        let gone = |path: &&PathBuf| self.files.stamp(path).is_none() && !busy.contains(*path);
        let gone: Vec<PathBuf> = self.owed.iter().flatten().filter(gone).cloned().collect();
        for path in gone {
            self.fail(&path, 0, gone_away(&path))?;
        }
        if self.began.elapsed() >= 2 * self.plan.quiet + GROWING {
            let busy = self.busy();
            let grows: Vec<PathBuf> =
                self.owed.iter().flatten().filter(|path| !busy.contains(*path)).cloned().collect();
            for path in grows {
                self.fail(&path, 0, format!("{}: it is still being written", path.display()))?;
            }
        }
        Ok(())
    }

    fn open(&self, path: &Path) -> Result<FileReader, FileError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let feed = path.parent().filter(|folder| **folder != *self.plan.dir).and_then(Path::file_name);
        let hints = (self.hints)(feed.map(|feed| feed.to_string_lossy()).as_deref(), &name);
        let Origin::File { name } = origin(path) else { unreachable!("it is a file") };
        FileReader::open_as(path, &name, hints, Limits::default())
    }

    /// Opens what time has come to; those that begin together are all known before anything of them is read.
    fn begin(&mut self) -> Result<(), Gone> {
        let slowest = self.open.iter().map(|file| file.time).min();
        let Some(from) = slowest.or_else(|| self.pending.first().map(|(time, _)| *time)) else { return Ok(()) };
        let is_due = |(time, _): &(Time, PathBuf)| *time < from.plus(AHEAD);
        let begun = self.open.len();
        // The earliest come first, so that the others lose nothing by waiting.
        while self.open.len() < OPEN_MAX && self.pending.first().is_some_and(is_due) {
            if self.is_stopped() {
                return Err(Gone);
            }
            let (time, path) = self.pending.pop_first().expect("there is a first one");
            self.begin_one(time, path)?;
        }
        for file in &self.open[begun..] {
            self.say(Arrival::FileBegin { origin: file.origin.clone(), key: file.key.clone() })?;
        }
        Ok(())
    }

    /// Opens a file, unless it is known whole. One with the content of an open one waits until that is known.
    fn begin_one(&mut self, time: Time, path: PathBuf) -> Result<(), Gone> {
        let Some(stamp) = self.files.stamp(&path) else {
            return self.fail(&path, 0, gone_away(&path));
        };
        let stop = self.stop.clone();
        let goes_on = move || !stop.load(Ordering::Acquire);
        let surveyed = self.open(&path).map(|reader| self.before.known.survey(reader, &goes_on));
        let Surveyed { end, from, damage } = match surveyed {
            Ok(Some(surveyed)) => surveyed,
            Ok(None) => return Err(Gone),
            Err(error) => return self.refuse(&path, stamp, &error),
        };
        let key = end.key();
        if self.open.iter().any(|file| file.key == key) {
            self.twins.push((time, path));
            return Ok(());
        }
        let origin = origin(&path);
        if self.before.known.has(&end) {
            info!(file = %path.display(), "all of it was read before");
            let whole = damage.is_none();
            self.ended.insert(origin.clone(), Ended { path: path.clone(), read: Some(stamp), whole });
            self.settle(&path);
            return self.say(Arrival::FileEnd { origin, to: 0, end: None, failure: damage });
        }
        let reader = match self.open(&path) {
            Ok(reader) => reader,
            Err(error) => return self.refuse(&path, stamp, &error),
        };
        // Whoever has put another file in its place since it was surveyed is read when that stands still.
        if folder::stamp(&path) != Some(stamp) {
            return Ok(());
        }
        // Where it was broken off it goes on, whatever else of it is known by now: positions leave nothing out.
        let from = self.before.positions.get(&key).copied().unwrap_or(from);
        info!(file = %path.display(), from = from.max(1), "it is read");
        let depth = Depth { next: from.max(1), end: end.next, stopped: false };
        self.depths().insert(origin.clone(), depth);
        self.open.push(Open { path, origin, reader, stamp, key, from, to: 0, next: 1, time, paused: false });
        Ok(())
    }

    /// The next stretch of an open file, or its end.
    fn read(&mut self, ix: usize) -> Result<(), Gone> {
        let file = &mut self.open[ix];
        match file.reader.next_chunk(CHUNK_ROWS, CHUNK_BYTES) {
            Ok(Some(chunk)) => {
                file.next = chunk.to;
                file.time = latest(&chunk).map_or(file.time, |time| time.max(file.time));
                let Some(fresh) = fresh(chunk, file.from) else { return Ok(()) };
                file.to = fresh.to;
                let (key, to, origin) = (file.key.clone(), fresh.to, file.origin.clone());
                self.before.positions.insert(key, to);
                if let Some(depth) = self.depths().get_mut(&origin) {
                    (depth.next, depth.end) = (to, depth.end.max(to));
                }
                self.say(Arrival::Stretch(Box::new(fresh)))
            }
            Ok(None) => self.end(ix, None),
            Err(error) => self.end(ix, Some(error)),
        }
    }

    /// A file ends. One that is damaged was read as far as it goes; where the machine failed it is tried again.
    fn end(&mut self, ix: usize, failure: Option<FileError>) -> Result<(), Gone> {
        let file = self.open.remove(ix);
        self.pending.extend(std::mem::take(&mut self.twins));
        self.depths().remove(&file.origin);
        if let Some(error) = failure.as_ref().filter(|error| error.retry()) {
            return self.fail(&file.path, file.to, error.to_string());
        }
        let end = End::of(&file.reader, file.next.max(file.reader.position()));
        self.before.known.add(end.clone());
        self.before.positions.remove(&file.key);
        info!(file = %file.path.display(), records = file.next - 1, "it was read to its end");
        let whole = failure.is_none();
        self.ended.insert(file.origin.clone(), Ended { path: file.path.clone(), read: Some(file.stamp), whole });
        self.settle(&file.path);
        let failure = failure.map(|error| error.to_string());
        self.say(Arrival::FileEnd { origin: file.origin, to: file.to, end: Some(end), failure })
    }

    /// A file cannot be opened. One that is damaged at its very start is left alone until it changes.
    fn refuse(&mut self, path: &Path, stamp: Stamp, error: &FileError) -> Result<(), Gone> {
        let read = matches!(error, FileError::Damaged { .. }).then_some(stamp);
        self.give_up(path, 0, read, error.to_string())
    }

    /// A file cannot be read for now.
    fn fail(&mut self, path: &Path, to: i64, what: String) -> Result<(), Gone> {
        self.give_up(path, to, None, what)
    }

    fn give_up(&mut self, path: &Path, to: i64, read: Option<Stamp>, what: String) -> Result<(), Gone> {
        let origin = origin(path);
        self.ended.insert(origin.clone(), Ended { path: path.to_owned(), read, whole: false });
        self.settle(path);
        self.say(Arrival::FileEnd { origin, to, end: None, failure: Some(what) })
    }

    /// It is owed no longer.
    fn settle(&mut self, path: &Path) {
        if let Some(owed) = &mut self.owed {
            owed.remove(path);
        }
    }
}
