//! EDGE: the history: encrypted Parquet in Delta tables, with the input positions in the same commits.
//!
//! Layout of the folder:
//!
//! ```text
//! DIR/history.json        form and version; the writer holds a lock on it
//! DIR/keyring.json        month keys, wrapped (absent where encryption is off)
//! DIR/{table}/            one Delta table each: events, touches, alerts, rejects, spans
//! DIR/{table}/arrival_date=YYYY-MM-DD/<number>-<16 hexadecimal digits>.parquet
//! DIR/control/            the control log, in framed files
//! DIR/journal/            receipts and the self-audit, in framed files
//! DIR/blobs/{kind}/       roster and rule versions, named by hash; sealed snapshots, by segment
//! ```
//!
//! **One file per table and segment.** Tables are partitioned by `arrival_date`, the UTC day of *arrival* (handed in by the caller),
//! not of the events: a segment is never split however late its records are, the key of a file is that of its month, and compaction
//! joins the files of one day. The number is the place in the order of commits, which is the order in which a replay reads.
//! Within a file the rows are sorted for the two questions people ask (DESIGN, decision 10) and row-group
//! statistics and bloom filters inside the (encrypted) file do the pruning. The Delta log carries row counts and the hours of event
//! time that a file of events spans, and nothing else. Any Delta reader sees the column of the partition; questions do not need it.
//!
//! **Positions.** Every commit of every table carries a `txn` for each origin that it advances. Tables are committed one after the
//! other, `spans` last; what a crash between two of them leaves behind is taken back when the history is opened again, and reading goes
//! on from the smallest position. Alerts are recognised by id, revision and content.

mod blobs;
mod changes;
mod close;
mod compact;
mod control;
mod encode;
mod error;
mod journal;
mod known;
mod layout;
mod log;
mod read;
mod replay;
mod rows;
mod scan;
mod segment;
mod stage;
mod tables;
mod told;
mod touches;
mod writer;

#[cfg(test)]
mod faults;
#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
pub(crate) mod fuse;
#[cfg(test)]
mod tests;

pub use crate::keys::KeySource;
pub use changes::{Change, FileRead, Noted, Place, Resumed, newest_roster};
pub use close::Committed;
pub use compact::{Join, Joined};
pub use control::Entry;
pub use error::HistoryError;
pub use journal::Journal;
pub use layout::is_encrypted;
pub use read::Reader;
pub use replay::OnRecord;
pub use scan::{Part, Rows};
pub use tables::Table;
pub use writer::{History, Staged};

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

/// The settings `[history]`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The folder.
    pub dir: PathBuf,
    /// Whether everything is encrypted from its first byte. It can only be chosen when the history is made.
    pub encrypt: bool,
    /// A segment closes at this many staged rows of events.
    pub segment_rows: usize,
    /// A segment closes at this many bytes in memory.
    pub segment_bytes: usize,
    /// A segment closes when its oldest row has waited this many seconds.
    pub segment_age: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        let (segment_rows, segment_bytes) = (200_000, 256 << 20);
        Settings { dir: "history".into(), encrypt: true, segment_rows, segment_bytes, segment_age: 60 }
    }
}
