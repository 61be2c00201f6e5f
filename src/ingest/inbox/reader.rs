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

use super::away::Away;
use super::folder::{self, Files, Found, RETRY, Stamp};
use super::open::{Ended, Open, first, gone_away, latest, origin};
use super::{Before, FileHints, Plan, Status};
use crate::event::time::DAY;
use crate::event::{Origin, Time};
use crate::ingest::files::FileError;
use crate::ingest::kafka::{Arrival, Depth, Depths};
use crate::ingest::known::{CHUNK_BYTES, CHUNK_ROWS, End, fresh};

mod begin;

/// How often the folder is looked at.
const LOOK: Duration = Duration::from_secs(2);
/// How long to wait where there is nothing to do.
const REST: Duration = Duration::from_millis(50);
/// Whoever reads only what was there at the start waits for as long as this, and twice the time that is asked for, for files to stand still.
const GROWING: Duration = Duration::from_secs(60);
/// For as long as this time waits at a start for files that may be known.
const FINDING: Duration = Duration::from_secs(600);
/// A file is opened when the slowest of the others has come as near as this to its first record: no partition runs further ahead of the
/// others than the three open days (DESIGN, section 5).
const AHEAD: i64 = 4 * DAY;
/// So many files are open at a time, unless all of them wait for one that is not.
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
    /// Folders that could not be looked at when it was seen what is owed.
    unread: Vec<(PathBuf, String)>,
    /// Files that were there at the first look and of which it is not known yet when they begin; none before it.
    unsettled: Option<BTreeSet<PathBuf>>,
    /// The files of the first look, where files were read before: many of them may be known, which takes a while to find out.
    perhaps_known: Option<BTreeSet<PathBuf>>,
    /// Files that an earlier start has read in part and that were not met again, by position key.
    begun: BTreeSet<String>,
    /// What was said last of the time at which waiting files begin.
    held: Option<Time>,
    out: SyncSender<Arrival>,
    commands: Receiver<Command>,
    stop: Arc<AtomicBool>,
    depths: Depths,
    status: Arc<Mutex<Status>>,
    files: Files,
    looked: Option<Instant>,
    /// Files that may be read, by the time of their first record.
    pending: BTreeSet<(Time, PathBuf)>,
    /// Those of them that have the content of one that is being read, by its key: known when that is on record.
    twins: BTreeMap<String, Vec<(Time, PathBuf)>>,
    open: Vec<Open>,
    ended: BTreeMap<Origin, Ended>,
    away: Away,
    began: Instant,
}

impl Reader {
    pub(super) fn new(
        plan: &Plan,
        hints: FileHints,
        before: Before,
        first: Option<Found>,
        (out, commands): (SyncSender<Arrival>, Receiver<Command>),
        (stop, depths, status): (Arc<AtomicBool>, Depths, Arc<Mutex<Status>>),
    ) -> Reader {
        let owed = first.as_ref().map(|found| found.all().cloned().collect());
        let unread = first.into_iter().flat_map(|found| found.unread);
        let begun = before.known.begun(before.positions.iter());
        let perhaps_known = before.has_read().then(BTreeSet::new);
        Reader {
            away: Away::new(plan),
            plan: plan.clone(),
            hints,
            before,
            owed,
            unread: unread.map(|(path, why)| (path, why.to_string())).collect(),
            unsettled: None,
            perhaps_known,
            begun,
            // Whoever began to read waits for the first look.
            held: Some(Time::MIN),
            out,
            commands,
            stop,
            depths,
            status,
            files: Files::default(),
            looked: None,
            pending: BTreeSet::new(),
            twins: BTreeMap::new(),
            open: Vec::new(),
            ended: BTreeMap::new(),
            began: Instant::now(),
        }
    }

    /// Reads until nobody takes it any more.
    pub(super) fn run(mut self) {
        while !self.is_stopped() && self.turn().is_ok() {}
        self.obey();
        self.away.turn(Instant::now());
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
        self.hold()?;
        self.miss_begun();
        // Time waits for the first records of all that are open.
        let key = |file: &Open| (file.to > 0, file.time);
        let next = (0..self.open.len()).filter(|ix| !self.open[*ix].paused).min_by_key(|ix| key(&self.open[*ix]));
        match next {
            Some(ix) => {
                // The last records of a file are believed when it is known that they are the last: that is not left for later.
                let is_short = self.read(ix)?;
                if is_short { self.read(ix).map(|_| ()) } else { Ok(()) }
            }
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
        // Only now: what is not on record may be lost, and has to be read again then.
        ended.end.into_iter().for_each(|end| self.before.known.add(end));
        let twins = ended.key.and_then(|key| self.twins.remove(&key));
        self.pending.extend(twins.into_iter().flatten());
        match ended.read {
            Some(stamp) => self.files.set_read(&ended.path, stamp),
            None => self.files.put_off(&ended.path, Instant::now() + RETRY),
        }
        if let Some(stamp) = ended.read.filter(|_| ended.whole) {
            self.away.add(ended.path, stamp, Instant::now());
        }
    }

    /// Those that somebody is at work on.
    fn busy(&self) -> BTreeSet<PathBuf> {
        let waiting = self.pending.iter().chain(self.twins.values().flatten()).map(|(_, path)| path);
        let ended = self.ended.values().map(|ended| &ended.path);
        waiting.chain(self.open.iter().map(|file| &file.path)).chain(ended).cloned().collect()
    }

    fn look(&mut self) -> Result<(), Gone> {
        let now = Instant::now();
        self.looked = Some(now);
        self.away.turn(now);
        for (path, what) in std::mem::take(&mut self.unread) {
            self.fail(&path, what)?;
        }
        let (mut is_well, mut trouble) = (false, None);
        match folder::look(&self.plan) {
            Ok(mut found) => {
                match &self.owed {
                    Some(owed) => found.files.retain(|path, _| owed.contains(path)),
                    None => found.files.extend(self.away.changed()),
                }
                if self.unsettled.is_none() {
                    let all: BTreeSet<PathBuf> = found.files.keys().cloned().collect();
                    self.perhaps_known.iter_mut().for_each(|known| known.clone_from(&all));
                    self.unsettled = Some(all);
                }
                self.files.look(found.files, now);
                is_well = true;
                if let Some((_, why)) = found.unread.first() {
                    trouble = Some(format!("Nothing new is read of a folder below the drop folder: {why}"));
                }
            }
            Err(error) => {
                self.unsettled.get_or_insert_default();
                trouble = Some(format!("Nothing new is read of the drop folder: {error}"));
            }
        }
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
            warn!(why = trouble, "a folder cannot be looked at; it is tried again");
        }
        (status.waiting, status.trouble, status.unmoved) = (waiting, trouble, self.away.trouble());
        drop(status);
        if is_well { self.miss() } else { Ok(()) }
    }

    /// Files that were there at the start and are gone end as well, and those that somebody goes on writing.
    fn miss(&mut self) -> Result<(), Gone> {
        let busy = self.busy();
        let gone = |path: &&PathBuf| self.files.stamp(path).is_none() && !busy.contains(*path);
        let gone: Vec<PathBuf> = self.owed.iter().flatten().filter(gone).cloned().collect();
        for path in gone {
            self.fail(&path, gone_away(&path))?;
        }
        if self.began.elapsed() >= 2 * self.plan.quiet + GROWING {
            let busy = self.busy();
            let grows: Vec<PathBuf> =
                self.owed.iter().flatten().filter(|path| !busy.contains(*path)).cloned().collect();
            for path in grows {
                self.fail(&path, format!("{}: it is still being written", path.display()))?;
            }
        }
        Ok(())
    }

    /// The next stretch of an open file, or its end; whether it was a stretch that probably ends the file.
    fn read(&mut self, ix: usize) -> Result<bool, Gone> {
        let file = &mut self.open[ix];
        match file.reader.next_chunk(CHUNK_ROWS, CHUNK_BYTES) {
            Ok(Some(chunk)) => {
                let is_short = chunk.batch.len() < CHUNK_ROWS;
                file.next = chunk.to;
                file.time = latest(&chunk).map_or(file.time, |time| time.max(file.time));
                let Some(fresh) = fresh(chunk, file.from) else { return Ok(is_short) };
                file.to = fresh.to;
                let (key, to, origin) = (file.key.clone(), fresh.to, file.origin.clone());
                self.before.positions.insert(key, to);
                if let Some(depth) = self.depths().get_mut(&origin) {
                    (depth.next, depth.end) = (to, depth.end.max(to));
                }
                self.say(Arrival::Stretch(Box::new(fresh)))?;
                Ok(is_short)
            }
            Ok(None) => self.end(ix, None).map(|()| false),
            Err(error) => self.end(ix, Some(error)).map(|()| false),
        }
    }

    /// A file ends. One that is damaged was read as far as it goes; where the machine failed it is tried again.
    fn end(&mut self, ix: usize, failure: Option<FileError>) -> Result<(), Gone> {
        let file = self.open.remove(ix);
        self.depths().remove(&file.origin);
        if let Some(error) = failure.as_ref().filter(|error| error.retry()) {
            return self.give_up(&file.path, (file.to, Some(file.key)), None, error.to_string());
        }
        let end = End::of(&file.reader, file.next.max(file.reader.position()));
        self.before.positions.remove(&file.key);
        info!(file = %file.path.display(), records = file.next - 1, "it was read to its end");
        let (whole, read) = (failure.is_none(), Some(file.stamp));
        let ended = Ended { path: file.path.clone(), key: Some(file.key), end: Some(end.clone()), read, whole };
        self.ended.insert(file.origin.clone(), ended);
        self.settle(&file.path);
        let failure = failure.map(|error| error.to_string());
        self.say(Arrival::FileEnd { origin: file.origin, to: file.to, end: Some(end), failure })
    }

    /// A file cannot be opened. One that is damaged at its very start is left alone until it changes.
    fn refuse(&mut self, path: &Path, stamp: Stamp, error: &FileError) -> Result<(), Gone> {
        let read = matches!(error, FileError::Damaged { .. }).then_some(stamp);
        self.give_up(path, (0, None), read, error.to_string())
    }

    /// A file cannot be read for now.
    fn fail(&mut self, path: &Path, what: String) -> Result<(), Gone> {
        self.give_up(path, (0, None), None, what)
    }

    fn give_up(
        &mut self,
        path: &Path,
        (to, key): (i64, Option<String>),
        read: Option<Stamp>,
        what: String,
    ) -> Result<(), Gone> {
        let origin = origin(path);
        self.ended.insert(origin.clone(), Ended { path: path.to_owned(), key, end: None, read, whole: false });
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
