//! Which file is opened next, and how far time may go before it is.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use tracing::{info, warn};

use super::super::folder;
use super::super::open::{Ended, Open, gone_away, origin};
use super::{AHEAD, FINDING, GROWING, Gone, OPEN_MAX, Reader};
use crate::decode::Limits;
use crate::event::{Origin, Time};
use crate::ingest::files::{FileError, FileReader};
use crate::ingest::kafka::{Arrival, Depth};
use crate::ingest::known::Surveyed;

impl Reader {
    /// Says from when on time has to wait for files that are not open: where the earliest of them begins. As long as one that was there
    /// at the start may still come to rest, that is not known. Where a history has read files before, most of those that lie there are
    /// known, and their hashes may take long: live records do not wait for that for ever.
    pub(super) fn hold(&mut self) -> Result<(), Gone> {
        let is_over = self.began.elapsed() >= 2 * self.plan.quiet + GROWING;
        if self.unsettled.as_ref().is_some_and(|unsettled| !unsettled.is_empty()) {
            let (busy, files) = (self.busy(), &self.files);
            let unsettled = self.unsettled.as_mut().expect("it was just there");
            unsettled.retain(|path| !is_over && files.is_untried(path) && !busy.contains(path));
        }
        let from = match &self.unsettled {
            Some(unsettled) if unsettled.is_empty() => {
                let is_late = self.began.elapsed() >= FINDING;
                let known = self.perhaps_known.as_ref().filter(|_| is_late);
                let counts = |path: &PathBuf| known.is_none_or(|known| !known.contains(path));
                self.pending.iter().find(|(_, path)| counts(path)).map(|(time, _)| *time)
            }
            _ => Some(Time::MIN),
        };
        if from == self.held {
            return Ok(());
        }
        self.held = from;
        self.say(Arrival::FilesWait(from))
    }

    /// Says, once all that lies there was looked into, what was read in part and is not there as it was: nobody else knows of the rest.
    pub(super) fn miss_begun(&mut self) {
        if self.pending.is_empty() && self.unsettled.as_ref().is_some_and(BTreeSet::is_empty) && !self.begun.is_empty()
        {
            let files = std::mem::take(&mut self.begun).len();
            warn!(
                files,
                "files were read in part before and are not in the drop folder as they were then; where they were taken away, put them back: the rest of them was not read"
            );
        }
    }

    pub(super) fn open(&self, path: &Path) -> Result<FileReader, FileError> {
        // What was moved away is still of the feed that it came from.
        let from = self.away.from(path);
        let name = from.file_name().unwrap_or_default().to_string_lossy();
        let feed = from.parent().filter(|folder| **folder != *self.plan.dir).and_then(Path::file_name);
        let hints = (self.hints)(feed.map(|feed| feed.to_string_lossy()).as_deref(), &name);
        let Origin::File { name } = origin(path) else { unreachable!("it is a file") };
        FileReader::open_as(path, &name, hints, Limits::default())
    }

    /// Opens what time has come to; those that begin together are all known before anything of them is read.
    pub(super) fn begin(&mut self) -> Result<(), Gone> {
        // Time stands as long as one of them has shown nothing: were each that ends followed at once, it would stand until the last.
        if self.open.iter().any(|file| file.to == 0) {
            return Ok(());
        }
        let slowest = self.open.iter().map(|file| file.time).min();
        let Some(from) = slowest.or_else(|| self.pending.first().map(|(time, _)| *time)) else { return Ok(()) };
        let is_due = |(time, _): &(Time, PathBuf)| *time < from.plus(AHEAD);
        let begun = self.open.len();
        // Where all of them wait for time to come, it may be one that is not open that holds it back.
        let is_stuck = begun > 0 && self.open.iter().all(|file| file.paused);
        let most = if is_stuck { OPEN_MAX.max(begun + 1) } else { OPEN_MAX };
        // The earliest come first; those of which nothing can be seen need no room.
        let has_room = |open: usize, first: &(Time, PathBuf)| open < most || first.0 == Time::MIN;
        while self.pending.first().is_some_and(|first| is_due(first) && has_room(self.open.len(), first)) {
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
            return self.fail(&path, gone_away(&path));
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
        self.begun.remove(&key);
        // What was read and is not on record yet may still be lost: neither may be taken for done with.
        let is_read = self.ended.values().any(|ended| ended.key.as_ref() == Some(&key));
        if is_read || self.open.iter().any(|file| file.key == key) {
            self.twins.entry(key).or_default().push((time, path));
            return Ok(());
        }
        let origin = origin(&path);
        if self.before.known.has(&end) {
            info!(file = %path.display(), "all of it was read before");
            let ended = Ended { path: path.clone(), key: None, end: None, read: Some(stamp), whole: damage.is_none() };
            self.ended.insert(origin.clone(), ended);
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
}
