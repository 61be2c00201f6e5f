//! The journal: what the state folder would lose with it, kept in the history. Receipts of channels, the lines of the self-audit.
//!
//! It has the form of the control log (framed, sealed, chained) but is no input of the engine: a rebuild of the state does without it,
//! a rebuild of the store reads it.

use std::path::PathBuf;
use std::sync::Arc;

use super::control::{Control, Entry};
use super::{History, HistoryError};
use crate::event::Time;
use crate::keys::Keyring;

/// The folder.
const JOURNAL: &str = "journal";

/// The journal of a history, open for appending by whoever has the history open for writing.
pub struct Journal {
    log: Control,
    dir: PathBuf,
    keyring: Option<Arc<Keyring>>,
}

impl Journal {
    /// Opens the journal of `history`, and makes it where it is missing.
    ///
    /// # Errors
    /// Where it is damaged or cannot be made.
    pub fn open(history: &History) -> Result<Journal, HistoryError> {
        let (dir, keyring) = (history.dir().to_path_buf(), history.keyring().cloned());
        Ok(Journal { log: Control::open(&dir, JOURNAL, keyring.clone())?, dir, keyring })
    }

    /// Appends an entry and gives back its number; when this returns, the disk has it.
    ///
    /// # Errors
    /// Where the disk refuses; nothing was appended then.
    pub fn append(&mut self, kind: &str, at: Time, bytes: &[u8]) -> Result<u64, HistoryError> {
        self.log.append(kind, at, bytes)
    }

    /// Every entry, in order.
    ///
    /// # Errors
    /// Where an entry is damaged, missing or out of its place.
    pub fn read(&self) -> Result<Vec<Entry>, HistoryError> {
        Control::read(&self.dir, JOURNAL, self.keyring.clone())
    }
}
