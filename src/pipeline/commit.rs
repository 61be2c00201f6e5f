//! Making durable what is staged, and renewing the snapshot: the second half of the promise of the road.
//!
//! A segment is closed and encoded while the road goes on; its commit and its snapshot follow when it is encoded. The snapshot holds the
//! memory that the engine had when the segment was closed, so that it says exactly what the commits say. Whoever needs everything on
//! record now calls [`Road::commit`], which waits.

use std::time::Duration;

use super::{KeepError, Outcomes, Road, RoadError};
use crate::event::Time;
use crate::history::Committed;

/// What belongs to a closed segment beside its rows.
pub(super) struct Closed {
    /// The memory of the engine when it was closed.
    memory: Vec<u8>,
    /// What becomes of its records.
    outcomes: Outcomes,
}

impl Road<'_> {
    /// Closes the segment where its oldest row has waited long enough, and makes durable the one before it as soon as it is encoded.
    ///
    /// # Errors
    /// Where the history cannot be written.
    pub fn commit_when_due(&mut self, now: Time, age: Duration) -> Result<(), RoadError> {
        if self.keep.as_ref().is_some_and(|keep| keep.history.is_encoded()) {
            self.land(now)?;
        }
        if self.oldest_staged.is_some_and(|since| since.elapsed() >= age) {
            self.close_segment(now)?;
        }
        self.note_saved(false)
    }

    /// Makes durable everything that is staged, and renews the snapshot.
    ///
    /// # Errors
    /// Where the history or the state folder cannot be written.
    pub fn commit(&mut self, now: Time) -> Result<(), RoadError> {
        self.land(now)?;
        self.commit_all(now)?;
        self.note_saved(true)
    }

    /// What is staged takes no more: it is encoded while the road goes on.
    pub(super) fn close_segment(&mut self, now: Time) -> Result<(), RoadError> {
        self.land(now)?;
        self.note_unjudged(now)?;
        let mark = self.engine.mark();
        let runtime = self.runtime.clone();
        self.write(|keep| {
            keep.history.set_mark(mark);
            runtime.block_on(keep.history.close_segment(now)).map(|_| ())
        })?;
        if self.keep.is_some() {
            let (memory, outcomes) = (self.engine.save(), std::mem::take(&mut self.staged));
            self.closed = Some(Closed { memory, outcomes });
        }
        self.oldest_staged = None;
        Ok(())
    }

    /// Makes the closed segment durable, where there is one, and begins to renew the snapshot; waits until it is encoded.
    pub(super) fn land(&mut self, now: Time) -> Result<(), RoadError> {
        let (Some(Closed { memory, outcomes }), Some(keep)) = (self.closed.take(), &mut self.keep) else {
            return Ok(());
        };
        match self.runtime.block_on(keep.history.commit_closed()) {
            Ok(committed) => {
                self.count(committed.unwrap_or_default(), outcomes, now);
                self.start_saving(memory, now)
            }
            Err(error) if error.retry() && (self.patience)(&error) => {
                // What was closed is staged again, together with what came since: so is what goes with it.
                let since = std::mem::replace(&mut self.staged, outcomes);
                self.staged.take(since);
                self.commit_all(now)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn commit_all(&mut self, now: Time) -> Result<(), RoadError> {
        self.note_unjudged(now)?;
        if let Some(keep) = &mut self.keep {
            keep.history.set_mark(self.engine.mark());
        }
        if let Some(committed) = self.commit_history(now)? {
            let outcomes = std::mem::take(&mut self.staged);
            self.count(committed, outcomes, now);
            self.start_saving(self.engine.save(), now)?;
        }
        self.oldest_staged = None;
        Ok(())
    }

    fn count(&mut self, committed: Committed, outcomes: Outcomes, now: Time) {
        self.outcomes.take(outcomes);
        self.commits.segments += u64::from(!committed.rows.is_empty());
        self.commits.bytes += committed.bytes.unsigned_abs();
        self.commits.last = Some(now);
    }

    fn start_saving(&mut self, memory: Vec<u8>, now: Time) -> Result<(), RoadError> {
        self.note_saved(true)?;
        self.keep.as_mut().map_or(Ok(()), |keep| keep.start_saving(memory, now))
    }

    /// The snapshot is a cache: where it cannot be renewed, the older one stays good and reading goes on.
    fn note_saved(&mut self, wait: bool) -> Result<(), RoadError> {
        match self.keep.as_mut().and_then(|keep| keep.saved(wait)) {
            None => {}
            Some(Ok(begun)) => (self.commits.snapshot, self.commits.unsaved) = (Some(begun), None),
            Some(Err(RoadError::Keep(error @ KeepError::File { .. }))) => {
                self.commits.unsaved = Some(error.to_string())
            }
            Some(Err(error)) => return Err(error),
        }
        Ok(())
    }
}
