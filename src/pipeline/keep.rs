//! What is kept between two runs: the history, and beside it the snapshot of the engine.
//!
//! The snapshot is a cache. It carries the positions up to which it has seen the input; where it is missing, of another version or
//! ahead of the history, the engine is built anew from the events on record, in the order in which they were committed, and tells nothing of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::engine::settings::Settings;
use crate::engine::{Engine, Input};
use crate::event::effects::Decoded;
use crate::event::{Origin, Time};
use crate::history::{History, HistoryError};
use crate::keys::{KeyError, write_durably};
use crate::roster::Roster;

const SNAPSHOT: &str = "engine.snapshot";

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
}

impl Keep {
    /// Joins a history with its state folder, which is made where it is missing (mode 0700).
    ///
    /// # Errors
    /// Where the folder cannot be made.
    pub fn new(history: History, state: PathBuf) -> Result<Keep, KeepError> {
        use std::os::unix::fs::DirBuilderExt;
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&state);
        made.map_err(|error| KeepError::File { path: state.clone(), error })?;
        Ok(Keep { history, state })
    }

    /// The engine as the last run left it, and the positions up to which it has seen each origin (by position key).
    ///
    /// # Errors
    /// Where the history cannot be read.
    pub fn engine(
        &self,
        settings: &Settings,
        roster: Arc<Roster>,
    ) -> Result<(Engine, BTreeMap<String, i64>), HistoryError> {
        let positions = self.history.positions();
        if let Some((seen, bytes)) = self.snapshot() {
            let ahead = seen.iter().any(|(key, next)| positions.get(key).is_none_or(|durable| next > durable));
            if !ahead && let Some(mut engine) = Engine::load(settings.clone(), roster.clone(), &bytes) {
                engine.rest();
                return Ok((engine, seen));
            }
        }
        let engine = replay(&self.history, Engine::new(settings.clone(), roster))?;
        Ok((engine, positions))
    }

    fn snapshot(&self) -> Option<(BTreeMap<String, i64>, Vec<u8>)> {
        let sealed = fs::read(self.state.join(SNAPSHOT)).ok()?;
        let plain = match self.history.keyring() {
            Some(keyring) => keyring.open_sealed(SNAPSHOT, &sealed).ok()?,
            None => sealed,
        };
        postcard::from_bytes(&plain).ok()
    }

    /// Renews the snapshot. Everything that the engine has let go is durable by now.
    ///
    /// # Errors
    /// Where it cannot be sealed or written.
    pub fn save(&self, engine: &Engine, now: Time) -> Result<(), KeepError> {
        let plain =
            postcard::to_stdvec(&(self.history.positions(), engine.save())).expect("a snapshot is plain values");
        let bytes = match self.history.keyring() {
            Some(keyring) => keyring.seal(SNAPSHOT, now, &plain)?,
            None => plain,
        };
        let path = self.state.join(SNAPSHOT);
        write_durably(&path, &bytes, 0o600).map_err(|error| KeepError::File { path, error })
    }
}

/// Gives the events on record to a fresh engine, segment by segment as they were committed; the effects are dropped.
fn replay(history: &History, mut engine: Engine) -> Result<Engine, HistoryError> {
    let mut origins: BTreeSet<Origin> = BTreeSet::new();
    for segment in history.segments_on_record()? {
        let stretches = history.replay(&segment)?;
        for enriched in &stretches {
            if origins.insert(enriched.batch.origin.clone()) {
                engine.step(Time::MIN, Input::Open(enriched.batch.origin.clone()));
            }
        }
        // A file that is not read any more has ended; a partition may have been behind the others.
        let here: BTreeSet<&Origin> = stretches.iter().map(|enriched| &enriched.batch.origin).collect();
        for origin in origins.iter().filter(|origin| matches!(origin, Origin::File { .. }) && !here.contains(origin)) {
            engine.step(Time::MIN, Input::End(origin.clone()));
        }
        for enriched in &stretches {
            let offsets = || enriched.batch.rows().map(|event| event.offset());
            let (from, to) = (offsets().min().unwrap_or(0), offsets().max().map_or(0, |last| last + 1));
            let decoded = Decoded { batch: enriched.batch.clone(), rejects: Vec::new(), from, to, gap: 0 };
            engine.step(Time::MIN, Input::Recorded(Box::new(decoded)));
        }
    }
    engine.rest();
    Ok(engine)
}
