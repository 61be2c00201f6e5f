//! What a commit is about to do, written down before it is done: so a segment is in every table or in none.
//!
//! The tables are separate Delta tables and no commit spans them. A crash between two of them would leave rows on record whose records
//! are read again, perhaps in another order, and of two equal records the other one would be kept this time. So the files are written
//! first, then the intent with their names and the new positions, then the commits; whoever opens the history for writing finishes what
//! an intent says. It holds what the Delta logs hold and nothing of a row.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::HistoryError;
use super::log::{Positions, TableLog};
use super::segment::Segment;
use crate::keys::write_durably;

/// The commits of one segment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Intent {
    /// In the order in which they are made.
    pub parts: Vec<Part>,
}

/// One commit of one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    /// The table's name.
    pub table: String,
    /// The version of its log that the commit makes.
    pub version: u64,
    /// The file that it adds; it is on the disk.
    pub file: Option<Segment>,
    /// The positions that it moves.
    pub to: Positions,
}

impl Part {
    /// Makes the commit, unless it was made before.
    pub async fn carry_out(&self, log: &mut TableLog) -> Result<(), HistoryError> {
        if log.version() >= self.version {
            return Ok(());
        }
        log.append(self.file.as_ref(), &self.to).await
    }
}

impl Intent {
    /// The intent of a writer that was broken off; `None` where there is none.
    pub fn read(dir: &Path) -> Result<Option<Intent>, HistoryError> {
        let path = path(dir);
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|_| HistoryError::Damaged {
                file: NAME.into(),
                what: "it says nothing that could be finished".into(),
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(HistoryError::io(&path)(error)),
        }
    }

    /// Writes it down; when this returns, the disk has it.
    pub fn write(&self, dir: &Path) -> Result<(), HistoryError> {
        let bytes = serde_json::to_vec(self).expect("plain values are written as JSON");
        let path = path(dir);
        write_durably(&path, &bytes, 0o600).map_err(HistoryError::io(&path))
    }

    /// Everything in it was done. Where the disk forgets this, nothing is done twice: each part knows its version.
    pub fn clear(dir: &Path) -> Result<(), HistoryError> {
        let path = path(dir);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(HistoryError::io(&path)(error)),
            _ => Ok(()),
        }
    }
}

const NAME: &str = "intent.json";

fn path(dir: &Path) -> PathBuf {
    dir.join(NAME)
}
