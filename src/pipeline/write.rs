//! What the road writes to the history, with patience: a disk that refuses and may take it later is waited for, whatever is written.

use std::collections::BTreeSet;

use super::{Keep, News, Road, RoadError};
use crate::engine::off::Part;
use crate::event::effects::Mark;
use crate::event::{Origin, Time, Unjudged};
use crate::history::{Change, Committed, HistoryError};

impl Road<'_> {
    /// Writes, again and again where the failure may pass; `None` where there is no history.
    pub(super) fn write<T>(
        &mut self,
        mut write: impl FnMut(&mut Keep) -> Result<T, HistoryError>,
    ) -> Result<Option<T>, RoadError> {
        let Some(keep) = &mut self.keep else { return Ok(None) };
        loop {
            match write(keep) {
                Err(error) if error.retry() && (self.patience)(&error) => {}
                done => return Ok(Some(done?)),
            }
        }
    }

    /// Appends a change to the control log; gives back its number.
    pub(super) fn note(&mut self, now: Time, change: &Change, mark: Option<Mark>) -> Result<Option<u64>, RoadError> {
        self.write(|keep| keep.history.note(now, change, mark))
    }

    /// Makes what is staged durable.
    pub(super) fn commit_history(&mut self, now: Time) -> Result<Option<Committed>, RoadError> {
        let runtime = self.runtime.clone();
        self.write(|keep| runtime.block_on(keep.history.commit(now)))
    }

    /// Notes in the control log what detectors could not judge, so that answers can say it.
    pub(super) fn note_unjudged(&mut self, now: Time) -> Result<(), RoadError> {
        for Unjudged { detector, day, judged, unjudged, off } in self.tally.take_unjudged() {
            self.note(now, &Change::Unjudged { detector, day, judged, unjudged, off }, None)?;
        }
        Ok(())
    }

    /// Parts of the engine that met a bug and of which the control log does not tell yet: each has to be heard ([`Road::hear`]).
    ///
    /// # Errors
    /// Where the history cannot be read.
    pub fn fallen(&mut self) -> Result<Vec<News>, RoadError> {
        let fresh =
            |off: &BTreeSet<Part>, parts: Vec<Part>| parts.into_iter().filter(|part| !off.contains(part)).collect();
        let parts: Vec<Part> = fresh(&self.off, self.engine.switched_off());
        if parts.is_empty() {
            return Ok(Vec::new());
        }
        for noted in self.write(|keep| keep.history.changes())?.unwrap_or_default() {
            if let Change::Off { part, version } = noted.change {
                self.off.insert(Part { name: part, version });
            }
        }
        let untold: Vec<Part> = fresh(&self.off, parts);
        self.off.extend(untold.iter().cloned());
        Ok(untold.into_iter().map(News::Off).collect())
    }

    /// Notes where the reading of a partition begins that nothing on record speaks of: a start goes on from there, whether or not a record
    /// came meanwhile.
    pub(super) fn note_begun(&mut self, now: Time, origin: &Origin, key: &str, from: i64) -> Result<(), RoadError> {
        let begun = Change::Begun { origin: origin.clone(), key: key.to_owned(), from };
        self.note(now, &begun, None).map(|_| ())
    }

    /// Notes that a partition is not read any more, where the control log does not say so yet: a start finds it stopped again.
    pub(super) fn note_stopped(
        &mut self,
        now: Time,
        origin: &Origin,
        (position, other): (i64, bool),
    ) -> Result<(), RoadError> {
        let key = self.keys.get(origin).cloned().unwrap_or_default();
        let about = |change: &Change| match change {
            Change::Stopped { origin: other, .. } => other == origin,
            Change::Resumed(resumed) => resumed.origin == *origin,
            _ => false,
        };
        let changes = self.write(|keep| keep.history.changes())?.unwrap_or_default();
        let last = changes.into_iter().rev().map(|noted| noted.change).find(about);
        match last {
            // Why it was stopped first holds.
            Some(Change::Stopped { key: known, position: at, .. }) if (&known, at) == (&key, position) => Ok(()),
            _ => self.note(now, &Change::Stopped { origin: origin.clone(), key, position, other }, None).map(|_| ()),
        }
    }

    /// Notes that the rosters are old, or were renewed.
    ///
    /// # Errors
    /// Where the history cannot be written.
    pub fn note_stale(&mut self, now: Time, since: Time, until: Option<Time>) -> Result<(), RoadError> {
        self.note(now, &Change::Stale { since, until }, None).map(|_| ())
    }
}
