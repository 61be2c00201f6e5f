//! The snapshot as a file: what stands in it, and whether it can be used.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Keep, KeepError};
use crate::event::Time;
use crate::history::OnRecord;
use crate::keys::{Keyring, write_durably};

pub(super) const SNAPSHOT: &str = "engine.snapshot";
/// The form of the snapshot; that of the memory in it is the engine's.
pub(super) const FORM: u32 = 2;

/// What a snapshot has seen, and the memory of the engine.
pub(super) type Snapshot = (Seen, Vec<u8>);

/// What the snapshot has seen, before the memory of the engine.
#[derive(Serialize, Deserialize)]
pub(super) struct Seen {
    pub(super) form: u32,
    /// The history it belongs to.
    pub(super) history: String,
    /// The newest segment.
    pub(super) segment: u64,
    /// The newest change of the control log.
    pub(super) heard: u64,
    pub(super) positions: BTreeMap<String, i64>,
}

impl Keep {
    /// The snapshot, or why it cannot be used; `None` where there is none.
    pub(super) fn snapshot(&self, newest: u64) -> Result<Snapshot, Option<String>> {
        let because = |why: &str| Some(why.to_owned());
        let sealed = fs::read(self.state.join(SNAPSHOT)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => because("there is none"),
            _ => Some(error.to_string()),
        })?;
        let checked = match self.history.keyring() {
            Some(keyring) => {
                keyring.open_sealed(SNAPSHOT, &sealed).map_err(|_| because("it is damaged or of another key"))?
            }
            None => sealed,
        };
        self.fitting(&checked, newest)
    }

    /// What lies in a snapshot, or why it cannot be used.
    pub(super) fn fitting(&self, checked: &[u8], newest: u64) -> Result<Snapshot, Option<String>> {
        let because = |why: &str| Some(why.to_owned());
        let (sum, plain) = checked.split_at_checked(32).ok_or_else(|| because("it is damaged"))?;
        if Sha256::digest(plain).as_slice() != sum {
            return Err(because("it is damaged"));
        }
        match postcard::take_from_bytes::<u32>(plain) {
            Ok((FORM, _)) => {}
            _ => return Err(because("it is of another version")),
        }
        let (seen, bytes): (Seen, Vec<u8>) = postcard::from_bytes(plain).map_err(|_| because("it cannot be read"))?;
        let positions = self.history.positions();
        let ahead = seen.positions.iter().any(|(key, next)| positions.get(key).is_none_or(|durable| next > durable));
        if self.history.id().ok().as_ref() != Some(&seen.history) {
            return Err(because("it belongs to another history"));
        }
        if ahead || seen.heard > newest || seen.segment > self.history.newest_segment() {
            return Err(because("it is ahead of the history"));
        }
        let joined = |file: &OnRecord| (file.number()..file.through()).contains(&seen.segment);
        if self.history.on_record().map_err(|error| Some(error.to_string()))?.iter().any(joined) {
            return Err(because("segments on both sides of it were joined"));
        }
        Ok((seen, bytes))
    }
}

/// A snapshot with the sum over its bytes before it.
pub(super) fn checked(seen: &Seen, memory: &[u8]) -> Vec<u8> {
    let plain = postcard::to_stdvec(&(seen, memory)).expect("a snapshot is plain values");
    [Sha256::digest(&plain).as_slice(), &plain].concat()
}

pub(super) fn write(checked: Vec<u8>, keyring: Option<&Keyring>, path: &Path, now: Time) -> Result<(), KeepError> {
    let bytes = match keyring {
        Some(keyring) => keyring.seal(SNAPSHOT, now, &checked)?,
        None => checked,
    };
    write_durably(path, &bytes, 0o600).map_err(|error| KeepError::File { path: path.to_owned(), error })
}

/// Takes away what a kill has left of snapshots that were being written. Whoever holds the history is the only one who writes them.
pub(super) fn clear(state: &Path) {
    let left = |name: &str| name.starts_with(SNAPSHOT) && name.ends_with(".tmp");
    let entries = fs::read_dir(state).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_str().is_some_and(left)) {
        // What cannot be removed only takes room.
        drop(fs::remove_file(entry.path()));
    }
}
