//! What can go wrong between us and the history, and whether trying again may help.
//!
//! No error holds a value of a row: names of tables, files and origins are all that is ever said.

use std::path::{Path, PathBuf};

use deltalake_core::DeltaTableError;
use parquet::errors::ParquetError;

use crate::keys::KeyError;

/// A failure of the history.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// A key is missing, wrong or unreadable.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// There is no history where one is read.
    #[error("{0} holds no history")]
    Absent(PathBuf),
    /// The place of the history is no folder.
    #[error("{0}: a history lies in a folder")]
    Location(String),
    /// Written by another version, in a form that this one does not know.
    #[error(
        "{path} is a history of another version ({found}); this program reads {known}: name another folder and scan the sources again, or use the version that wrote it"
    )]
    OtherVersion {
        /// Where it lies.
        path: PathBuf,
        /// The form it names.
        found: String,
        /// The form that is known.
        known: &'static str,
    },
    /// Settings and history disagree about encryption, which is chosen once.
    #[error("the settings say encrypt = {asked}, but the history was made with encrypt = {made}")]
    Encryption {
        /// What the settings say.
        asked: bool,
        /// What holds for the history.
        made: bool,
    },
    /// Another process writes to the history.
    #[error("another process writes to the history at {0}")]
    Locked(PathBuf),
    /// Another writer has moved a table on while we held the lock: nothing of ours was added to it.
    #[error("table {table} was moved on by another writer")]
    Overtaken {
        /// The table.
        table: &'static str,
    },
    /// What is staged does not begin where the history ends.
    #[error("{origin}: offsets {from}..{to} do not follow position {position}; cut the input at the position")]
    NotNext {
        /// The position key of the origin.
        origin: String,
        /// First offset staged.
        from: i64,
        /// First offset after it.
        to: i64,
        /// Where the history or what is staged already ends.
        position: i64,
    },
    /// A file is missing, cut or altered.
    #[error("{file} is damaged: {what}")]
    Damaged {
        /// The file, relative to the history.
        file: String,
        /// What is wrong with it.
        what: String,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The Delta log could not be read or written.
    #[error("table {table}: {source}")]
    Delta {
        /// The table.
        table: &'static str,
        /// What the library said.
        source: Box<DeltaTableError>,
    },
    /// A Parquet file could not be read or written.
    #[error("{file}: {source}")]
    Parquet {
        /// The file, relative to the history.
        file: String,
        /// What the library said.
        source: Box<ParquetError>,
    },
    /// A query could not be run; the text comes from the query engine.
    #[error("the query failed: {0}")]
    Query(String),
    /// A query met a file that cannot be read.
    #[error("a file of the history could not be read and is probably damaged: {0}")]
    Unreadable(String),
    /// A query needed more time or memory than it is given.
    #[error("the query was stopped: {0}")]
    Limit(&'static str),
}

impl HistoryError {
    /// Whether the same call may succeed later without anyone's help.
    pub fn retry(&self) -> bool {
        match self {
            HistoryError::Key(error) => error.retry(),
            HistoryError::Io { .. } | HistoryError::Delta { .. } | HistoryError::Locked(_) => true,
            HistoryError::Parquet { source, .. } => matches!(**source, ParquetError::External(_)),
            _ => false,
        }
    }

    pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> HistoryError {
        let path = path.to_path_buf();
        move |source| HistoryError::Io { path, source }
    }
}
