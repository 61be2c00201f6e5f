//! What is kept between two runs: the history, and beside it the snapshot of the engine.
//!
//! The snapshot is a cache. It carries the positions up to which it has seen the input; where it is missing, of another version or
//! ahead of the history, the engine is built anew from the events on record, each origin side by side, and tells nothing of it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;

use crate::engine::settings::Settings;
use crate::engine::{Engine, Input};
use crate::event::effects::Decoded;
use crate::event::schema::RECORDED;
use crate::event::{EventBatch, Origin, Time};
use crate::history::{History, HistoryError, Reader};
use crate::keys::{KeyError, KeySource};
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
    pub async fn engine(
        &self,
        settings: &Settings,
        roster: Arc<Roster>,
        key: &KeySource,
    ) -> Result<(Engine, BTreeMap<String, i64>), HistoryError> {
        let positions = self.history.positions();
        if let Some((seen, bytes)) = self.snapshot() {
            let ahead = seen.iter().any(|(key, next)| positions.get(key).is_none_or(|durable| next > durable));
            if !ahead && let Some(engine) = Engine::load(settings.clone(), roster.clone(), &bytes) {
                return Ok((engine, seen));
            }
        }
        let engine = replay(self.history.dir(), key, Engine::new(settings.clone(), roster)).await?;
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
        let plain = postcard::to_stdvec(&(self.history.positions(), engine.save())).expect("a snapshot is plain values");
        let bytes = match self.history.keyring() {
            Some(keyring) => keyring.seal(SNAPSHOT, now, &plain)?,
            None => plain,
        };
        let path = self.state.join(SNAPSHOT);
        crate::keys::durable::write_durably(&path, &bytes, 0o600).map_err(|error| KeepError::File { path, error })
    }
}

/// Gives the events on record to a fresh engine, by time, each row in the lane of its origin; the effects are dropped.
async fn replay(dir: &Path, key: &KeySource, mut engine: Engine) -> Result<Engine, HistoryError> {
    let columns: Vec<String> = RECORDED.fields().iter().map(|field| format!("\"{}\"", field.name())).collect();
    let sql = format!("SELECT {} FROM events ORDER BY time, source, event_id", columns.join(", "));
    let reader = Reader::open(dir, key).await?;
    let batches = reader.query(&sql, &[]).await?;
    let origins = batches.iter().flat_map(|batch| split(batch).into_iter().map(|(origin, _)| origin));
    let origins: std::collections::BTreeSet<Origin> = origins.collect();
    for origin in &origins {
        engine.step(Time::MIN, Input::Open(origin.clone()));
    }
    for batch in &batches {
        for (origin, rows) in split(batch) {
            let rows = RecordBatch::try_new(RECORDED.clone(), rows.columns().to_vec()).map_err(HistoryError::from)?;
            let batch = EventBatch::new(origin, rows);
            let decoded = Decoded { batch, rejects: Vec::new(), from: 0, to: 0, gap: 0 };
            engine.step(Time::MIN, Input::Decoded(Box::new(decoded)));
        }
    }
    for origin in origins {
        let input = if matches!(origin, Origin::File { .. }) { Input::End(origin) } else { Input::Idle(origin) };
        engine.step(Time::MIN, input);
    }
    Ok(engine)
}

/// The rows of a batch by their origin, in their order.
fn split(batch: &RecordBatch) -> Vec<(Origin, RecordBatch)> {
    let text = |name: &str| batch.column_by_name(name).expect("asked for by name").as_string::<i32>();
    let (topics, files) = (text("topic"), text("file"));
    let partitions = batch.column_by_name("partition").expect("asked for by name");
    let partitions = partitions.as_primitive::<arrow::datatypes::Int32Type>();
    let mut rows: BTreeMap<Origin, Vec<u32>> = BTreeMap::new();
    for row in 0..batch.num_rows() {
        let origin = if topics.is_null(row) {
            Origin::file(files.value(row))
        } else {
            Origin::topic(topics.value(row), partitions.value(row))
        };
        rows.entry(origin).or_default().push(row as u32);
    }
    let part = |(origin, rows)| {
        let taken = take_record_batch(batch, &UInt32Array::from(rows)).expect("rows of this batch");
        (origin, taken)
    };
    rows.into_iter().map(part).collect()
}
