//! EDGE: envelope keys for everything that is stored.
//!
//! Three levels (DESIGN, decision 9). The **key-encryption key** lies in a file outside the history ([`KeyFile`]). It wraps one
//! **month key** per month of arrival, kept in the small [`Keyring`] inside the history. A month key wraps the **data key** of each
//! file: fresh, used once, stored wrapped in the file itself. So a change of the key-encryption key rewraps a few rows and no file,
//! and destroying a month is destroying one row.
//!
//! Parquet files carry their wrapped data key in the form of the Parquet key tools ([`material`]); all other files are sealed by
//! [`Keyring::seal`]. No key is ever printed: the key types have no `Debug` that shows bytes, and their memory is wiped on drop.

mod durable;
mod file;
mod keyring;
pub mod material;
mod wrap;

use std::path::PathBuf;

use crate::event::Time;

pub use durable::{write_durably, write_new};
pub use file::{KeyFile, KeySource};
pub use keyring::{Keyring, SEALED_MAGIC};
pub use wrap::DataKey;

/// Why a key could not be had or did not fit.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// There is no key file where one is needed.
    #[error("the key file {0} does not exist; without it this history cannot be read")]
    Missing(PathBuf),
    /// Others than its owner may read the key file.
    #[error("the key file {path} can be read by others (mode {mode:03o}); set it to 600")]
    Exposed {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The key file holds something else.
    #[error("{0} is not a key file: a header line and 32 bytes as 64 hexadecimal digits or as base64 are expected")]
    NotAKey(PathBuf),
    /// The key file belongs to another history, as far as that can be said.
    #[error(
        "this key does not open this history: {0} is the key of another one, or keyring.json in the history is damaged"
    )]
    Mismatch(PathBuf),
    /// There is no keyring where everything is encrypted.
    #[error(
        "the keyring {0} is missing: without it nothing of this history can be read, and no key helps; put it back from the backup"
    )]
    NoKeyring(PathBuf),
    /// The keyring is damaged, or of another version.
    #[error("the keyring of this history (keyring.json) cannot be used: {0}; put it back from the backup")]
    Keyring(&'static str),
    /// The key of that month was destroyed, or never belonged to this history.
    #[error("the keyring has no key for {0}: what arrived in that month can no longer be read")]
    NoMonth(String),
    /// Sealed bytes were altered, or belong elsewhere.
    #[error("{0} was altered, or belongs to another place")]
    Altered(String),
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    Random,
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
}

impl KeyError {
    pub(crate) fn io(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> KeyError {
        let path = path.to_path_buf();
        move |source| KeyError::Io { path, source }
    }

    /// Whether the same call may succeed later without anyone's help.
    pub fn retry(&self) -> bool {
        matches!(self, KeyError::Io { .. } | KeyError::Random)
    }
}

/// The id of the month key for what arrived at `time`: `YYYY-MM`, in UTC.
pub fn month(time: Time) -> String {
    let (year, month, _) = crate::event::Day(time.0.div_euclid(crate::event::time::DAY) as i32).civil();
    format!("{year:04}-{month:02}")
}
