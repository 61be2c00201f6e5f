//! The road where edges meet the engine: an input goes in, and everything that follows from it reaches the outbox and the history.
//!
//! The order is the promise: alerts enter the outbox, then rows and positions become durable together, then the snapshot of the
//! engine is renewed. A crash between two of these only repeats work that is recognised by id, by offset or by revision.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use tokio::runtime::Handle;
use tracing::debug;

use crate::engine::off::Part;
use crate::engine::{Engine, Input};
use crate::event::effects::Decoded;
use crate::event::{Effects, Origin, Raised, Time};
use crate::history::{Change, HistoryError};
use crate::store::StoreError;

mod ahead;
mod anew;
mod commit;
mod files;
#[cfg(test)]
mod fixture;
mod keep;
pub mod live;
mod news;
mod outcomes;
mod provisional;
mod rejected;
mod tally;
#[cfg(test)]
mod tests;
mod write;

use commit::Closed;
use files::Passed;
pub use files::read_files;
pub use keep::{Keep, KeepError};
pub use news::News;
pub use outcomes::{Counts, Outcomes};
use provisional::Provisional;
pub use tally::{Blind, Tally};

/// Why the road is closed.
#[derive(Debug, thiserror::Error)]
pub enum RoadError {
    /// The history cannot be written or read.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The state folder cannot be written or read.
    #[error(transparent)]
    Keep(#[from] KeepError),
    /// The outbox cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Alerts cannot be written where they should go.
    #[error("alerts cannot be written: {0}")]
    Outlet(#[from] std::io::Error),
    /// The source cannot go on.
    #[error("{0}")]
    Source(String),
}

/// Where alerts go at once, before anything is durable.
pub trait Outlet {
    /// Takes revisions; the same one may come again and is recognised by id and revision.
    ///
    /// # Errors
    /// Where it cannot keep them; the step is then not made durable.
    fn raise(&mut self, raised: &[Raised], now: Time) -> Result<(), RoadError>;
}

/// What was made durable since the road was opened.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Commits {
    /// Segments.
    pub segments: u64,
    /// Bytes of their files.
    pub bytes: u64,
    /// The newest one, by the clock.
    pub last: Option<Time>,
    /// The newest snapshot of the engine, by the clock.
    pub snapshot: Option<Time>,
    /// Why the newest snapshot could not be written.
    pub unsaved: Option<String>,
}

/// The engine with what it stands between.
pub struct Road<'a> {
    /// The engine.
    pub engine: Engine,
    /// The history and the state folder, where they are kept.
    pub keep: Option<Keep>,
    /// Position keys of the origins that are read.
    pub keys: BTreeMap<Origin, String>,
    /// What went down the road.
    pub tally: Tally,
    /// What became of the records, as far as it is durable: it agrees with the table `spans`.
    pub outcomes: Outcomes,
    /// Records that could not be used, in a row, by topic.
    pub rejected: BTreeMap<String, u64>,
    /// What was made durable, and when.
    pub commits: Commits,
    /// Asked after a failure of the history that may pass: it waits for a while and says whether to try again.
    pub patience: Box<dyn FnMut(&HistoryError) -> bool + 'a>,
    /// What was on record when the road was opened.
    recorded: BTreeMap<String, i64>,
    provisional: Provisional,
    /// What becomes of the staged records.
    staged: Outcomes,
    /// Files of which nothing more comes, and which are not noted yet.
    passed: Vec<Passed>,
    /// Parts of the engine of which the control log tells that they are switched off.
    off: BTreeSet<Part>,
    /// What belongs to the segment that is closed and not on record yet.
    closed: Option<Closed>,
    outlet: &'a mut dyn Outlet,
    runtime: Handle,
    oldest_staged: Option<Instant>,
}

impl<'a> Road<'a> {
    /// A road from nowhere yet: origins are added with their keys.
    pub fn new(mut engine: Engine, keep: Option<Keep>, outlet: &'a mut dyn Outlet, runtime: Handle) -> Road<'a> {
        if keep.is_some() {
            engine.ask_history();
        }
        let recorded = keep.as_ref().map(|keep| keep.history.positions()).unwrap_or_default();
        Road {
            engine,
            keep,
            keys: BTreeMap::new(),
            tally: Tally::default(),
            outcomes: Outcomes::default(),
            rejected: BTreeMap::new(),
            commits: Commits::default(),
            patience: Box::new(|_| false),
            recorded,
            provisional: Provisional::default(),
            staged: Outcomes::default(),
            passed: Vec::new(),
            off: BTreeSet::new(),
            closed: None,
            outlet,
            runtime,
            oldest_staged: None,
        }
    }

    /// One turn of the wheel.
    ///
    /// # Errors
    /// Where an edge fails; what was durable before stays so.
    pub fn turn(&mut self, now: Time, input: Input) -> Result<Effects, RoadError> {
        let Input::Decoded(decoded) = input else { return self.step(now, input) };
        // Where the snapshot lies behind the history, a stretch may begin on record and end beyond: the history takes whole ones.
        let (known, fresh) = self.cut(*decoded);
        let mut effects = Effects::default();
        for part in [known, fresh].into_iter().flatten() {
            let more = self.step(now, Input::Decoded(Box::new(part)))?;
            effects.settled.extend(more.settled);
            effects.notices.extend(more.notices);
            effects.pause.extend(more.pause);
            effects.resume.extend(more.resume);
        }
        Ok(effects)
    }

    fn cut(&self, decoded: Decoded) -> (Option<Decoded>, Option<Decoded>) {
        let key = self.keys.get(&decoded.batch.origin);
        let at = key.and_then(|key| self.recorded.get(key)).copied().unwrap_or(decoded.from);
        if at <= decoded.from || at >= decoded.to {
            return (Some(decoded), None);
        }
        let (known, fresh) = decoded.split(at);
        (Some(known), Some(fresh))
    }

    /// A step of the engine; what it asks of the history is answered before it is done.
    fn step(&mut self, now: Time, input: Input) -> Result<Effects, RoadError> {
        let mut all = Effects::default();
        let mut next = Some(input);
        while let Some(input) = next.take() {
            let (before, settled) = (self.engine.watermark(), self.engine.settled());
            let why = unrecorded(&input);
            let mut effects = self.engine.step(now, input);
            if let (Some(why), Some(to)) = (why, self.engine.watermark())
                && before < Some(to)
            {
                self.note(now, &Change::Advance { to, why: why.to_owned() }, None)?;
            }
            self.revise(settled, &mut effects)?;
            self.follow(now, &mut effects)?;
            if let (Some(keep), true) = (&mut self.keep, effects.asks) {
                next = Some(Input::Known(keep.history.known(&self.engine.asked())?));
            }
            all.settled.extend(effects.settled);
            all.notices.extend(effects.notices);
            all.pause.extend(effects.pause);
            all.resume.extend(effects.resume);
        }
        Ok(all)
    }

    /// What follows from a step: alerts leave at once, rows wait for the next segment.
    fn follow(&mut self, now: Time, effects: &mut Effects) -> Result<(), RoadError> {
        if let Some(keep) = &mut self.keep
            && !effects.raised.is_empty()
        {
            effects.raised = self.runtime.block_on(keep.history.news(&effects.raised))?;
        }
        // What was on record before is not told again, and does not count again.
        self.tally.add(effects);
        rejected::count(&mut self.rejected, &effects.applied);
        let on_record = |origin: &Origin| self.keys.get(origin).and_then(|key| self.recorded.get(key));
        self.staged.add(effects, |origin, to| on_record(origin).is_none_or(|at| to > *at));
        if !effects.raised.is_empty() {
            self.outlet.raise(&effects.raised, now)?;
            debug!(effect = "outbox", alerts = effects.raised.len(), "alerts are in the outbox");
        }
        if let Some(keep) = &mut self.keep
            && (!effects.applied.is_empty() || !effects.raised.is_empty())
        {
            let keys = &self.keys;
            let key_of = |origin: &Origin| {
                let key = keys.get(origin);
                // A position under another key would be read as that of another log by the next start.
                assert!(key.is_some() || origin.is_file(), "{origin} was opened before it is read");
                key.cloned().unwrap_or_else(|| origin.to_string())
            };
            let staged = keep.history.stage(effects, key_of)?;
            self.oldest_staged.get_or_insert_with(Instant::now);
            if staged.full {
                self.close_segment(now)?;
            }
        }
        Ok(())
    }

    /// Alerts that the engine knows nothing of, such as those to the operator: to the outlet at once, on record with the next segment.
    ///
    /// # Errors
    /// Where an edge fails.
    pub fn tell(&mut self, raised: Vec<Raised>, now: Time) -> Result<(), RoadError> {
        self.outlet.raise(&raised, now)?;
        let effects = Effects { raised, ..Effects::default() };
        self.staged.add(&effects, |_, _| false);
        if let Some(keep) = &mut self.keep {
            keep.history.stage(&effects, |origin| origin.to_string())?;
            self.oldest_staged.get_or_insert_with(Instant::now);
        }
        Ok(())
    }

    /// The end of the input: everything settles. The kept state has the open days open, so that the next input goes on.
    ///
    /// # Errors
    /// Where an edge fails.
    pub fn close(&mut self, now: Time) -> Result<(), RoadError> {
        self.turn(now, Input::Hold(None))?;
        for origin in self.keys.keys().cloned().collect::<Vec<_>>() {
            self.turn(now, Input::End(origin))?;
        }
        if self.keep.is_some() {
            self.commit(now)?;
        }
        if self.engine.queued() > 0 {
            return Err(RoadError::Source(
                "records were read and not taken up: this is a fault of the program".to_owned(),
            ));
        }
        self.note(now, &Change::Close, self.engine.mark())?;
        let (mut last, settled) = (self.engine.copy(), self.engine.settled());
        let mut effects = last.step(now, Input::Close);
        self.revise(settled, &mut effects)?;
        self.follow(now, &mut effects)?;
        self.note_unjudged(now)?;
        self.land(now)?;
        self.commit_history(now).map(|_| ())
    }
}

/// Why time may go on with this input although no record says so; `None` for an input with records.
fn unrecorded(input: &Input) -> Option<&'static str> {
    match input {
        Input::Idle(_) => Some("idle"),
        Input::Leave(..) => Some("left"),
        Input::End(_) => Some("ended"),
        Input::Advance(_) | Input::Hold(_) => Some("passed"),
        _ => None,
    }
}
